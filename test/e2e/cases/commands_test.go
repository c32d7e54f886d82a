package cases

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	placementv1 "basalt.io/adapters/placement/v1"
	"basalt.io/e2e/harness"
)

const done = placementv1.CommandPhase_COMMAND_PHASE_DONE

// owned makes pods of one owner, as its controller would: a pod's successor has the same one.
func owned(pod *v1.Pod) {
	yes := true
	pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "batch/v1", Kind: "Job", Name: "train",
		UID: "0d7f2a53-8f8e-4e6c-9a1e-5a2f3f0c8a11", Controller: &yes}}
}

// agent answers an order on a pod as the agent inside it would.
func agent(b *harness.Bed, name, word string) {
	b.T.Helper()
	var order string
	b.Until(soon, name+" is told to "+word, func() error {
		order = b.Get(name).Annotations["basalt.io/order"]
		if len(order) < len(word) || order[len(order)-len(word):] != word {
			return fmt.Errorf("its order is %q", order)
		}
		return nil
	})
	patch, _ := json.Marshal(map[string]any{"metadata": map[string]any{
		"annotations": map[string]string{"basalt.io/order-done": order}}})
	_, err := b.Client.CoreV1().Pods("default").Patch(context.Background(), name, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		b.T.Fatal(err)
	}
}

// What operators tell running pods and cards, through server, basalt-sync and API server.
func TestCommands(t *testing.T) {
	b := bed(t, harness.Nodes{Name: "n", Count: 2, Cards: 2, Plugin: harness.HAMi})
	b.StartSync(b.Target(), "--hami")
	b.StartKubeScheduler(b.Target(), "sync: false")
	b.UntilSynced()
	spec := harness.PodSpec{Name: "train", Scheduler: harness.KubeScheduler, Limits: cards(2),
		Labels: of("train"), Annotations: map[string]string{"basalt.io/agent": "block,commit"}, Prepare: owned}
	pod := b.Pod(spec)
	b.UntilRunning(soon, "of=train", 1)
	from := b.Get("train").Spec.NodeName
	tell := func(request *placementv1.CommandRequest) {
		t.Helper()
		// A pod that runs may be told to the server a moment later.
		b.Until(soon, request.Id+" is accepted", func() error {
			_, err := b.Command(request)
			return err
		})
	}
	tell(&placementv1.CommandRequest{Id: "b", Kind: placementv1.ActionKind_ACTION_KIND_BLOCK, PodUid: string(pod.UID)})
	// The server crashes before the agent has answered: the order stands, under a newer number.
	b.KillServe()
	b.StartServe()
	b.UntilSynced()
	b.Until(soon, "the new run's order is there", func() error {
		if order := b.Get("train").Annotations["basalt.io/order"]; len(order) < 2 || order[:2] != "2." {
			return fmt.Errorf("its order is %q", order)
		}
		return nil
	})
	agent(b, "train", "block")
	b.UntilCommand(soon, "b", done)

	// Migrate: the pod saves its work, ends, and its successor runs on the other node.
	tell(&placementv1.CommandRequest{Id: "m", Kind: placementv1.ActionKind_ACTION_KIND_MIGRATE, PodUid: string(pod.UID), Commit: true})
	b.Stays(2*time.Second, "it runs until its work is saved", func() error {
		if b.Get("train").DeletionTimestamp != nil {
			return fmt.Errorf("it ends already")
		}
		return nil
	})
	agent(b, "train", "commit")
	b.UntilCommand(soon, "m", placementv1.CommandPhase_COMMAND_PHASE_PLACING)
	spec.Name, spec.Labels = "train-2", of("train-2")
	b.Pod(spec)
	b.UntilRunning(soon, "of=train-2", 1)
	if to := b.Get("train-2").Spec.NodeName; to == from {
		t.Errorf("it runs on %s again", to)
	}
	b.UntilCommand(soon, "m", done)

	// A card of the node that is empty now joins another pool.
	card := harness.UUID(from, 0)
	tell(&placementv1.CommandRequest{Id: "c", Kind: placementv1.ActionKind_ACTION_KIND_MOVE_CARD, Node: from,
		CardUuid: card, Mode: placementv1.CardMode_CARD_MODE_PASSTHROUGH})
	b.UntilCommand(soon, "c", done)
	node, err := b.Client.CoreV1().Nodes().Get(context.Background(), from, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	modes := map[string]struct{ Mode string }{}
	if err := json.Unmarshal([]byte(node.Annotations["basalt.io/card-modes"]), &modes); err != nil || modes[card].Mode != "passthrough" {
		t.Errorf("the node says %q", node.Annotations["basalt.io/card-modes"])
	}
	// One card is left for shares: two pods of a whole card do not both fit.
	b.PodsOf(2, harness.PodSpec{Name: "one", Scheduler: harness.KubeScheduler, Limits: cards(1), Labels: of("one")})
	b.UntilBound(soon, "of=one", 1)
	b.Stays(3*time.Second, "one waits", func() error {
		if n := b.Bound("of=one"); n != 1 {
			return fmt.Errorf("%d are bound", n)
		}
		return nil
	})
	end(b)
}
