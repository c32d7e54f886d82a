package basalt

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"

	"volcano.sh/volcano/pkg/scheduler/api"
	"volcano.sh/volcano/pkg/scheduler/cache"
	"volcano.sh/volcano/pkg/scheduler/metrics"

	"basalt.io/adapters/binds"
	"basalt.io/adapters/client"
	"basalt.io/adapters/hami"
	placementv1 "basalt.io/adapters/placement/v1"
)

const lockTimeout = 28 * time.Second // HAMi's own

// binder stands before Volcano's bind: what has no confirmed lease is not bound.
type binder struct {
	client *client.Client
	kube   kubernetes.Interface
	hami   bool
}

// binding has the record of each task (a *api.TaskInfo) between its PreBind and its bind.
var binding sync.Map

// bindMethod binds as Volcano's own does. PreBindRollBack is not told the error: the record is.
type bindMethod struct{}

// Bind says why which tasks were not bound.
func (bindMethod) Bind(kube kubernetes.Interface, tasks []*api.TaskInfo) map[api.TaskID]string {
	failed := map[api.TaskID]string{}
	for _, task := range tasks {
		r, ours := binding.LoadAndDelete(task)
		pod := task.Pod
		err := kube.CoreV1().Pods(pod.Namespace).Bind(context.Background(), &v1.Binding{
			ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID,
				Annotations: pod.Annotations},
			Target: v1.ObjectReference{Kind: "Node", Name: task.NodeName},
		}, metav1.CreateOptions{})
		if err == nil {
			metrics.UpdateTaskScheduleDuration(metrics.Duration(pod.CreationTimestamp.Time))
			continue
		}
		klog.ErrorS(err, "A pod was not bound", "pod", klog.KObj(pod), "node", task.NodeName)
		failed[task.UID] = err.Error()
		if ours {
			r.(*record).refused = binds.Refused(err)
		}
	}
	return failed
}

// PreBind runs in a goroutine of its own. When it fails Volcano does not call PreBindRollBack.
func (b *binder) PreBind(ctx context.Context, bind *cache.BindContext) error {
	r, ok := bind.Extensions[Name].(*record)
	if !ok {
		return errNotOurs
	}
	if r.lease == nil {
		return nil // fallback, or a pod that asks for nothing
	}
	if err := b.check(ctx, bind, r); err != nil {
		b.giveBack(ctx, bind, r, true)
		return err
	}
	binding.Store(bind.TaskInfo, r)
	return nil
}

func (b *binder) check(ctx context.Context, bind *cache.BindContext, r *record) error {
	// A confirmed lease has no end but with the server's run, unless its journal was kept.
	if b.client.ServerEpoch() != r.lease.GetServerEpoch() {
		answer, reason, err := confirm(ctx, b.client, r.lease)
		if err != nil {
			return fmt.Errorf("basalt: the lease cannot be checked: %w", err)
		}
		if answer != placementv1.LeaseAnswer_LEASE_ANSWER_OK {
			return fmt.Errorf("basalt: the lease is over: %s", reason)
		}
	}
	task := bind.TaskInfo
	limit, cancel := context.WithTimeout(ctx, lockTimeout)
	defer cancel()
	for _, lock := range hami.Locks(task.Pod.Annotations, b.hami) {
		if err := hami.Lock(limit, b.kube, lock, task.NodeName, task.Pod); err != nil {
			return err
		}
		r.locks = append(r.locks, lock)
	}
	hami.Phase(task.Pod.Annotations, r.locks, time.Now())
	// Volcano's Binding carries annotations and no labels.
	if len(r.label) > 0 {
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
			"uid": task.Pod.UID, "labels": r.label}})
		if err != nil {
			return err
		}
		if _, err := b.kube.CoreV1().Pods(task.Namespace).Patch(ctx, task.Pod.Name,
			types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// PreBindRollBack is called after any error of the bind, also one without an answer.
func (b *binder) PreBindRollBack(ctx context.Context, bind *cache.BindContext) {
	_, unsent := binding.LoadAndDelete(bind.TaskInfo) // another plugin's PreBind failed
	if r, ok := bind.Extensions[Name].(*record); ok && r.lease != nil {
		b.giveBack(ctx, bind, r, unsent || r.refused)
	}
}

// giveBack what the task held: it is placed anew in a later session. While its bind may have been done,
// or be on its way, lease and locks stay: the sync sees the pod on its node, or a later session is given
// the same lease. settled: the bind was refused, or never sent.
func (b *binder) giveBack(ctx context.Context, bind *cache.BindContext, r *record, settled bool) {
	// The bind's context may be over.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if !binds.Over(ctx, b.kube, bind.TaskInfo.Pod, settled) {
		klog.InfoS("A bind that failed may have been done: the pod keeps its place", "pod", klog.KObj(bind.TaskInfo.Pod),
			"node", bind.TaskInfo.NodeName)
		return
	}
	for _, lock := range r.locks {
		if err := hami.Unlock(ctx, b.kube, lock, bind.TaskInfo.NodeName, bind.TaskInfo.Pod); err != nil {
			klog.ErrorS(err, "A node stays locked until the lock's time is over",
				"node", bind.TaskInfo.NodeName)
		}
	}
	r.locks = nil
	releasePod(ctx, b.client, r.lease, string(bind.TaskInfo.Pod.UID))
}

// releasePod ends a pod's part of a lease. The server refuses that only once its sync has seen the pod
// on a node: who calls must know that no bind has been done or is on its way.
func releasePod(ctx context.Context, c *client.Client, lease *placementv1.Lease, uid string) {
	own := &placementv1.Lease{Cluster: lease.GetCluster(), Uid: uid, Epoch: lease.GetEpoch(),
		ServerEpoch: lease.GetServerEpoch(), Turn: lease.GetTurn()}
	if _, err := c.Release(ctx, own); err != nil {
		klog.ErrorS(err, "A place is held until the pod is placed again or deleted", "pod", uid)
	}
}
