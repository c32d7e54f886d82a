package cases

import (
	"testing"
	"time"

	"basalt.io/e2e/harness"
)

// kubeExtender is a part of kube-scheduler's configuration.
func kubeExtender(b *harness.Bed) string {
	return `extenders:
- urlPrefix: ` + b.URL("/v1/"+harness.Cluster+"/kube") + `
  filterVerb: filter
  prioritizeVerb: prioritize
  preemptVerb: preempt
  bindVerb: bind
  weight: 10
  httpTimeout: 5s
  nodeCacheCapable: true
  managedResources:
  - {name: nvidia.com/gpu, ignoredByScheduler: true}
  - {name: nvidia.com/gpumem, ignoredByScheduler: true}
  - {name: nvidia.com/gpucores, ignoredByScheduler: true}
`
}

// Stock kube-scheduler, configured only. basalt-sync feeds the server and carries out the binds.
func TestKubeExtender(t *testing.T) {
	b := bed(t, harness.Nodes{Name: "n", Count: 2, Cards: 4, Plugin: harness.HAMi})
	b.StartSync(b.Target(), "--hami")
	b.UntilSynced()
	b.StartStockScheduler(kubeExtender(b))
	b.PodsOf(6, harness.PodSpec{Name: "one", Scheduler: harness.StockScheduler, Limits: cards(1), Labels: of("one")})
	b.UntilRunning(soon, "of=one", 6)
	b.PodsOf(4, harness.PodSpec{Name: "half", Scheduler: harness.StockScheduler, Limits: slice(40000, 50), Labels: of("half")})
	b.UntilRunning(soon, "of=half", 4)
	if used := len(b.Auditor.CardsUsed()); used != 8 {
		t.Errorf("%d cards are used, 8 have to be", used)
	}
	end(b)
}

// Stock Volcano with its extender plugin.
func extenderConfig(b *harness.Bed) string {
	return `actions: "enqueue, allocate, backfill"
tiers:
- plugins:
  - name: priority
  - name: gang
- plugins:
  - name: predicates
  - name: proportion
  - name: extender
    arguments:
      extender.urlPrefix: ` + b.URL("/v1/"+harness.Cluster+"/volcano") + `
      extender.httpTimeout: 2s
      extender.predicateVerb: predicate
      extender.prioritizeVerb: prioritize
      extender.allocateFuncVerb: allocateFunc
      extender.deallocateFuncVerb: deallocateFunc
      extender.preemptableVerb: preemptable
      extender.reclaimableVerb: reclaimable
      extender.queueOverusedVerb: queueOverused
      extender.jobEnqueueableVerb: jobEnqueueable
      extender.jobReadyVerb: jobReady
`
}

// Stock Volcano, configured only. It writes no assignment: only counts can be judged.
func TestVolcanoExtender(t *testing.T) {
	b := bed(t, harness.Nodes{Name: "n", Count: 2, Cards: 4, Plugin: harness.Stock})
	b.StartSync(b.Target())
	b.UntilSynced()
	b.StartVolcano("vc-scheduler", extenderConfig(b))
	b.VolcanoGang("gang", 6, "default", nil)
	b.PodsOf(6, volcanoMember("member", "gang", cards(1)))
	b.UntilRunning(soon, "of=member", 6)
	b.VolcanoGang("second", 3, "default", nil)
	b.PodsOf(3, volcanoMember("other", "second", cards(1)))
	noneBound(b, 3*time.Second, "of=other")
	b.Delete("member-0")
	b.UntilRunning(soon, "of=other", 3)
	end(b)
}

// Nothing of ours runs beside the server: it learns nodes and pods from what Volcano asks it about.
func TestVolcanoExtenderLearned(t *testing.T) {
	b := harness.Start(t)
	b.AddNodes(harness.Nodes{Name: "n", Count: 2, Cards: 4, Plugin: harness.Stock})
	b.Learn = true
	b.StartServe()
	b.UntilSynced()
	b.StartVolcano("vc-scheduler", extenderConfig(b))
	b.VolcanoGang("gang", 6, "default", nil)
	b.PodsOf(6, volcanoMember("member", "gang", cards(1)))
	b.UntilRunning(soon, "of=member", 6)
	b.VolcanoGang("second", 3, "default", nil)
	b.PodsOf(3, volcanoMember("other", "second", cards(1)))
	noneBound(b, 3*time.Second, "of=other")
	// A server that has lost all it learned learns it again.
	b.KillServe()
	b.StartServe()
	b.UntilSynced()
	noneBound(b, 3*time.Second, "of=other")
	b.Delete("member-0")
	b.UntilRunning(soon, "of=other", 3)
	b.Clean()
}
