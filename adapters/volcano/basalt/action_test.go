package basalt

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	"volcano.sh/apis/pkg/apis/scheduling"
	schedulingv1beta1 "volcano.sh/apis/pkg/apis/scheduling/v1beta1"
	topologyv1alpha1 "volcano.sh/apis/pkg/apis/topology/v1alpha1"
	"volcano.sh/volcano/pkg/scheduler/actions/allocate"
	"volcano.sh/volcano/pkg/scheduler/api"
	"volcano.sh/volcano/pkg/scheduler/conf"
	"volcano.sh/volcano/pkg/scheduler/framework"
	"volcano.sh/volcano/pkg/scheduler/plugins/gang"
	"volcano.sh/volcano/pkg/scheduler/plugins/proportion"
	"volcano.sh/volcano/pkg/scheduler/uthelper"
	"volcano.sh/volcano/pkg/scheduler/util"

	"basalt.io/adapters/client"
	"basalt.io/adapters/fake"
	placementv1 "basalt.io/adapters/placement/v1"
	"basalt.io/adapters/podres"
)

const pgUID = "10000000-0000-4000-8000-000000000000"

// host is a plugin of Volcano's side: what it refuses.
type host struct {
	predicate func(*api.TaskInfo, *api.NodeInfo) error
	overused  func(*api.QueueInfo) bool
	allocates func(*api.QueueInfo, *api.TaskInfo) bool
	before    func(*framework.Session, *api.TaskInfo) error // PrePredicate
}

func (h *host) Name() string { return "host" }
func (h *host) OnSessionOpen(ssn *framework.Session) {
	if h.predicate != nil {
		ssn.AddPredicateFn("host", h.predicate)
	}
	if h.before != nil {
		ssn.AddPrePredicateFn("host", func(task *api.TaskInfo) error { return h.before(ssn, task) })
	}
	if h.overused != nil {
		ssn.AddOverusedFn("host", func(o any) bool { return h.overused(o.(*api.QueueInfo)) })
	}
	if h.allocates != nil {
		ssn.AddAllocatableFn("host", h.allocates)
	}
}
func (h *host) OnSessionClose(*framework.Session) {}

type bed struct {
	t         *testing.T
	server    *fake.Server
	host      host
	arguments framework.Arguments
	options   func(*client.Options)
	test      uthelper.TestCommonStruct
	ssn       *framework.Session
}

func cards(n string) v1.ResourceList {
	list := api.BuildResourceList("64", "512Gi", []api.ScalarResource{{Name: "pods", Value: "110"}}...)
	list["nvidia.com/gpu"] = resource.MustParse(n)
	return list
}

func newBed(t *testing.T, nodes map[string]int) *bed {
	t.Helper()
	b := &bed{t: t, server: fake.New(nodes), arguments: framework.Arguments{}}
	for name, n := range nodes {
		b.test.Nodes = append(b.test.Nodes, util.BuildNode(name, cards(fmt.Sprint(n)), nil))
	}
	b.test.Queues = []*schedulingv1beta1.Queue{util.BuildQueue("q", 1, nil)}
	b.server.Start()
	t.Cleanup(b.server.Stop)
	return b
}

func (b *bed) pod(name, role string, n int, on string) *v1.Pod {
	phase := v1.PodPending
	if on != "" {
		phase = v1.PodRunning
	}
	request := v1.ResourceList{"cpu": resource.MustParse("1"), "memory": resource.MustParse("1Gi"),
		"nvidia.com/gpu": resource.MustParse(fmt.Sprint(n))}
	p := util.BuildPod("ns", name, on, phase, request, "pg", map[string]string{}, nil)
	p.UID = types.UID("uid-" + name)
	p.Spec.Containers[0].Name = "main"
	p.Spec.Containers[0].Resources.Limits = request
	p.Annotations["volcano.sh/task-spec"] = role
	b.test.Pods = append(b.test.Pods, p)
	return p
}

func (b *bed) gang(size int, min int32) {
	for i := range size {
		b.pod(fmt.Sprintf("p%02d", i), "worker", 1, "")
	}
	b.group(min)
}

func (b *bed) group(min int32) *schedulingv1beta1.PodGroup {
	pg := util.BuildPodGroup("pg", "ns", "q", min, nil, schedulingv1beta1.PodGroupInqueue)
	pg.UID = pgUID
	b.test.PodGroups = append(b.test.PodGroups, pg)
	return pg
}

func yes() *bool { on := true; return &on }

// session opens one; the connection stays over the sessions of a bed.
func (b *bed) session(plugins ...conf.PluginOption) *framework.Session {
	b.t.Helper()
	connection.mutex.Lock()
	if connection.dial == nil || b.ssn == nil {
		if connection.client != nil {
			_ = connection.client.Close()
			connection.client = nil
		}
		connection.dial = func(o client.Options) (*client.Client, error) {
			made := b.server.Options()
			made.Scheduler, made.OnDown, made.DownAfter = o.Scheduler, o.OnDown, o.DownAfter
			made.ProposeTimeout, made.GangTimeout = 2*time.Second, 2*time.Second
			made.ProbeEach = 5 * time.Millisecond
			if b.options != nil {
				b.options(&made)
			}
			return client.Dial(made)
		}
	}
	connection.mutex.Unlock()
	b.test.Plugins = map[string]framework.PluginBuilder{
		Name: New, gang.PluginName: gang.New, proportion.PluginName: proportion.New,
		"host": func(framework.Arguments) framework.Plugin { return &b.host }}
	tier := conf.Tier{Plugins: append([]conf.PluginOption{
		{Name: gang.PluginName, EnabledJobReady: yes(), EnabledJobPipelined: yes(),
			EnabledJobStarving: yes(), EnabledSubJobReady: yes(), EnabledSubJobPipelined: yes()},
		{Name: "host", EnabledPredicate: yes(), EnabledOverused: yes(), EnabledAllocatable: yes()},
		{Name: Name, EnabledPredicate: yes(), Arguments: b.arguments},
	}, plugins...)}
	// Once before the session, so that the probe has found the server.
	if p := New(b.arguments).(*Plugin); p.fault == nil && b.options == nil {
		for end := time.Now().Add(5 * time.Second); !p.client.Ready() && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
	}
	b.ssn = b.test.RegisterSession([]conf.Tier{tier}, nil)
	return b.ssn
}

func (b *bed) run(actions ...framework.Action) *api.JobInfo {
	b.t.Helper()
	b.session()
	b.test.Run(append([]framework.Action{NewAction()}, actions...))
	return b.ssn.Jobs["ns/pg"]
}

func (b *bed) binds(n int) {
	b.t.Helper()
	b.test.MinimalBindCheck = true
	b.test.ExpectBindsNum = n
	if err := b.test.CheckBind(0); err != nil {
		b.t.Error(err)
	}
}

func (b *bed) calls(want ...string) {
	b.t.Helper()
	if got := b.server.Calls(); strings.Join(got, " ") != strings.Join(want, " ") {
		b.t.Errorf("calls %v, want %v", got, want)
	}
}

func (b *bed) holds(n int) {
	b.t.Helper()
	if got := b.server.Held(); len(got) != n {
		b.t.Errorf("%d pods hold something, want %d: %v", len(got), n, got)
	}
}

func TestAmountsThatNoNodeOffersAreNotVolcanos(t *testing.T) {
	Register()
	asked := cards("1")
	asked["nvidia.com/gpumem"], asked["nvidia.com/gpucores"] = resource.MustParse("8192"), resource.MustParse("30")
	got := api.NewResource(asked)
	if len(got.ScalarResources) != 2 || got.ScalarResources["nvidia.com/gpu"] != 1000 || got.ScalarResources["pods"] == 0 {
		t.Errorf("Volcano counts %v", got.ScalarResources)
	}
}

func TestAGangIsBoundWholeByOneCall(t *testing.T) {
	b := newBed(t, map[string]int{"n0": 4, "n1": 4})
	b.gang(8, 8)
	job := b.run()
	defer b.test.Close()
	b.binds(8)
	b.calls("Reserve", "Confirm")
	request := b.server.Gangs()[0]
	if request.Gang.Uid != pgUID || len(request.Tasks) != 1 || request.Tasks[0].Name != "worker" ||
		request.Tasks[0].Min != 8 || len(request.Tasks[0].Members) != 8 ||
		request.Standing.Queue != "q" || request.Standing.NotPreemptible {
		t.Errorf("request %v", request)
	}
	used := map[string]bool{}
	for uid, hold := range b.server.Held() {
		if !hold.Confirmed {
			t.Errorf("%s is bound and not confirmed", uid)
		}
		task := job.Tasks[api.TaskID(uid)]
		card := task.Pod.Annotations[podres.CardsAnnotation]
		if task.NodeName != hold.Node || card != fmt.Sprintf("%s/%d", hold.Node, hold.Cards[0]) ||
			used[card] || task.Pod.Annotations["fake/assigned"] == "" {
			t.Errorf("%s: on %s with %q, held %v", uid, task.NodeName, card, hold)
		}
		used[card] = true
	}
}

func TestAGangThatDoesNotFitBindsNothing(t *testing.T) {
	b := newBed(t, map[string]int{"n0": 4, "n1": 4})
	b.gang(9, 9)
	job := b.run()
	defer b.test.Close()
	b.binds(0)
	b.calls("Reserve")
	b.holds(0)
	conditions := job.PodGroup.Status.Conditions
	if len(conditions) != 1 || conditions[0].Type != scheduling.PodGroupUnschedulableType ||
		!strings.Contains(conditions[0].Message, "task worker has room for 8 of 9") {
		t.Errorf("conditions %v", conditions)
	}
	// What gang, and the events, make of it.
	if text := job.FitError(); !strings.Contains(text, "room for 8 of 9") {
		t.Errorf("fit error %q", text)
	}
	_, reason, _ := job.TaskSchedulingReason("uid-p03")
	if !strings.Contains(reason, "room for 8 of 9") {
		t.Errorf("the pod is told %q", reason)
	}
}

func TestASinglePodIsAskedForAsOne(t *testing.T) {
	b := newBed(t, map[string]int{"n0": 4})
	b.gang(1, 1)
	b.run()
	defer b.test.Close()
	b.binds(1)
	b.calls("Reserve", "Confirm")
	if pods := b.server.Pods(); len(pods) != 1 || pods[0].Pod.Uid != "uid-p00" {
		t.Errorf("asked %v", pods)
	}
}

func TestMembersBeyondTheMinimum(t *testing.T) {
	b := newBed(t, map[string]int{"n0": 4})
	b.gang(6, 2)
	b.run()
	defer b.test.Close()
	b.binds(4) // as many as there is room for
	if request := b.server.Gangs()[0]; request.Tasks[0].Min != 2 {
		t.Errorf("request %v", request)
	}
}

func TestAVetoIsFedBack(t *testing.T) {
	nodes := map[string]int{}
	for i := range 40 {
		nodes[fmt.Sprintf("n%02d", i)] = 2
	}
	b := newBed(t, nodes)
	b.host.predicate = func(task *api.TaskInfo, node *api.NodeInfo) error {
		if node.Name < "n36" {
			return api.NewFitErrWithStatus(task, node, &api.Status{Code: api.Unschedulable,
				Reason: "not here"})
		}
		return nil
	}
	b.gang(8, 8)
	b.run()
	defer b.test.Close()
	b.binds(8)
	b.calls("Reserve", "Release", "Reserve", "Confirm")
	for uid, hold := range b.server.Held() {
		if hold.Node < "n36" {
			t.Errorf("%s on %s", uid, hold.Node)
		}
	}
	if got := b.server.Gangs()[1].Tasks[0].Constraints.ExcludedNodes; len(got) != 36 {
		t.Errorf("excluded %v", got)
	}
}

// Predicates of pods that must be apart work on what PrePredicate saw: it must see the members of the
// gang that have their places already.
func TestPodsThatMustBeApartAre(t *testing.T) {
	b := newBed(t, map[string]int{"n0": 4, "n1": 4})
	taken := map[string]map[string]bool{} // by task: nodes with a pod of the gang
	b.host.before = func(ssn *framework.Session, task *api.TaskInfo) error {
		taken[task.Name] = map[string]bool{}
		for name, node := range ssn.Nodes {
			if len(node.Tasks) > 0 {
				taken[task.Name][name] = true
			}
		}
		return nil
	}
	b.host.predicate = func(task *api.TaskInfo, node *api.NodeInfo) error {
		if taken[task.Name][node.Name] {
			return errors.New("one of them is here")
		}
		return nil
	}
	for i := range 2 {
		b.pod(fmt.Sprintf("p%d", i), "worker", 1, "").Spec.Affinity = &v1.Affinity{PodAntiAffinity: &v1.PodAntiAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: []v1.PodAffinityTerm{{TopologyKey: v1.LabelHostname}}}}
	}
	b.group(2)
	b.run()
	defer b.test.Close()
	on := map[string]int{}
	for _, hold := range b.server.Held() {
		on[hold.Node]++
	}
	if request := b.server.Gangs()[0]; request.Layout != placementv1.GangLayout_GANG_LAYOUT_SPREAD {
		t.Errorf("the engine is not asked to spread: %v", request)
	}
	for node, count := range on {
		if count > 1 {
			t.Errorf("%d are on %s", count, node)
		}
	}
}

func TestVetoesEnd(t *testing.T) {
	t.Run("everywhere", func(t *testing.T) {
		b := newBed(t, map[string]int{"n0": 4, "n1": 4})
		b.host.predicate = func(task *api.TaskInfo, node *api.NodeInfo) error {
			return api.NewFitErrWithStatus(task, node, &api.Status{Code: api.Unschedulable,
				Reason: "not here"})
		}
		b.gang(2, 2)
		job := b.run()
		defer b.test.Close()
		b.binds(0)
		b.holds(0)
		b.calls("Reserve", "Release", "Reserve")
		if !strings.Contains(job.JobFitErrors, "not here") {
			t.Errorf("reason %q", job.JobFitErrors)
		}
	})
	// A predicate that depends on what is placed already refuses one node a round.
	t.Run("one at a time", func(t *testing.T) {
		nodes := map[string]int{}
		for i := range 20 {
			nodes[fmt.Sprintf("n%02d", i)] = 4
		}
		b := newBed(t, nodes)
		var mutex sync.Mutex
		chosen := map[string]bool{}
		b.host.predicate = func(task *api.TaskInfo, node *api.NodeInfo) error {
			mutex.Lock()
			defer mutex.Unlock()
			if task.Name != "p00" || chosen[node.Name] {
				return nil
			}
			chosen[node.Name] = true
			return errors.New("not with the others")
		}
		b.gang(2, 2)
		b.run()
		defer b.test.Close()
		b.holds(b.server.Count("Confirm") * 2)
		if n := b.server.Count("Reserve"); n > maxRounds {
			t.Errorf("%d rounds", n)
		}
		if b.server.Count("Release") == 0 {
			t.Error("what was refused is given back")
		}
	})
}

func TestWhenTheEngineIsAway(t *testing.T) {
	for name, test := range map[string]struct {
		onDown string
		binds  int
	}{"closed": {"closed", 0}, "fallback": {"fallback", 2}} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, map[string]int{"n0": 4})
			b.server.Stop()
			b.arguments["basalt.onDown"] = test.onDown
			b.options = func(o *client.Options) {
				o.DownAfter = time.Nanosecond
				o.ProposeTimeout, o.GangTimeout = 20*time.Millisecond, 20*time.Millisecond
			}
			b.gang(2, 2)
			job := b.run(allocate.New()) // what stands behind it in the list of actions
			defer b.test.Close()
			b.binds(test.binds)
			if test.binds == 0 && !strings.Contains(job.FitError(), "placed by Basalt") &&
				!strings.Contains(job.FitError(), "does not answer") {
				t.Errorf("reason %q", job.FitError())
			}
		})
	}
	t.Run("not synced", func(t *testing.T) {
		b := newBed(t, map[string]int{"n0": 4})
		b.server.SetReady(false)
		b.options = func(*client.Options) {}
		b.gang(2, 2)
		job := b.run(allocate.New())
		defer b.test.Close()
		b.binds(0)
		if !strings.Contains(job.JobFitErrors, "does not know the cluster yet") {
			t.Errorf("reason %q", job.JobFitErrors)
		}
	})
	t.Run("one question a session", func(t *testing.T) {
		b := newBed(t, map[string]int{"n0": 4})
		tries := 0
		b.server.Before = func(method string) error {
			if method != "Reserve" {
				return nil
			}
			tries++
			time.Sleep(60 * time.Millisecond)
			return nil
		}
		b.options = func(o *client.Options) {
			o.ProposeTimeout, o.GangTimeout = 20*time.Millisecond, 20*time.Millisecond
		}
		for i := range 5 {
			p := b.pod(fmt.Sprintf("s%d", i), "worker", 1, "")
			p.Annotations[schedulingv1beta1.KubeGroupNameAnnotationKey] = fmt.Sprintf("pg%d", i)
			pg := util.BuildPodGroup(fmt.Sprintf("pg%d", i), "ns", "q", 1, nil,
				schedulingv1beta1.PodGroupInqueue)
			b.test.PodGroups = append(b.test.PodGroups, pg)
		}
		b.run()
		defer b.test.Close()
		b.binds(0)
		if tries != 1 {
			t.Errorf("%d calls to a server that does not answer", tries)
		}
	})
}

func TestDoubtAboutAConfirmationBindsNothing(t *testing.T) {
	b := newBed(t, map[string]int{"n0": 4})
	doubt := true
	b.server.Before = func(method string) error {
		if doubt && (method == "Confirm" || method == "Release") {
			return fake.Unavailable()
		}
		return nil
	}
	b.options = func(o *client.Options) { o.GangTimeout = 20 * time.Millisecond }
	b.gang(4, 4)
	b.run()
	b.binds(0)
	b.holds(4)
	b.test.Close()
	doubt = false
	b.run()
	defer b.test.Close()
	b.binds(4)
	b.holds(4)
}

func TestALeaseThatIsLostBeforeTheBind(t *testing.T) {
	b := newBed(t, map[string]int{"n0": 4})
	b.server.Before = func(method string) error {
		if method == "Confirm" {
			b.server.Expire(pgUID)
		}
		return nil
	}
	b.gang(4, 4)
	job := b.run()
	defer b.test.Close()
	b.binds(0)
	b.holds(0)
	if !strings.Contains(job.JobFitErrors, "lost before the bind") {
		t.Errorf("reason %q", job.JobFitErrors)
	}
	for _, task := range job.Tasks {
		if task.NodeName != "" || task.Pod.Annotations[podres.CardsAnnotation] != "" {
			t.Errorf("%s keeps %q, %v", task.Name, task.NodeName, task.Pod.Annotations)
		}
	}
}

func TestQueuesAreHonoured(t *testing.T) {
	t.Run("overused", func(t *testing.T) {
		b := newBed(t, map[string]int{"n0": 4})
		b.host.overused = func(queue *api.QueueInfo) bool { return queue.Name == "q" }
		b.gang(2, 2)
		b.run()
		defer b.test.Close()
		b.binds(0)
		b.calls()
	})
	t.Run("no room for some", func(t *testing.T) {
		b := newBed(t, map[string]int{"n0": 8})
		b.host.allocates = func(_ *api.QueueInfo, task *api.TaskInfo) bool { return task.Name < "p02" }
		b.gang(4, 3)
		job := b.run()
		defer b.test.Close()
		b.binds(0)
		b.calls()
		if !strings.Contains(job.FitError(), "has no room") {
			t.Errorf("reason %q", job.FitError())
		}
	})
	// What is placed in this very job counts, too.
	t.Run("filled by the job itself", func(t *testing.T) {
		b := newBed(t, map[string]int{"n0": 8})
		b.host.allocates = func(_ *api.QueueInfo, task *api.TaskInfo) bool {
			return b.ssn == nil || b.ssn.Jobs["ns/pg"] == nil ||
				len(b.ssn.Jobs["ns/pg"].TaskStatusIndex[api.Allocated]) < 2
		}
		b.gang(4, 3)
		b.run()
		defer b.test.Close()
		b.binds(0)
		b.holds(0)
	})
}

func TestSchedulingGatesAreHonoured(t *testing.T) {
	b := newBed(t, map[string]int{"n0": 4})
	for i := range 3 {
		p := b.pod(fmt.Sprintf("p%02d", i), "worker", 1, "")
		if i == 2 {
			p.Spec.SchedulingGates = []v1.PodSchedulingGate{{Name: "wait"}}
		}
	}
	b.group(2)
	b.run()
	b.binds(2)
	if _, held := b.server.Held()["uid-p02"]; held {
		t.Error("a gated pod holds a card")
	}
	for _, request := range b.server.Gangs() {
		for _, member := range request.Tasks[0].Members {
			if member.Uid == "uid-p02" {
				t.Error("a gated pod was asked for")
			}
		}
	}
	b.test.Close()

	all := newBed(t, map[string]int{"n0": 4})
	for i := range 2 {
		p := all.pod(fmt.Sprintf("p%02d", i), "worker", 1, "")
		p.Spec.SchedulingGates = []v1.PodSchedulingGate{{Name: "wait"}}
	}
	all.group(2)
	all.run()
	defer all.test.Close()
	all.binds(0)
	all.calls()
}

// Pods that the engine knows under another description, or by observation alone, stay as they are;
// what is missing is placed by itself.
func TestAPartOfAJobIsPlacedByItself(t *testing.T) {
	b := newBed(t, map[string]int{"n0": 8})
	b.pod("old0", "worker", 1, "n0")
	b.pod("old1", "worker", 1, "n0")
	b.server.Hold("uid-old0", "n0", 0)
	b.server.Hold("uid-old1", "n0", 1)
	b.pod("new0", "worker", 1, "")
	b.pod("new1", "worker", 1, "")
	b.group(4)
	b.run()
	b.binds(2)
	b.calls("Reserve", "Reserve", "Confirm")
	asked := b.server.Gangs()
	last := asked[len(asked)-1]
	if last.Gang.Uid == pgUID || len(last.Gang.Uid) != 36 || last.Tasks[0].Min != 2 ||
		len(last.Tasks[0].Members) != 2 {
		t.Errorf("asked %v", last)
	}
	b.test.Close()

	// A scheduler that ended between the confirmation and the binds of another part: its pod holds
	// a place as a part of something that is asked for no more.
	c := newBed(t, map[string]int{"n0": 8})
	c.pod("old0", "worker", 1, "n0")
	c.server.Hold("uid-old0", "n0", 0)
	c.server.HoldUnbound("uid-new0", "n0", 1)
	c.pod("new0", "worker", 1, "")
	c.pod("new1", "worker", 1, "")
	c.group(3)
	c.run()
	defer c.test.Close()
	c.binds(2)
	c.holds(3)
}

func TestVictimsGiveWay(t *testing.T) {
	leaves := func(b *bed) bool {
		return b.ssn != nil && b.ssn.Jobs["ns/low"] != nil &&
			len(b.ssn.Jobs["ns/low"].TaskStatusIndex[api.Releasing]) == 1
	}
	for name, one := range map[string]struct {
		room    func(*bed) bool // in the queue
		calls   []string
		evicted int
	}{
		"a queue with room":                     {nil, []string{"Reserve", "Evict"}, 1},
		"a queue that its victims make room in": {leaves, []string{"Reserve", "Evict", "Evict"}, 1},
		"a queue that stays full":               {func(*bed) bool { return false }, []string{"Reserve", "Evict"}, 0},
	} {
		t.Run(name, func(t *testing.T) { victims(t, one.room, one.calls, one.evicted) })
	}
}

func victims(t *testing.T, room func(*bed) bool, calls []string, evicted int) {
	b := newBed(t, map[string]int{"n0": 2})
	victim := b.pod("old", "worker", 2, "n0")
	victim.Annotations[schedulingv1beta1.KubeGroupNameAnnotationKey] = "low"
	low := util.BuildPodGroup("low", "ns", "q", 1, nil, schedulingv1beta1.PodGroupRunning)
	b.test.PodGroups = append(b.test.PodGroups, low)
	b.server.Hold("uid-old", "n0", 0, 1)
	b.arguments["basalt.preempt"] = true
	b.server.Victims = func(request *placementv1.EvictRequest) *placementv1.EvictResponse {
		if request.NoPreempt || !request.NoReclaim || !request.WithinQueueOnly {
			t.Errorf("asked %v", request)
		}
		var members []*placementv1.GangDecision_Member
		for i, pod := range request.GetGang().Tasks[0].Members {
			members = append(members, &placementv1.GangDecision_Member{Member: int32(i), Pod: pod,
				Placement: &placementv1.Place{Node: "n0"}})
		}
		plan := &placementv1.EvictResponse{Found: true,
			Victims: []*placementv1.Victim{{Pod: &placementv1.PodKey{Uid: "uid-old"}, Node: "n0"}},
			Gang:    &placementv1.GangDecision{Members: members}}
		if !request.DryRun {
			plan.Lease = &placementv1.Lease{Uid: pgUID, Gang: true, Epoch: 9}
		}
		return plan
	}
	if room != nil {
		b.host.allocates = func(*api.QueueInfo, *api.TaskInfo) bool { return room(b) }
	}
	b.gang(2, 2)
	job := b.run()
	defer b.test.Close()
	b.calls(calls...)
	b.test.ExpectEvicted, b.test.ExpectEvictNum = []string{"ns/old"}[:evicted], evicted
	if err := b.test.CheckEvict(0); err != nil {
		t.Error(err)
	}
	b.binds(0)
	if n := len(job.TaskStatusIndex[api.Pipelined]); n != 2*evicted {
		t.Errorf("%d tasks keep their places", n)
	}
}

// A pod's own word about its eviction counts, as in Volcano, and none is leave; a gang stays whole.
func TestWhoMayBeEvicted(t *testing.T) {
	for name, one := range map[string]struct {
		group string
		pods  [2]string
		stays bool
	}{
		"nothing said":        {"", [2]string{"", ""}, false},
		"the group may not":   {"false", [2]string{"", ""}, false},
		"the pods may":        {"", [2]string{"true", "true"}, false},
		"the pods may not":    {"true", [2]string{"false", "false"}, true},
		"one of the pods":     {"", [2]string{"", "false"}, true},
		"what cannot be read": {"", [2]string{"", "perhaps"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, map[string]int{"n0": 4})
			b.gang(2, 2)
			for i, word := range one.pods {
				if word != "" {
					b.test.Pods[i].Annotations[schedulingv1beta1.PodPreemptable] = word
				}
			}
			if one.group != "" {
				b.test.PodGroups[0].Annotations = map[string]string{schedulingv1beta1.PodPreemptable: one.group}
			}
			b.run()
			defer b.test.Close()
			if asked := b.server.Gangs()[0]; asked.Standing.NotPreemptible != one.stays {
				t.Errorf("asked %v", asked.Standing)
			}
		})
	}
}

// What is leaving still has its place in Volcano's books: the new pods wait for it, bound to nothing.
func TestPlacesThatAreNotFreeYet(t *testing.T) {
	t.Run("for Volcano", func(t *testing.T) {
		b := newBed(t, map[string]int{"n0": 2})
		leaving := b.pod("old", "worker", 2, "n0")
		now := metav1.Now()
		leaving.DeletionTimestamp = &now
		leaving.Annotations[schedulingv1beta1.KubeGroupNameAnnotationKey] = "other"
		b.test.PodGroups = append(b.test.PodGroups,
			util.BuildPodGroup("other", "ns", "q", 1, nil, schedulingv1beta1.PodGroupRunning))
		b.gang(2, 2)
		job := b.run()
		defer b.test.Close()
		b.binds(0)
		b.calls("Reserve")
		b.holds(2)
		if n := len(job.TaskStatusIndex[api.Pipelined]); n != 2 {
			t.Errorf("%d tasks wait for their places", n)
		}
	})
	t.Run("for the engine", func(t *testing.T) {
		b := newBed(t, map[string]int{"n0": 2})
		b.server.NotFree = true
		b.gang(2, 2)
		job := b.run()
		b.binds(0)
		b.calls("Reserve", "Confirm")
		b.holds(2)
		if n := len(job.TaskStatusIndex[api.Pipelined]); n != 2 {
			t.Errorf("%d tasks wait for their places", n)
		}
		b.test.Close()
		b.server.NotFree = false
		b.run()
		defer b.test.Close()
		b.binds(2)
	})
}

func TestNobodyIsEvictedUnasked(t *testing.T) {
	b := newBed(t, map[string]int{"n0": 2})
	b.gang(4, 4)
	b.run()
	defer b.test.Close()
	b.calls("Reserve")
}

func TestTopologyAndSubGroups(t *testing.T) {
	b := newBed(t, map[string]int{"n0": 4, "n1": 4})
	for i := range 4 {
		p := b.pod(fmt.Sprintf("p%02d", i), "worker", 1, "")
		p.Labels["part"] = fmt.Sprint(i / 2)
	}
	pg := b.group(4)
	two, tier, subTier := int32(2), 2, 1
	pg.Spec.NetworkTopology = &schedulingv1beta1.NetworkTopologySpec{
		Mode: schedulingv1beta1.HardNetworkTopologyMode, HighestTierAllowed: &tier}
	pg.Spec.SubGroupPolicy = []schedulingv1beta1.SubGroupPolicySpec{{Name: "part",
		SubGroupSize: &two, MinSubGroups: &two, MatchLabelKeys: []string{"part"},
		NetworkTopology: &schedulingv1beta1.NetworkTopologySpec{
			Mode: schedulingv1beta1.HardNetworkTopologyMode, HighestTierAllowed: &subTier}}}
	b.test.HyperNodesMap = map[string]*api.HyperNodeInfo{}
	b.test.HyperNodesSetByTier = map[int]sets.Set[string]{1: sets.New("s0", "s1"), 2: sets.New("s2")}
	b.test.HyperNodes = map[string]sets.Set[string]{"s0": sets.New("n0"), "s1": sets.New("n1"),
		"s2": sets.New("n0", "n1")}
	for name, tier := range map[string]int{"s0": 1, "s1": 1, "s2": 2} {
		members := []api.MemberConfig{}
		kind := topologyv1alpha1.MemberTypeNode
		if tier == 2 {
			kind = topologyv1alpha1.MemberTypeHyperNode
			members = []api.MemberConfig{{Name: "s0", Type: kind, Selector: "exact"},
				{Name: "s1", Type: kind, Selector: "exact"}}
		} else {
			members = []api.MemberConfig{{Name: "n" + name[1:], Type: kind, Selector: "exact"}}
		}
		b.test.HyperNodesMap[name] = api.NewHyperNodeInfo(api.BuildHyperNode(name, tier, members))
	}
	b.run()
	defer b.test.Close()
	b.binds(4)
	request := b.server.Gangs()[0]
	if request.GetLevel().GetRequired() != 2 || len(request.Groups) != 2 || len(request.Tasks) != 2 ||
		request.Groups[0].GetLevel().GetRequired() != 1 || request.Tasks[0].Group != 1 ||
		request.Tasks[1].Group != 2 || request.Tasks[0].Min != 2 || request.Tasks[1].Min != 2 {
		t.Errorf("asked %v", request)
	}
}

func TestMinimaOfRoles(t *testing.T) {
	b := newBed(t, map[string]int{"n0": 8})
	for i := range 2 {
		b.pod(fmt.Sprintf("m%d", i), "master", 1, "")
	}
	for i := range 4 {
		b.pod(fmt.Sprintf("w%d", i), "worker", 1, "")
	}
	pg := b.group(4)
	pg.Spec.MinTaskMember = map[string]int32{"master": 1, "worker": 2}
	b.run()
	defer b.test.Close()
	tasks := b.server.Gangs()[0].Tasks
	// Three by role, and a fourth from the first role that has one.
	if len(tasks) != 2 || tasks[0].Name != "master" || tasks[0].Min != 2 || tasks[1].Min != 2 {
		t.Errorf("asked %v", tasks)
	}
	b.binds(6)
}

func TestArguments(t *testing.T) {
	for name, arguments := range map[string]framework.Arguments{
		"unknown":    {"basalt.target": "x:1", "basalt.tagret": "y"},
		"no target":  {},
		"no switch":  {"basalt.target": "x:1", "basalt.preempt": "yes"},
		"no time":    {"basalt.target": "x:1", "basalt.gangTimeout": "1"},
		"wrong word": {"basalt.target": "x:1", "basalt.onDown": "open"},
	} {
		connection.mutex.Lock()
		connection.dial, connection.client = nil, nil
		connection.mutex.Unlock()
		if p := New(arguments).(*Plugin); p.fault == nil {
			t.Errorf("%s is taken", name)
		}
	}
	s, err := read(framework.Arguments{"basalt.target": "unix:/run/b.sock", "basalt.hami": true,
		"basalt.gangTimeout": "3s", "basalt.onDown": "fallback"})
	if err != nil || s.client.Target != "unix:///run/b.sock" || !s.hami || !s.queues ||
		s.client.GangTimeout != 3*time.Second || s.client.OnDown != client.Fallback {
		t.Errorf("%v, %v", s, err)
	}
	b := newBed(t, map[string]int{"n0": 4})
	b.arguments["basalt.tagret"] = "y"
	b.gang(2, 2)
	job := b.run(allocate.New())
	defer b.test.Close()
	b.binds(0)
	if !strings.Contains(job.FitError(), "basalt.tagret") && !strings.Contains(job.FitError(), "Basalt") {
		t.Errorf("reason %q", job.FitError())
	}
}

var background = context.Background()

func metaOf(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID("uid-" + name)}
}
