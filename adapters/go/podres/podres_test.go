package podres

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	placementv1 "basalt.io/adapters/placement/v1"
)

func pod() *v1.Pod {
	always := v1.ContainerRestartPolicyAlways
	priority := int32(7)
	return &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "n",
			UID: "0f5b1c4e-0000-4000-8000-000000000001",
			Annotations: map[string]string{"nvidia.com/use-gputype": "A100", "other": "x",
				"hami.io/use-Ascend910B-uuid": "u"}},
		Spec: v1.PodSpec{
			Priority:     &priority,
			NodeSelector: map[string]string{"b": "2", "a": "1"},
			Tolerations: []v1.Toleration{{Key: "gpu", Operator: v1.TolerationOpExists},
				{Operator: v1.TolerationOpExists}, {Key: "gpu", Value: "v"}},
			InitContainers: []v1.Container{{Name: "i"}, {Name: "s", RestartPolicy: &always}},
			Containers: []v1.Container{{Name: "c", Resources: v1.ResourceRequirements{
				Limits: v1.ResourceList{"nvidia.com/gpu": resource.MustParse("2"),
					"nvidia.com/gpumem": resource.MustParse("4Gi")},
				Requests: v1.ResourceList{"cpu": resource.MustParse("500m")}}}},
		},
	}
}

func TestResourcesAreThePodsOwnWords(t *testing.T) {
	got := Resources(pod(), []string{"nvidia.com/use-gputype", "hami.io/"})
	if len(got.Containers) != 3 || !got.Containers[0].Init || got.Containers[0].Sidecar ||
		!got.Containers[1].Sidecar || got.Containers[2].Init {
		t.Fatalf("init containers come first, sidecars are marked: %v", got.Containers)
	}
	c := got.Containers[2]
	if c.Limits["nvidia.com/gpu"] != "2" || c.Limits["nvidia.com/gpumem"] != "4Gi" ||
		c.Requests["cpu"] != "500m" {
		t.Errorf("quantities keep their words: %v", c)
	}
	if len(got.Annotations) != 2 || got.Annotations["nvidia.com/use-gputype"] != "A100" ||
		got.Annotations["hami.io/use-Ascend910B-uuid"] != "u" {
		t.Errorf("only the server's keys and prefixes: %v", got.Annotations)
	}
	if got.NodeSelector[0].Key != "a" || got.NodeSelector[1].Value != "2" {
		t.Errorf("selector is ordered: %v", got.NodeSelector)
	}
	if !slices.Equal(got.Tolerations, []string{"gpu"}) {
		t.Errorf("tolerations: %v", got.Tolerations)
	}
}

func TestHasDevices(t *testing.T) {
	if !HasDevices(pod()) {
		t.Error("a card is a device")
	}
	plain := pod()
	plain.Spec.Containers[0].Resources.Limits = v1.ResourceList{
		"cpu": resource.MustParse("1"), "hugepages-2Mi": resource.MustParse("2Mi"),
		"nvidia.com/gpu":             resource.MustParse("0"),
		"attachable.kubernetes.io/x": resource.MustParse("1")}
	if HasDevices(plain) {
		t.Error("ordinary resources and a count of 0 are none")
	}
}

func TestAStateTellsItsCards(t *testing.T) {
	grants := []string{"hami.io/vgpu-devices-allocated"}
	p := pod()
	p.Annotations = map[string]string{CardsAnnotation: "GPU-1, GPU-3,,GPU-1",
		"hami.io/vgpu-devices-allocated":   "GPU-1,NVIDIA,3000,30:;",
		"hami.io/vgpu-devices-to-allocate": ";"}
	if got := State(p, nil, grants, ""); len(got.GrantedUuids) != 0 || len(got.Annotations) != 0 {
		t.Errorf("a pod without a node has no cards: %v", got)
	}
	p.Spec.NodeName = "node"
	got := State(p, nil, grants, "q")
	if !slices.Equal(got.GrantedUuids, []string{"GPU-1", "GPU-3"}) || len(got.Annotations) != 1 ||
		got.Annotations[grants[0]] != "GPU-1,NVIDIA,3000,30:;" || got.Node != "node" ||
		got.Standing.Queue != "q" {
		t.Errorf("got %v", got)
	}
	p.Status.Phase = v1.PodSucceeded
	if got := State(p, nil, grants, ""); len(got.GrantedUuids) != 0 || got.Phase != "Succeeded" {
		t.Errorf("a pod that has ended: %v", got)
	}
	p.Annotations[CardsAnnotation] = strings.Repeat("x,y,", 10)
	for i := range 100 {
		p.Annotations[CardsAnnotation] += fmt.Sprintf("GPU-%d,", i)
	}
	if Cards(p) != nil {
		t.Error("no node has so many cards")
	}
}

func TestBindMetadata(t *testing.T) {
	annotations, labels := BindMetadata(&placementv1.Place{CardUuids: []string{"a", "b"},
		Assignment: &placementv1.Assignment{Annotations: map[string]string{"k": "v"},
			Labels: map[string]string{"l": "w"}, Enforced: true}})
	if annotations["k"] != "v" || labels["l"] != "w" || annotations[CardsAnnotation] != "a,b" ||
		annotations[EnforcedAnnotation] != "true" {
		t.Errorf("got %v, %v", annotations, labels)
	}
	p := pod()
	p.Annotations = annotations
	if !slices.Equal(Cards(p), []string{"a", "b"}) {
		t.Error("what is written is read again")
	}
	for _, uuids := range [][]string{{""}, {"a", ""}} {
		nameless, _ := BindMetadata(&placementv1.Place{Node: "n", CardUuids: uuids})
		if _, said := nameless[CardsAnnotation]; said || len(nameless) != 0 {
			t.Errorf("cards without a name are not written: %v", nameless)
		}
	}
	if annotations, _ := BindMetadata(&placementv1.Place{Node: "n"}); len(annotations) != 0 {
		t.Errorf("a pod without cards gets no annotation: %v", annotations)
	}
}

func TestStandingAndJob(t *testing.T) {
	p := pod()
	if s := Standing(p, ""); s.Priority != 7 || s.Queue != "" || s.NotPreemptible {
		t.Errorf("got %v", s)
	}
	p.Labels = map[string]string{QueueLabel: "q", "volcano.sh/preemptable": "false"}
	if s := Standing(p, ""); s.Queue != "q" || !s.NotPreemptible {
		t.Errorf("got %v", s)
	}
	if s := Standing(p, "of the group"); s.Queue != "of the group" {
		t.Errorf("got %v", s)
	}
	p.Annotations[GroupAnnotation] = "g"
	for word, stays := range map[string]bool{"true": false, "1": false, "false": true, "no": true, "": true} {
		p.Annotations["volcano.sh/preemptable"] = word
		if s := Standing(p, ""); s.NotPreemptible != stays {
			t.Errorf("%q, and its label says false: %v", word, s)
		}
	}
	p.Labels = nil
	delete(p.Annotations, "volcano.sh/preemptable")
	if s := Standing(p, ""); s.NotPreemptible {
		t.Error("a job's pod that says nothing may go, as in Volcano")
	}
	if Job(p) != "n/g" {
		t.Errorf("got %q", Job(p))
	}
}
