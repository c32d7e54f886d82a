package cases

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"basalt.io/e2e/harness"
)

func TestAPIServerRestart(t *testing.T) {
	b := kubeBed(t, harness.Nodes{Name: "n", Count: 4, Cards: 8, Plugin: harness.HAMi})
	b.Gang("gang", 8)
	b.PodsOf(8, kubeMember("member", "gang", cards(1)))
	b.PodsOf(16, harness.PodSpec{Name: "one", Scheduler: harness.KubeScheduler, Limits: cards(1), Labels: of("one")})
	b.UntilBound(soon, "of=one", 1)
	b.KillAPIServer()
	time.Sleep(2 * time.Second)
	b.StartAPIServer()
	b.UntilRunning(2*soon, "of=one", 16)
	b.UntilRunning(2*soon, "of=member", 8)
	b.GangsWhole(map[string]int{"gang": 8})
	end(b)
}

func TestAPIServerRestartUnderVolcano(t *testing.T) {
	b := volcanoBed(t, harness.Nodes{Name: "n", Count: 4, Cards: 8, Plugin: harness.HAMi})
	minimum := map[string]int{}
	for i := range 3 {
		name := fmt.Sprintf("g%d", i)
		minimum[name] = 8
		b.VolcanoGang(name, 8, "default", nil)
		b.PodsOf(8, volcanoMember(name, name, cards(1)))
	}
	b.UntilBound(soon, "", 1)
	b.KillAPIServer()
	time.Sleep(2 * time.Second)
	b.StartAPIServer()
	for name := range minimum {
		b.UntilRunning(2*soon, "of="+name, 8)
	}
	b.GangsWhole(minimum)
	end(b)
}

func TestKubeSchedulerRestart(t *testing.T) {
	b := bed(t, harness.Nodes{Name: "n", Count: 4, Cards: 8, Plugin: harness.Stock})
	scheduler := b.StartKubeScheduler(b.Target())
	b.UntilSynced()
	minimum := map[string]int{}
	for round := range 4 {
		name := fmt.Sprintf("g%d", round)
		minimum[name] = 6
		b.Gang(name, 6)
		b.PodsOf(6, kubeMember(name, name, cards(1)))
		b.PodsOf(2, harness.PodSpec{Name: fmt.Sprintf("one-%d", round), Scheduler: harness.KubeScheduler, Limits: cards(1), Labels: of("one")})
		time.Sleep(time.Duration(round) * 70 * time.Millisecond)
		scheduler.Kill()
		scheduler = b.StartKubeScheduler(b.Target())
		b.UntilRunning(2*soon, "of="+name, 6)
	}
	b.UntilRunning(soon, "of=one", 8)
	b.GangsWhole(minimum)
	end(b)
}

// badNetwork drops, doubles and delays messages.
func badNetwork(seed uint64) func(harness.Message) harness.Fate {
	var mutex sync.Mutex
	random := rand.New(rand.NewPCG(seed, 0))
	return func(message harness.Message) harness.Fate {
		mutex.Lock()
		defer mutex.Unlock()
		chance := random.IntN(100)
		switch message.Method {
		case "Hello", "Watch":
			return harness.Fate{}
		case "Sync":
			if message.Reply {
				return harness.Fate{}
			}
			return harness.Fate{Twice: chance < 20, Late: map[bool]time.Duration{true: time.Second}[chance >= 90]}
		}
		if message.Reply {
			return harness.Fate{Drop: chance < 5}
		}
		return harness.Fate{Drop: chance < 5, Twice: chance >= 70, Late: time.Duration(random.IntN(3000)) * time.Millisecond}
	}
}

// Requests that arrive twice, the second time late and behind others; sync messages twice and out of
// order; answers that are lost.
func TestDuplicatesAndReordering(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	b := bed(t, harness.Nodes{Name: "n", Count: 4, Cards: 8, Plugin: harness.Stock})
	proxy := b.StartProxy(badNetwork(seed))
	b.StartKubeScheduler(proxy.Target(), "leaseTTL: 5s")
	b.UntilSynced()
	minimum := map[string]int{}
	for round := range 6 {
		name := fmt.Sprintf("g%d", round)
		minimum[name] = 4
		b.Gang(name, 4)
		b.PodsOf(4, kubeMember(name, name, cards(1)))
		ones := fmt.Sprintf("one-%d", round)
		b.PodsOf(8, harness.PodSpec{Name: ones, Scheduler: harness.KubeScheduler, Limits: cards(1), Labels: of(ones)})
		b.UntilRunning(2*soon, "of="+name, 4)
		b.UntilRunning(2*soon, "of="+ones, 8)
		for i := range 8 {
			b.Delete(fmt.Sprintf("%s-%d", ones, i))
		}
	}
	b.GangsWhole(minimum)
	end(b)
}

func TestDuplicatesAndReorderingUnderVolcano(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	b := bed(t, harness.Nodes{Name: "n", Count: 4, Cards: 8, Plugin: harness.Stock})
	proxy := b.StartProxy(badNetwork(seed))
	b.StartSync(proxy.Target())
	b.UntilSynced()
	b.StartVolcano("basalt-vc-scheduler", volcanoConfig(proxy.Target(), false))
	minimum := map[string]int{}
	for round := range 4 {
		for part, count := range []int{8, 4, 1} {
			name := fmt.Sprintf("g%d-%d", round, part)
			minimum[name] = count
			b.VolcanoGang(name, count, "default", nil)
			b.PodsOf(count, volcanoMember(name, name, cards(1)))
		}
		for part, count := range []int{8, 4, 1} {
			b.UntilRunning(2*soon, fmt.Sprintf("of=g%d-%d", round, part), count)
		}
		b.GangsWhole(minimum)
		b.DeleteAll()
	}
	end(b)
}
