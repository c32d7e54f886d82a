package bench

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"sync/atomic"
	"testing"
	"time"

	"basalt.io/e2e/harness"
)

// Of the extender's comparison.
const (
	extenderNodes  = 300
	extenderGang   = 64
	extenderRounds = 10
)

// idle is an extender that reads what it is sent and says yes.
type idle struct {
	calls, bytes atomic.Int64
}

func (s *idle) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	size, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	answer := `{"errorMessage":""}`
	switch path.Base(r.URL.Path) {
	case "predicate":
		s.calls.Add(1)
		s.bytes.Add(size)
		answer = `{"status":"","code":0}`
	case "prioritize":
		answer = `{"nodeScore":{},"errorMessage":""}`
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, answer)
}

// What the server adds to Volcano's stock extender: rounds of one gang, in turn with an extender that
// does nothing and with the server. Each arm has a Volcano of its own, told apart by the scheduler's
// name; the one that is not asked is stopped meanwhile. The time is that of the action allocate, by
// Volcano's own measure.
func TestExtender(t *testing.T) {
	b := harness.Start(t)
	b.Quiet = true
	b.AddNodes(harness.Nodes{Name: "n", Count: scaled(t, extenderNodes), Cards: 8, Plugin: harness.Stock})
	b.StartServe()
	b.StartSync(b.Target())
	b.UntilSynced()
	nothing := &idle{}
	server := httptest.NewServer(nothing)
	defer server.Close()
	arms := []struct {
		name, url string
		process   *harness.Process
		seconds   []float64
	}{
		{name: "do-nothing", url: server.URL},
		{name: "basalt", url: b.URL("/v1/" + harness.Cluster + "/volcano")},
	}
	for i := range arms {
		arms[i].process = b.StartVolcanoAs("vc-scheduler", arms[i].name, extender(arms[i].url), "--kube-api-qps=2000", "--kube-api-burst=4000")
		arms[i].process.Pause()
	}
	watch := b.WatchBinds()
	gang, rounds := scaled(t, extenderGang), scaled(t, extenderRounds)
	bound := 0
	for round := range rounds + 1 { // the first warms up
		for i := range arms {
			arm := &arms[(i+round)%2]
			name := fmt.Sprintf("gang-%s-%d", arm.name, round)
			b.VolcanoGang(name, gang, "default", nil)
			b.PodsOf(gang, harness.PodSpec{Name: name, Scheduler: arm.name, Limits: card(),
				Annotations: map[string]string{"scheduling.k8s.io/group-name": name}})
			calls, bytes := nothing.calls.Load(), nothing.bytes.Load()
			served := b.Scrape(b.URL("/metrics"))
			arm.process.Resume()
			before := b.Scrape(arm.process.Metrics)
			began := time.Now()
			bound += gang
			if binds := watch.Some(bound, limit(t)); len(binds) < bound {
				t.Fatalf("%s: %d of %d pods bound", arm.name, len(binds), bound)
			}
			whole := time.Since(began)
			// The binds are sent within the action; sessions after it find nothing to do.
			time.Sleep(500 * time.Millisecond)
			took := allocated(b.Scrape(arm.process.Metrics), before)
			arm.process.Pause()
			b.DeleteGang(name, gang)
			if round > 0 {
				arm.seconds = append(arm.seconds, took)
			}
			now := b.Scrape(b.URL("/metrics"))
			mean, evaluated := now.Mean(served, "basalt_call_seconds", `call="evaluate"`)
			t.Logf("round %d, %s: allocate %.3f s, until bound %.3f s; do-nothing: %d predicates, %.1f MB; basalt: %.0f evaluations of %.0f us",
				round, arm.name, took, whole.Seconds(), nothing.calls.Load()-calls, float64(nothing.bytes.Load()-bytes)/1e6, evaluated, mean*1e6)
		}
	}
	ratio := make([]float64, len(arms[0].seconds))
	for i := range ratio {
		ratio[i] = 100 * (arms[1].seconds[i]/arms[0].seconds[i] - 1)
	}
	median, low, high := around(ratio)
	base, _, _ := around(arms[0].seconds)
	our, _, _ := around(arms[1].seconds)
	t.Logf("%d nodes, gang of %d, %d rounds: do-nothing p50 %.3f s, basalt p50 %.3f s; added p50 %.1f %% (95 %%: %.1f to %.1f)",
		scaled(t, extenderNodes), gang, len(ratio), base, our, median, low, high)
	for i := range arms {
		arms[i].process.Resume() // so that it can end
	}
	b.Clean()
}

// allocated is what the action allocate took between two scrapes, in seconds.
func allocated(after, before harness.Metrics) float64 {
	const family = "volcano_action_scheduling_latency_milliseconds"
	return (after.Sum(family+"_sum", `action="allocate"`) - before.Sum(family+"_sum", `action="allocate"`)) / 1000
}
