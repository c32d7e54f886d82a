package cases

import (
	"fmt"
	"maps"
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
	// A gang of the same: each member's place is vetoed once another has it.
	b.Gang("gang", 12)
	member := kubeMember("gang", "gang", cards(1))
	member.Prepare = func(pod *v1.Pod) {
		apart(pod)
		pod.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution[0].LabelSelector.MatchLabels = of("gang")
	}
	b.PodsOf(12, member)
	b.UntilRunning(soon, "of=gang", 12)
	for node, count := range nodesOf(b, "of=gang") {
		if count != 1 {
			t.Errorf("%d of the gang are on node %s", count, node)
		}
	}
	b.Pod(harness.PodSpec{Name: "thirteenth", Scheduler: harness.KubeScheduler, Limits: cards(1), Labels: of("apart"), Prepare: apart})
	b.Stays(3*time.Second, "no node is left for one more", func() error {
		if node := b.Get("thirteenth").Spec.NodeName; node != "" {
			return fmt.Errorf("it is on %s", node)
		}
		return nil
	})
	// A node of which the pod in its way has gone is tried again at once, though it was vetoed.
	b.Delete("apart-0")
	b.UntilBound(20*time.Second, "of=apart", 12)
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

// What another queue has borrowed goes back to its owner.
func TestKubeReclaim(t *testing.T) {
	b := harness.Start(t)
	b.AddNodes(harness.Nodes{Name: "n", Count: 2, Cards: 4, Plugin: harness.HAMi})
	deserved := map[string]any{"deserved": map[string]any{"nvidia.com/gpu": "4"}}
	b.Queue("lender", maps.Clone(deserved))
	b.Queue("borrower", maps.Clone(deserved))
	b.StartServe()
	b.StartKubeScheduler(b.Target())
	b.UntilSynced()
	of := func(queue string) map[string]string {
		return map[string]string{"of": queue, "volcano.sh/queue-name": queue}
	}
	b.PodsOf(8, harness.PodSpec{Name: "borrower", Scheduler: harness.KubeScheduler, Limits: cards(1), Labels: of("borrower")})
	b.UntilRunning(soon, "of=borrower", 8)
	b.Gang("lender", 3)
	lender := kubeMember("lender", "lender", cards(1))
	lender.Labels["volcano.sh/queue-name"] = "lender"
	b.PodsOf(3, lender)
	b.UntilRunning(soon, "of=lender", 3)
	if left := len(b.List("of=borrower")); left != 5 {
		t.Errorf("%d of the borrower's 8 are left, 3 had to go", left)
	}
	// It may take no more than its own.
	b.PodsOf(3, harness.PodSpec{Name: "again", Scheduler: harness.KubeScheduler, Limits: cards(1), Labels: of("lender")})
	b.Until(soon, "the lender has its four", func() error {
		if bound := b.Bound("of=lender"); bound != 4 {
			return errorf("it has %d", bound)
		}
		return nil
	})
	b.Stays(3*time.Second, "the borrower keeps its own four", func() error {
		if left := len(b.List("of=borrower")); left != 4 {
			return errorf("%d are left", left)
		}
		return nil
	})
	b.GangsWhole(map[string]int{"lender": 3})
	end(b)
}

// Pods that wait are woken by what makes room, long before anything looks at them by itself.
func TestKubeWakes(t *testing.T) {
	const most = 12 * time.Second // the plugin looks at all that waits each 15 s
	nodes := harness.Nodes{Name: "n", Count: 1, Cards: 2, Plugin: harness.HAMi}
	b := harness.Start(t)
	b.AddNodes(nodes)
	b.Queue("team", map[string]any{"capability": map[string]any{"nvidia.com/gpu": "1"}})
	b.StartServe()
	b.StartKubeScheduler(b.Target())
	b.UntilSynced()
	whole := func(name string) harness.PodSpec {
		return harness.PodSpec{Name: name, Scheduler: harness.KubeScheduler, Limits: cards(1), Labels: of(name)}
	}
	number := 0
	waits := func(spec harness.PodSpec) string {
		number++
		spec.Name = fmt.Sprintf("%s-%d", spec.Name, number)
		b.Pod(spec)
		b.Until(soon, spec.Name+" waits", func() error {
			if why := b.Why(spec.Name); !strings.Contains(why, "Basalt") {
				return errorf("it says %q", why)
			}
			return nil
		})
		return spec.Name
	}
	woken := func(name, what string) {
		t.Helper()
		began := time.Now()
		b.Until(most, name+" is woken by "+what, func() error {
			if b.Get(name).Spec.NodeName == "" {
				return errorf("it waits: %s", b.Why(name))
			}
			return nil
		})
		t.Logf("%s: %.1f s", what, time.Since(began).Seconds())
	}
	b.PodsOf(2, whole("first"))
	b.UntilRunning(soon, "of=first", 2)
	one := waits(whole("waits"))
	b.Delete("first-0")
	woken(one, "a pod's deletion")
	two := waits(whole("waits"))
	b.Finish("first-1")
	woken(two, "a pod's end")
	three := waits(whole("waits"))
	b.AddNodes(harness.Nodes{Name: "new", Count: 1, Cards: 2, Plugin: harness.HAMi})
	woken(three, "a new node")
	b.Cordon("new-0", true)
	four := waits(whole("waits"))
	b.Cordon("new-0", false)
	woken(four, "a node that takes pods again")
	b.AddNodes(harness.Nodes{Name: "more", Count: 1, Cards: 4, Plugin: harness.HAMi})
	queued := whole("queued")
	queued.Labels["volcano.sh/queue-name"] = "team"
	queued.Name = "held"
	b.Pod(queued)
	b.UntilRunning(soon, "of=queued", 1)
	queued.Name = "queued"
	five := waits(queued)
	b.Delete("held")
	woken(five, "room in its queue")
	// A member that completes its gang.
	b.Gang("gang", 2)
	b.Pod(kubeMember("early", "gang", cards(1)))
	noneBound(b, 2*time.Second, "of=early")
	b.Pod(kubeMember("late", "gang", cards(1)))
	woken("early", "the last pod of its gang")
	end(b)
}

// Gated pods are not asked for; a gang with one starts as a whole when it is ungated.
func TestKubeGates(t *testing.T) {
	b := kubeBed(t, harness.Nodes{Name: "n", Count: 2, Cards: 4, Plugin: harness.Stock})
	b.Gang("gang", 4)
	b.PodsOf(3, kubeMember("member", "gang", cards(1)))
	gated := kubeMember("gated", "gang", cards(1))
	gated.Prepare = func(pod *v1.Pod) { pod.Spec.SchedulingGates = []v1.PodSchedulingGate{{Name: "e2e/gate"}} }
	b.Pod(gated)
	noneBound(b, 4*time.Second, "of")
	b.Ungate("gated")
	b.UntilRunning(soon, "of=member", 3)
	b.UntilRunning(soon, "of=gated", 1)
	b.GangsWhole(map[string]int{"gang": 4})
	end(b)
}

// Without the server nothing with cards is bound ("closed"), or kube-scheduler goes by counts.
func TestKubeWithoutServer(t *testing.T) {
	t.Run("closed", func(t *testing.T) {
		b := kubeBed(t, harness.Nodes{Name: "n", Count: 2, Cards: 4, Plugin: harness.HAMi})
		b.KillServe()
		b.Gang("gang", 4)
		b.PodsOf(4, kubeMember("member", "gang", cards(1)))
		b.PodsOf(2, harness.PodSpec{Name: "one", Scheduler: harness.KubeScheduler, Limits: cards(1), Labels: of("one")})
		b.Pod(harness.PodSpec{Name: "plain", Scheduler: harness.KubeScheduler, Labels: map[string]string{"plain": "yes"}})
		b.UntilRunning(soon, "plain=yes", 1)
		noneBound(b, 5*time.Second, "of")
		b.StartServe()
		b.UntilRunning(soon, "of=one", 2)
		b.UntilRunning(soon, "of=member", 4)
		end(b)
	})
	t.Run("fallback", func(t *testing.T) {
		b := bed(t, harness.Nodes{Name: "n", Count: 2, Cards: 4, Plugin: harness.Stock})
		b.StartKubeScheduler(b.Target(), "onDown: fallback")
		b.UntilSynced()
		b.PodsOf(2, harness.PodSpec{Name: "before", Scheduler: harness.KubeScheduler, Limits: cards(1), Labels: of("before")})
		b.UntilRunning(soon, "of=before", 2)
		b.KillServe()
		b.PodsOf(4, harness.PodSpec{Name: "during", Scheduler: harness.KubeScheduler, Limits: cards(1), Labels: of("during")})
		b.UntilRunning(soon, "of=during", 4)
		b.StartServe()
		b.UntilSynced()
		b.PodsOf(4, harness.PodSpec{Name: "after", Scheduler: harness.KubeScheduler, Limits: cards(1), Labels: of("after")})
		b.UntilBound(soon, "of=after", 2)
		b.Stays(3*time.Second, "all eight cards are used, none twice", func() error {
			if bound := b.Bound(""); bound != 8 {
				return errorf("%d are bound", bound)
			}
			return nil
		})
		end(b)
	})
}
