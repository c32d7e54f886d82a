package basalt

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"sort"
	"strconv"

	"google.golang.org/protobuf/proto"

	"volcano.sh/volcano/pkg/scheduler/api"
	"volcano.sh/volcano/pkg/scheduler/framework"

	placementv1 "basalt.io/adapters/placement/v1"
	"basalt.io/adapters/podres"
)

const taskIndexKey = "volcano.sh/task-index"

// ask is one request to the engine, and the job's tasks that it is about.
type ask struct {
	pod    *placementv1.PodRequest // one of the two
	gang   *placementv1.GangRequest
	groups []*group // as the gang's tasks
	job    bool     // the gang is the whole job: it may have been described otherwise before
}

// group are tasks of one role and one shape: what the engine calls a task.
type group struct {
	name    string
	role    string
	sub     api.SubJobID
	ask     *placementv1.Ask
	members []*api.TaskInfo
	min     int32
	// Nodes that Volcano's predicates refuse, for all members.
	excluded map[string]bool
}

func occupies(status api.TaskStatus) bool {
	return api.AllocatedStatus(status) || status == api.Succeeded
}

// groupTasks puts tasks into groups, in an order that depends on nothing but the tasks: the engine
// takes a gang that holds something only under the same description.
func groupTasks(job *api.JobInfo, tasks []*api.TaskInfo, keys []string) []*group {
	byKey := map[string]*group{}
	var names []string
	for _, task := range tasks {
		resources := podres.Resources(task.Pod, keys)
		resources.Name = task.TaskRole
		shape, err := proto.MarshalOptions{Deterministic: true}.Marshal(resources)
		if err != nil {
			shape = []byte(task.UID)
		}
		sub := api.SubJobID("")
		if job.ContainsSubJobPolicy() {
			sub = job.TaskToSubJob[task.UID]
		}
		key := fmt.Sprintf("%s\x00%s\x00%s", sub, task.TaskRole, shape)
		g := byKey[key]
		if g == nil {
			g = &group{role: task.TaskRole, sub: sub, excluded: map[string]bool{},
				ask: &placementv1.Ask{Of: &placementv1.Ask_Pod{Pod: resources}}}
			byKey[key] = g
			names = append(names, key)
		}
		g.members = append(g.members, task)
	}
	sort.Strings(names)
	var out []*group
	shapes := map[string]int{} // of a role
	for _, key := range names {
		g := byKey[key]
		g.name = g.role
		if g.name == "" {
			g.name = "task"
		}
		if shapes[g.role]++; shapes[g.role] > 1 {
			g.name = fmt.Sprintf("%s-%d", g.name, shapes[g.role])
		}
		slices.SortFunc(g.members, compareTasks)
		out = append(out, g)
	}
	return out
}

func compareTasks(a, b *api.TaskInfo) int {
	index := func(t *api.TaskInfo) int {
		number, err := strconv.Atoi(t.Pod.Annotations[taskIndexKey])
		if err != nil {
			return -1
		}
		return number
	}
	return cmp.Or(cmp.Compare(index(a), index(b)), cmp.Compare(a.Name, b.Name),
		cmp.Compare(a.UID, b.UID))
}

// setMins divides what must run over the groups: minTaskMember to its role, sub-groups that must be
// whole to their tasks, the rest of minMember to the groups in order. Where minMember may be met in
// several ways this asks for one of them.
//
// taken are the members that a role has already; nil: the description is of the whole job, and must
// not change when its members start.
func setMins(job *api.JobInfo, groups []*group, needed int32, taken map[string]int32) {
	total := int32(0)
	raise := func(g *group, by int32) {
		by = max(0, min(by, int32(len(g.members))-g.min))
		g.min += by
		total += by
	}
	if job.ContainsSubJobPolicy() {
		for _, sub := range wholeSubJobs(job, taken != nil) {
			rest := sub.MinAvailable
			if taken != nil {
				rest -= sub.ReadyTaskNum() + sub.PendingBestEffortTaskNum()
			}
			for _, g := range groups {
				if g.sub == sub.UID && rest > 0 {
					before := g.min
					raise(g, rest)
					rest -= g.min - before
				}
			}
		}
	}
	if job.MinAvailable >= job.TaskMinAvailableTotal {
		for role, least := range job.TaskMinAvailable {
			rest := least - taken[role]
			for _, g := range groups {
				if g.role == role && rest > 0 {
					rest -= g.min
					before := g.min
					raise(g, rest)
					rest -= g.min - before
				}
			}
		}
	}
	for _, g := range groups {
		raise(g, needed-total)
	}
}

// wholeSubJobs are those that the policy needs: per policy minSubGroups of them.
func wholeSubJobs(job *api.JobInfo, readyFirst bool) []*api.SubJobInfo {
	var all []*api.SubJobInfo
	for _, sub := range job.SubJobs {
		all = append(all, sub)
	}
	slices.SortFunc(all, func(a, b *api.SubJobInfo) int {
		ready := func(s *api.SubJobInfo) int {
			if !readyFirst || s.IsReady() {
				return 0
			}
			return 1
		}
		return cmp.Or(cmp.Compare(ready(a), ready(b)), cmp.Compare(a.MatchIndex, b.MatchIndex),
			cmp.Compare(a.UID, b.UID))
	})
	count := map[api.SubJobGID]int32{}
	var out []*api.SubJobInfo
	for _, sub := range all {
		if count[sub.GID] < job.MinSubJobs[sub.GID] {
			count[sub.GID]++
			out = append(out, sub)
		}
	}
	return out
}

func level(hard bool, hardTier int, soft bool, softTier *int) *placementv1.LevelWish {
	tier := int32(hardTier)
	switch {
	case hard:
		return &placementv1.LevelWish{Required: &tier}
	case soft && softTier != nil:
		tier = int32(*softTier)
		return &placementv1.LevelWish{Preferred: &tier}
	}
	return nil
}

// setTiers turns names of tiers into numbers, as allocate does before it looks at a job.
func setTiers(ssn *framework.Session, job *api.JobInfo) error {
	resolve := func(name string, allowed **int) error {
		if name == "" || *allowed != nil {
			return nil
		}
		tier, found := ssn.HyperNodeTierNameMap[name]
		if !found {
			return fmt.Errorf("no HyperNode has the tier name %q", name)
		}
		*allowed = &tier
		return nil
	}
	if topology := job.PodGroup.Spec.NetworkTopology; topology != nil {
		if err := resolve(topology.HighestTierName, &topology.HighestTierAllowed); err != nil {
			return err
		}
	}
	for i := range job.PodGroup.Spec.SubGroupPolicy {
		if topology := job.PodGroup.Spec.SubGroupPolicy[i].NetworkTopology; topology != nil {
			if err := resolve(topology.HighestTierName, &topology.HighestTierAllowed); err != nil {
				return err
			}
		}
	}
	return nil
}

// stays says that a pod of the job may not be evicted: a gang has one standing.
func (t *try) stays() bool {
	return slices.ContainsFunc(t.pending, func(task *api.TaskInfo) bool { return podres.Stays(task.Pod) })
}

func (t *try) standing() *placementv1.Standing {
	s := &placementv1.Standing{Priority: t.job.Priority, NotPreemptible: t.stays()}
	if t.plugin.settings.queues {
		s.Queue = string(t.job.Queue)
	}
	return s
}

func (t *try) gangOf(uid string, groups []*group) *placementv1.GangRequest {
	job := t.job
	request := &placementv1.GangRequest{
		Gang:     &placementv1.PodKey{Uid: uid, Namespace: job.Namespace, Name: job.Name},
		Job:      job.Namespace + "/" + job.Name,
		Standing: t.standing(),
	}
	hard, tier := job.IsHardTopologyMode()
	var allowed *int
	if job.PodGroup.Spec.NetworkTopology != nil {
		allowed = job.PodGroup.Spec.NetworkTopology.HighestTierAllowed
	}
	request.Level = level(hard, tier, job.IsSoftTopologyMode(), allowed)
	if slices.ContainsFunc(groups, func(g *group) bool { return podres.Apart(g.members[0].Pod) }) {
		podres.Spread(request)
	}
	numbers := map[api.SubJobID]int32{}
	for _, g := range groups {
		task := &placementv1.GangTask{Name: g.name, Ask: g.ask, Min: g.min}
		for _, member := range g.members {
			task.Members = append(task.Members, podres.Key(member.Pod, 0))
		}
		if sub := job.SubJobs[g.sub]; sub != nil && g.sub != job.DefaultSubJobID() {
			if numbers[g.sub] == 0 {
				subHard, subTier := sub.IsHardTopologyMode()
				wish := level(subHard, subTier, false, nil)
				request.Groups = append(request.Groups,
					&placementv1.GangGroup{Name: string(g.sub), Level: wish})
				numbers[g.sub] = int32(len(request.Groups))
			}
			task.Group = numbers[g.sub]
		}
		request.Tasks = append(request.Tasks, task)
	}
	return request
}

// asks of a job in this session: one, but for members beyond the minimum, which are asked for role
// by role, as any of them may run without the others.
func (t *try) asks(whole bool) []*ask {
	job := t.job
	keys := t.plugin.client.AnnotationKeys()
	if len(job.Tasks) == 1 && job.MinAvailable <= 1 && !job.ContainsSubJobPolicy() {
		task := t.pending[0]
		g := groupTasks(job, t.pending, keys)[0]
		return []*ask{{groups: []*group{g}, pod: &placementv1.PodRequest{
			Pod: podres.Key(task.Pod, 0), Ask: g.ask, Job: job.Namespace + "/" + job.Name,
			Standing: t.standing()}}}
	}
	if whole && t.wholeJob {
		var all []*api.TaskInfo
		for _, task := range job.Tasks {
			if !task.Resreq.IsEmpty() {
				all = append(all, task)
			}
		}
		groups := groupTasks(job, all, keys)
		setMins(job, groups, max(1, job.MinAvailable-int32(len(job.Tasks)-len(all))), nil)
		return []*ask{{gang: t.gangOf(string(job.PgUID), groups), groups: groups, job: true}}
	}
	groups := groupTasks(job, t.pending, keys)
	taken := map[string]int32{}
	for _, task := range job.Tasks {
		if occupies(task.Status) {
			taken[task.TaskRole]++
		}
	}
	needed := job.MinAvailable - job.ReadyTaskNum() - job.PendingBestEffortTaskNum()
	setMins(job, groups, needed, taken)
	together := slices.ContainsFunc(groups, func(g *group) bool { return g.min > 0 })
	if together {
		return []*ask{{gang: t.gangOf(partUID(job, groups), groups), groups: groups}}
	}
	var out []*ask
	for _, g := range groups {
		g.min = 1
		part := []*group{g}
		out = append(out, &ask{gang: t.gangOf(partUID(job, part), part), groups: part})
	}
	return out
}

// partUID is the uid of a part of a job that is placed by itself: the same part has the same one, so
// that it is placed once, also by a scheduler that was started anew.
func partUID(job *api.JobInfo, groups []*group) string {
	hash := sha256.New()
	fmt.Fprintf(hash, "%s\x00", job.PgUID)
	for _, g := range groups {
		fmt.Fprintf(hash, "%s %d\x00", g.name, g.min)
		for _, member := range g.members {
			fmt.Fprintf(hash, "%s\x00", member.UID)
		}
	}
	h := hex.EncodeToString(hash.Sum(nil)[:16])
	return fmt.Sprintf("%s-%s-%s-%s-%s", h[:8], h[8:12], h[12:16], h[16:20], h[20:])
}

// constrain puts what the predicates have refused into the request.
func (a *ask) constrain(only []string) {
	set := func(g *group) *placementv1.Constraints {
		if len(g.excluded) == 0 && len(only) == 0 {
			return nil
		}
		c := &placementv1.Constraints{OnlyNodes: only}
		for node := range g.excluded {
			c.ExcludedNodes = append(c.ExcludedNodes, node)
		}
		sort.Strings(c.ExcludedNodes)
		return c
	}
	if a.pod != nil {
		a.pod.Constraints = set(a.groups[0])
		return
	}
	for i, g := range a.groups {
		a.gang.Tasks[i].Constraints = set(g)
	}
}
