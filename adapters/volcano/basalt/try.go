package basalt

import (
	"context"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"

	"volcano.sh/apis/pkg/apis/scheduling"
	"volcano.sh/apis/pkg/apis/scheduling/v1beta1"
	"volcano.sh/volcano/pkg/scheduler/api"
	"volcano.sh/volcano/pkg/scheduler/framework"
	"volcano.sh/volcano/pkg/scheduler/util"

	"basalt.io/adapters/client"
	placementv1 "basalt.io/adapters/placement/v1"
)

const (
	maxRounds      = 8 // of a veto of Volcano's predicates and a new question
	predicateParts = 16
)

// try is one job in one session.
type try struct {
	ssn      *framework.Session
	plugin   *Plugin
	job      *api.JobInfo
	queue    *api.QueueInfo
	pending  []*api.TaskInfo // that may be placed, in Volcano's order
	wholeJob bool            // every task of the job is known to be placed, or is in pending
	full     bool            // the queue has room for it only once others of the queue have left
	pods     map[api.TaskID]*v1.Pod
}

func newTry(ssn *framework.Session, plugin *Plugin, job *api.JobInfo, queue *api.QueueInfo) *try {
	return &try{ssn: ssn, plugin: plugin, job: job, queue: queue, pods: map[api.TaskID]*v1.Pod{}}
}

// answer of the engine: a lease with places, or why there is none.
type answer struct {
	lease  *placementv1.Lease
	places map[string]*placementv1.Place // by pod uid
	wait   bool                          // others may give way
	reason string
}

func (t *try) run() {
	if t.plugin.fault != nil {
		t.fails("the plugin's arguments are wrong: " + t.plugin.fault.Error())
		return
	}
	if t.plugin.down != nil {
		t.fails(sayError(t.plugin.down)) // each job would wait for the same
		return
	}
	if err := setTiers(t.ssn, t.job); err != nil {
		t.fails(err.Error())
		return
	}
	if !t.prepare() {
		return
	}
	asks := t.asks(true)
	for number := 0; number < len(asks); number++ {
		a := asks[number]
		err := t.settle(a)
		if status.Code(err) == codes.InvalidArgument && a.job {
			// The engine knows this job as it was described before: the part that is missing is
			// placed by itself.
			klog.V(3).InfoS("Job is described anew", "job", t.job.UID, "reason", err.Error())
			asks, number = t.asks(false), -1
			continue
		}
		if status.Code(err) == codes.InvalidArgument && a.gang != nil && t.freePods(a) {
			err = t.settle(a)
		}
		if err != nil {
			if client.Down(err) {
				t.plugin.down = err
			}
			t.fails(sayError(err))
			return
		}
	}
}

func sayError(err error) string {
	if client.Down(err) {
		return "Basalt does not answer (" + status.Convert(err).Message() + ")"
	}
	return "Basalt refuses the request: " + status.Convert(err).Message()
}

// prepare finds the tasks to place; false: too few, and that is said.
func (t *try) prepare() bool {
	queue := util.NewPriorityQueue(t.ssn.TaskOrderFn)
	t.wholeJob = true
	for _, task := range t.job.Tasks {
		switch {
		case task.Status == api.Pending && placeable(task):
			queue.Push(task)
		case task.Status == api.Pending && task.SchGated:
			t.wholeJob = false
		case task.Status != api.Pending && !occupies(task.Status):
			t.wholeJob = false // failed or ending: its place is not to be kept for it
		}
	}
	var able []*api.TaskInfo
	whole, blocked := t.wholeJob, map[api.TaskID]bool{}
	for !queue.Empty() {
		task := queue.Pop().(*api.TaskInfo)
		if err := t.ssn.PrePredicateFn(task); err != nil {
			t.taskFails(task, err.Error())
			whole = false
			continue
		}
		if blocked[task.UID] = !t.ssn.Allocatable(t.queue, task); !blocked[task.UID] {
			t.pending = append(t.pending, task)
		}
		able = append(able, task)
	}
	t.wholeJob = whole && len(able) == len(t.pending)
	// Within a queue that is full the lower priorities may give way.
	if !t.enough(t.pending) && t.enough(able) && t.plugin.settings.preempt && t.ssn.JobStarving(t.job) {
		t.pending, t.wholeJob, t.full = able, whole, true
	}
	if !t.full {
		for _, task := range able {
			if blocked[task.UID] {
				t.queueFails(task)
			}
		}
	}
	if !t.enough(t.pending) {
		if len(t.job.NodesFitErrors) == 0 {
			t.fails(fmt.Sprintf("%d of %d tasks may be placed now",
				int32(len(t.pending))+t.placed(), t.job.MinAvailable))
		}
		return false
	}
	return true
}

func (t *try) placed() int32 { return t.job.ReadyTaskNum() + t.job.PendingBestEffortTaskNum() }

// enough says whether the job has its minimum with these tasks.
func (t *try) enough(tasks []*api.TaskInfo) bool {
	return len(tasks) > 0 && int32(len(tasks))+t.placed() >= t.job.MinAvailable
}

func (t *try) queueFails(task *api.TaskInfo) {
	t.taskFails(task, fmt.Sprintf("queue %s has no room for it", t.queue.Name))
}

// settle asks until the engine's places suit Volcano's predicates, and commits them. An error is the
// call's; whatever else happens is said on the job.
func (t *try) settle(a *ask) error {
	var refused error
	for range maxRounds {
		a.constrain(t.within(a))
		got, err := t.reserve(a)
		if err != nil {
			return err
		}
		if got.lease == nil {
			if got.wait && t.evict(a, &got) {
				return nil
			}
			reason := got.reason
			if refused != nil {
				reason = fmt.Sprintf("%s; Volcano refuses other nodes: %v", reason, refused)
			}
			t.fails(reason)
			return nil
		}
		vetoes, err := t.take(a, got)
		if err != nil || vetoes == nil {
			return err
		}
		t.release(got)
		refused = vetoes[0].err
		t.exclude(a, vetoes)
	}
	t.fails(fmt.Sprintf("Volcano refuses the nodes that Basalt chose, %d times: %v", maxRounds, refused))
	return nil
}

// within are the nodes of the network domain that a part of a job must share with the rest of it.
func (t *try) within(a *ask) []string {
	hard, tier := t.job.IsHardTopologyMode()
	if a.gang == nil || a.job || !hard || t.job.AllocatedHyperNode == "" {
		return nil
	}
	name := t.job.AllocatedHyperNode
	for {
		info := t.ssn.HyperNodes[name]
		if info == nil || info.Parent == "" {
			break
		}
		above := t.ssn.HyperNodes[info.Parent]
		if above == nil || above.Tier() > tier {
			break
		}
		name = info.Parent
	}
	return t.ssn.RealNodesSet[name].UnsortedList()
}

func (t *try) reserve(a *ask) (answer, error) {
	request := &placementv1.ReserveRequest{WantAssignment: true}
	if a.pod != nil {
		request.Of = &placementv1.ReserveRequest_Pod{Pod: a.pod}
	} else {
		request.Of = &placementv1.ReserveRequest_Gang{Gang: a.gang}
	}
	response, err := t.plugin.client.Reserve(context.Background(), request)
	if err != nil {
		return answer{}, err
	}
	got := answer{lease: response.GetLease(), places: map[string]*placementv1.Place{}}
	var kind placementv1.OutcomeKind
	if decision := response.GetPod(); decision != nil {
		kind, got.reason = decision.GetKind(), decision.GetReason()
		if place := decision.GetPlacement(); got.lease != nil && place != nil {
			got.places[a.pod.GetPod().GetUid()] = place
		}
	} else if decision := response.GetGang(); decision != nil {
		kind, got.reason = decision.GetKind(), decision.GetReason()
		for _, member := range decision.GetMembers() {
			got.places[member.GetPod().GetUid()] = member.GetPlacement()
		}
	}
	if got.lease != nil {
		return got, nil
	}
	if refused := response.GetRefused(); refused != "" {
		got.reason = refused
	}
	switch kind {
	case placementv1.OutcomeKind_OUTCOME_KIND_NOT_READY:
		got.reason = "Basalt does not know the cluster yet"
	case placementv1.OutcomeKind_OUTCOME_KIND_INFEASIBLE:
		got.reason = "never fits: " + got.reason
	case placementv1.OutcomeKind_OUTCOME_KIND_WAIT:
		got.wait = response.GetRefused() == ""
	}
	return got, nil
}

func (t *try) taskFails(task *api.TaskInfo, reason string) {
	errors := api.NewFitErrors()
	errors.SetError("Basalt: " + reason)
	t.job.NodesFitErrors[task.UID] = errors
}

// fails says on the job, on its pods and on its PodGroup why it is not placed.
func (t *try) fails(reason string) {
	klog.V(3).InfoS("Job is not placed", "job", t.job.UID, "reason", reason)
	t.job.JobFitErrors = "Basalt: " + reason
	for _, task := range t.job.TaskStatusIndex[api.Pending] {
		if placeable(task) && t.job.NodesFitErrors[task.UID] == nil {
			t.taskFails(task, reason)
		}
	}
	if t.ssn.JobReady(t.job) {
		return // it runs; what is missing is beyond its minimum
	}
	condition := &scheduling.PodGroupCondition{Type: scheduling.PodGroupUnschedulableType,
		Status: v1.ConditionTrue, LastTransitionTime: metav1.Now(),
		TransitionID: string(t.ssn.UID), Reason: v1beta1.NotEnoughResourcesReason,
		Message: t.job.JobFitErrors}
	if err := t.ssn.UpdatePodGroupCondition(t.job, condition); err != nil {
		klog.ErrorS(err, "Condition is not written", "job", t.job.UID)
	}
}
