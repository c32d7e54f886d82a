package cases

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"basalt.io/e2e/harness"
)

func TestVolcanoPods(t *testing.T) {
	b := volcanoBed(t, harness.Nodes{Name: "n", Count: 2, Cards: 4, Plugin: harness.HAMi})
	// A PodGroup each, as Volcano's controller makes them for plain pods.
	b.Each(10, func(i int) error { return b.TryVolcanoGang(fmt.Sprintf("one-%d", i), 1, "default") })
	b.PodsOf(10, harness.PodSpec{Name: "one", Scheduler: harness.VolcanoScheduler, Limits: cards(1), Labels: of("one"), OwnGang: true})
	b.UntilBound(soon, "of=one", 8)
	bound, waiting := "", 0
	for _, pod := range b.List("of=one") {
		if pod.Spec.NodeName == "" {
			waiting++
		} else {
			bound = pod.Name
		}
	}
	if waiting != 2 {
		t.Errorf("%d wait, there are 8 cards for 10", waiting)
	}
	b.Delete(bound)
	b.UntilBound(soon, "of=one", 8)
	end(b)
}

func TestVolcanoSlices(t *testing.T) {
	b := volcanoBed(t, harness.Nodes{Name: "n", Count: 2, Cards: 2, Plugin: harness.Volcano})
	b.VolcanoGang("parts", 12, "default", nil)
	b.PodsOf(12, volcanoMember("part", "parts", volcanoSlice(20480, 30)))
	b.UntilRunning(soon, "of=part", 12)
	for card, pods := range b.Auditor.CardsUsed() {
		if len(pods) != 3 {
			t.Errorf("card %s has %d slices: %v", card, len(pods), pods)
		}
	}
	end(b)
}

func TestVolcanoGang(t *testing.T) {
	nodes := harness.Nodes{Name: "n", Count: 16, Cards: 8, Plugin: harness.Stock}
	b := harness.Start(t)
	b.AddNodes(nodes)
	low, high := racks(b, nodes)
	b.StartServe()
	b.StartSync(b.Target())
	b.UntilSynced()
	b.StartVolcano("basalt-vc-scheduler", volcanoConfig(b.Target(), false))
	b.VolcanoGang("first", 1, "default", nil)
	first := volcanoMember("first", "first", cards(1))
	first.Prepare = func(pod *v1.Pod) { pod.Spec.NodeSelector = map[string]string{"kubernetes.io/hostname": "n-0"} }
	b.Pod(first)
	b.UntilRunning(soon, "of=first", 1)
	inOneRack := map[string]any{"networkTopology": map[string]any{"mode": "hard", "highestTierAllowed": int64(1)}}
	b.VolcanoGang("gang", 64, "default", inOneRack)
	b.PodsOf(64, volcanoMember("member", "gang", cards(1)))
	b.UntilRunning(soon, "of=member", 64)
	if err := allIn(nodesOf(b, "of=member"), high); err != nil {
		t.Error(err)
	}
	b.VolcanoGang("second", 64, "default", inOneRack)
	b.PodsOf(64, volcanoMember("other", "second", cards(1)))
	noneBound(b, 5*time.Second, "of=other")
	b.Delete("first")
	b.UntilRunning(soon, "of=other", 64)
	if err := allIn(nodesOf(b, "of=other"), low); err != nil {
		t.Error(err)
	}
	b.GangsWhole(map[string]int{"gang": 64, "second": 64})
	end(b)
}

func TestVolcanoQueue(t *testing.T) {
	b := harness.Start(t)
	b.AddNodes(harness.Nodes{Name: "n", Count: 2, Cards: 8, Plugin: harness.Stock})
	b.Queue("team", map[string]any{"capability": map[string]any{"nvidia.com/gpu": "4"}})
	b.StartServe()
	b.StartSync(b.Target())
	b.UntilSynced()
	b.StartVolcano("basalt-vc-scheduler", volcanoConfig(b.Target(), false))
	b.VolcanoGang("a", 3, "team", nil)
	b.PodsOf(3, volcanoMember("a", "a", cards(1)))
	b.UntilRunning(soon, "of=a", 3)
	b.VolcanoGang("b", 2, "team", nil)
	b.PodsOf(2, volcanoMember("b", "b", cards(1)))
	noneBound(b, 3*time.Second, "of=b")
	b.Delete("a-0")
	b.UntilRunning(soon, "of=b", 2)
	end(b)
}

func TestVolcanoPreemption(t *testing.T) {
	b := volcanoBed(t, harness.Nodes{Name: "n", Count: 2, Cards: 4, Plugin: harness.Stock})
	b.VolcanoGang("low", 1, "default", map[string]any{"priorityClassName": "low"})
	low := volcanoMember("low", "low", cards(1))
	low.Priority = "low" // and no word about eviction: it may go, as in Volcano
	b.PodsOf(8, low)
	b.UntilRunning(soon, "of=low", 8)
	b.VolcanoGang("high", 2, "default", map[string]any{"priorityClassName": "high"})
	high := volcanoMember("high", "high", cards(2))
	high.Priority = "high"
	b.PodsOf(2, high)
	b.UntilRunning(soon, "of=high", 2)
	if left := len(b.List("of=low")); left != 4 {
		t.Errorf("%d of the lower ones are left, 4 had to go", left)
	}
	end(b)
}

func TestVolcanoRestart(t *testing.T) {
	b := bed(t, harness.Nodes{Name: "n", Count: 4, Cards: 8, Plugin: harness.Stock})
	b.StartSync(b.Target())
	b.UntilSynced()
	scheduler := b.StartVolcano("basalt-vc-scheduler", volcanoConfig(b.Target(), false))
	minimum := map[string]int{}
	for round := range 4 {
		name := "g" + string(rune('a'+round))
		minimum[name] = 8
		b.VolcanoGang(name, 8, "default", nil)
		b.PodsOf(8, volcanoMember(name, name, cards(1)))
		time.Sleep(time.Duration(round) * 70 * time.Millisecond)
		scheduler.Kill()
		scheduler = b.StartVolcano("basalt-vc-scheduler", volcanoConfig(b.Target(), false))
		b.UntilRunning(soon, "of="+name, 8)
	}
	b.GangsWhole(minimum)
	end(b)
}

// What a queue has borrowed goes back to its owner; Volcano evicts those that the engine chose.
func TestVolcanoReclaim(t *testing.T) {
	b := harness.Start(t)
	b.AddNodes(harness.Nodes{Name: "n", Count: 2, Cards: 4, Plugin: harness.HAMi})
	deserved := map[string]any{"deserved": map[string]any{"nvidia.com/gpu": "4"}}
	b.Queue("lender", maps.Clone(deserved))
	b.Queue("borrower", maps.Clone(deserved))
	b.StartServe()
	b.StartSync(b.Target())
	b.UntilSynced()
	b.StartVolcano("basalt-vc-scheduler", volcanoConfig(b.Target(), true))
	b.VolcanoGang("borrower", 1, "borrower", nil)
	borrower := volcanoMember("borrower", "borrower", cards(1))
	borrower.Annotations["volcano.sh/preemptable"] = "true"
	b.PodsOf(8, borrower)
	b.UntilRunning(soon, "of=borrower", 8)
	b.VolcanoGang("lender", 3, "lender", nil)
	b.PodsOf(3, volcanoMember("lender", "lender", cards(1)))
	b.UntilRunning(soon, "of=lender", 3)
	if left := len(b.List("of=borrower")); left != 5 {
		t.Errorf("%d of the borrower's 8 are left, 3 had to go", left)
	}
	b.GangsWhole(map[string]int{"borrower": 1, "lender": 3})
	end(b)
}

// All that Volcano's allocate honours, and reasons on what waits.
func TestVolcanoRules(t *testing.T) {
	nodes := harness.Nodes{Name: "n", Count: 4, Cards: 4, Plugin: harness.Stock}
	b := harness.Start(t)
	b.AddNodes(nodes)
	low, high := racks(b, nodes)
	b.Queue("closed", nil)
	b.Queue("small", map[string]any{"capability": map[string]any{"nvidia.com/gpu": "2", "cpu": "64", "memory": "256Gi"}})
	b.StartServe()
	b.StartSync(b.Target())
	b.UntilSynced()
	b.StartVolcano("basalt-vc-scheduler", volcanoConfig(b.Target(), false))
	part := func(name string, do func(t *testing.T)) {
		t.Run(name, func(t *testing.T) {
			b.T = t
			defer func() { b.T = b.Test }()
			do(t)
			b.DeleteAll()
		})
	}
	part("a reason on PodGroup, pods and events", func(t *testing.T) {
		const reason = "Basalt: never fits"
		b.VolcanoGang("large", 17, "default", nil)
		b.PodsOf(17, volcanoMember("large", "large", cards(1)))
		b.Until(soon, "the PodGroup says why", func() error {
			_, conditions := b.VolcanoGangStatus("large")
			text := strings.Join(conditions, "; ")
			if !strings.Contains(text, "Unschedulable") || !strings.Contains(text, reason) {
				return errorf("conditions: %s", text)
			}
			return nil
		})
		b.Until(soon, "its events and a pod's condition do", func() error {
			events := strings.Join(append(b.Events("PodGroup", "large"), b.Events("Pod", "large-3")...), "; ")
			if why := b.Why("large-3"); !strings.Contains(why, reason) || !strings.Contains(events, reason) {
				return errorf("the pod: %s; events: %s", why, events)
			}
			return nil
		})
		noneBound(b, 2*time.Second, "of=large")
	})
	part("scheduling gates", func(t *testing.T) {
		b.VolcanoGang("gates", 3, "default", nil)
		b.PodsOf(2, volcanoMember("gates", "gates", cards(1)))
		gated := volcanoMember("gates", "gates", cards(1))
		gated.Name = "gated"
		gated.Prepare = func(pod *v1.Pod) { pod.Spec.SchedulingGates = []v1.PodSchedulingGate{{Name: "e2e/gate"}} }
		b.Pod(gated)
		noneBound(b, 4*time.Second, "of=gates")
		b.Ungate("gated")
		b.UntilRunning(soon, "of=gates", 3)
	})
	part("JobValid", func(t *testing.T) {
		// Three tasks, as minMember says, but not two of each role.
		b.VolcanoGang("valid", 3, "default", map[string]any{"minTaskMember": map[string]any{"ps": int64(2), "worker": int64(1)}})
		ps, worker := volcanoMember("ps", "valid", cards(1)), volcanoMember("worker", "valid", cards(1))
		b.Pod(ps)
		b.PodsOf(2, worker)
		noneBound(b, 4*time.Second, "of in (ps, worker)")
		ps.Name = "second"
		b.Pod(ps)
		b.UntilRunning(soon, "of in (ps, worker)", 4)
	})
	part("a closed queue", func(t *testing.T) {
		b.QueueState("closed", "Closed")
		time.Sleep(time.Second) // until the scheduler has heard it
		b.VolcanoGang("shut", 2, "closed", map[string]any{"minResources": map[string]any{"nvidia.com/gpu": "2"}})
		b.PodsOf(2, volcanoMember("shut", "shut", cards(1)))
		noneBound(b, 4*time.Second, "of=shut")
		if phase, _ := b.VolcanoGangStatus("shut"); phase != "Pending" && phase != "" {
			t.Errorf("the PodGroup's phase is %s", phase)
		}
		b.QueueState("closed", "Open")
		b.UntilRunning(soon, "of=shut", 2)
		// Closed while a job of it has been let in: nothing more is placed.
		b.VolcanoGang("late", 3, "closed", nil)
		b.PodsOf(2, volcanoMember("late", "late", cards(1)))
		b.Until(soon, "the PodGroup was let in", func() error {
			if phase, _ := b.VolcanoGangStatus("late"); phase != "Inqueue" {
				return errorf("its phase is %s", phase)
			}
			return nil
		})
		b.QueueState("closed", "Closed")
		last := volcanoMember("late", "late", cards(1))
		last.Name = "last"
		b.Pod(last)
		noneBound(b, 4*time.Second, "of=late")
		b.QueueState("closed", "Open")
		b.UntilRunning(soon, "of=late", 3)
	})
	part("a PodGroup that was not let in", func(t *testing.T) {
		b.VolcanoGang("much", 2, "small", map[string]any{"minResources": map[string]any{"nvidia.com/gpu": "3"}})
		b.PodsOf(2, volcanoMember("much", "much", cards(1)))
		noneBound(b, 4*time.Second, "of=much")
		if phase, _ := b.VolcanoGangStatus("much"); phase != "Pending" && phase != "" {
			t.Errorf("the PodGroup's phase is %s", phase)
		}
	})
	part("vetoes of predicates", func(t *testing.T) {
		b.VolcanoGang("apart", 4, "default", nil)
		apart := volcanoMember("apart", "apart", cards(1))
		apart.Prepare = func(pod *v1.Pod) {
			pod.Spec.Affinity = &v1.Affinity{PodAntiAffinity: &v1.PodAntiAffinity{
				RequiredDuringSchedulingIgnoredDuringExecution: []v1.PodAffinityTerm{{
					TopologyKey: "kubernetes.io/hostname", LabelSelector: &metav1.LabelSelector{MatchLabels: of("apart")}}}}}
		}
		b.PodsOf(4, apart)
		b.UntilRunning(soon, "of=apart", 4)
		if on := nodesOf(b, "of=apart"); len(on) != 4 {
			t.Errorf("four pods that must be apart are on %v", on)
		}
	})
	part("sub-groups", func(t *testing.T) {
		// Two groups of six, each in a rack of eight: neither rack holds both.
		b.VolcanoGang("subs", 12, "default", map[string]any{"subGroupPolicy": []any{map[string]any{
			"name": "stage", "subGroupSize": int64(6), "minSubGroups": int64(2), "matchLabelKeys": []any{"stage"},
			"networkTopology": map[string]any{"mode": "hard", "highestTierAllowed": int64(1)}}}})
		for stage := range 2 {
			member := volcanoMember("subs", "subs", cards(1))
			member.Name = fmt.Sprintf("subs-%d", stage)
			member.Labels["stage"] = fmt.Sprint(stage)
			b.PodsOf(6, member)
		}
		b.UntilRunning(soon, "of=subs", 12)
		for stage := range 2 {
			on := nodesOf(b, fmt.Sprintf("of=subs,stage=%d", stage))
			if allIn(on, low) != nil && allIn(on, high) != nil {
				t.Errorf("sub-group %d is on %v, of two racks", stage, on)
			}
		}
	})
	part("soft topology", func(t *testing.T) {
		// Eight fit a rack, twelve do not: preferred, not required.
		soft := map[string]any{"networkTopology": map[string]any{"mode": "soft", "highestTierAllowed": int64(1)}}
		b.VolcanoGang("eight", 8, "default", soft)
		b.PodsOf(8, volcanoMember("eight", "eight", cards(1)))
		b.UntilRunning(soon, "of=eight", 8)
		if on := nodesOf(b, "of=eight"); allIn(on, low) != nil && allIn(on, high) != nil {
			t.Errorf("eight pods that fit a rack are on %v", on)
		}
		b.DeleteAll()
		b.VolcanoGang("twelve", 12, "default", soft)
		b.PodsOf(12, volcanoMember("twelve", "twelve", cards(1)))
		b.UntilRunning(soon, "of=twelve", 12)
	})
	part("hard topology", func(t *testing.T) {
		b.VolcanoGang("hard", 12, "default", map[string]any{"networkTopology": map[string]any{"mode": "hard", "highestTierAllowed": int64(1)}})
		b.PodsOf(12, volcanoMember("hard", "hard", cards(1)))
		noneBound(b, 5*time.Second, "of=hard")
	})
	end(b)
}

// Jobs of Volcano itself: its controller makes PodGroup and pods.
func TestVolcanoJob(t *testing.T) {
	b := volcanoBed(t, harness.Nodes{Name: "n", Count: 2, Cards: 4, Plugin: harness.HAMi})
	b.StartController()
	job := func(name string, workers int64) {
		task := map[string]any{"name": "worker", "replicas": workers, "template": map[string]any{"spec": map[string]any{
			"restartPolicy": "Never", "containers": []any{map[string]any{"name": "main", "image": "none",
				"resources": map[string]any{"limits": map[string]any{"nvidia.com/gpu": "1", "cpu": "1", "memory": "1Gi"}}}}}}}
		_, err := b.Dynamic.Resource(harness.VolcanoJobs).Namespace("default").Create(b.Context(), &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "batch.volcano.sh/v1alpha1", "kind": "Job", "metadata": map[string]any{"name": name},
			"spec": map[string]any{"minAvailable": workers, "schedulerName": "volcano", "queue": "default", "tasks": []any{task}}}},
			metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	job("six", 6)
	b.UntilRunning(soon, "volcano.sh/job-name=six", 6)
	job("four", 4)
	b.Until(soon, "the second job's PodGroup is there", func() error {
		list, err := b.Dynamic.Resource(harness.VolcanoPodGroups).Namespace("default").List(b.Context(), metav1.ListOptions{})
		if err == nil && len(list.Items) != 2 {
			err = errorf("%d are", len(list.Items))
		}
		return err
	})
	noneBound(b, 4*time.Second, "volcano.sh/job-name=four")
	for i := range 6 {
		b.Finish(fmt.Sprintf("six-worker-%d", i))
	}
	b.UntilRunning(soon, "volcano.sh/job-name=four", 4)
	end(b)
}

// Without the server nothing is placed ("closed"), or Volcano's own allocate places whole gangs.
func TestVolcanoWithoutServer(t *testing.T) {
	for _, onDown := range []string{"closed", "fallback"} {
		t.Run(onDown, func(t *testing.T) {
			b := bed(t, harness.Nodes{Name: "n", Count: 2, Cards: 4, Plugin: harness.Stock})
			b.StartSync(b.Target())
			b.UntilSynced()
			b.StartVolcano("basalt-vc-scheduler", volcanoActions("enqueue, basalt, allocate, backfill", b.Target(), false, onDown))
			b.VolcanoGang("before", 2, "default", nil)
			b.PodsOf(2, volcanoMember("before", "before", cards(1)))
			b.UntilRunning(soon, "of=before", 2)
			b.KillServe()
			b.VolcanoGang("during", 4, "default", nil)
			b.PodsOf(4, volcanoMember("during", "during", cards(1)))
			b.VolcanoGang("large", 7, "default", nil)
			b.PodsOf(7, volcanoMember("large", "large", cards(1)))
			if onDown == "closed" {
				noneBound(b, 6*time.Second, "of=during")
				b.Until(soon, "the PodGroup says why", func() error {
					_, conditions := b.VolcanoGangStatus("during")
					if text := strings.Join(conditions, "; "); !strings.Contains(text, "Basalt does not answer") {
						return errorf("conditions: %s", text)
					}
					return nil
				})
			} else {
				b.UntilRunning(soon, "of=during", 4)
			}
			noneBound(b, 3*time.Second, "of=large")
			b.StartServe()
			b.UntilRunning(soon, "of=during", 4)
			for i := range 4 {
				b.Delete(fmt.Sprintf("during-%d", i))
			}
			b.Delete("before-0")
			b.UntilRunning(soon, "of=large", 7)
			b.GangsWhole(map[string]int{"before": 1, "during": 4, "large": 7})
			end(b)
		})
	}
}
