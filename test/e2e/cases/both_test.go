package cases

import (
	"fmt"
	"testing"

	"basalt.io/e2e/harness"
)

// Two schedulers on the same nodes: the case that fails everywhere else.
func TestTwoSchedulers(t *testing.T) {
	b := bed(t, harness.Nodes{Name: "n", Count: 4, Cards: 8, Plugin: harness.HAMi})
	b.StartKubeScheduler(b.Target())
	b.UntilSynced()
	b.StartVolcano("basalt-vc-scheduler", volcanoConfig(b.Target(), true))
	// 32 cards; 24 are asked by each.
	for i := range 3 {
		name := fmt.Sprintf("g%d", i)
		b.VolcanoGang(name, 8, "default", nil)
		b.PodsOf(8, volcanoMember(name, name, cards(1)))
		b.PodsOf(8, harness.PodSpec{Name: fmt.Sprintf("kube-%d", i), Scheduler: harness.KubeScheduler, Limits: cards(1),
			Labels: of("kube")})
	}
	b.Until(soon, "all cards are used", func() error {
		if used := len(b.Auditor.CardsUsed()); used != 32 {
			return errorf("%d are", used)
		}
		return nil
	})
	for round := range 12 {
		// What runs ends, until all have run.
		running := 0
		for _, pod := range b.List("") {
			if pod.Status.Phase == "Running" && running < 4 {
				b.Finish(pod.Name)
				running++
			}
		}
		if running == 0 {
			t.Logf("all have run after %d rounds", round)
			break
		}
		b.Until(soon, "cards that are free are used again, while somebody waits", func() error {
			waiting, bound := 0, 0
			for _, pod := range b.List("") {
				switch {
				case pod.Status.Phase == "Succeeded":
				case pod.Spec.NodeName == "":
					waiting++
				default:
					bound++
				}
			}
			// The rest of a gang of eight may not fit into what is free.
			if waiting > 8 && bound < 25 {
				return errorf("%d wait, %d hold cards", waiting, bound)
			}
			return nil
		})
	}
	b.Until(soon, "all pods are placed", func() error {
		for _, pod := range b.List("") {
			if pod.Status.Phase == "Running" {
				b.Finish(pod.Name)
			}
			if pod.Spec.NodeName == "" {
				return errorf("%s is not", pod.Name)
			}
		}
		return nil
	})
	b.GangsWhole(map[string]int{"g0": 8, "g1": 8, "g2": 8})
	end(b)
}
