// Package dra says in the protocol's words what ResourceSlices and allocated ResourceClaims
// (resource.k8s.io/v1) tell about cards. Selectors are not looked at here: that is for schedulers,
// which have the expression language (adapters/kube-scheduler).
package dra

import (
	"encoding/json"
	"fmt"
	"slices"
	"sort"

	v1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"

	placementv1 "basalt.io/adapters/placement/v1"
)

// Claims of a pod by name, in the pod's order; those that are not made yet, or that the pod does not
// need, are left out.
func Claims(pod *v1.Pod) []string {
	var out []string
	for i := range pod.Spec.ResourceClaims {
		claim := &pod.Spec.ResourceClaims[i]
		if claim.ResourceClaimName != nil {
			out = append(out, *claim.ResourceClaimName)
			continue
		}
		for _, status := range pod.Status.ResourceClaimStatuses {
			if status.Name == claim.Name && status.ResourceClaimName != nil {
				out = append(out, *status.ResourceClaimName)
			}
		}
	}
	return out
}

// Devices that a claim has been allocated, of these drivers. Admin access and shares of a device hold
// nothing.
func Devices(claim *resourceapi.ResourceClaim, drivers []string) []*placementv1.Device {
	if claim.Status.Allocation == nil {
		return nil
	}
	var out []*placementv1.Device
	for i := range claim.Status.Allocation.Devices.Results {
		result := &claim.Status.Allocation.Devices.Results[i]
		if !slices.Contains(drivers, result.Driver) || result.ShareID != nil ||
			(result.AdminAccess != nil && *result.AdminAccess) {
			continue
		}
		out = append(out, &placementv1.Device{Driver: result.Driver, Pool: result.Pool, Device: result.Device})
	}
	return out
}

// Holder of an allocated claim's devices: the first of its pods for which this says yes; "": none of
// them. A claim that several pods share is held once.
func Holder(claim *resourceapi.ResourceClaim, holds func(types.UID) bool) types.UID {
	for i := range claim.Status.ReservedFor {
		consumer := &claim.Status.ReservedFor[i]
		if consumer.APIGroup == "" && consumer.Resource == "pods" && holds(consumer.UID) {
			return consumer.UID
		}
	}
	return ""
}

type pool struct{ driver, name string }

// Slices of one node that may be used, of these drivers: of each pool the newest generation, and only
// when all of its slices are there. A driver replaces a pool slice by slice; half of one is a wrong
// node.
func Slices(all []*resourceapi.ResourceSlice, drivers []string) []*resourceapi.ResourceSlice {
	pools := map[pool][]*resourceapi.ResourceSlice{}
	for _, slice := range all {
		spec := &slice.Spec
		if spec.NodeName == nil || !slices.Contains(drivers, spec.Driver) {
			continue
		}
		p := pool{spec.Driver, spec.Pool.Name}
		if known := pools[p]; len(known) > 0 && known[0].Spec.Pool.Generation != spec.Pool.Generation {
			if known[0].Spec.Pool.Generation > spec.Pool.Generation {
				continue
			}
			pools[p] = nil
		}
		pools[p] = append(pools[p], slice)
	}
	var out []*resourceapi.ResourceSlice
	for _, of := range pools {
		if int64(len(of)) == of[0].Spec.Pool.ResourceSliceCount {
			out = append(out, of...)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

// Specs of slices as the server reads them.
func Specs(of []*resourceapi.ResourceSlice) ([]string, error) {
	var out []string
	for _, slice := range of {
		text, err := json.Marshal(&slice.Spec)
		if err != nil {
			return nil, fmt.Errorf("resource slice %s: %w", slice.Name, err)
		}
		out = append(out, string(text))
	}
	return out, nil
}

// NodeOf an allocation whose devices are of one node; "": it is of none, or of several. Pools of cards
// are a node's; the selector is what drivers without a pool a node leave.
func NodeOf(claim *resourceapi.ResourceClaim) string {
	if claim.Status.Allocation == nil || claim.Status.Allocation.NodeSelector == nil {
		return ""
	}
	terms := claim.Status.Allocation.NodeSelector.NodeSelectorTerms
	if len(terms) != 1 {
		return ""
	}
	for _, field := range terms[0].MatchFields {
		if field.Key == "metadata.name" && field.Operator == v1.NodeSelectorOpIn && len(field.Values) == 1 {
			return field.Values[0]
		}
	}
	return ""
}
