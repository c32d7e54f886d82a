package kubelet

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"basalt.io/e2e/auditor"
)

const (
	hamiRegister   = "hami.io/node-nvidia-register"
	hamiLock       = "hami.io/mutex.lock"
	hamiNode       = "hami.io/vgpu-node"
	hamiToAllocate = "hami.io/vgpu-devices-to-allocate"
	hamiPhase      = "hami.io/bind-phase"
	hamiTime       = "hami.io/bind-time"
)

// hami is HAMi's NVIDIA plugin at v2.10 (v2.8 reads and writes the same): the pending pod is the owner
// of the node's lock, else any pod that is being bound; of what it is to get the first slot that is
// not empty is for the container that asks; when no slot is left, it is a success and the lock is
// taken off.
type hami struct {
	kubelet *Kubelet
	node    string
}

func (h *hami) allocate(ctx context.Context, pod *v1.Pod, container int, count int64) (string, error) {
	this := served{pod.UID, container}
	if left, begun := h.kubelet.left(this); begun {
		return "", h.finish(ctx, pod, left)
	}
	pending, err := h.pending(ctx)
	if err != nil {
		return "", err
	}
	if pending == nil {
		return "no binding pod found on node " + h.node, nil
	}
	refuse := func(reason string) (string, error) {
		if err := h.kubelet.annotate(ctx, pending, map[string]string{hamiPhase: "failed"}); err != nil &&
			!apierrors.IsNotFound(err) {
			return "", err
		}
		return reason, h.release(ctx, pending)
	}
	slots := strings.Split(pending.Annotations[hamiToAllocate], ";")
	at := 0
	for at < len(slots) && slots[at] == "" {
		at++
	}
	if at == len(slots) {
		return refuse("device request not found")
	}
	devices, err := parseSlot(slots[at], container)
	if err != nil {
		return refuse(err.Error())
	}
	if int64(len(devices)) != count {
		return refuse(fmt.Sprintf("device number not matched: %d are assigned, %d are asked", len(devices), count))
	}
	// kubelet asked for `pod`; what the plugin found is who gets it. When they differ a container has
	// another one's cards, which the auditor sees.
	h.kubelet.auditor.Granted(pod, container, devices)
	slots[at] = ""
	left := strings.Join(slots, ";")
	if pending.UID == pod.UID {
		h.kubelet.begin(this, left)
	}
	return "", h.finish(ctx, pending, left)
}

// finish writes what is left to allocate, and ends the binding when nothing is.
func (h *hami) finish(ctx context.Context, pod *v1.Pod, left string) error {
	annotations := map[string]string{hamiToAllocate: left}
	done := !strings.Contains(left, "NVIDIA")
	if done {
		annotations[hamiPhase] = "success"
	}
	if err := h.kubelet.annotate(ctx, pod, annotations); err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	if !done {
		return nil
	}
	return h.release(ctx, pod)
}

// pending is the pod that is being bound to this node; nil: none.
func (h *hami) pending(ctx context.Context) (*v1.Pod, error) {
	client := h.kubelet.client.CoreV1()
	node, err := client.Nodes().Get(ctx, h.node, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	if fields := strings.Split(node.Annotations[hamiLock], ","); len(fields) == 3 {
		pod, err := client.Pods(fields[1]).Get(ctx, fields[2], metav1.GetOptions{})
		if err == nil {
			return pod, nil
		}
		if !apierrors.IsNotFound(err) {
			return nil, err
		}
	}
	list, err := client.Pods("").List(ctx, metav1.ListOptions{FieldSelector: "status.phase=Pending,spec.nodeName=" + h.node})
	if err != nil {
		return nil, err
	}
	for i := range list.Items {
		pod := &list.Items[i]
		phase := pod.Annotations[hamiPhase]
		if _, timed := pod.Annotations[hamiTime]; timed && (phase == "allocating" || phase == "success") &&
			pod.Annotations[hamiNode] == h.node && strings.Contains(pod.Annotations[hamiToAllocate], "NVIDIA") {
			return pod, nil
		}
	}
	return nil, nil
}

func (h *hami) release(ctx context.Context, pod *v1.Pod) error {
	return h.kubelet.unlock(ctx, h.node, hamiLock, func(value string) bool {
		return strings.HasSuffix(value, ","+pod.Namespace+","+pod.Name)
	})
}

func parseSlot(slot string, container int) ([]auditor.Claim, error) {
	var out []auditor.Claim
	for _, item := range strings.Split(strings.TrimSuffix(slot, ":"), ":") {
		fields := strings.Split(item, ",")
		if len(fields) < 4 {
			return nil, fmt.Errorf("pod annotation format error; %q has less than 4 fields", item)
		}
		memory, err := strconv.ParseInt(fields[2], 10, 32)
		if err != nil {
			return nil, err
		}
		cores, err := strconv.ParseInt(fields[3], 10, 32)
		if err != nil {
			return nil, err
		}
		out = append(out, auditor.Claim{UUID: fields[0], Container: container, Memory: memory, Cores: cores})
	}
	return out, nil
}
