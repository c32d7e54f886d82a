package auditor

import (
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const register = `[{"id":"GPU-1","count":2,"devmem":1000,"devcore":100,"type":"A","health":true},` +
	`{"id":"GPU-2","index":1,"count":2,"devmem":1000,"devcore":100,"type":"A","health":true}]`

func testNode(annotations map[string]string) *v1.Node {
	return &v1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "n", Annotations: annotations},
		Status: v1.NodeStatus{Allocatable: v1.ResourceList{
			"cpu": resource.MustParse("8"), "nvidia.com/gpu": resource.MustParse("5"),
			"pods": resource.MustParse("5")}},
	}
}

// pod is bound to node n; containers are the limits of its containers.
func testPod(name string, annotations map[string]string, containers ...map[string]string) *v1.Pod {
	pod := &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "d", UID: types.UID(name), Annotations: annotations},
		Spec:       v1.PodSpec{NodeName: "n"},
	}
	for _, limits := range containers {
		list := v1.ResourceList{}
		for key, value := range limits {
			list[v1.ResourceName(key)] = resource.MustParse(value)
		}
		pod.Spec.Containers = append(pod.Spec.Containers,
			v1.Container{Resources: v1.ResourceRequirements{Limits: list, Requests: list}})
	}
	return pod
}

func slice(memory, cores string) map[string]string {
	return map[string]string{wholeCard: "1", hamiMemory: memory, hamiCores: cores}
}

func given(text string) map[string]string { return map[string]string{hamiAllocated: text} }

func expect(t *testing.T, a *Auditor, parts ...string) {
	t.Helper()
	got := a.Violations()
	if len(got) != len(parts) {
		t.Fatalf("%d violations, want %d: %v", len(got), len(parts), got)
	}
	for i, part := range parts {
		if !strings.Contains(got[i].Text, part) {
			t.Errorf("violation %q does not say %q", got[i].Text, part)
		}
	}
}

func TestReadsRegistrations(t *testing.T) {
	text := "GPU-1,10,24576,100,NVIDIA A30,0,true,0,hami-core:GPU-2,10,24576,100,NVIDIA A30,1,false,1,mig:"
	cards, err := CardsOf(testNode(map[string]string{hamiRegister: text}))
	if err != nil || len(cards) != 2 || cards["GPU-2"].Healthy || cards["GPU-1"].Memory != 24576 {
		t.Errorf("text: %v %v", cards, err)
	}
	text = `[{"id":"GPU-1","count":10,"devmem":24576,"devcore":100,"health":true},{"id":"GPU-2","index":1,"count":10}]`
	cards, err = CardsOf(testNode(map[string]string{hamiRegister: text}))
	if err != nil || !cards["GPU-1"].Healthy || cards["GPU-2"].Healthy || cards["GPU-2"].Memory != 0 {
		t.Errorf("JSON: %v %v", cards, err)
	}
	cards, err = CardsOf(testNode(map[string]string{volcanoRegister: "GPU-1,10,24576,NVIDIA-A30,true,hami-core:"}))
	if err != nil || cards["GPU-1"] != (Card{"GPU-1", 10, 24576, 100, true}) {
		t.Errorf("Volcano: %v %v", cards, err)
	}
	if _, err = CardsOf(testNode(map[string]string{hamiRegister: "GPU-1,10:"})); err == nil {
		t.Error("two fields were taken")
	}
}

func TestSharesThatFitAreFine(t *testing.T) {
	a := New()
	a.Node(testNode(map[string]string{hamiRegister: register}))
	a.PodIs(testPod("a", given("GPU-1,NVIDIA,500,50:;"), slice("500", "50")))
	a.PodIs(testPod("b", given("GPU-1,NVIDIA,500,50:;"), slice("500", "50")))
	a.PodIs(testPod("c", given("GPU-2,NVIDIA,1000,100:;"), map[string]string{wholeCard: "1"}))
	expect(t, a)
	if used := a.CardsUsed(); len(used["GPU-1"]) != 2 || len(used["GPU-2"]) != 1 {
		t.Errorf("used: %v", used)
	}
	if len(a.Holders()) != 3 {
		t.Errorf("holders: %v", a.Holders())
	}
}

func TestOvercommitIsSeenAtTheEvent(t *testing.T) {
	a := New()
	a.PodIs(testPod("a", given("GPU-1,NVIDIA,600,10:;"), slice("600", "10")))
	a.PodIs(testPod("b", given("GPU-1,NVIDIA,500,10:;"), slice("500", "10")))
	expect(t, a) // the node is not known yet
	a.Node(testNode(map[string]string{hamiRegister: register}))
	expect(t, a, "card GPU-1: 1100 MiB of 1000 are assigned")

	a = New()
	a.Node(testNode(map[string]string{hamiRegister: register}))
	a.PodIs(testPod("a", given("GPU-1,NVIDIA,1000,100:;"), map[string]string{wholeCard: "1"}))
	a.PodIs(testPod("b", given("GPU-1,NVIDIA,0,0:;"), map[string]string{wholeCard: "1"}))
	expect(t, a, "card GPU-1 is assigned whole and shared, to d/a, d/b")

	a = New()
	a.Node(testNode(map[string]string{hamiRegister: register}))
	for _, name := range []string{"a", "b", "c"} {
		a.PodIs(testPod(name, given("GPU-2,NVIDIA,10,1:;"), slice("10", "1")))
	}
	expect(t, a, "card GPU-2: 3 pods of 2 share it")
}

func TestAnEndedPodHoldsNothing(t *testing.T) {
	a := New()
	a.Node(testNode(map[string]string{hamiRegister: register}))
	whole := map[string]string{wholeCard: "1"}
	a.PodIs(testPod("a", given("GPU-1,NVIDIA,1000,100:;"), whole))
	a.PodGone("a")
	b := testPod("b", given("GPU-1,NVIDIA,1000,100:;"), whole)
	a.PodIs(b)
	ended := b.DeepCopy()
	ended.Status.Phase = v1.PodSucceeded
	a.PodIs(ended)
	a.PodIs(testPod("c", given("GPU-1,NVIDIA,1000,100:;"), whole))
	a.Granted(testPod("a", nil, whole), 0, []Claim{{"GPU-1", 0, 1000, 100}}) // late word
	expect(t, a)
}

func TestInitContainersDoNotRunBesideTheOthers(t *testing.T) {
	a := New()
	a.Node(testNode(map[string]string{hamiRegister: register}))
	pod := testPod("a", given("GPU-1,NVIDIA,900,60:;GPU-1,NVIDIA,500,60:;GPU-1,NVIDIA,500,40:;"),
		slice("500", "60"), slice("500", "40"))
	pod.Spec.InitContainers = []v1.Container{{Resources: testPod("x", nil, slice("900", "60")).Spec.Containers[0].Resources}}
	a.PodIs(pod)
	expect(t, a)
}

func TestAssignmentMustBeWhatWasAsked(t *testing.T) {
	a := New()
	a.Node(testNode(map[string]string{hamiRegister: register}))
	a.PodIs(testPod("none", nil, slice("1", "1")))
	a.PodIs(testPod("short", given("GPU-1,NVIDIA,5,5:;"), slice("6", "5")))
	a.PodIs(testPod("two", given("GPU-1,NVIDIA,6,5:;"), map[string]string{wholeCard: "2", hamiMemory: "6", hamiCores: "5"}))
	a.PodIs(testPod("else", given("GPU-9,NVIDIA,6,5:;"), slice("6", "5")))
	there := testPod("there", map[string]string{hamiAllocated: "GPU-2,NVIDIA,6,5:;", hamiNode: "m"}, slice("6", "5"))
	a.PodIs(there)
	expect(t, a, "pod d/none is bound and no card", "pod d/short: container 0 asked 6 MiB",
		"pod d/two: container 0 asked 2 cards, and has 1", "pod d/else has card GPU-9, which is not here",
		"assigned to node m", "6 of nvidia.com/gpu are requested, 5 are there")
}

func TestGrantsAreHeldAgainstTheAssignment(t *testing.T) {
	a := New()
	a.Node(testNode(map[string]string{hamiRegister: register}))
	pod := testPod("a", given(";GPU-1,NVIDIA,500,50:;"), map[string]string{"cpu": "1"}, slice("500", "50"))
	a.PodIs(pod)
	a.Granted(pod, 1, []Claim{{"GPU-1", 1, 500, 50}})
	expect(t, a)
	a.Granted(pod, 1, []Claim{{"GPU-2", 1, 500, 50}})
	expect(t, a, "the plugin gave card GPU-2")
}

func TestVolcanoEntriesAreOfAskingContainers(t *testing.T) {
	a := New()
	a.Node(testNode(map[string]string{volcanoRegister: "GPU-1,2,1000,NVIDIA-A,true,hami-core:"}))
	ask := map[string]string{volcanoCard: "1", volcanoMem: "400", volcanoCore: "40"}
	a.PodIs(testPod("a", map[string]string{volcanoIDs: "GPU-1,NVIDIA,400,40:"}, map[string]string{"cpu": "1"}, ask))
	expect(t, a)
	if used := a.CardsUsed(); len(used["GPU-1"]) != 1 {
		t.Errorf("used: %v", used)
	}
}

func TestGangsRunWholeOrNotAtAll(t *testing.T) {
	a := New()
	a.PodIs(testPod("g-1", nil))
	a.PodIs(testPod("g-2", nil))
	a.PodIs(testPod("h-1", nil))
	group := func(pod *v1.Pod) string { return pod.Name[:1] }
	got := a.Gangs(group, func(gang string) int { return map[string]int{"g": 2, "h": 2}[gang] })
	if len(got) != 1 || !strings.Contains(got[0].Text, "gang h has 1 of its 2 pods bound") {
		t.Errorf("gangs: %v", got)
	}
}
