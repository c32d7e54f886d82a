package bench

import (
	"fmt"
	"os"
	"testing"
	"time"

	"basalt.io/e2e/harness"
)

// Pods of one card, and gangs of such.
const (
	podCount  = 2000
	gangCount = 50
	gangSize  = 16
)

// limit of one arm: E2E_ARM_LIMIT.
func limit(t testing.TB) time.Duration {
	text := os.Getenv("E2E_ARM_LIMIT")
	if text == "" {
		return 10 * time.Minute
	}
	most, err := time.ParseDuration(text)
	if err != nil || most <= 0 {
		t.Fatalf("E2E_ARM_LIMIT is %q; write a time, as 10m", text)
	}
	return most
}

// Binds a second of Volcano with its own action, with Basalt's, and with its stock extender. All that
// is to be placed is there before the scheduler starts. An arm that is not done in time is judged by
// what it has bound.
func TestBinds(t *testing.T) {
	rates := map[string]float64{}
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
			b.Quiet = true
			b.AddNodes(harness.Nodes{Name: "n", Count: scaled(t, nodeCount), Cards: 8, Plugin: harness.Stock})
			pods, gangs := scaled(t, podCount), scaled(t, gangCount)
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
			p := b.StartVolcano(arm.program, arm.config(b), "--kube-api-qps=2000", "--kube-api-burst=4000")
			total := pods + gangs*gangSize
			binds := watch.Some(total, limit(t))
			cpu, err := p.CPU()
			if err != nil {
				t.Fatal(err)
			}
			if len(binds) == 0 {
				t.Logf("%s: none of %d pods bound within %s; CPU of the scheduler %.1f s", arm.name, total, limit(t), cpu.Seconds())
				return
			}
			first, took := binds[0].Sub(began), binds[len(binds)-1].Sub(binds[0])
			rates[arm.name] = float64(len(binds)) / took.Seconds()
			t.Logf("%s: %d of %d pods bound within %.2f s: %.1f binds/s; the first %.2f s after the start; CPU of the scheduler %.1f s",
				arm.name, len(binds), total, took.Seconds(), rates[arm.name], first.Seconds(), cpu.Seconds())
			if len(binds) == total {
				b.Clean()
			}
		})
	}
	if len(rates) == 3 {
		t.Logf("Basalt's action: %.2f times stock Volcano, %.1f times its extender", rates["basalt"]/rates["stock"],
			rates["basalt"]/rates["extender"])
	}
}
