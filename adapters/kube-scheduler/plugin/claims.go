package plugin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	v1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/util/retry"
	"k8s.io/dynamic-resource-allocation/structured"
	"k8s.io/klog/v2"
	configv1 "k8s.io/kube-scheduler/config/v1"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/apis/config"
	fw "k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/dynamicresources"
	plfeature "k8s.io/kubernetes/pkg/scheduler/framework/plugins/feature"

	placementv1 "basalt.io/adapters/placement/v1"
)

// claimer allocates resource claims. kube-scheduler's own DynamicResources plugin runs inside this one
// and does all that it does otherwise (selectors, constraints, counters, reservations); of the devices
// that are cards it is shown those that the engine has chosen, and no others that are free. So the
// engine decides and upstream's allocator checks and writes; what it refuses is a veto of the node.
//
// PreFilter runs for one pod at a time in a process, whatever the number of profiles: the view that it
// sets is the pod's.
type claimer struct {
	inner   *dynamicresources.DynamicResources
	manager fw.SharedDRAManager
	view    *sliceView
	reader  *claimReader
	handle  fw.Handle
	drivers func() []string
}

// newClaimer is nil where the feature is off.
func newClaimer(ctx context.Context, handle fw.Handle, drivers func() []string) (*claimer, error) {
	features := plfeature.NewSchedulerFeaturesFromGates(utilfeature.DefaultFeatureGate)
	manager := handle.SharedDRAManager()
	if !features.EnableDynamicResourceAllocation || manager == nil {
		return nil, nil
	}
	args := &config.DynamicResourcesArgs{}
	if features.EnableDRASchedulerFilterTimeout {
		args.FilterTimeout = &metav1.Duration{Duration: configv1.DynamicResourcesFilterTimeoutDefault}
	}
	view := &sliceView{manager: manager, drivers: drivers}
	inner, err := dynamicresources.New(ctx, args, &viewHandle{Handle: handle, manager: &viewManager{manager, view}}, features)
	if err != nil {
		return nil, err
	}
	return &claimer{inner: inner.(*dynamicresources.DynamicResources), manager: manager, view: view,
		reader: newClaimReader(manager, drivers), handle: handle, drivers: drivers}, nil
}

type viewHandle struct {
	fw.Handle
	manager fw.SharedDRAManager
}

func (h *viewHandle) SharedDRAManager() fw.SharedDRAManager { return h.manager }

type viewManager struct {
	fw.SharedDRAManager
	view *sliceView
}

func (m *viewManager) ResourceSlices() fw.ResourceSliceLister { return m.view }

// sliceView are the slices without the cards that the present pod may not have.
type sliceView struct {
	manager fw.SharedDRAManager
	drivers func() []string

	mutex sync.Mutex
	all   bool // the engine does not decide
	shown map[structured.DeviceID]bool
}

func (v *sliceView) show(all bool, devices []*placementv1.Device) {
	v.mutex.Lock()
	defer v.mutex.Unlock()
	v.all, v.shown = all, map[structured.DeviceID]bool{}
	for _, device := range devices {
		v.shown[structured.MakeDeviceID(device.GetDriver(), device.GetPool(), device.GetDevice())] = true
	}
}

// ListWithDeviceTaintRules is what the inner plugin allocates from. Devices that are allocated stay: they
// cannot be had, and what they take of shared counters must be known.
func (v *sliceView) ListWithDeviceTaintRules() ([]*resourceapi.ResourceSlice, error) {
	every, err := v.manager.ResourceSlices().ListWithDeviceTaintRules()
	if err != nil {
		return nil, err
	}
	v.mutex.Lock()
	defer v.mutex.Unlock()
	if v.all {
		return every, nil
	}
	allocated, err := v.manager.ResourceClaims().ListAllAllocatedDevices()
	if err != nil {
		return nil, err
	}
	drivers := sets.New(v.drivers()...)
	out := make([]*resourceapi.ResourceSlice, 0, len(every))
	for _, slice := range every {
		if drivers.Has(slice.Spec.Driver) {
			slice = v.filtered(slice, allocated)
		}
		out = append(out, slice)
	}
	return out, nil
}

func (v *sliceView) filtered(slice *resourceapi.ResourceSlice, allocated sets.Set[structured.DeviceID]) *resourceapi.ResourceSlice {
	copied := *slice
	copied.Spec.Devices = nil
	for i := range slice.Spec.Devices {
		id := structured.MakeDeviceID(slice.Spec.Driver, slice.Spec.Pool.Name, slice.Spec.Devices[i].Name)
		if v.shown[id] || allocated.Has(id) {
			copied.Spec.Devices = append(copied.Spec.Devices, slice.Spec.Devices[i])
		}
	}
	return &copied
}

// hasClaims says whether the pod's claims are this plugin's to allocate.
func (p *Plugin) hasClaims(pod *v1.Pod) bool {
	return p.claimer != nil && len(pod.Spec.ResourceClaims) > 0
}

// doubled: both would allocate, and one of the two would fail at every bind.
func (c *claimer) doubled() error {
	profile, ok := c.handle.(interface{ ListPlugins() *config.Plugins })
	if !ok {
		return nil
	}
	for _, plugin := range profile.ListPlugins().PreBind.Enabled {
		if plugin.Name == dynamicresources.Name {
			return errors.New("the profile has Basalt and DynamicResources; disable DynamicResources in it: " +
				"Basalt allocates claims")
		}
	}
	return nil
}

// preFilter of the inner plugin, with the devices of these places in sight.
func (c *claimer) preFilter(ctx context.Context, state fwk.CycleState, pod *v1.Pod, nodes []fwk.NodeInfo, all bool,
	places []*placementv1.Place) *fwk.Status {
	var devices []*placementv1.Device
	for _, place := range places {
		devices = append(devices, place.GetDevices()...)
	}
	c.view.show(all, devices)
	_, status := c.inner.PreFilter(ctx, state, pod, nodes)
	return status
}

// claimState is one pod's in one scheduling cycle.
type claimState struct {
	wants *claimed
	inner bool // the inner plugin has work

	mutex      sync.Mutex
	refused    map[string]bool // nodes on which the inner plugin cannot allocate what was chosen
	allocating bool            // claims were or may have been written
}

func (s *claimState) active() bool { return s != nil && s.inner }

func (s *claimState) wantsCards() bool { return s != nil && s.wants.cards != nil }

func (s *claimState) claimed() *claimed {
	if s == nil {
		return nil
	}
	return s.wants
}

// readClaims of a pod; nil: it has none.
func (p *Plugin) readClaims(ctx context.Context, pod *v1.Pod) (*claimState, *fwk.Status) {
	if !p.hasClaims(pod) {
		return nil, nil
	}
	if err := p.claimer.doubled(); err != nil {
		return nil, fwk.AsStatus(fmt.Errorf("basalt: %w", err))
	}
	wants, err := p.claimer.reader.read(ctx, pod)
	if err != nil {
		return nil, fwk.NewStatus(fwk.UnschedulableAndUnresolvable, "Basalt: "+err.Error())
	}
	for _, claim := range wants.fresh {
		if p.claimer.manager.ResourceClaims().ClaimHasPendingAllocation(claim.UID) {
			return nil, fwk.NewStatus(fwk.UnschedulableAndUnresolvable,
				fmt.Sprintf("Basalt: resource claim %s is being allocated for another pod", claim.Name))
		}
	}
	return &claimState{wants: wants}, nil
}

// preFilterClaims lets the inner plugin look at the pod, with these places' devices in sight.
func (p *Plugin) preFilterClaims(ctx context.Context, state fwk.CycleState, s *claimState, pod *v1.Pod,
	nodes []fwk.NodeInfo, all bool, places []*placementv1.Place) *fwk.Status {
	status := p.claimer.preFilter(ctx, state, pod, nodes, all, places)
	s.inner = status.IsSuccess()
	if status.IsSkip() && len(places) > 0 {
		return nil // the pod's claims need not be made
	}
	return status
}

func (s *claimState) refuse(node string) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.refused == nil {
		s.refused = map[string]bool{}
	}
	s.refused[node] = true
}

func (s *claimState) refuses(node string) bool {
	if s == nil {
		return false
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.refused[node]
}

// unreserve gives claims back. What was allocated in this cycle is undone: the lease on those devices
// ends, and the pod's next place may be another.
func (c *claimer) unreserve(ctx context.Context, state fwk.CycleState, s *claimState, pod *v1.Pod, node string, undo bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), liveTimeout)
	defer cancel()
	c.inner.Unreserve(ctx, state, pod, node)
	if !s.allocating || !undo {
		return
	}
	for _, claim := range s.wants.fresh {
		if err := c.deallocate(ctx, claim, pod); err != nil {
			klog.ErrorS(err, "A claim was not given back; its devices are held by it", "claim", klog.KObj(claim))
		}
	}
}

func (c *claimer) deallocate(ctx context.Context, claim *resourceapi.ResourceClaim, pod *v1.Pod) error {
	claims := c.handle.ClientSet().ResourceV1().ResourceClaims(claim.Namespace)
	return retry.RetryOnConflict(retry.DefaultRetry, func() error {
		now, err := claims.Get(ctx, claim.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		others := slices.ContainsFunc(now.Status.ReservedFor, func(r resourceapi.ResourceClaimConsumerReference) bool {
			return r.UID != pod.UID
		})
		if now.UID != claim.UID || now.Status.Allocation == nil || others {
			return nil
		}
		now.Status.Allocation, now.Status.ReservedFor, now.Status.Devices = nil, nil, nil
		_, err = claims.UpdateStatus(ctx, now, metav1.UpdateOptions{})
		return err
	})
}

// cliqueLabel is the node label of NVIDIA's feature discovery: nodes with one value share an NVLink
// partition. It names the network tier at the server (docs/serve.md).
const cliqueLabel = "nvidia.com/gpu.clique"

// cliqueNodes of a pod whose claim is of a ComputeDomain: those of the clique in which the domain has a
// node already, else all that are in a clique.
func (c *claimer) cliqueNodes(wants *claimed, nodes []fwk.NodeInfo) (map[string]bool, error) {
	cliqueOf := map[string]string{}
	for _, info := range nodes {
		if clique := info.Node().Labels[cliqueLabel]; clique != "" {
			cliqueOf[info.Node().Name] = clique
		}
	}
	taken, err := c.reader.nodesOfDomain(wants.domain)
	if err != nil {
		return nil, err
	}
	clique := ""
	for _, node := range taken {
		if clique != "" && cliqueOf[node] != clique {
			return nil, fmt.Errorf("its ComputeDomain is in several cliques already, %s and %s", clique, cliqueOf[node])
		}
		clique = cliqueOf[node]
	}
	out := map[string]bool{}
	for node, of := range cliqueOf {
		if len(taken) == 0 || of == clique {
			out[node] = true
		}
	}
	return out, nil
}
