package plugin

import (
	"context"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	fwk "k8s.io/kube-scheduler/framework"
	fw "k8s.io/kubernetes/pkg/scheduler/framework"

	"basalt.io/adapters/client"
	placementv1 "basalt.io/adapters/placement/v1"
)

func (f *fixture) gang(name string, minimum, from, count, cards int) []*v1.Pod {
	f.groups.minimum[name] = minimum
	var pods []*v1.Pod
	for i := range count {
		pods = append(pods, f.pod(from+i, cards, name))
	}
	return pods
}

func TestAGangIsAskedForOnceAndBoundTogether(t *testing.T) {
	f := setup(t, map[string]int{"a": 2, "b": 2}, nil)
	pods := f.gang("g", 4, 1, 4, 1)
	var cycles []*cycle
	for i, pod := range pods {
		c := f.cycle(pod)
		cycles = append(cycles, c)
		status := c.reserve()
		if last := i == 3; last != status.IsSuccess() || last == status.IsWait() {
			t.Fatalf("member %d: Permit says %v", i, status)
		}
		if len(f.bindings()) != 0 {
			t.Fatal("bound before the gang is complete")
		}
	}
	for _, pod := range pods[:3] {
		if !f.handle.waiting[pod.UID].allowed {
			t.Errorf("%s was not let go", pod.Name)
		}
	}
	for _, c := range cycles {
		c.must(c.bind())
		f.plugin.PostBind(context.Background(), c.state, c.pod, c.node)
	}
	if f.server.Count("Reserve") != 1 || f.server.Count("Confirm") != 1 || f.server.Count("Propose") != 0 {
		t.Errorf("calls: %v", f.server.Calls())
	}
	if len(f.bindings()) != 4 || f.plugin.gangs.gangs[uid(9001)].round != nil {
		t.Errorf("%d binds", len(f.bindings()))
	}
	gang := f.server.Gangs()[0]
	if len(gang.Tasks) != 1 || gang.Tasks[0].Min != 4 || len(gang.Tasks[0].Members) != 4 {
		t.Errorf("asked: %v", gang)
	}
}

func TestAGangThatDoesNotFitHoldsNothing(t *testing.T) {
	f := setup(t, map[string]int{"a": 3}, nil)
	for _, pod := range f.gang("g", 4, 1, 4, 1) {
		if status := f.cycle(pod).choose(); status.Code() != fwk.UnschedulableAndUnresolvable {
			t.Errorf("%s: %v", pod.Name, status)
		}
	}
	if len(f.server.Held()) != 0 {
		t.Errorf("held: %v", f.server.Held())
	}
	if f.server.Count("Reserve") != 1 {
		t.Errorf("the server was asked %d times for one answer", f.server.Count("Reserve"))
	}
	for _, pod := range f.groups.all {
		c := f.cycle(pod)
		c.choose()
		f.plugin.PostFilter(context.Background(), c.state, pod, fw.NewDefaultNodeToStatus())
	}
	if f.server.Count("Evict") != 1 {
		t.Errorf("the server was asked %d times who gives way", f.server.Count("Evict"))
	}
}

func TestAMemberThatFailsEndsTheRound(t *testing.T) {
	f := setup(t, map[string]int{"a": 4}, nil)
	pods := f.gang("g", 3, 1, 3, 1)
	first, second := f.cycle(pods[0]), f.cycle(pods[1])
	first.reserve()
	second.reserve()
	second.unreserve() // another plugin's Permit refused it
	if len(f.server.Held()) != 0 {
		t.Errorf("held: %v", f.server.Held())
	}
	if f.handle.waiting[pods[0].UID].rejected == "" {
		t.Error("the member that waits was not sent back")
	}
	if status := first.bind(); status.IsSuccess() {
		t.Error("a member of a gang that was given up was bound")
	}
	first.unreserve()
	// All over again, whole.
	for i, pod := range pods {
		if status := f.cycle(pod).reserve(); status.IsSuccess() != (i == 2) {
			t.Errorf("%s: %v", pod.Name, status)
		}
	}
}

// The server has confirmed or refused, and the answer is on its way to one member's PreBind, when
// another member fails: no member is bound, and nothing stays held.
func TestAGangThatIsGivenUpWhileItIsConfirmedBindsNothing(t *testing.T) {
	for name, fails := range map[string]bool{"confirmed": false, "not answered": true} {
		t.Run(name, func(t *testing.T) {
			asked, travels := make(chan bool), make(chan bool)
			f := setup(t, map[string]int{"a": 2}, func(_ *Args, o *client.Options) {
				o.DialOptions = append(o.DialOptions, grpc.WithUnaryInterceptor(func(ctx context.Context, method string,
					request, reply any, connection *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption) error {
					err := invoker(ctx, method, request, reply, connection, opts...)
					if strings.HasSuffix(method, "/Confirm") {
						asked <- true
						<-travels
						if fails {
							return status.Error(codes.Internal, "garbled")
						}
					}
					return err
				}))
			})
			pods := f.gang("g", 2, 1, 2, 1)
			one, other := f.cycle(pods[0]), f.cycle(pods[1])
			one.reserve()
			other.must(other.reserve())
			done := make(chan *fwk.Status)
			go func() { done <- one.bind() }()
			<-asked
			other.unreserve() // its own PreBind failed; that does not wait for the answer
			close(travels)
			if status := <-done; status.IsSuccess() || len(f.bindings()) != 0 {
				t.Errorf("a member of a gang that was given up was bound: %v", status)
			}
			one.unreserve()
			if held := f.server.Held(); len(held) != 0 || f.server.Count("Release") != 1 {
				t.Errorf("held: %v; calls %v", held, f.server.Calls())
			}
		})
	}
}

func TestAVetoOfAMembersNodeIsTheGangs(t *testing.T) {
	f := setup(t, map[string]int{"a": 2, "b": 2}, func(args *Args, _ *client.Options) {})
	pods := f.gang("g", 2, 1, 2, 1)
	c := f.cycle(pods[0])
	c.must(c.choose())
	f.plugin.PostFilter(context.Background(), c.state, c.pod, f.refusedBy("NodeAffinity", "a"))
	if len(f.server.Held()) != 0 {
		t.Errorf("held: %v", f.server.Held())
	}
	again := f.cycle(pods[1])
	again.must(again.choose())
	if again.node != "b" {
		t.Errorf("placed on %s", again.node)
	}
}

func TestHeadAndWorkersAreTasks(t *testing.T) {
	f := setup(t, map[string]int{"a": 8}, nil)
	f.groups.minimum["ray"] = 3
	f.pod(1, 1, "ray")
	for i := range 4 {
		f.pod(2+i, 2, "ray")
	}
	c := f.cycle(f.groups.all[2])
	f.server.Cards["a"] = 16
	c.must(c.choose())
	gang := f.server.Gangs()[0]
	if len(gang.Tasks) != 2 || len(gang.Tasks[0].Members) != 1 || gang.Tasks[0].Min != 1 ||
		len(gang.Tasks[1].Members) != 4 || gang.Tasks[1].Min != 2 {
		t.Errorf("tasks: %v", gang.Tasks)
	}
}

func TestAHeadWithoutDevicesStartsWithItsWorkers(t *testing.T) {
	f := setup(t, map[string]int{"a": 4}, nil)
	f.groups.minimum["ray"] = 3
	head := f.pod(1, 0, "ray")
	if status := f.plugin.PreEnqueue(context.Background(), head); status.IsSuccess() {
		t.Error("a head without workers was let in")
	}
	f.pod(2, 2, "ray")
	worker := f.pod(3, 2, "ray")
	if status := f.plugin.PreEnqueue(context.Background(), worker); !status.IsSuccess() {
		t.Errorf("a complete gang: %v", status)
	}
	if waiting, _ := f.plugin.books.take(); waiting["default/p1"] == nil {
		t.Error("the head is not woken")
	}
	c := f.cycle(head)
	if status := c.reserve(); !status.IsWait() {
		t.Errorf("the head does not wait for its workers: %v", status)
	}
	if gang := f.server.Gangs()[0]; len(gang.Tasks) != 2 || gang.Tasks[0].Min != 1 || gang.Tasks[1].Min != 2 {
		t.Errorf("tasks: %v", gang.Tasks)
	}
	// Without a PodGroup it is a pod like any other.
	stranger := f.pod(4, 0, "nothing")
	if status := f.plugin.PreEnqueue(context.Background(), stranger); !status.IsSuccess() {
		t.Errorf("a pod without devices, of no gang: %v", status)
	}
	// But its PodGroup may only be late.
	stranger.CreationTimestamp = metav1.Now()
	if status := f.plugin.PreEnqueue(context.Background(), stranger); status.IsSuccess() {
		t.Error("a head was let in before its PodGroup was seen")
	}
}

func TestTasksHaveTheirOwnNodeAffinity(t *testing.T) {
	f := setup(t, map[string]int{"a": 4, "b": 4}, nil)
	pods := f.gang("g", 2, 1, 2, 1)
	for i, zone := range []string{"a", "b"} {
		pods[i].Spec.Affinity = &v1.Affinity{NodeAffinity: &v1.NodeAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: &v1.NodeSelector{NodeSelectorTerms: []v1.NodeSelectorTerm{{
				MatchExpressions: []v1.NodeSelectorRequirement{{Key: "zone", Operator: v1.NodeSelectorOpIn, Values: []string{zone}}}}}}}}
	}
	for i, want := range []string{"a", "b"} {
		c := f.cycle(pods[i])
		c.must(c.choose())
		if c.node != want {
			t.Errorf("%s is placed on %s", pods[i].Name, c.node)
		}
	}
}

func TestAWorkerThatComesLaterIsPlacedBesideItsGang(t *testing.T) {
	f := setup(t, map[string]int{"a": 8}, nil)
	pods := f.gang("g", 2, 1, 2, 1)
	for _, pod := range pods {
		c := f.cycle(pod)
		c.reserve()
		defer func() {
			c.must(c.bind())
		}()
	}
	late := f.cycle(f.pod(3, 1, "g"))
	late.must(late.reserve())
	late.must(late.bind())
	if hold := f.server.Held()[string(late.pod.UID)]; hold.Gang != "" || !hold.Confirmed {
		t.Errorf("held: %+v", hold)
	}
	if job := f.server.Pods()[0].GetJob(); job != "default/g" {
		t.Errorf("its job is %q", job)
	}
}

func TestAMemberWhoseBindFailsIsReplaced(t *testing.T) {
	f := setup(t, map[string]int{"a": 4}, nil)
	pods := f.gang("g", 2, 1, 2, 1)
	one, other := f.cycle(pods[0]), f.cycle(pods[1])
	one.reserve()
	other.must(other.reserve())
	one.must(one.bind())
	f.plugin.PostBind(context.Background(), one.state, one.pod, one.node)
	one.pod.Spec.NodeName = one.node
	other.must(f.plugin.PreBind(context.Background(), other.state, other.pod, other.node))
	other.unreserve() // e.g. another plugin's PreBind failed
	if held := f.server.Held(); len(held) != 1 {
		t.Fatalf("held: %v", held)
	}
	again := f.cycle(pods[1])
	again.must(again.reserve())
	again.must(again.bind())
	gangs := f.server.Gangs()
	same := func(a, b *placementv1.PodKey) bool { return a.GetUid() == b.GetUid() }
	if !slices.EqualFunc(gangs[0].Tasks[0].Members, gangs[1].Tasks[0].Members, same) {
		t.Error("the gang was described anew while it holds something")
	}
	if len(f.server.Held()) != 2 {
		t.Errorf("held: %v", f.server.Held())
	}
}

func TestAGangIsGatedUntilItIsComplete(t *testing.T) {
	f := setup(t, map[string]int{"a": 4}, nil)
	first := f.gang("g", 2, 1, 1, 1)[0]
	if status := f.plugin.PreEnqueue(context.Background(), first); status.IsSuccess() {
		t.Error("half a gang was let in")
	}
	if waiting, _ := f.plugin.books.take(); len(waiting) != 0 {
		t.Error("it is woken for nothing")
	}
	second := f.pod(2, 1, "g")
	if status := f.plugin.PreEnqueue(context.Background(), second); !status.IsSuccess() {
		t.Errorf("a complete gang: %v", status)
	}
	if waiting, _ := f.plugin.books.take(); waiting["default/p1"] == nil {
		t.Error("the first member is not woken")
	}
	stranger := f.pod(3, 1, "nothing")
	if status := f.plugin.PreEnqueue(context.Background(), stranger); status.IsSuccess() {
		t.Error("a gang without PodGroup was let in")
	}
}
