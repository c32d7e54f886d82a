package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	fw "k8s.io/kubernetes/pkg/scheduler/framework"

	placementv1 "basalt.io/adapters/placement/v1"
)

// PostFilter is called when no node was left. If the engine had offered nodes, other plugins vetoed
// them: they are kept out of the next question. If it had none, it is asked who gives way.
func (p *Plugin) PostFilter(ctx context.Context, state fwk.CycleState, pod *v1.Pod, statuses fw.NodeToStatusReader) (
	*fw.PostFilterResult, *fwk.Status) {
	no := fwk.NewStatus(fwk.Unschedulable)
	d := read(state)
	if d == nil {
		return nil, no
	}
	if d.onlyClaims() {
		_, status := p.claimer.inner.PostFilter(ctx, state, pod, statuses)
		return nil, status
	}
	if len(d.ranks) > 0 {
		p.vetoed(ctx, d, pod, statuses)
		return nil, no
	}
	if !d.waits || !flag(p.args.Preempt) ||
		(pod.Spec.PreemptionPolicy != nil && *pod.Spec.PreemptionPolicy == v1.PreemptNever) {
		return nil, no
	}
	request := &placementv1.EvictRequest{Of: &placementv1.EvictRequest_Pod{Pod: d.request}}
	if d.member != nil {
		if p.gangs.askedLately(d.member) {
			return nil, no
		}
		request.Of = &placementv1.EvictRequest_Gang{Gang: d.member.request}
	}
	plan, err := p.client.Evict(ctx, request)
	if err != nil {
		return nil, failed(err)
	}
	if !plan.GetFound() {
		if d.member != nil {
			p.gangs.nobody(d.member)
		}
		return nil, fwk.NewStatus(fwk.Unschedulable, "Basalt: "+plan.GetReason())
	}
	for _, victim := range plan.GetVictims() {
		if err := p.evict(ctx, victim, pod); err != nil {
			// The places are taken for this pod; the rest is tried again by its next cycle.
			return nil, failed(err)
		}
	}
	uids := []types.UID{pod.UID}
	node := plan.GetPod().GetPlacement().GetNode()
	if d.member != nil {
		uids = d.member.uids()
		for _, member := range plan.GetGang().GetMembers() {
			if member.GetPod().GetUid() == string(pod.UID) {
				node = member.GetPlacement().GetNode()
			}
		}
		p.gangs.mutex.Lock()
		d.member.refused = nil
		p.gangs.mutex.Unlock()
	}
	for _, uid := range uids {
		p.books.nominate(uid, plan.GetLease())
	}
	p.books.waits(pod)
	p.books.stir()
	if node == "" {
		return nil, no
	}
	return fw.NewPostFilterResultWithNominatedNode(node), fwk.NewStatus(fwk.Success)
}

// vetoed remembers the nodes that others refused, and gives back what the pod holds there.
func (p *Plugin) vetoed(ctx context.Context, d *decision, pod *v1.Pod, statuses fw.NodeToStatusReader) {
	p.books.waits(pod)
	if p.books.nominated(pod.UID) {
		return // its victims have not left yet
	}
	var nodes []string
	for node := range d.ranks {
		if status := statuses.Get(node); status == nil || status.Plugin() != Name || d.claims.refuses(node) {
			nodes = append(nodes, node)
		}
	}
	p.books.veto(pod.UID, nodes)
	switch {
	case d.round != nil:
		p.abort(ctx, d.round, fmt.Sprintf("another plugin vetoes the place of %s/%s", pod.Namespace, pod.Name))
	case d.held:
		if now, err := p.live(ctx, pod); err == nil && now.UID == pod.UID && now.Spec.NodeName == "" {
			p.release(ctx, &placementv1.Lease{Cluster: p.client.Cluster(), Uid: string(pod.UID)})
		}
	case d.lease != nil:
		p.release(ctx, d.lease)
		d.lease = nil
	}
	p.books.stir()
}

// evict deletes a victim, saying why. One that is gone already is fine.
func (p *Plugin) evict(ctx context.Context, victim *placementv1.Victim, preemptor *v1.Pod) error {
	key := victim.GetPod()
	if key.GetName() == "" {
		return errors.New("a victim's name is not known to the server")
	}
	pods := p.handle.ClientSet().CoreV1().Pods(key.GetNamespace())
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": key.GetUid()},
		"status": map[string]any{"conditions": []v1.PodCondition{{Type: v1.DisruptionTarget,
			Status: v1.ConditionTrue, Reason: v1.PodReasonPreemptionByScheduler,
			Message:            fmt.Sprintf("Basalt: gives way to %s/%s", preemptor.Namespace, preemptor.Name),
			LastTransitionTime: metav1.Now()}}}})
	if err != nil {
		return err
	}
	gone := func(err error) bool { return apierrors.IsNotFound(err) || apierrors.IsConflict(err) }
	if _, err = pods.Patch(ctx, key.GetName(), types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status"); err != nil && !gone(err) {
		return err
	}
	uid := types.UID(key.GetUid())
	err = pods.Delete(ctx, key.GetName(), metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
	if err != nil && !gone(err) {
		return err
	}
	klog.InfoS("Evicted a pod", "victim", key.GetNamespace()+"/"+key.GetName(), "for", klog.KObj(preemptor), "reclaim", victim.GetReclaim())
	return nil
}
