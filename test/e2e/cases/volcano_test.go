package cases

import (
	"fmt"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"

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
