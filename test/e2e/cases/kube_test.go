package cases

import (
	"fmt"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"basalt.io/e2e/harness"
)

func TestKubePods(t *testing.T) {
	b := kubeBed(t, harness.Nodes{Name: "hami", Count: 2, Cards: 4, Plugin: harness.HAMi},
		harness.Nodes{Name: "stock", Count: 1, Cards: 4, Plugin: harness.Stock})
	b.PodsOf(10, harness.PodSpec{Name: "one", Scheduler: harness.KubeScheduler, Limits: cards(1), Labels: of("one")})
	b.Pod(harness.PodSpec{Name: "plain", Scheduler: harness.KubeScheduler, Labels: of("plain")})
	b.UntilRunning(soon, "of=one", 10)
	b.UntilRunning(soon, "of=plain", 1)
	for _, pod := range b.List("of=one") {
		if cardsOf(&pod) == "" && strings.HasPrefix(pod.Spec.NodeName, "hami") {
			t.Errorf("%s is bound to %s without its card", pod.Name, pod.Spec.NodeName)
		}
	}
	b.PodsOf(4, harness.PodSpec{Name: "late", Scheduler: harness.KubeScheduler, Limits: cards(1), Labels: of("late")})
	b.Until(soon, "two are bound, two wait with a reason", func() error {
		reasons := 0
		for _, pod := range b.List("of=late") {
			if pod.Spec.NodeName == "" && strings.Contains(b.Why(pod.Name), "Basalt") {
				reasons++
			}
		}
		if bound := b.Bound("of=late"); bound != 2 || reasons != 2 {
			return errorf("%d are bound, %d have a reason", bound, reasons)
		}
		return nil
	})
	b.Delete("one-0")
	b.Finish("one-1")
	b.UntilRunning(soon, "of=late", 4)
	end(b)
}

func TestKubeSlices(t *testing.T) {
	b := kubeBed(t, harness.Nodes{Name: "n", Count: 2, Cards: 2, Plugin: harness.HAMi})
	// 4 cards, 3 slices of 30 % and 20 GiB on each.
	b.PodsOf(12, harness.PodSpec{Name: "part", Scheduler: harness.KubeScheduler, Limits: slice(20480, 30), Labels: of("part")})
	b.UntilRunning(soon, "of=part", 12)
	b.Pod(harness.PodSpec{Name: "more", Scheduler: harness.KubeScheduler, Limits: slice(20480, 30), Labels: of("more")})
	noneBound(b, 2*time.Second, "of=more")
	for card, pods := range b.Auditor.CardsUsed() {
		if len(pods) != 3 {
			t.Errorf("card %s has %d slices: %v", card, len(pods), pods)
		}
	}
	b.Delete("part-3")
	b.UntilRunning(soon, "of=more", 1)
	// Two containers with a card each, one without between them: slots keep their order.
	b.Delete("part-0", "part-1", "part-2", "part-4", "part-5", "part-6")
	b.Pod(harness.PodSpec{Name: "three", Scheduler: harness.KubeScheduler, Limits: slice(1000, 10), Labels: of("three"),
		Prepare: func(pod *v1.Pod) {
			second, third := pod.Spec.Containers[0], pod.Spec.Containers[0]
			second.Name, second.Resources = "plain", v1.ResourceRequirements{}
			third.Name = "other"
			pod.Spec.Containers = append(pod.Spec.Containers, second, third)
		}})
	b.UntilRunning(soon, "of=three", 1)
	end(b)
}

func TestKubeGang(t *testing.T) {
	nodes := harness.Nodes{Name: "n", Count: 16, Cards: 8, Plugin: harness.Stock}
	b := harness.Start(t)
	b.AddNodes(nodes)
	low, high := racks(b, nodes)
	b.StartServe()
	b.StartKubeScheduler(b.Target())
	b.UntilSynced()
	// One card of the first rack is taken: 64 fit only in the other.
	b.Pod(harness.PodSpec{Name: "first", Scheduler: harness.KubeScheduler, Limits: cards(1), Labels: of("first"),
		Prepare: func(pod *v1.Pod) { pod.Spec.NodeSelector = map[string]string{"kubernetes.io/hostname": "n-0"} }})
	b.UntilRunning(soon, "of=first", 1)
	b.Gang("gang", 64)
	b.AnnotateGang("gang", map[string]string{"basalt.io/required-tier": "rack"})
	b.PodsOf(64, kubeMember("member", "gang", cards(1)))
	b.UntilRunning(soon, "of=member", 64)
	if err := allIn(nodesOf(b, "of=member"), high); err != nil {
		t.Error(err)
	}
	// The other rack has 63 cards left: a second one does not fit, and not a single pod is bound.
	b.Gang("second", 64)
	b.AnnotateGang("second", map[string]string{"basalt.io/required-tier": "rack"})
	b.PodsOf(64, kubeMember("other", "second", cards(1)))
	noneBound(b, 5*time.Second, "of=other")
	b.Delete("first")
	b.UntilRunning(soon, "of=other", 64)
	if err := allIn(nodesOf(b, "of=other"), low); err != nil {
		t.Error(err)
	}
	b.GangsWhole(map[string]int{"gang": 64, "second": 64})
	end(b)
}

func TestKubeRay(t *testing.T) {
	b := kubeBed(t, harness.Nodes{Name: "n", Count: 2, Cards: 8, Plugin: harness.HAMi})
	// As KubeRay makes them: a head, a group of workers, one PodGroup; the autoscaler adds workers.
	b.Gang("ray", 5)
	head := kubeMember("head", "ray", slice(10240, 10))
	b.Pod(head)
	b.PodsOf(4, kubeMember("worker", "ray", cards(2)))
	b.UntilRunning(soon, "of=worker", 4)
	b.UntilRunning(soon, "of=head", 1)
	b.PodsOf(3, kubeMember("scaled", "ray", cards(2)))
	b.UntilRunning(soon, "of=scaled", 3)
	b.Delete("scaled-0", "worker-1")
	b.PodsOf(2, kubeMember("again", "ray", cards(2)))
	b.UntilRunning(soon, "of=again", 2)
	end(b)
}

func TestKubePreemption(t *testing.T) {
	b := kubeBed(t, harness.Nodes{Name: "n", Count: 2, Cards: 4, Plugin: harness.HAMi})
	b.PodsOf(8, harness.PodSpec{Name: "low", Scheduler: harness.KubeScheduler, Limits: cards(1), Labels: of("low"), Priority: "low"})
	b.UntilRunning(soon, "of=low", 8)
	b.Pod(harness.PodSpec{Name: "high", Scheduler: harness.KubeScheduler, Limits: cards(4), Labels: of("high"), Priority: "high"})
	b.UntilRunning(soon, "of=high", 1)
	if left := len(b.List("of=low")); left != 4 {
		t.Errorf("%d of the lower ones are left, 4 had to go", left)
	}
	end(b)
}

func TestKubeVetoes(t *testing.T) {
	b := kubeBed(t, harness.Nodes{Name: "n", Count: 12, Cards: 8, Plugin: harness.Stock})
	// What the engine does not know: pods that must not be on one node. It packs; kube-scheduler vetoes.
	apart := func(pod *v1.Pod) {
		pod.Spec.Affinity = &v1.Affinity{PodAntiAffinity: &v1.PodAntiAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: []v1.PodAffinityTerm{{
				TopologyKey: "kubernetes.io/hostname", LabelSelector: &metav1.LabelSelector{MatchLabels: of("apart")}}}}}
	}
	b.PodsOf(12, harness.PodSpec{Name: "apart", Scheduler: harness.KubeScheduler, Limits: cards(1), Labels: of("apart"), Prepare: apart})
	b.UntilRunning(soon, "of=apart", 12)
	for node, count := range nodesOf(b, "of=apart") {
		if count != 1 {
			t.Errorf("%d are on node %s", count, node)
		}
	}
	b.Pod(harness.PodSpec{Name: "thirteenth", Scheduler: harness.KubeScheduler, Limits: cards(1), Labels: of("apart"), Prepare: apart})
	b.Stays(3*time.Second, "no node is left for one more", func() error {
		if node := b.Get("thirteenth").Spec.NodeName; node != "" {
			return fmt.Errorf("it is on %s", node)
		}
		return nil
	})
	end(b)
}

func TestKubeQueue(t *testing.T) {
	b := harness.Start(t)
	b.AddNodes(harness.Nodes{Name: "n", Count: 2, Cards: 8, Plugin: harness.Stock})
	b.Queue("team", map[string]any{"capability": map[string]any{"nvidia.com/gpu": "3"}})
	b.StartServe()
	b.StartKubeScheduler(b.Target())
	b.UntilSynced()
	in := map[string]string{"of": "team", "volcano.sh/queue-name": "team"}
	b.PodsOf(5, harness.PodSpec{Name: "team", Scheduler: harness.KubeScheduler, Limits: cards(1), Labels: in})
	b.UntilBound(soon, "of=team", 3)
	b.Stays(3*time.Second, "the queue has three cards", func() error {
		if bound := b.Bound("of=team"); bound != 3 {
			return errorf("%d are bound", bound)
		}
		return nil
	})
	for _, pod := range b.List("of=team") {
		if pod.Spec.NodeName != "" {
			b.Delete(pod.Name)
		}
	}
	b.UntilRunning(soon, "of=team", 2)
	end(b)
}
