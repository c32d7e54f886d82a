// Package hami does the scheduler's part of HAMi's bind: the node lock by which its device plugin
// finds the pod that it allocates for, and the bind phase. Formats as of HAMi v2.8.0 to v2.10.0.
//
// Volcano's vGPU plugin has a lock of the same kind: it takes the oldest pod of the node that waits for
// as many devices, so that of two pods at once each might be given the other's.
//
// The device plugin releases the lock at the end of Allocate; we release it only when the bind did
// not happen. So binds to one node are serial, from here to the kubelet.
package hami

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const (
	// NodeLock is the annotation of a node: "RFC3339,namespace,pod", or the time alone (before 2.4).
	NodeLock = "hami.io/mutex.lock"
	// CambriconLock is that of Cambricon's plugin: the time alone.
	CambriconLock = "cambricon.com/dsmlu.lock"
	// VolcanoLock is that of volcano-vgpu-device-plugin, which takes it off whatever it says. Volcano
	// writes the time alone; we name the pod, so that nobody waits for one that is gone.
	VolcanoLock = "hamivgpu"

	phaseKey   = "hami.io/bind-phase"
	timeKey    = "hami.io/bind-time"
	volcanoKey = "volcano.sh/devices-to-allocate"
	allocating = "allocating"

	nodeLockExpires      = 5 * time.Minute
	cambriconLockExpires = 2 * time.Minute
	retryEach            = 100 * time.Millisecond
)

// ErrLocked says that another pod is being bound to the node.
var ErrLocked = errors.New("the node is locked by another pod")

// Locks that a pod with these annotations needs on its node, in the order to take them. Vendors
// whose plugins find the pod otherwise need none. hami: the node runs HAMi's plugins; on other nodes
// nobody would take their locks off.
func Locks(annotations map[string]string, hami bool) []string {
	var out []string
	if annotations[volcanoKey] != "" {
		out = append(out, VolcanoLock)
	}
	if !hami {
		return out
	}
	var cambricon, others bool
	for key := range annotations {
		vendor, found := strings.CutSuffix(key, "-devices-to-allocate")
		if !found || !strings.HasPrefix(vendor, "hami.io/") {
			continue
		}
		switch vendor {
		case "hami.io/cambricon-mlu":
			cambricon = true
		case "hami.io/metax-gpu", "hami.io/enflame-gcu", "hami.io/mthreads-vgpu":
		default:
			others = true
		}
	}
	if cambricon {
		out = append(out, CambriconLock)
	}
	if others {
		out = append(out, NodeLock)
	}
	return out
}

// Phase puts HAMi's bind phase on a pod that is about to be bound under these locks.
func Phase(annotations map[string]string, locks []string, now time.Time) {
	if !slices.Contains(locks, NodeLock) && !slices.Contains(locks, CambriconLock) {
		return
	}
	annotations[phaseKey] = allocating
	annotations[timeKey] = strconv.FormatInt(now.Unix(), 10)
}

type owner struct {
	at              time.Time
	namespace, name string
}

func parse(text string) (owner, error) {
	fields := strings.Split(text, ",")
	if len(fields) != 1 && len(fields) != 3 {
		return owner{}, fmt.Errorf("lock %.80q has %d fields", text, len(fields))
	}
	at, err := time.Parse(time.RFC3339, fields[0])
	if err != nil {
		return owner{}, fmt.Errorf("lock %.80q: %w", text, err)
	}
	if len(fields) == 1 {
		return owner{at: at}, nil
	}
	return owner{at, fields[1], fields[2]}, nil
}

// Lock a node for the pod, waiting for others until the context ends. Said twice it is one lock.
func Lock(ctx context.Context, kube kubernetes.Interface, lock, node string, pod *v1.Pod) error {
	for {
		err := try(ctx, kube, lock, node, pod)
		if err == nil || (!errors.Is(err, ErrLocked) && !apierrors.IsConflict(err)) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(retryEach):
		}
	}
}

func try(ctx context.Context, kube kubernetes.Interface, lock, name string, pod *v1.Pod) error {
	node, err := kube.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	now := time.Now()
	if text, held := node.Annotations[lock]; held {
		by, err := parse(text)
		// What cannot be read protects nobody.
		if err == nil {
			if by.namespace == pod.Namespace && by.name == pod.Name {
				return nil
			}
			expires := nodeLockExpires
			if lock == CambriconLock {
				expires = cambriconLockExpires
			}
			if now.Sub(by.at) < expires && mayBind(ctx, kube, by, name) {
				return fmt.Errorf("node %s: %w (%s/%s)", name, ErrLocked, by.namespace, by.name)
			}
		}
	}
	value := now.Format(time.RFC3339)
	if lock != CambriconLock {
		value += "," + pod.Namespace + "," + pod.Name
	}
	return swap(ctx, kube, node, lock, value)
}

// mayBind says whether the lock's owner may still be on its way to the node. One that is gone, has ended
// or is on another node left its lock behind, as when the API server was away when it was to be taken off.
func mayBind(ctx context.Context, kube kubernetes.Interface, by owner, node string) bool {
	if by.name == "" {
		return true
	}
	pod, err := kube.CoreV1().Pods(by.namespace).Get(ctx, by.name, metav1.GetOptions{})
	if err != nil {
		return !apierrors.IsNotFound(err)
	}
	ended := pod.Status.Phase == v1.PodSucceeded || pod.Status.Phase == v1.PodFailed
	return !ended && (pod.Spec.NodeName == "" || pod.Spec.NodeName == node)
}

// swap compares and swaps: the API server refuses it when the node has changed. "" takes it away.
func swap(ctx context.Context, kube kubernetes.Interface, node *v1.Node, key, value string) error {
	updated := node.DeepCopy()
	if updated.Annotations == nil {
		updated.Annotations = map[string]string{}
	}
	if updated.Annotations[key] = value; value == "" {
		delete(updated.Annotations, key)
	}
	_, err := kube.CoreV1().Nodes().Update(ctx, updated, metav1.UpdateOptions{})
	return err
}

// Unlock a node that is locked for this pod; any other lock stays. A Cambricon lock names nobody.
func Unlock(ctx context.Context, kube kubernetes.Interface, lock, name string, pod *v1.Pod) error {
	for {
		node, err := kube.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		text, held := node.Annotations[lock]
		if !held {
			return nil
		}
		by, err := parse(text)
		if err != nil || (by.name != "" && (by.namespace != pod.Namespace || by.name != pod.Name)) {
			return nil
		}
		if err = swap(ctx, kube, node, lock, ""); !apierrors.IsConflict(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(retryEach):
		}
	}
}
