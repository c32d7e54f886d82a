package nodes

import (
	"slices"
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestState(t *testing.T) {
	node := &v1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{"a": "1"},
			Annotations: map[string]string{"hami.io/node-nvidia-register": "x", "other": "y",
				"volcano.sh/node-vgpu-register": "z"}},
		Spec: v1.NodeSpec{Taints: []v1.Taint{{Key: "gpu", Effect: v1.TaintEffectNoSchedule},
			{Key: "soft", Effect: v1.TaintEffectPreferNoSchedule},
			{Key: "gpu", Effect: v1.TaintEffectNoExecute}, {Key: "a", Effect: v1.TaintEffectNoExecute}}},
		Status: v1.NodeStatus{
			Capacity: v1.ResourceList{"nvidia.com/gpu": resource.MustParse("8")},
			Allocatable: v1.ResourceList{"cpu": resource.MustParse("63500m"),
				"nvidia.com/gpu": resource.MustParse("7")}},
	}
	keys := []string{"hami.io/", "volcano.sh/node-vgpu-register"}
	got := State(node, keys).GetKubernetes()
	if got.Name != "n" || got.Labels["a"] != "1" || len(got.Annotations) != 2 ||
		got.Annotations["volcano.sh/node-vgpu-register"] != "z" || got.Capacity["nvidia.com/gpu"] != "8" ||
		got.Allocatable["cpu"] != "63500m" || got.Allocatable["nvidia.com/gpu"] != "7" ||
		!slices.Equal(got.Taints, []string{"a", "gpu"}) || got.Unschedulable || got.NotReady {
		t.Errorf("got %v", got)
	}
	node.Spec.Unschedulable = true
	node.Status.Conditions = []v1.NodeCondition{{Type: v1.NodeReady, Status: v1.ConditionUnknown}}
	if got := State(node, nil).GetKubernetes(); !got.Unschedulable || !got.NotReady ||
		len(got.Annotations) != 0 {
		t.Errorf("got %v", got)
	}
}
