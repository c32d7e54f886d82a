package syncer

import (
	"testing"

	v1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	placementv1 "basalt.io/adapters/placement/v1"
)

func budget(name, app string, allowed int32) *policyv1.PodDisruptionBudget {
	return &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns", Generation: 1},
		Spec: policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{
			MatchLabels: map[string]string{"app": app}}},
		Status: policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 1, DisruptionsAllowed: allowed}}
}

func labelled(name string, uid int, on, app string) *v1.Pod {
	p := pod(name, uid, on)
	p.Labels = map[string]string{"app": app}
	return p
}

func withBudgets(o *Options) { o.Budgets = true }

func TestBudgetsOfPods(t *testing.T) {
	other := labelled("elsewhere", 5, "n", "web")
	other.Namespace = "other"
	b := newBed(t, nil, withBudgets, node("n", "8"), budget("web", "web", 1),
		labelled("a", 1, "n", "web"), labelled("b", 2, "n", "web"), labelled("c", 3, "n", "db"),
		labelled("waits", 4, "", "web"), other)
	budgetOf := func(uid int) string { return b.server.pods[string(uidOf(uid))].GetStanding().GetBudget() }
	b.until("ready", func() bool { return b.server.ready && b.server.budgets["ns/web"] != nil })
	b.server.with(func() {
		if budgetOf(1) != "ns/web" || budgetOf(2) != "ns/web" || budgetOf(3) != "" || budgetOf(5) != "" {
			t.Errorf("budgets of pods: %q %q %q %q", budgetOf(1), budgetOf(2), budgetOf(3), budgetOf(5))
		}
		// Two run and one may go, so one must stay.
		if got := b.server.budgets["ns/web"]; got.MinAvailable == nil || *got.MinAvailable != 1 ||
			got.MaxUnavailable != nil {
			t.Errorf("budget: %v", got)
		}
		kinds := b.server.opens[0].Kinds
		if len(kinds) != 3 || kinds[2] != placementv1.SyncKind_SYNC_KIND_BUDGETS {
			t.Errorf("kinds: %v", kinds)
		}
	})
	// A third one runs before the API server has counted it: no more may go than before.
	bound := labelled("waits", 4, "n", "web")
	if _, err := b.kube.CoreV1().Pods("ns").Update(background, bound, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.until("two must stay", func() bool { return b.server.budgets["ns/web"].GetMinAvailable() == 2 })
	// The budget selects others now.
	moved := budget("web", "db", 0)
	moved.Generation = 2
	if _, err := b.kube.PolicyV1().PodDisruptionBudgets("ns").Update(background, moved, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.until("the other pod has it", func() bool {
		return budgetOf(1) == "" && budgetOf(2) == "" && budgetOf(3) == "ns/web"
	})
	b.until("none may go before it is counted", func() bool {
		got := b.server.budgets["ns/web"]
		return got.MaxUnavailable != nil && *got.MaxUnavailable == 0 && got.MinAvailable == nil
	})
	if err := b.kube.PolicyV1().PodDisruptionBudgets("ns").Delete(background, "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	b.until("gone", func() bool { return b.server.budgets["ns/web"] == nil && budgetOf(3) == "" })
}

// The API server evicts no pod that several budgets select.
func TestAPodInTwoBudgetsStays(t *testing.T) {
	two := labelled("two", 1, "n", "web")
	two.Labels["tier"] = "front"
	front := budget("front", "", 5)
	front.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"tier": "front"}}
	b := newBed(t, nil, withBudgets, []runtime.Object{node("n", "8"), budget("web", "web", 5), front, two,
		labelled("one", 2, "n", "web")}...)
	b.until("ready", func() bool { return b.server.ready && b.server.budgets["ns/front+web"] != nil })
	b.server.with(func() {
		if got := b.server.pods[string(uidOf(1))].Standing.Budget; got != "ns/front+web" {
			t.Errorf("budget of the pod: %q", got)
		}
		if got := b.server.budgets["ns/front+web"]; got.MaxUnavailable == nil || *got.MaxUnavailable != 0 {
			t.Errorf("budget: %v", got)
		}
		// It counts among those of neither.
		if got := b.server.budgets["ns/web"].GetMinAvailable(); got != 0 {
			t.Errorf("of the pod alone in its budget five may go: %d must stay", got)
		}
	})
}

func TestWithoutBudgetsNoneAreTold(t *testing.T) {
	b := newBed(t, nil, nil, node("n", "8"), budget("web", "web", 1), labelled("a", 1, "n", "web"))
	b.until("ready", func() bool { return b.server.ready })
	b.server.with(func() {
		if len(b.server.budgets) != 0 || b.server.pods[string(uidOf(1))].Standing.Budget != "" ||
			len(b.server.opens[0].Kinds) != 2 {
			t.Errorf("told %v, %v", b.server.budgets, b.server.opens[0].Kinds)
		}
	})
}
