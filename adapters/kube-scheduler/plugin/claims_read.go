package plugin

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"

	v1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/dynamic-resource-allocation/cel"
	"k8s.io/dynamic-resource-allocation/resourceclaim"
	fw "k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/utils/ptr"

	"basalt.io/adapters/dra"
	placementv1 "basalt.io/adapters/placement/v1"
)

const (
	// Of a claim by which a pod joins a ComputeDomain (NVIDIA's DRA driver).
	channelClass  = "compute-domain-default-channel.nvidia.com"
	domainDriver  = "compute-domain.nvidia.com"
	maxUuids      = 4096 // cards that a selector may single out
	maxSelectors  = 64   // whose answers are kept
	compiledCache = 64
)

// claimed is what a pod's claims ask of cards.
type claimed struct {
	asked  *placementv1.ClaimedCards // by all of its claims; nil: no cards
	cards  *placementv1.ClaimedCards // by those that are not allocated
	fresh  []*resourceapi.ResourceClaim
	on     []*nodeaffinity.NodeSelector // of allocated claims: where they are
	domain string                       // of a ComputeDomain; "": none
}

// claimReader evaluates selectors over all devices that are cards. Answers are kept by slice, as long
// as the slice does not change.
type claimReader struct {
	manager fw.SharedDRAManager
	drivers func() []string
	cache   *cel.Cache

	mutex   sync.Mutex
	answers map[string]map[*resourceapi.ResourceSlice][]bool // by class and selectors
}

func newClaimReader(manager fw.SharedDRAManager, drivers func() []string) *claimReader {
	return &claimReader{manager: manager, drivers: drivers, cache: cel.NewCache(compiledCache, cel.Features{}),
		answers: map[string]map[*resourceapi.ResourceSlice][]bool{}}
}

// read the pod's claims. Errors: a claim that is not there, or asks what the engine cannot say.
func (r *claimReader) read(ctx context.Context, pod *v1.Pod) (*claimed, error) {
	out := &claimed{}
	for i := range pod.Spec.ResourceClaims {
		name, mustCheckOwner, err := resourceclaim.Name(pod, &pod.Spec.ResourceClaims[i])
		if err != nil {
			return nil, err
		}
		if name == nil {
			continue
		}
		claim, err := r.manager.ResourceClaims().Get(pod.Namespace, *name)
		if err != nil {
			return nil, err
		}
		if mustCheckOwner {
			if err := resourceclaim.IsForPod(pod, claim); err != nil {
				return nil, err
			}
		}
		if err := r.readClaim(ctx, claim, out); err != nil {
			return nil, fmt.Errorf("resource claim %s: %w", claim.Name, err)
		}
	}
	return out, nil
}

func (r *claimReader) readClaim(ctx context.Context, claim *resourceapi.ResourceClaim, out *claimed) error {
	allocated := claim.Status.Allocation != nil
	if !allocated {
		out.fresh = append(out.fresh, claim)
	} else if claim.Status.Allocation.NodeSelector != nil {
		selector, err := nodeaffinity.NewNodeSelector(claim.Status.Allocation.NodeSelector)
		if err != nil {
			return err
		}
		out.on = append(out.on, selector)
	}
	if domain := domainOf(claim); domain != "" {
		out.domain = domain
	}
	for i := range claim.Spec.Devices.Requests {
		request := &claim.Spec.Devices.Requests[i]
		cards, err := r.readRequest(ctx, request)
		if err != nil {
			return fmt.Errorf("request %s: %w", request.Name, err)
		}
		if cards == nil {
			continue
		}
		if out.asked, err = sum(out.asked, cards); err != nil {
			return fmt.Errorf("request %s: %w", request.Name, err)
		}
		if allocated {
			continue
		}
		if out.cards, err = sum(out.cards, cards); err != nil {
			return fmt.Errorf("request %s: %w", request.Name, err)
		}
	}
	return nil
}

// sum of two asks. The engine gives a pod cards of one description.
func sum(a, b *placementv1.ClaimedCards) (*placementv1.ClaimedCards, error) {
	if a == nil {
		a = &placementv1.ClaimedCards{Driver: b.Driver, MigProfile: b.MigProfile, Products: b.Products, Uuids: b.Uuids}
	}
	if a.Driver != b.Driver || a.MigProfile != b.MigProfile || !slices.Equal(a.Products, b.Products) ||
		!slices.Equal(a.Uuids, b.Uuids) {
		return nil, fmt.Errorf("selects other cards than another request of the pod; Basalt gives a pod cards of one kind")
	}
	return &placementv1.ClaimedCards{Driver: a.Driver, MigProfile: a.MigProfile, Products: a.Products, Uuids: a.Uuids,
		Count: a.Count + b.Count}, nil
}

func domainOf(claim *resourceapi.ResourceClaim) string {
	if !slices.ContainsFunc(claim.Spec.Devices.Requests, func(request resourceapi.DeviceRequest) bool {
		return request.Exactly != nil && request.Exactly.DeviceClassName == channelClass
	}) {
		return ""
	}
	for _, configured := range claim.Spec.Devices.Config {
		if configured.Opaque == nil || configured.Opaque.Driver != domainDriver {
			continue
		}
		var parameters struct {
			DomainID string `json:"domainID"`
		}
		if json.Unmarshal(configured.Opaque.Parameters.Raw, &parameters) == nil && parameters.DomainID != "" {
			return parameters.DomainID
		}
	}
	return claim.Namespace + "/" + claim.Name // of nobody else
}

// nodesOfDomain on which claims of the ComputeDomain are allocated.
func (r *claimReader) nodesOfDomain(domain string) ([]string, error) {
	all, err := r.manager.ResourceClaims().List()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, claim := range all {
		if claim.Status.Allocation == nil || domainOf(claim) != domain {
			continue
		}
		if node := dra.NodeOf(claim); node != "" && !slices.Contains(out, node) {
			out = append(out, node)
		}
	}
	sort.Strings(out)
	return out, nil
}

// readRequest is nil for one that no card serves: upstream's allocator alone decides it.
func (r *claimReader) readRequest(ctx context.Context, request *resourceapi.DeviceRequest) (*placementv1.ClaimedCards, error) {
	if request.Exactly == nil {
		for i := range request.FirstAvailable {
			sub := &request.FirstAvailable[i]
			cards, err := r.match(ctx, sub.DeviceClassName, sub.Selectors)
			if err != nil || len(cards) > 0 {
				return nil, orElse(err, "firstAvailable is not read for cards; write one request")
			}
		}
		return nil, nil
	}
	exactly := request.Exactly
	cards, err := r.match(ctx, exactly.DeviceClassName, exactly.Selectors)
	if err != nil || len(cards) == 0 {
		return nil, err
	}
	switch {
	case ptr.Deref(exactly.AdminAccess, false):
		return nil, fmt.Errorf("adminAccess is not read for cards; use another scheduler")
	case exactly.AllocationMode != resourceapi.DeviceAllocationModeExactCount:
		return nil, fmt.Errorf("allocationMode %s is not read for cards; write ExactCount", exactly.AllocationMode)
	case exactly.Capacity != nil && len(exactly.Capacity.Requests) > 0:
		return nil, fmt.Errorf("capacity requests are not read for cards")
	}
	return r.describe(cards, int32(min(exactly.Count, 1<<20)))
}

func orElse(err error, text string) error {
	if err != nil {
		return err
	}
	return fmt.Errorf("%s", text)
}

// card is a device that is a card, or a MIG instance of one.
type card struct {
	driver, uuid, product, profile string
	matches                        bool
}

func attribute(device *resourceapi.Device, driver, name string) string {
	for _, key := range []string{name, driver + "/" + name} {
		if value, found := device.Attributes[resourceapi.QualifiedName(key)]; found {
			return ptr.Deref(value.StringValue, "")
		}
	}
	return ""
}

// cardOf a device; its UUID is that of the card that it is a part of. As the server reads them
// (devices/resource_slices).
func cardOf(slice *resourceapi.ResourceSlice, device *resourceapi.Device) card {
	driver := slice.Spec.Driver
	out := card{driver: driver, uuid: attribute(device, driver, "uuid"), product: attribute(device, driver, "productName")}
	switch kind := attribute(device, driver, "type"); kind {
	case "", "gpu", "amdgpu":
		if out.uuid == "" {
			out.uuid = slice.Spec.Pool.Name + "/" + device.Name
		}
	default:
		out.uuid = attribute(device, driver, "parentUUID")
		out.profile = attribute(device, driver, "profile")
		if kind != "mig" || out.profile == "" {
			out.profile = kind // a part that the engine cannot say
		}
	}
	return out
}

// match lists all cards, when at least one of them is what class and selectors want.
func (r *claimReader) match(ctx context.Context, className string, selectors []resourceapi.DeviceSelector) ([]card, error) {
	class, err := r.manager.DeviceClasses().Get(className)
	if err != nil {
		return nil, err
	}
	every, err := r.manager.ResourceSlices().ListWithDeviceTaintRules()
	if err != nil {
		return nil, err
	}
	both := append(slices.Clone(class.Spec.Selectors), selectors...)
	var words []string
	for i := range both {
		if both[i].CEL != nil {
			words = append(words, both[i].CEL.Expression)
		}
	}
	drivers := r.drivers()
	r.mutex.Lock()
	defer r.mutex.Unlock()
	key := strings.Join(words, "\x00")
	before := r.answers[key]
	if before == nil && len(r.answers) >= maxSelectors {
		clear(r.answers)
	}
	now := make(map[*resourceapi.ResourceSlice][]bool, len(before))
	var out []card
	some := false
	for _, slice := range dra.Slices(every, drivers) {
		answers, known := before[slice]
		if !known {
			if answers, err = r.evaluate(ctx, slice, words); err != nil {
				return nil, err
			}
		}
		now[slice] = answers
		for i := range slice.Spec.Devices {
			one := cardOf(slice, &slice.Spec.Devices[i])
			one.matches = answers[i]
			some = some || one.matches
			out = append(out, one)
		}
	}
	r.answers[key] = now
	if !some {
		return nil, nil
	}
	return out, nil
}

func (r *claimReader) evaluate(ctx context.Context, slice *resourceapi.ResourceSlice, words []string) ([]bool, error) {
	out := make([]bool, len(slice.Spec.Devices))
	for i := range slice.Spec.Devices {
		device := &slice.Spec.Devices[i]
		matches := true
		for _, expression := range words {
			compiled := r.cache.GetOrCompile(expression)
			if compiled.Error != nil {
				return nil, fmt.Errorf("selector %q: %w", expression, compiled.Error)
			}
			var err error
			matches, _, err = compiled.DeviceMatches(ctx, cel.Device{Driver: slice.Spec.Driver,
				AllowMultipleAllocations: device.AllowMultipleAllocations,
				Attributes:               device.Attributes, Capacity: device.Capacity})
			if err != nil {
				return nil, fmt.Errorf("selector %q on device %s of %s: %w", expression, device.Name, slice.Name, err)
			}
			if !matches {
				break
			}
		}
		out[i] = matches
	}
	return out, nil
}

// describe the cards that match by what sets them apart from the others of their kind: nothing, their
// products, or their UUIDs.
func (r *claimReader) describe(cards []card, count int32) (*placementv1.ClaimedCards, error) {
	out := &placementv1.ClaimedCards{Count: count}
	first := true
	for _, one := range cards {
		if !one.matches {
			continue
		}
		if first {
			out.Driver, out.MigProfile, first = one.driver, one.profile, false
		}
		if one.driver != out.Driver || one.profile != out.MigProfile {
			return nil, fmt.Errorf("may be served by %q and by %q; select one kind of device (type, profile)",
				kindName(out.MigProfile), kindName(one.profile))
		}
	}
	all, partly := true, false
	wanted, other := map[string]bool{}, map[string]bool{} // products
	uuids, left := map[string]bool{}, map[string]bool{}
	for _, one := range cards {
		if one.driver != out.Driver || one.profile != out.MigProfile {
			continue
		}
		if one.matches {
			wanted[one.product], uuids[one.uuid] = true, true
		} else {
			all = false
			other[one.product], left[one.uuid] = true, true
		}
	}
	if all {
		return out, nil
	}
	for product := range wanted {
		partly = partly || other[product]
	}
	if !partly {
		out.Products = names(wanted)
		return out, nil
	}
	for uuid := range uuids {
		if uuid == "" || left[uuid] {
			return nil, fmt.Errorf("selects some instances of a card and not others; select cards, products or profiles")
		}
	}
	if len(uuids) > maxUuids {
		return nil, fmt.Errorf("selects %d cards that only their UUIDs tell from others; at most %d", len(uuids), maxUuids)
	}
	out.Uuids = names(uuids)
	return out, nil
}

func kindName(profile string) string {
	if profile == "" {
		return "whole cards"
	}
	return profile
}

func names(set map[string]bool) []string {
	out := make([]string, 0, len(set))
	for name := range set {
		out = append(out, name)
	}
	sort.Strings(out)
	return out
}
