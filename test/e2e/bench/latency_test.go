package bench

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"basalt.io/e2e/harness"
)

// A pod arrives each arrivalPause, far below what either scheduler can do.
const arrivalPause = 50 * time.Millisecond

// Latency that Basalt adds to kube-scheduler, in pairs: one pod for the stock scheduler and one for
// ours, in random order, a pause apart; both schedulers run all the time. Once with a journal that is
// on disk before an answer leaves, once with one that is written and synced each 10 ms.
func TestLatency(t *testing.T) {
	for _, fsync := range []string{"always", "10ms"} {
		t.Run(fsync, func(t *testing.T) { latency(t, fsync) })
	}
}

func latency(t *testing.T, fsync string) {
	b := harness.Start(t)
	b.Quiet = true
	b.AddNodes(harness.Nodes{Name: "n", Count: scaled(t, nodeCount), Cards: 8, Plugin: harness.Stock})
	b.StartServe("fsync: " + fsync)
	arms := []struct {
		name    string // of the pods' scheduler
		process *harness.Process
	}{
		{harness.StockScheduler, b.StartStockScheduler("")},
		{harness.KubeScheduler, b.StartKubeScheduler(b.Target())},
	}
	b.UntilSynced()
	watch := b.WatchBinds()
	const warm, seed = 20, 42
	pairs := scaled(t, 300)
	random := rand.New(rand.NewPCG(seed, 0))
	// Between two looks of the watch, and from before the pod is made to the watch's look.
	var took, whole [2][]float64
	var before [2]harness.Metrics
	var cpu [3]time.Duration
	processes := []*harness.Process{arms[0].process, arms[1].process, b.Serve()}
	tick := time.NewTicker(arrivalPause)
	defer tick.Stop()
	for i := range pairs + warm {
		if i == warm { // caches are warm
			for arm := range arms {
				before[arm] = b.Scrape(arms[arm].process.Metrics)
			}
			for p, process := range processes {
				cpu[p] = used(t, process)
			}
		}
		first := random.IntN(2)
		for _, arm := range []int{first, 1 - first} {
			<-tick.C
			name := fmt.Sprintf("pair-%d-%d", arm, i)
			began := time.Now()
			b.Pod(harness.PodSpec{Name: name, Scheduler: arms[arm].name, Limits: card()})
			bound := watch.Until(name, 30*time.Second)
			if i >= warm {
				took[arm] = append(took[arm], watch.Took(name).Seconds()*1000)
				whole[arm] = append(whole[arm], bound.Sub(began).Seconds()*1000)
			}
		}
	}
	t.Logf("fsync %s, %d pairs; ms:", fsync, pairs)
	compare(t, "seen by a watch, made to bound", took)
	compare(t, "asked for, to seen bound", whole)
	for arm := range arms {
		after := b.Scrape(arms[arm].process.Metrics)
		profile := `profile="` + arms[arm].name + `"`
		mean := func(family string, labels ...string) float64 {
			value, _ := after.Mean(before[arm], family, append(labels, profile)...)
			return value * 1000
		}
		text := ""
		for _, point := range []string{"PreFilter", "Filter", "PostFilter", "PreScore", "Score", "Reserve", "Permit", "PreBind", "Bind", "PostBind"} {
			text += fmt.Sprintf(" %s %.3f", point, mean("scheduler_framework_extension_point_duration_seconds", `extension_point="`+point+`"`))
		}
		t.Logf("%s, its own figures, means: attempt %.3f;%s", arms[arm].name,
			mean("scheduler_scheduling_attempt_duration_seconds", `result="scheduled"`), text)
	}
	text := ""
	for p, process := range processes {
		text += fmt.Sprintf(" %s %.2f", process.Name, (used(t, process)-cpu[p]).Seconds()*1000/float64(pairs))
	}
	t.Logf("CPU a pair:%s", text)
	b.Clean()
}

func used(t *testing.T, p *harness.Process) time.Duration {
	t.Helper()
	cpu, err := p.CPU()
	if err != nil {
		t.Fatal(err)
	}
	return cpu
}

// compare two arms pair by pair.
func compare(t *testing.T, what string, arms [2][]float64) {
	t.Helper()
	added := make([]float64, len(arms[0]))
	for i := range added {
		added[i] = arms[1][i] - arms[0][i]
	}
	median, low, high := around(added)
	sorted := [2][]float64{slices.Sorted(slices.Values(arms[0])), slices.Sorted(slices.Values(arms[1]))}
	t.Logf("%s: stock p50 %.2f p90 %.2f; Basalt p50 %.2f p90 %.2f; added p50 %.2f (95 %%: %.2f to %.2f)", what,
		quantile(sorted[0], 0.5), quantile(sorted[0], 0.9), quantile(sorted[1], 0.5), quantile(sorted[1], 0.9), median, low, high)
}
