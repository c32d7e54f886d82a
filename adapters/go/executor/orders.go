package executor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	placementv1 "basalt.io/adapters/placement/v1"
)

// No device plugin has a command for a running pod: an agent in the pod carries it out, and says so.
// Annotations of the pod are how they talk.
const (
	// AgentAnnotation is the pod author's: the orders that its agent understands, "block,commit".
	// On a node: "cards", when an agent there changes what cards are.
	AgentAnnotation = "basalt.io/agent"
	// OrderAnnotation is ours: "EPOCH.SEQUENCE block" (or resume, commit). The larger one is newer.
	OrderAnnotation = "basalt.io/order"
	// OrderDoneAnnotation is the agent's: the same text when the order is carried out, or with
	// " failed: REASON" behind it.
	OrderDoneAnnotation = "basalt.io/order-done"
	// CardModesAnnotation of a node is ours: {"UUID":{"mode":"exclusive","order":"EPOCH.SEQUENCE"}}.
	CardModesAnnotation = "basalt.io/card-modes"
	// CardModesDoneAnnotation of a node is its agent's: the same, of what is done.
	CardModesDoneAnnotation = "basalt.io/card-modes-done"
)

var errGone = errors.New("the pod is gone")

// number of an order, over all runs of the server; `less` tells which of two is older.
func number(action *placementv1.Action) string {
	return fmt.Sprintf("%d.%d", action.GetServerEpoch(), action.GetSequence())
}

func less(a, b string) bool {
	var ea, sa, eb, sb uint64
	if n, _ := fmt.Sscanf(a, "%d.%d", &ea, &sa); n != 2 {
		return true // nobody's: ours replaces it
	}
	if n, _ := fmt.Sscanf(b, "%d.%d", &eb, &sb); n != 2 {
		return false
	}
	return ea < eb || (ea == eb && sa < sb)
}

// tell gives the pod's agent an order and looks whether it is carried out.
func (e *Executor) tell(ctx context.Context, action *placementv1.Action, word, needs string) (again bool, err error) {
	key := action.GetPod()
	pod, err := e.options.Kube.CoreV1().Pods(key.GetNamespace()).Get(ctx, key.GetName(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, errGone
	}
	if err != nil {
		return !lasting(err), err
	}
	if string(pod.UID) != key.GetUid() || pod.Status.Phase == v1.PodSucceeded || pod.Status.Phase == v1.PodFailed {
		return false, errGone
	}
	if !slices.Contains(strings.Split(pod.Annotations[AgentAnnotation], ","), needs) {
		return false, fmt.Errorf("the pod has no agent that can %s (annotation %s)", needs, AgentAnnotation)
	}
	ours := number(action) + " " + word
	switch is := pod.Annotations[OrderAnnotation]; {
	case is == ours:
		done := pod.Annotations[OrderDoneAnnotation]
		if done == ours {
			return false, nil
		}
		if why, failed := strings.CutPrefix(done, ours+" failed"); failed {
			return false, fmt.Errorf("the pod's agent: %.500s", strings.TrimPrefix(why, ": "))
		}
		return true, errors.New("the pod's agent has not answered yet")
	case is != "" && less(number(action), is):
		return false, fmt.Errorf("the pod has a newer order: %.100s", is)
	}
	patch := annotate(map[string]string{OrderAnnotation: ours}, pod.UID, pod.ResourceVersion)
	_, err = e.options.Kube.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	if err == nil {
		return true, errors.New("the pod's agent has not answered yet")
	}
	// Changed meanwhile: look again whether it still is for us to write.
	return apierrors.IsConflict(err) || !lasting(err), err
}

// annotate is a merge patch that fails where the object is another one, or has changed since.
func annotate(annotations map[string]string, uid types.UID, version string) []byte {
	metadata := map[string]any{"annotations": annotations, "uid": uid, "resourceVersion": version}
	patch, err := json.Marshal(map[string]any{"metadata": metadata})
	if err != nil {
		panic(err) // strings only
	}
	return patch
}

// commit ends the pod once its agent has saved the work; never before.
func (e *Executor) commit(ctx context.Context, action *placementv1.Action) (again bool, err error) {
	again, err = e.tell(ctx, action, "commit", "commit")
	if errors.Is(err, errGone) {
		return false, nil // it has ended by itself
	}
	if err != nil {
		return again, err
	}
	return e.evict(ctx, action)
}

func (e *Executor) migrate(ctx context.Context, action *placementv1.Action) (again bool, err error) {
	if action.GetCommit() {
		return e.commit(ctx, action)
	}
	return e.evict(ctx, action)
}

type cardMode struct {
	Mode  string `json:"mode"`
	Order string `json:"order"`
}

// moveCard writes on the node what a card is from now on. Where the node has an agent for it, the
// order is done when that says so.
func (e *Executor) moveCard(ctx context.Context, action *placementv1.Action) (again bool, err error) {
	node, err := e.options.Kube.CoreV1().Nodes().Get(ctx, action.GetNode(), metav1.GetOptions{})
	if err != nil {
		return !lasting(err), err
	}
	uuid := action.GetCard().GetUuid()
	mode := strings.ToLower(strings.TrimPrefix(action.GetCard().GetMode().String(), "CARD_MODE_"))
	ours := cardMode{Mode: mode, Order: number(action)}
	cards := map[string]cardMode{}
	if text := node.Annotations[CardModesAnnotation]; text != "" {
		if err := json.Unmarshal([]byte(text), &cards); err != nil {
			return false, fmt.Errorf("annotation %s of the node cannot be read: %w", CardModesAnnotation, err)
		}
	}
	if is := cards[uuid]; is != ours {
		if is.Order != "" && less(ours.Order, is.Order) {
			return false, fmt.Errorf("the card has a newer order: %.100s", is.Order)
		}
		cards[uuid] = ours
		text, err := json.Marshal(cards)
		if err != nil {
			return false, err
		}
		patch := annotate(map[string]string{CardModesAnnotation: string(text)}, node.UID, node.ResourceVersion)
		node, err = e.options.Kube.CoreV1().Nodes().Patch(ctx, node.Name, types.MergePatchType, patch, metav1.PatchOptions{})
		if err != nil {
			return apierrors.IsConflict(err) || !lasting(err), err
		}
	}
	if !slices.Contains(strings.Split(node.Annotations[AgentAnnotation], ","), "cards") {
		return false, nil
	}
	done := map[string]cardMode{}
	if text := node.Annotations[CardModesDoneAnnotation]; text != "" {
		if err := json.Unmarshal([]byte(text), &done); err != nil {
			return true, fmt.Errorf("annotation %s of the node cannot be read: %w", CardModesDoneAnnotation, err)
		}
	}
	if done[uuid] != ours {
		return true, errors.New("the node's agent has not answered yet")
	}
	return false, nil
}
