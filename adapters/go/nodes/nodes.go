// Package nodes says a Kubernetes node in the protocol's words. What device plugins have registered
// on it is the server's to read (devices::ReadNode): here it is only copied.
package nodes

import (
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"

	placementv1 "basalt.io/adapters/placement/v1"
)

// State of a node. keys are the server's (client.NodeAnnotationKeys): annotations about its cards; a
// key that ends in '/' is a prefix.
func State(node *v1.Node, keys []string) *placementv1.NodeState {
	out := &placementv1.NodeResources{
		Name: node.Name, Labels: node.Labels,
		Capacity: quantities(node.Status.Capacity), Allocatable: quantities(node.Status.Allocatable),
		Unschedulable: node.Spec.Unschedulable, NotReady: !ready(node),
	}
	for key, value := range node.Annotations {
		if slices.ContainsFunc(keys, func(known string) bool {
			return key == known || (strings.HasSuffix(known, "/") && strings.HasPrefix(key, known))
		}) {
			if out.Annotations == nil {
				out.Annotations = map[string]string{}
			}
			out.Annotations[key] = value
		}
	}
	for _, taint := range node.Spec.Taints {
		if taint.Effect == v1.TaintEffectPreferNoSchedule || slices.Contains(out.Taints, taint.Key) {
			continue
		}
		out.Taints = append(out.Taints, taint.Key)
	}
	slices.Sort(out.Taints)
	return &placementv1.NodeState{Kubernetes: out}
}

// A node that reports no condition is taken as it is: kubelets report one.
func ready(node *v1.Node) bool {
	for _, condition := range node.Status.Conditions {
		if condition.Type == v1.NodeReady {
			return condition.Status == v1.ConditionTrue
		}
	}
	return true
}

func quantities(list v1.ResourceList) map[string]string {
	if len(list) == 0 {
		return nil
	}
	out := make(map[string]string, len(list))
	for name, quantity := range list {
		out[string(name)] = quantity.String()
	}
	return out
}
