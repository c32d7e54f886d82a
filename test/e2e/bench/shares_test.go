package bench

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"basalt.io/e2e/harness"
)

// Shares of cards as HAMi's users ask for them, and how many of a hundred pods ask so.
var shares = []struct {
	name              string
	cards, memory, of int // MiB and percent of compute of each card
	percent           int
}{
	{"quarter", 1, 20000, 25, 40},
	{"half", 1, 40000, 50, 30},
	{"whole", 1, 80000, 100, 20},
	{"pair", 2, 80000, 100, 10},
}

// 5,000 pods with shares of cards on nodes that run HAMi's device plugin: placements a second, cards in
// use and failures of kube-scheduler with Basalt. Each bind waits for the node's lock, which the device
// plugin takes off, as HAMi's protocol wants it.
func TestShares(t *testing.T) {
	const nodes, count, seed = 450, 5000, 42
	b := harness.Start(t)
	b.Quiet = true
	b.AddNodes(harness.Nodes{Name: "n", Count: scaled(t, nodes), Cards: 8, Plugin: harness.HAMi})
	b.StartServe()
	b.StartKubeScheduler(b.Target())
	b.UntilSynced()
	watch := b.WatchBinds()
	pods := scaled(t, count)
	var specs []harness.PodSpec
	for _, share := range shares {
		for i := range pods * share.percent / 100 {
			specs = append(specs, harness.PodSpec{Name: fmt.Sprintf("%s-%d", share.name, i), Scheduler: harness.KubeScheduler,
				Limits: map[string]string{"nvidia.com/gpu": fmt.Sprint(share.cards), "nvidia.com/gpumem": fmt.Sprint(share.memory),
					"nvidia.com/gpucores": fmt.Sprint(share.of)}})
		}
	}
	rand.New(rand.NewPCG(seed, 0)).Shuffle(len(specs), func(i, j int) { specs[i], specs[j] = specs[j], specs[i] })
	began := time.Now()
	b.Each(len(specs), func(i int) error { return b.TryPod(specs[i]) })
	made := time.Since(began)
	binds := watch.Some(len(specs), limit(t))
	if len(binds) < 2 {
		t.Fatalf("%d pods bound", len(binds))
	}
	took := binds[len(binds)-1].Sub(binds[0])
	t.Logf("%d pods, made within %.1f s; %d bound within %.1f s: %.1f placements/s; %d of %d cards used; %d refused by their node",
		len(specs), made.Seconds(), len(binds), took.Seconds(), float64(len(binds))/took.Seconds(), len(b.Auditor.CardsUsed()),
		scaled(t, nodes)*8, len(b.Kubelet.Failures()))
	b.Clean()
}
