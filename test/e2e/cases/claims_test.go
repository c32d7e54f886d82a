package cases

import (
	"slices"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"

	"basalt.io/e2e/harness"
)

// claiming pods have their cards by a claim: of their own from a template, or one that they share.
func claiming(name, template, shared string) harness.PodSpec {
	return harness.PodSpec{Name: name, Scheduler: harness.KubeScheduler, Labels: of(name), Prepare: func(pod *v1.Pod) {
		claim := v1.PodResourceClaim{Name: "gpus"}
		if template != "" {
			claim.ResourceClaimTemplateName = &template
		} else {
			claim.ResourceClaimName = &shared
		}
		pod.Spec.ResourceClaims = []v1.PodResourceClaim{claim}
		pod.Spec.Containers[0].Resources.Claims = []v1.ResourceClaim{{Name: "gpus"}}
	}}
}

func TestKubeClaims(t *testing.T) {
	b := harness.Start(t)
	b.StartClaims()
	b.AddNodes(harness.Nodes{Name: "n", Count: 2, Cards: 4, Plugin: harness.DRA})
	b.StartServe()
	b.StartKubeScheduler(b.Target())
	b.UntilSynced()
	b.Template("two", 2)
	b.PodsOf(4, claiming("own", "two", ""))
	b.UntilRunning(soon, "of=own", 4)
	if allocated := b.DevicesOnce(); allocated != 8 {
		t.Errorf("%d devices are allocated, 4 pods have claims of 2", allocated)
	}
	// What the claim has is what the engine chose, on the pod's node.
	for _, pod := range b.List("of=own") {
		chosen := strings.Split(cardsOf(&pod), ",")
		slices.Sort(chosen)
		name := *pod.Status.ResourceClaimStatuses[0].ResourceClaimName
		for _, claim := range b.Claims() {
			if claim.Name != name {
				continue
			}
			if got := harness.DevicesOf(&claim); !slices.Equal(got, chosen) {
				t.Errorf("%s: the claim has %v, chosen were %v", pod.Name, got, chosen)
			}
			if len(claim.Status.ReservedFor) != 1 || claim.Status.ReservedFor[0].UID != pod.UID {
				t.Errorf("%s: its claim is reserved for %v", pod.Name, claim.Status.ReservedFor)
			}
		}
		if len(chosen) != 2 || !strings.HasPrefix(chosen[0], "GPU-"+pod.Spec.NodeName+"-") {
			t.Errorf("%s on %s has %v", pod.Name, pod.Spec.NodeName, chosen)
		}
	}
	b.Claim("shared", 2)
	b.Pod(claiming("first", "", "shared"))
	noneBound(b, 2*time.Second, "of=first")
	if why := b.Why("first"); !strings.Contains(why, "Basalt") {
		t.Errorf("it waits without a reason of ours: %q", why)
	}
	b.Delete("own-0")
	b.UntilRunning(soon, "of=first", 1)
	// A second pod shares the claim: no card more is taken, and it is where the cards are.
	b.Pod(claiming("second", "", "shared"))
	b.UntilRunning(soon, "of=second", 1)
	if first, second := b.Get("first").Spec.NodeName, b.Get("second").Spec.NodeName; first != second {
		t.Errorf("they share a claim, and are on %s and %s", first, second)
	}
	if allocated := b.DevicesOnce(); allocated != 8 {
		t.Errorf("%d devices are allocated", allocated)
	}
	b.NothingLeaked(leak)
	// The first ends: its cards are the second's now, and nobody gets them.
	b.Delete("first")
	b.Pod(claiming("late", "two", ""))
	noneBound(b, 5*time.Second, "of=late")
	b.NothingLeaked(leak)
	b.Delete("second")
	b.UntilRunning(soon, "of=late", 1)
	if allocated := b.DevicesOnce(); allocated != 8 {
		t.Errorf("%d devices are allocated", allocated)
	}
	end(b)
}
