package basalt

import (
	"context"
	"fmt"

	"k8s.io/klog/v2"

	"volcano.sh/volcano/pkg/scheduler/api"
	"volcano.sh/volcano/pkg/scheduler/framework"

	"basalt.io/adapters/binds"
	placementv1 "basalt.io/adapters/placement/v1"
)

// release gives a lease back. Where some of its pods are bound already, the others are given back
// one by one.
func (t *try) release(got answer) {
	ctx := context.Background()
	response, err := t.plugin.client.Release(ctx, got.lease)
	if err != nil {
		klog.ErrorS(err, "A lease is held until its time is over", "job", t.job.UID)
		return
	}
	if response.GetAnswer() == placementv1.LeaseAnswer_LEASE_ANSWER_OK || !got.lease.GetGang() {
		return
	}
	for _, task := range t.pending {
		if got.places[string(task.Pod.UID)] != nil {
			releasePod(ctx, t.plugin.client, got.lease, string(task.Pod.UID))
		}
	}
}

// freePods ends whatever the pending pods hold from a part of the job that was described otherwise,
// as after a restart between a confirmation and its binds. The server takes our word that nothing of that
// is bound, so the API server is asked: what Volcano knows may be behind the binds of the run before.
func (t *try) freePods(a *ask) bool {
	for _, g := range a.groups {
		for _, task := range g.members {
			if task.Status != api.Pending {
				continue
			}
			if !binds.Over(context.Background(), t.ssn.KubeClient(), task.Pod, true) {
				return false
			}
			_, err := t.plugin.client.Release(context.Background(), &placementv1.Lease{
				Cluster: t.plugin.client.Cluster(), Uid: string(task.Pod.UID)})
			if err != nil {
				klog.ErrorS(err, "An earlier place cannot be given back", "pod", task.Name)
				return false
			}
		}
	}
	return true
}

// evict makes room, if that is configured: the victims are evicted by Volcano, and the places kept
// until they have left.
func (t *try) evict(a *ask, got *answer) bool {
	if s := t.plugin.settings; (!s.preempt && !s.reclaim) || !t.ssn.JobStarving(t.job) {
		return false
	}
	// Nobody is evicted for a job that its queue would refuse all the same.
	if t.full {
		plan, found := t.victims(a, got, true)
		if !found {
			return false
		}
		stmt := t.makeRoom(a, plan)
		room := t.ssn.JobPipelined(t.job)
		stmt.Discard()
		if !room {
			got.reason += fmt.Sprintf("; queue %s has no room for it", t.queue.Name)
			return false
		}
	}
	plan, found := t.victims(a, got, false)
	if !found || plan.GetLease() == nil {
		return false
	}
	t.makeRoom(a, plan).Commit()
	return true
}

// victims that the engine chooses; why there are none is added to the answer.
func (t *try) victims(a *ask, got *answer, dryRun bool) (*placementv1.EvictResponse, bool) {
	s := t.plugin.settings
	request := &placementv1.EvictRequest{NoPreempt: !s.preempt, NoReclaim: !s.reclaim,
		WithinQueueOnly: true, DryRun: dryRun}
	if a.pod != nil {
		request.Of = &placementv1.EvictRequest_Pod{Pod: a.pod}
	} else {
		request.Of = &placementv1.EvictRequest_Gang{Gang: a.gang}
	}
	plan, err := t.plugin.client.Evict(context.Background(), request)
	switch {
	case err != nil:
		klog.ErrorS(err, "Basalt cannot be asked who gives way", "job", t.job.UID)
	case !plan.GetFound() && plan.GetReason() != "":
		got.reason += "; nobody gives way: " + plan.GetReason()
	}
	return plan, err == nil && plan.GetFound()
}

// makeRoom evicts the plan's victims and puts the job's tasks in their places, in the session only.
func (t *try) makeRoom(a *ask, plan *placementv1.EvictResponse) *framework.Statement {
	stmt := framework.NewStatement(t.ssn)
	reason := fmt.Sprintf("its place is needed by job %s/%s", t.job.Namespace, t.job.Name)
	for _, victim := range plan.GetVictims() {
		task := t.taskOf(victim.GetPod().GetUid())
		// Pods that are not Volcano's are evicted by who carries out the engine's actions.
		if task == nil || task.Status == api.Releasing {
			continue
		}
		if err := stmt.Evict(task, reason); err != nil {
			klog.ErrorS(err, "Task cannot be evicted", "task", task.Name)
		}
	}
	nominated := answer{places: map[string]*placementv1.Place{}}
	if a.pod != nil {
		nominated.places[a.pod.GetPod().GetUid()] = plan.GetPod().GetPlacement()
	}
	for _, member := range plan.GetGang().GetMembers() {
		nominated.places[member.GetPod().GetUid()] = member.GetPlacement()
	}
	t.pipeline(stmt, nominated, true)
	return stmt
}

func (t *try) taskOf(uid string) *api.TaskInfo {
	for _, job := range t.ssn.Jobs {
		if task, found := job.Tasks[api.TaskID(uid)]; found {
			return task
		}
	}
	return nil
}

// pipeline keeps the places in this session: the engine holds them, and they are not free yet.
func (t *try) pipeline(stmt *framework.Statement, got answer, evicted bool) {
	for _, task := range t.pending {
		place := got.places[string(task.Pod.UID)]
		if place == nil || task.Status != api.Pending {
			continue
		}
		if t.full && !t.ssn.Allocatable(t.queue, task) {
			continue
		}
		if err := stmt.Pipeline(task, place.GetNode(), evicted); err != nil {
			if rollback := stmt.UnPipeline(task); rollback != nil {
				klog.ErrorS(rollback, "Task cannot be taken back", "task", task.Name)
			}
		}
	}
}
