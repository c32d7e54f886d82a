package cases

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"basalt.io/e2e/harness"
)

// step is a message on a pod's or a gang's way, and when the server ends by -9 around it.
type step struct {
	method string
	gang   bool
	when   string // "asked": it has not come; "lost": it was carried out, nobody heard; "told": its answer has left
}

func (s step) String() string {
	who := "pod"
	if s.gang {
		who = "gang"
	}
	return s.method + "/" + who + "/" + s.when
}

func (s step) is(message harness.Message) bool {
	return message.Method == s.method && message.Gang == s.gang && message.Reply == (s.when != "asked")
}

func steps(methods []string, gangs []bool) []step {
	var out []step
	for _, method := range methods {
		for _, gang := range gangs {
			for _, when := range []string{"asked", "lost", "told"} {
				out = append(out, step{method, gang, when})
			}
		}
	}
	return out
}

// killAt ends the server at the first message that is the step's; the channel says when it has.
func killAt(b *harness.Bed, proxy *harness.Proxy, s step) <-chan struct{} {
	killed := make(chan struct{})
	var done atomic.Bool
	proxy.Judge(func(message harness.Message) harness.Fate {
		if !s.is(message) || !done.CompareAndSwap(false, true) {
			return harness.Fate{}
		}
		b.KillServe()
		close(killed)
		return harness.Fate{Drop: s.when == "lost"}
	})
	return killed
}

func awaitStep(t *testing.T, killed <-chan struct{}) {
	t.Helper()
	select {
	case <-killed:
	case <-time.After(soon):
		t.Fatal("the step was not reached")
	}
}

// The server ends by -9 at every step of a pod's and a gang's way through kube-scheduler, and starts
// again on its journal: asked, answered, and between its confirmation and the bind.
func TestServerKilled(t *testing.T) {
	b := bed(t, harness.Nodes{Name: "n", Count: 4, Cards: 8, Plugin: harness.Stock})
	proxy := b.StartProxy(func(harness.Message) harness.Fate { return harness.Fate{} })
	b.StartKubeScheduler(proxy.Target(), "leaseTTL: 10s", "confirmWait: 20s")
	b.UntilSynced()
	for i, s := range steps([]string{"Reserve", "Confirm"}, []bool{false, true}) {
		t.Run(s.String(), func(t *testing.T) {
			b.T = t
			defer func() { b.T = b.Test }()
			ones, gang := fmt.Sprintf("one-%d", i), fmt.Sprintf("gang-%d", i)
			killed := killAt(b, proxy, s)
			b.PodsOf(4, harness.PodSpec{Name: ones, Scheduler: harness.KubeScheduler, Limits: cards(1), Labels: of(ones)})
			b.Gang(gang, 8)
			b.PodsOf(8, kubeMember(gang, gang, cards(2)))
			awaitStep(t, killed)
			b.StartServe()
			b.UntilRunning(2*soon, "of="+ones, 4)
			b.UntilRunning(2*soon, "of="+gang, 8)
			b.GangsWhole(map[string]int{gang: 8})
			end(b)
			b.DeleteAll()
		})
	}
}

// The same through Volcano's action, where all is asked for a job.
func TestServerKilledUnderVolcano(t *testing.T) {
	b := bed(t, harness.Nodes{Name: "n", Count: 4, Cards: 8, Plugin: harness.Stock})
	proxy := b.StartProxy(func(harness.Message) harness.Fate { return harness.Fate{} })
	b.StartSync(b.Target())
	b.UntilSynced()
	b.StartVolcano("basalt-vc-scheduler", volcanoConfig(proxy.Target(), false))
	for i, s := range steps([]string{"Reserve", "Confirm"}, []bool{false, true}) {
		t.Run(s.String(), func(t *testing.T) {
			b.T = t
			defer func() { b.T = b.Test }()
			killed := killAt(b, proxy, s)
			minimum := map[string]int{}
			for g := range 3 {
				name := fmt.Sprintf("g%d-%d", i, g)
				minimum[name] = 8
				b.VolcanoGang(name, 8, "default", nil)
				b.PodsOf(8, volcanoMember(name, name, cards(1)))
			}
			one := fmt.Sprintf("one-%d", i)
			minimum[one] = 1
			b.VolcanoGang(one, 1, "default", nil)
			b.Pod(volcanoMember(one, one, cards(1)))
			awaitStep(t, killed)
			b.StartServe()
			for name, count := range minimum {
				b.UntilRunning(2*soon, "of="+name, count)
			}
			b.GangsWhole(minimum)
			end(b)
			b.DeleteAll()
		})
	}
}

// The server ends while it writes its journal: before a record, within one, after it and before it is
// durable, after it is durable and before the answer; each time at a later record. Pods go on coming.
func TestServerKilledAtItsJournal(t *testing.T) {
	b := bed(t, harness.Nodes{Name: "n", Count: 4, Cards: 8, Plugin: harness.HAMi})
	b.StartKubeScheduler(b.Target(), "leaseTTL: 10s", "confirmWait: 20s")
	b.UntilSynced()
	b.KillServe()
	minimum := map[string]int{}
	single := map[string]int{}
	round := 0
	for _, at := range []string{"write:%d:before", "write:%d:half", "write:%d:after", "sync:%d:after"} {
		for number := 1; number <= 9; number += 2 {
			where := fmt.Sprintf(at, number)
			server := b.StartServeUntil(where)
			gang := fmt.Sprintf("gang-%d", round)
			minimum[gang] = 4
			b.Gang(gang, 4)
			b.PodsOf(4, kubeMember(gang, gang, cards(1)))
			ones := fmt.Sprintf("one-%d", round)
			b.PodsOf(2, harness.PodSpec{Name: ones, Scheduler: harness.KubeScheduler, Limits: cards(1), Labels: of(ones)})
			single[ones] = 2
			round++
			// One write serves all calls that wait: it takes more or fewer pods to come to the ninth.
			next := time.Now().Add(2 * time.Second)
			b.Until(soon, "the server has ended at "+where, func() error {
				if server.Ended() {
					return nil
				}
				if time.Now().After(next) && single[ones] < 4 {
					b.Pod(harness.PodSpec{Name: fmt.Sprintf("%s-more-%d", ones, single[ones]), Scheduler: harness.KubeScheduler,
						Limits: cards(1), Labels: of(ones)})
					single[ones]++
					next = time.Now().Add(2 * time.Second)
				}
				return errorf("it runs")
			})
			if round%4 == 0 { // 24 to 32 of 32 cards are asked; room for the next
				b.StartServe()
				for name := range minimum {
					b.UntilRunning(2*soon, "of="+name, 4)
				}
				for name, count := range single {
					b.UntilRunning(2*soon, "of="+name, count)
				}
				b.GangsWhole(minimum)
				end(b)
				b.DeleteAll()
				b.Until(soon, "the server has heard it", func() error {
					if status, err := b.Status(); err != nil || status.GetAllocations() != 0 {
						return errorf("%d are held, %v", status.GetAllocations(), err)
					}
					return nil
				})
				b.KillServe()
				minimum, single = map[string]int{}, map[string]int{}
			}
		}
	}
}

// The server ends when some of a gang's pods are bound and others are not, and again while it is told
// anew what the cluster holds.
func TestServerKilledAmidAGang(t *testing.T) {
	b := bed(t, harness.Nodes{Name: "n", Count: 4, Cards: 8, Plugin: harness.HAMi})
	proxy := b.StartProxy(func(harness.Message) harness.Fate { return harness.Fate{} })
	// HAMi's lock lets one pod a node be bound at a time: a gang's binds take a while.
	b.StartKubeScheduler(proxy.Target(), "leaseTTL: 10s", "confirmWait: 20s")
	b.UntilSynced()
	for i, part := range []int{1, 5, 11} {
		gang := fmt.Sprintf("gang-%d", i)
		watch := b.WatchBinds()
		b.Gang(gang, 16)
		b.PodsOf(16, kubeMember(gang, gang, cards(2)))
		if bound := len(watch.Some(part, soon)); bound < part {
			t.Fatalf("%d of the gang are bound, not %d", bound, part)
		}
		b.KillServe()
		seen := b.Bound("of=" + gang)
		t.Logf("killed with %d of 16 bound", seen)
		killed := killAt(b, proxy, step{method: "Sync", when: "asked"})
		b.StartServeAtOnce()
		awaitStep(t, killed)
		b.StartServe()
		b.UntilRunning(2*soon, "of="+gang, 16)
		b.GangsWhole(map[string]int{gang: 16})
		end(b)
		b.DeleteAll()
	}
}

// A stock kube-scheduler's bind: the server ends before the order has left, and before its
// acknowledgement has come.
func TestServerKilledAtABindOrder(t *testing.T) {
	b := bed(t, harness.Nodes{Name: "n", Count: 2, Cards: 8, Plugin: harness.HAMi})
	proxy := b.StartProxy(func(harness.Message) harness.Fate { return harness.Fate{} })
	b.StartSync(proxy.Target(), "--hami")
	b.UntilSynced()
	b.StartStockScheduler(kubeExtender(b))
	for i, s := range []step{{method: "WatchActions", when: "lost"}, {method: "WatchActions", when: "told"},
		{method: "AckAction", when: "asked"}, {method: "AckAction", when: "lost"}, {method: "AckAction", when: "told"}} {
		t.Run(s.String(), func(t *testing.T) {
			b.T = t
			defer func() { b.T = b.Test }()
			killed := killAt(b, proxy, s)
			name := fmt.Sprintf("one-%d", i)
			b.PodsOf(6, harness.PodSpec{Name: name, Scheduler: harness.StockScheduler, Limits: cards(1), Labels: of(name)})
			awaitStep(t, killed)
			b.StartServe()
			b.UntilRunning(2*soon, "of="+name, 6)
			end(b)
			b.DeleteAll()
		})
	}
}
