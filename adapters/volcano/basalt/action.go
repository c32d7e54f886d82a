package basalt

import (
	"k8s.io/klog/v2"

	"volcano.sh/apis/pkg/apis/scheduling"
	"volcano.sh/volcano/pkg/scheduler/api"
	"volcano.sh/volcano/pkg/scheduler/conf"
	"volcano.sh/volcano/pkg/scheduler/framework"
	"volcano.sh/volcano/pkg/scheduler/util"
)

// Action stands where allocate does: `actions: "enqueue, basalt, backfill"`.
type Action struct{}

// NewAction for framework.RegisterAction.
func NewAction() *Action { return &Action{} }

// Name of the action.
func (a *Action) Name() string { return Name }

// Initialize does nothing.
func (a *Action) Initialize() {}

// UnInitialize does nothing.
func (a *Action) UnInitialize() {}

// Execute asks the engine about the jobs, in Volcano's order of queues and jobs.
func (a *Action) Execute(ssn *framework.Session) {
	plugin := pluginOf(ssn.UID)
	if plugin == nil {
		klog.ErrorS(nil, "The action basalt is configured without the plugin basalt: it places nothing")
		return
	}
	if plugin.fallBack {
		klog.V(2).InfoS("Basalt does not answer; the next actions place pods")
		return
	}
	plugin.deciding.Store(true)
	defer plugin.deciding.Store(false)

	queues := util.NewPriorityQueue(ssn.QueueOrderFn)
	jobs := map[api.QueueID]*util.PriorityQueue{}
	for _, job := range ssn.Jobs {
		if !considered(ssn, job) {
			continue
		}
		if jobs[job.Queue] == nil {
			jobs[job.Queue] = util.NewPriorityQueue(ssn.JobOrderFn)
			queues.Push(ssn.Queues[job.Queue])
		}
		jobs[job.Queue].Push(job)
	}
	for !queues.Empty() {
		queue := queues.Pop().(*api.QueueInfo)
		if ssn.Overused(queue) {
			klog.V(3).InfoS("Queue is overused", "queue", queue.Name)
			continue
		}
		if jobs[queue.UID].Empty() {
			continue
		}
		newTry(ssn, plugin, jobs[queue.UID].Pop().(*api.JobInfo), queue).run()
		queues.Push(queue) // its order depends on what it has now
	}
}

// considered are the jobs that allocate would consider.
func considered(ssn *framework.Session, job *api.JobInfo) bool {
	if job.IsPending() {
		if conf.EnabledActionMap["enqueue"] || job.PodGroup == nil {
			return false
		}
		job.PodGroup.Status.Phase = scheduling.PodGroupInqueue
	}
	if valid := ssn.JobValid(job); valid != nil && !valid.Pass {
		klog.V(4).InfoS("Job is not valid", "job", job.UID, "reason", valid.Reason)
		return false
	}
	if _, found := ssn.Queues[job.Queue]; !found {
		klog.InfoS("Job is of a queue that is not there", "job", job.UID, "queue", job.Queue)
		return false
	}
	if !ssn.HyperNodesReadyToSchedule && job.ContainsNetworkTopology() {
		return false
	}
	for _, task := range job.TaskStatusIndex[api.Pending] {
		if placeable(task) {
			return true
		}
	}
	return false
}

// placeable tasks are not gated, and ask for something: the others are backfill's.
func placeable(task *api.TaskInfo) bool { return !task.SchGated && !task.Resreq.IsEmpty() }
