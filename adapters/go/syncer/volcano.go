package syncer

import (
	"regexp"
	"sort"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	schedulingv1beta1 "volcano.sh/apis/pkg/apis/scheduling/v1beta1"
	topologyv1alpha1 "volcano.sh/apis/pkg/apis/topology/v1alpha1"

	placementv1 "basalt.io/adapters/placement/v1"
)

const (
	rootQueue = "root" // Volcano's; the engine's has no name
	maxDepth  = 8      // of HyperNodes in each other; the engine's tiers
	mib       = 1 << 20
)

// queueState of a Volcano queue. Amounts of cards: whole cards and cores are compute ("gpu", 1000 a
// card), memory of cards is "gpu-memory" in MiB. Other resources are Volcano's to hold.
func queueState(queue *schedulingv1beta1.Queue) *placementv1.QueueState {
	weight := max(queue.Spec.Weight, 1)
	out := &placementv1.QueueState{
		Name: queue.Name, Weight: &weight, Priority: queue.Spec.Priority,
		Guarantee: amounts(queue.Spec.Guarantee.Resource), Deserved: amounts(queue.Spec.Deserved),
		Capacity:       amounts(queue.Spec.Capability),
		NotReclaimable: queue.Spec.Reclaimable != nil && !*queue.Spec.Reclaimable,
		Closed: queue.Status.State == schedulingv1beta1.QueueStateClosed ||
			queue.Status.State == schedulingv1beta1.QueueStateClosing,
	}
	if queue.Spec.Parent != rootQueue {
		out.Parent = queue.Spec.Parent
	}
	return out
}

func amounts(list v1.ResourceList) []*placementv1.Amount {
	sums := map[string]int64{}
	for name, quantity := range list {
		if engine, amount := amountOf(string(name), quantity); engine != "" {
			sums[engine] += amount
		}
	}
	names := make([]string, 0, len(sums))
	for name := range sums {
		names = append(names, name)
	}
	sort.Strings(names)
	var out []*placementv1.Amount
	for _, name := range names {
		out = append(out, &placementv1.Amount{Resource: name, Amount: sums[name]})
	}
	return out
}

func amountOf(name string, quantity resource.Quantity) (string, int64) {
	switch name {
	case "cpu":
		return "cpu", quantity.MilliValue()
	case "memory":
		return "memory", quantity.Value() / mib
	case "nvidia.com/gpu", "amd.com/gpu", "metax-tech.com/gpu", "enflame.com/gcu",
		"kunlunxin.com/xpu", "birentech.com/gpu", "cambricon.com/mlu":
		return "gpu", quantity.Value() * 1000
	case "volcano.sh/vgpu-cores", "nvidia.com/gpucores":
		return "gpu", quantity.Value() * 10
	case "volcano.sh/vgpu-memory", "nvidia.com/gpumem":
		return "gpu-memory", quantity.Value()
	}
	if strings.HasPrefix(name, "huawei.com/Ascend") && !strings.Contains(name, "-") {
		return "gpu", quantity.Value() * 1000
	}
	return "", 0
}

// paths of nodes through HyperNodes, narrow to wide. A node that two HyperNodes of one tier claim
// belongs to the first by name: Volcano calls that a fault of the HyperNodes.
func paths(hyperNodes []*topologyv1alpha1.HyperNode, nodes []*v1.Node) map[string]*placementv1.NodePath {
	byName := map[string]*topologyv1alpha1.HyperNode{}
	sort.Slice(hyperNodes, func(i, j int) bool { return hyperNodes[i].Name < hyperNodes[j].Name })
	for _, h := range hyperNodes {
		byName[h.Name] = h
	}
	members := map[string]map[string]bool{} // of a HyperNode: the names of all nodes below it
	var below func(name string, depth int) map[string]bool
	below = func(name string, depth int) map[string]bool {
		if known, done := members[name]; done {
			return known
		}
		found := map[string]bool{}
		h := byName[name]
		if h == nil || depth > maxDepth {
			return found
		}
		for _, member := range h.Spec.Members {
			if member.Type == topologyv1alpha1.MemberTypeHyperNode {
				for child := range matches(member.Selector, len(byName), func(each func(string, labels.Set)) {
					for _, other := range hyperNodes {
						each(other.Name, other.Labels)
					}
				}) {
					for node := range below(child, depth+1) {
						found[node] = true
					}
				}
				continue
			}
			for node := range matches(member.Selector, len(nodes), func(each func(string, labels.Set)) {
				for _, n := range nodes {
					each(n.Name, n.Labels)
				}
			}) {
				found[node] = true
			}
		}
		members[name] = found
		return found
	}
	steps := map[string]map[int]*placementv1.DomainStep{}
	for _, h := range hyperNodes {
		if h.Spec.Tier < 1 || h.Spec.Tier > maxDepth {
			continue
		}
		for node := range below(h.Name, 0) {
			if steps[node] == nil {
				steps[node] = map[int]*placementv1.DomainStep{}
			}
			if steps[node][h.Spec.Tier] == nil {
				steps[node][h.Spec.Tier] = &placementv1.DomainStep{Tier: int32(h.Spec.Tier),
					Name: h.Name, TierName: h.Spec.TierName}
			}
		}
	}
	out := map[string]*placementv1.NodePath{}
	for _, n := range nodes {
		tiers := steps[n.Name]
		if tiers == nil {
			continue
		}
		path := &placementv1.NodePath{Node: n.Name}
		for tier := 1; tier <= maxDepth; tier++ {
			if step := tiers[tier]; step != nil {
				path.Network = append(path.Network, step)
			}
		}
		out[n.Name] = path
	}
	return out
}

func matches(selector topologyv1alpha1.MemberSelector, many int,
	all func(each func(name string, labels labels.Set))) map[string]bool {
	out := make(map[string]bool, min(many, 16))
	if selector.ExactMatch != nil && selector.ExactMatch.Name != "" {
		out[selector.ExactMatch.Name] = true
	}
	if selector.RegexMatch != nil {
		if pattern, err := regexp.Compile(selector.RegexMatch.Pattern); err == nil {
			all(func(name string, _ labels.Set) {
				if pattern.MatchString(name) {
					out[name] = true
				}
			})
		}
	}
	if l := selector.LabelMatch; l != nil && len(l.MatchLabels)+len(l.MatchExpressions) > 0 {
		if wanted, err := metav1.LabelSelectorAsSelector(l); err == nil {
			all(func(name string, has labels.Set) {
				if wanted.Matches(has) {
					out[name] = true
				}
			})
		}
	}
	return out
}
