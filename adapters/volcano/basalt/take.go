package basalt

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"

	"volcano.sh/volcano/pkg/scheduler/api"
	"volcano.sh/volcano/pkg/scheduler/framework"
	"volcano.sh/volcano/pkg/scheduler/metrics"

	placementv1 "basalt.io/adapters/placement/v1"
	"basalt.io/adapters/podres"
)

type veto struct {
	group *group
	task  *api.TaskInfo
	node  string
	err   error
}

// take allocates the places in the session, confirms them and commits. Vetoes mean that nothing was
// done, and that the lease is still held.
func (t *try) take(a *ask, got answer) ([]veto, error) {
	stmt := framework.NewStatement(t.ssn)
	var vetoes []veto
	var placed, left []*api.TaskInfo
	waits := false
	half := t.halfSubJobs(got)
	relative := slices.ContainsFunc(t.pending, func(task *api.TaskInfo) bool { return podres.Relative(task.Pod) })
	for _, task := range t.pending {
		place := got.places[string(task.Pod.UID)]
		if place == nil || task.Status != api.Pending {
			continue
		}
		g := a.groupOf(task)
		if half[g.sub] {
			t.taskFails(task, "its sub-group does not fit as a whole")
			left = append(left, task)
			continue
		}
		if !t.ssn.Allocatable(t.queue, task) {
			t.queueFails(task)
			left = append(left, task)
			continue
		}
		// What depends on other pods is looked at with those of this job in their places.
		var err error
		if relative && len(placed) > 0 {
			err = t.ssn.PrePredicateFn(task)
		}
		var node *api.NodeInfo
		idle := false
		if err == nil {
			node, idle, err = t.suits(task, place.GetNode())
		}
		if err != nil {
			vetoes = append(vetoes, veto{g, task, place.GetNode(), err})
		}
		if len(vetoes) > 0 {
			continue // the rest is looked at, but not taken
		}
		t.annotate(task, place)
		if idle {
			err = stmt.Allocate(task, node)
		} else if err = stmt.Pipeline(task, node.Name, false); err == nil {
			waits = true
		}
		if err != nil {
			// What the statement did not note it does not take back.
			if rollback := stmt.UnAllocate(task); rollback != nil {
				klog.ErrorS(rollback, "Task cannot be taken back", "task", task.Name)
			}
			t.restore(task)
			vetoes = append(vetoes, veto{g, task, place.GetNode(), err})
			continue
		}
		placed = append(placed, task)
	}
	back := func() {
		stmt.Discard()
		for _, task := range placed {
			t.restore(task)
		}
	}
	if len(vetoes) > 0 {
		back()
		return vetoes, nil
	}
	if len(placed) == 0 && len(left) == 0 {
		t.fails("there is room for no more of its tasks now")
		return nil, nil
	}
	if waits {
		// The room is there once what leaves has left. The session keeps it; the engine does, too.
		if t.ssn.JobPipelined(t.job) {
			return nil, nil
		}
		back()
		t.fails("its places are not free yet")
		return nil, nil
	}
	if len(placed) == 0 || !t.ssn.JobReady(t.job) {
		back()
		t.release(got)
		if len(t.job.NodesFitErrors) == 0 {
			t.fails("the places that Basalt has do not make the job ready")
		}
		return nil, nil
	}
	return nil, t.commit(stmt, got, placed, left, back)
}

func (t *try) commit(stmt *framework.Statement, got answer, placed, left []*api.TaskInfo, back func()) error {
	ctx := context.Background()
	for _, task := range left {
		releasePod(ctx, t.plugin.client, got.lease, string(task.Pod.UID))
	}
	reply, reason, err := confirm(ctx, t.plugin.client, got.lease)
	switch {
	case err != nil:
		// In doubt nothing is bound. If it was confirmed, the next session is given the same places.
		back()
		t.release(got)
		return err
	case reply == placementv1.LeaseAnswer_LEASE_ANSWER_ROOM_NOT_FREE:
		back()
		stmt := framework.NewStatement(t.ssn)
		t.pipeline(stmt, got, false)
		stmt.Commit()
		return nil
	case reply != placementv1.LeaseAnswer_LEASE_ANSWER_OK:
		back()
		t.release(got)
		t.fails("the lease was lost before the bind: " + reason)
		return nil
	}
	t.plugin.mutex.Lock()
	for _, task := range placed {
		_, labels := podres.BindMetadata(got.places[string(task.Pod.UID)])
		t.plugin.leases[task.UID] = &record{lease: got.lease, label: labels}
	}
	t.plugin.mutex.Unlock()
	stmt.Commit()
	t.ssn.MarkJobDirty(t.job.UID)
	now := time.Now()
	metrics.UpdateE2eSchedulingDurationByJob(t.job.Name, string(t.job.Queue), t.job.Namespace,
		metrics.Duration(t.job.CreationTimestamp.Time))
	metrics.UpdateE2eSchedulingLastTimeByJob(t.job.Name, string(t.job.Queue), t.job.Namespace, now)
	for _, task := range placed {
		if task.Status != api.Binding { // the cache did not take it: its pod or node is gone
			releasePod(ctx, t.plugin.client, got.lease, string(task.Pod.UID))
			t.restore(task)
		}
	}
	return nil
}

// halfSubJobs are sub-groups that would have some of their members and not enough of them.
func (t *try) halfSubJobs(got answer) map[api.SubJobID]bool {
	if !t.job.ContainsSubJobPolicy() {
		return nil
	}
	placed := map[api.SubJobID]int32{}
	for _, task := range t.pending {
		if got.places[string(task.Pod.UID)] != nil {
			placed[t.job.TaskToSubJob[task.UID]]++
		}
	}
	half := map[api.SubJobID]bool{}
	for id, count := range placed {
		sub := t.job.SubJobs[id]
		half[id] = sub != nil && id != t.job.DefaultSubJobID() &&
			count+sub.ReadyTaskNum()+sub.PendingBestEffortTaskNum() < sub.MinAvailable
	}
	return half
}

// suits says whether Volcano takes the task on the node; idle: now, not once others have left.
func (t *try) suits(task *api.TaskInfo, name string) (node *api.NodeInfo, idle bool, err error) {
	node, found := t.ssn.Nodes[name]
	if !found {
		return nil, false, fmt.Errorf("node %s is not in the session", name)
	}
	if ok, resources := task.InitResreq.LessEqualWithResourcesName(node.FutureIdle(), api.Zero); !ok {
		return nil, false, api.NewFitErrWithStatus(task, node, &api.Status{Code: api.Unschedulable,
			Reason: api.WrapInsufficientResourceReason(resources)})
	}
	if err := t.ssn.PredicateForAllocateAction(task, node); err != nil {
		return nil, false, err
	}
	return node, task.InitResreq.LessEqual(node.Idle, api.Zero), nil
}

// annotate puts the assignment on a copy of the pod: Volcano's Binding carries its annotations, and
// the API server writes them and the node in one step.
func (t *try) annotate(task *api.TaskInfo, place *placementv1.Place) {
	t.pods[task.UID] = task.Pod
	task.Pod = task.Pod.DeepCopy()
	annotations, _ := podres.BindMetadata(place)
	if len(annotations) == 0 {
		return
	}
	if task.Pod.Annotations == nil {
		task.Pod.Annotations = map[string]string{}
	}
	for key, value := range annotations {
		task.Pod.Annotations[key] = value
	}
}

func (t *try) restore(task *api.TaskInfo) {
	if pod := t.pods[task.UID]; pod != nil {
		task.Pod = pod
		delete(t.pods, task.UID)
	}
}

// exclude finds all the nodes that the predicates refuse to the vetoed groups: then the next answer
// is mostly the last, however many nodes there are.
func (t *try) exclude(a *ask, vetoes []veto) {
	for _, v := range vetoes {
		known := len(v.group.excluded) > 0
		v.group.excluded[v.node] = true
		fits := t.job.NodesFitErrors[v.task.UID]
		if fits == nil {
			fits = api.NewFitErrors()
		}
		fits.SetNodeError(v.node, v.err)
		if !known {
			// The places that were tried are given up: the predicates look at the nodes without them.
			if err := t.ssn.PrePredicateFn(v.task); err != nil {
				klog.V(3).InfoS("Task is refused before any node", "task", v.task.Name, "reason", err.Error())
			}
			var mutex sync.Mutex
			nodes := t.ssn.NodeList
			workqueue.ParallelizeUntil(context.Background(), predicateParts, len(nodes), func(i int) {
				_, _, err := t.suits(v.task, nodes[i].Name)
				if err == nil {
					return
				}
				mutex.Lock()
				v.group.excluded[nodes[i].Name] = true
				fits.SetNodeError(nodes[i].Name, err)
				mutex.Unlock()
			})
		}
		t.job.NodesFitErrors[v.task.UID] = fits
	}
}

func (a *ask) groupOf(task *api.TaskInfo) *group {
	for _, g := range a.groups {
		if slices.Contains(g.members, task) {
			return g
		}
	}
	return a.groups[0]
}
