// Package bench measures schedulers on the end-to-end bed: the same workload, one arm after the other,
// in one run. scripts/e2e.sh bench runs it; E2E_SCALE shrinks it.
package bench

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"basalt.io/e2e/harness"
)

// Workload of the throughput arms: nodes of 8 cards, pods of one card, gangs of 16 such.
const (
	nodeCount = 1000
	podCount  = 2000
	gangCount = 50
	gangSize  = 16
)

func scaled(t testing.TB, count int) int {
	text := os.Getenv("E2E_SCALE")
	if text == "" {
		return count
	}
	scale, err := strconv.ParseFloat(text, 64)
	if err != nil || scale <= 0 {
		t.Fatalf("E2E_SCALE is %q; write a number above 0", text)
	}
	return max(1, int(float64(count)*scale))
}

func card() map[string]string { return map[string]string{"nvidia.com/gpu": "1"} }

func configuration(actions, plugin string) string {
	return `actions: "` + actions + `"
tiers:
- plugins:
  - name: priority
  - name: gang
- plugins:
` + plugin + `  - name: predicates
  - name: proportion
  - name: nodeorder
`
}

func ours(target string) string {
	return configuration("enqueue, basalt, backfill", `  - name: basalt
    arguments: {basalt.target: "`+target+`", basalt.gangTimeout: 10s}
`)
}

func extender(url string) string {
	return configuration("enqueue, allocate, backfill", `  - name: extender
    arguments:
      extender.urlPrefix: `+url+`
      extender.httpTimeout: 5s
      extender.predicateVerb: predicate
      extender.prioritizeVerb: prioritize
      extender.allocateFuncVerb: allocateFunc
      extender.deallocateFuncVerb: deallocateFunc
`)
}

// Binds a second of Volcano with its own action, with its stock extender, and with Basalt's action.
func TestBinds(t *testing.T) {
	for _, arm := range []struct {
		name    string
		program string
		serves  bool
		config  func(b *harness.Bed) string
	}{
		{"stock", "vc-scheduler", false, func(*harness.Bed) string { return configuration("enqueue, allocate, backfill", "") }},
		{"basalt", "basalt-vc-scheduler", true, func(b *harness.Bed) string { return ours(b.Target()) }},
		{"extender", "vc-scheduler", true, func(b *harness.Bed) string { return extender(b.URL("/v1/" + harness.Cluster + "/volcano")) }},
	} {
		t.Run(arm.name, func(t *testing.T) {
			b := harness.Start(t)
			b.AddNodes(harness.Nodes{Name: "n", Count: scaled(t, nodeCount), Cards: 8, Plugin: harness.Stock})
			pods, gangs := scaled(t, podCount), scaled(t, gangCount)
			// All that is to be placed is there before the scheduler starts: its session sees the whole.
			b.Each(pods, func(i int) error { return b.TryVolcanoGang(fmt.Sprintf("one-%d", i), 1, "default") })
			b.PodsOf(pods, harness.PodSpec{Name: "one", Scheduler: harness.VolcanoScheduler, Limits: card(), OwnGang: true})
			for g := range gangs {
				name := fmt.Sprintf("gang-%d", g)
				b.VolcanoGang(name, gangSize, "default", nil)
				b.PodsOf(gangSize, harness.PodSpec{Name: name, Scheduler: harness.VolcanoScheduler, Limits: card(),
					Annotations: map[string]string{"scheduling.k8s.io/group-name": name}})
			}
			if arm.serves {
				b.StartServe()
				b.StartSync(b.Target())
				b.UntilSynced()
			}
			watch := b.WatchBinds()
			began := time.Now()
			b.StartVolcano(arm.program, arm.config(b), "--kube-api-qps=2000", "--kube-api-burst=4000")
			total := pods + gangs*gangSize
			binds := watch.All(total, 20*time.Minute)
			took := binds[len(binds)-1].Sub(binds[0])
			t.Logf("%s: %d pods bound; the first %.2f s after the start, all within %.2f s: %.0f binds/s", arm.name, total,
				binds[0].Sub(began).Seconds(), took.Seconds(), float64(total)/took.Seconds())
			b.Clean()
		})
	}
}

// Latency from a pod's creation to its binding, ours against stock kube-scheduler, in pairs.
func TestLatency(t *testing.T) {
	b := harness.Start(t)
	b.AddNodes(harness.Nodes{Name: "n", Count: scaled(t, nodeCount), Cards: 8, Plugin: harness.Stock})
	b.StartServe()
	b.StartKubeScheduler(b.Target())
	b.StartStockScheduler("")
	b.UntilSynced()
	watch := b.WatchBinds()
	pairs := scaled(t, 300)
	var added, stock []float64
	for i := range pairs + 20 {
		var took [2]float64
		for arm, scheduler := range []string{harness.StockScheduler, harness.KubeScheduler} {
			name := fmt.Sprintf("%d-%d", arm, i)
			began := time.Now()
			b.Pod(harness.PodSpec{Name: "pair-" + name, Scheduler: scheduler, Limits: card()})
			took[arm] = watch.Until("pair-"+name, 30*time.Second).Sub(began).Seconds() * 1000
		}
		if i >= 20 { // caches are warm
			added, stock = append(added, took[1]-took[0]), append(stock, took[0])
		}
	}
	slices.Sort(added)
	slices.Sort(stock)
	t.Logf("%d pairs: stock kube-scheduler p50 %.2f ms; added p50 %.2f ms, p90 %.2f ms", pairs, stock[pairs/2],
		added[pairs/2], added[pairs*9/10])
	b.Clean()
}
