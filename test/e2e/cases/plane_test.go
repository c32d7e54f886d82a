// Package cases holds the end-to-end tests; test/e2e/README.md says how to run them.
package cases

import (
	"testing"
	"time"

	"basalt.io/e2e/harness"
)

// The bed itself, without Basalt: what the other cases stand on.
func TestControlPlane(t *testing.T) {
	b := harness.Start(t)
	b.AddNodes(harness.Nodes{Name: "stock", Count: 2, Cards: 4, Plugin: harness.Stock})
	b.StartStockScheduler("")
	b.StartVolcano("vc-scheduler", harness.VolcanoStock)
	b.PodsOf(3, harness.PodSpec{Name: "kube", Scheduler: harness.StockScheduler,
		Limits: map[string]string{"nvidia.com/gpu": "1"}, Labels: map[string]string{"of": "kube"}})
	b.UntilRunning(30*time.Second, "of=kube", 3)
	b.VolcanoGang("gang", 4, "default", nil)
	b.PodsOf(4, harness.PodSpec{Name: "member", Scheduler: harness.VolcanoScheduler,
		Limits: map[string]string{"nvidia.com/gpu": "1"}, Labels: map[string]string{"of": "gang"},
		Annotations: map[string]string{"scheduling.k8s.io/group-name": "gang"}})
	b.UntilRunning(30*time.Second, "of=gang", 4)
	b.Clean()
	b.GangsWhole(map[string]int{"gang": 4})
	if len(b.Auditor.Holders()) != 7 {
		t.Errorf("the auditor sees %d holders, 7 run", len(b.Auditor.Holders()))
	}
	b.Delete("kube-0")
	b.Until(10*time.Second, "a deleted pod is gone", func() error {
		if n := len(b.List("of=kube")); n != 2 {
			return errorf("%d are left", n)
		}
		return nil
	})
}
