package syncer

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	kubefake "k8s.io/client-go/kubernetes/fake"
	schedulingv1beta1 "volcano.sh/apis/pkg/apis/scheduling/v1beta1"
	topologyv1alpha1 "volcano.sh/apis/pkg/apis/topology/v1alpha1"
	vcfake "volcano.sh/apis/pkg/client/clientset/versioned/fake"

	"basalt.io/adapters/client"
	"basalt.io/adapters/fake"
	placementv1 "basalt.io/adapters/placement/v1"
)

// server applies a stream by the protocol's rules, as strictly as the real one, and keeps the state
// that it was told.
type server struct {
	*fake.Server
	mutex     sync.Mutex
	boot      uint64
	open      bool
	source    string
	applied   uint64
	listing   bool
	resumable uint64
	opens     []*placementv1.SyncOpen
	messages  int
	nodesTold int
	nodes     map[string]*placementv1.NodeState
	pods      map[string]*placementv1.PodState
	queues    map[string]*placementv1.QueueState
	paths     map[string]*placementv1.NodePath
	budgets   map[string]*placementv1.Budget
	listed    map[string]bool
	ready     bool
	faults    []string
	// fault may spoil the answer to a message; "" goes on, "drop" ends the stream before it is
	// applied, "lose" after, "relist" asks for a new listing.
	fault func(generation uint64) string
	// reject may refuse an object.
	reject func(*placementv1.Delta) *placementv1.Rejected
}

func newServer() *server {
	s := &server{Server: fake.New(nil), boot: 1}
	s.Drivers = []string{driver}
	s.forget()
	return s
}

func (s *server) forget() {
	s.nodes, s.pods = map[string]*placementv1.NodeState{}, map[string]*placementv1.PodState{}
	s.budgets = map[string]*placementv1.Budget{}
	s.queues, s.paths = map[string]*placementv1.QueueState{}, map[string]*placementv1.NodePath{}
}

func (s *server) apply(delta *placementv1.Delta) {
	switch of := delta.Of.(type) {
	case *placementv1.Delta_Node:
		s.nodes[of.Node.Kubernetes.Name] = of.Node
		s.nodesTold++
		s.listed["node "+of.Node.Kubernetes.Name] = true
	case *placementv1.Delta_NodeGone:
		delete(s.nodes, of.NodeGone)
	case *placementv1.Delta_Pod:
		s.pods[of.Pod.Pod.Uid] = of.Pod
		s.listed["pod "+of.Pod.Pod.Uid] = true
	case *placementv1.Delta_PodGone:
		delete(s.pods, of.PodGone.Uid)
	case *placementv1.Delta_Queue:
		s.queues[of.Queue.Name] = of.Queue
	case *placementv1.Delta_QueueGone:
		delete(s.queues, of.QueueGone)
	case *placementv1.Delta_Budget:
		s.budgets[of.Budget.Name] = of.Budget
		if of.Budget.MinAvailable == nil && of.Budget.MaxUnavailable == nil {
			delete(s.budgets, of.Budget.Name)
		}
	case *placementv1.Delta_Path:
		s.paths[of.Path.Node] = of.Path
		if len(of.Path.Network) == 0 {
			delete(s.paths, of.Path.Node)
		}
	}
}

func (s *server) Sync(stream placementv1.Placement_SyncServer) error {
	request, err := stream.Recv()
	if err != nil {
		return err
	}
	open := request.GetOpen()
	s.mutex.Lock()
	if s.open && s.source != open.Source {
		s.mutex.Unlock()
		return status.Error(codes.AlreadyExists, "synced by "+s.source)
	}
	s.opens = append(s.opens, open)
	s.open, s.source = true, open.Source
	resumes := open.ResumeGeneration != 0 && open.ServerEpoch == s.boot &&
		open.ResumeGeneration == s.resumable
	if s.listing = !resumes; s.listing {
		s.applied = 0
		s.listed = map[string]bool{}
	}
	s.resumable = 0
	answer := &placementv1.SyncResponse{ServerEpoch: s.boot, AppliedGeneration: s.applied,
		Relist: !resumes && open.ResumeGeneration != 0, Ready: s.ready}
	s.mutex.Unlock()
	defer func() {
		s.mutex.Lock()
		s.open = false
		if !s.listing {
			s.resumable = s.applied
		}
		s.mutex.Unlock()
	}()
	for {
		if err := stream.Send(answer); err != nil {
			return err
		}
		request, err := stream.Recv()
		if err != nil {
			return err
		}
		s.mutex.Lock()
		answer = &placementv1.SyncResponse{ServerEpoch: s.boot}
		fault := ""
		switch of := request.Of.(type) {
		case *placementv1.SyncRequest_Deltas:
			s.messages++
			if s.fault != nil {
				fault = s.fault(of.Deltas.Generation)
			}
			if fault == "drop" {
				break
			}
			if of.Deltas.Generation != s.applied+1 {
				s.faults = append(s.faults, fmt.Sprintf("generation %d after %d",
					of.Deltas.Generation, s.applied))
				answer.Relist = true
				break
			}
			s.applied = of.Deltas.Generation
			for _, delta := range of.Deltas.Deltas {
				if s.reject != nil {
					if bad := s.reject(delta); bad != nil {
						answer.Rejected = append(answer.Rejected, bad)
						continue
					}
				}
				s.apply(delta)
			}
		case *placementv1.SyncRequest_Complete:
			if of.Complete.Generation != s.applied {
				s.faults = append(s.faults, "complete before all was sent")
			}
			for name := range s.nodes {
				if !s.listed["node "+name] {
					delete(s.nodes, name)
				}
			}
			for uid := range s.pods {
				if !s.listed["pod "+uid] {
					delete(s.pods, uid)
				}
			}
			s.listing = false
			s.ready = true
		default:
			s.faults = append(s.faults, "a second open")
		}
		answer.AppliedGeneration = s.applied
		answer.Ready = s.ready
		answer.Relist = answer.Relist || fault == "relist"
		s.mutex.Unlock()
		if fault == "drop" || fault == "lose" {
			return status.Error(codes.Unavailable, "the connection broke")
		}
	}
}

func (s *server) with(look func()) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	look()
}

func node(name string, cards string) *v1.Node {
	return &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"rack": "r1"}},
		Status: v1.NodeStatus{Allocatable: v1.ResourceList{"cpu": resource.MustParse("8"),
			"memory": resource.MustParse("64Gi"), "pods": resource.MustParse("110"),
			"nvidia.com/gpu": resource.MustParse(cards)}}}
}

func cardsOf(state *placementv1.NodeState) string {
	return state.GetKubernetes().GetAllocatable()["nvidia.com/gpu"]
}

func uidOf(i int) types.UID {
	return types.UID(fmt.Sprintf("00000000-0000-4000-8000-%012d", i))
}

func pod(name string, uid int, on string) *v1.Pod {
	return &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns", UID: uidOf(uid)},
		Spec: v1.PodSpec{NodeName: on, Containers: []v1.Container{{Name: "c",
			Resources: v1.ResourceRequirements{Limits: v1.ResourceList{
				"nvidia.com/gpu": resource.MustParse("1")}}}}}}
}

type bed struct {
	t       *testing.T
	server  *server
	kube    *kubefake.Clientset
	volcano *vcfake.Clientset
	syncer  *Syncer
	stop    func()
}

func newBed(t *testing.T, volcano []runtime.Object, change func(*Options), objects ...runtime.Object) *bed {
	t.Helper()
	b := &bed{t: t, server: newServer(), kube: kubefake.NewClientset(objects...)}
	// The embedded server's methods are not those that gRPC would call.
	b.server.StartAs(b.server)
	options := b.server.Options()
	options.ProbeEach = 20 * time.Millisecond
	options.ProposeTimeout = 2 * time.Second
	c, err := client.Dial(options)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Client: c, Kube: b.kube, Source: "test", RetryPause: time.Millisecond,
		RejectedIn: 20 * time.Millisecond, Batch: 3, Window: 2}
	if volcano != nil {
		b.volcano = vcfake.NewSimpleClientset(volcano...)
		o.Volcano = b.volcano
	}
	if change != nil {
		change(&o)
	}
	if b.syncer, err = New(o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	b.stop = func() { cancel(); <-done }
	go func() { _ = b.syncer.Run(ctx); close(done) }()
	t.Cleanup(func() {
		b.stop()
		_ = c.Close()
		b.server.Stop()
		b.server.with(func() {
			for _, fault := range b.server.faults {
				t.Error(fault)
			}
		})
	})
	return b
}

func (b *bed) until(what string, done func() bool) {
	b.t.Helper()
	end := time.Now().Add(20 * time.Second)
	for {
		var now bool
		b.server.with(func() { now = done() })
		if now {
			return
		}
		if time.Now().After(end) {
			b.server.with(func() {
				b.t.Fatalf("never: %s; nodes %d pods %d queues %v paths %v", what,
					len(b.server.nodes), len(b.server.pods), b.server.queues, b.server.paths)
			})
		}
		time.Sleep(time.Millisecond)
	}
}

func many(nodes, pods int) (out []runtime.Object) {
	for i := range nodes {
		out = append(out, node(fmt.Sprintf("n%02d", i), "8"))
	}
	for i := range pods {
		out = append(out, pod(fmt.Sprintf("p%02d", i), i, fmt.Sprintf("n%02d", i%nodes)))
	}
	return out
}

var background = context.Background()

// What may make room is told to whoever waits for it when the server knows it, not before.
func TestRoomIsToldOnceTheServerKnows(t *testing.T) {
	rooms := make(chan int, 100) // nodes that the server knew
	var b *bed
	started := make(chan struct{})
	b = newBed(t, nil, func(o *Options) {
		o.Room = func() {
			<-started
			b.server.with(func() { rooms <- len(b.server.nodes) })
		}
	}, many(1, 2)...)
	close(started)
	b.until("ready", func() bool { return b.server.ready })
	room := func(what string) int {
		select {
		case nodes := <-rooms:
			return nodes
		case <-time.After(20 * time.Second):
			t.Fatalf("nothing was said of %s", what)
			return 0
		}
	}
	room("the listing")
	add := node("new", "4")
	if _, err := b.kube.CoreV1().Nodes().Create(background, add, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for room("a new node") < 2 {
	}
	// A pod that is bound takes room.
	if _, err := b.kube.CoreV1().Pods("ns").Create(background, pod("more", 9, "new"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.until("the pod is known", func() bool { return len(b.server.pods) == 3 })
	for len(rooms) > 0 {
		<-rooms
	}
	ended := pod("more", 9, "new")
	ended.Status.Phase = v1.PodSucceeded
	if _, err := b.kube.CoreV1().Pods("ns").UpdateStatus(background, ended, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	room("a pod that has ended")
}

func TestListingThenChanges(t *testing.T) {
	b := newBed(t, nil, nil, many(5, 17)...)
	b.until("ready", func() bool { return b.server.ready && len(b.server.pods) == 17 })
	b.server.with(func() {
		if len(b.server.nodes) != 5 || cardsOf(b.server.nodes["n03"]) != "8" ||
			b.server.pods[string(uidOf(7))].Node != "n02" {
			t.Errorf("nodes %v", b.server.nodes)
		}
		if len(b.server.opens) != 1 || b.server.opens[0].ResumeGeneration != 0 {
			t.Errorf("opens %v", b.server.opens)
		}
	})
	if b.syncer.Listings() != 1 {
		t.Errorf("%d listings", b.syncer.Listings())
	}
	changed := node("n03", "4")
	if _, err := b.kube.CoreV1().Nodes().Update(background, changed, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.until("cards change", func() bool { return cardsOf(b.server.nodes["n03"]) == "4" })
	if err := b.kube.CoreV1().Pods("ns").Delete(background, "p00", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := b.kube.CoreV1().Nodes().Delete(background, "n04", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	b.until("gone", func() bool { return len(b.server.pods) == 16 && len(b.server.nodes) == 4 })
	b.until("acknowledged", func() bool { return b.syncer.Generation() == b.server.applied })
}

// A heartbeat says nothing to the server; a pod that is deleted and made again is another pod.
func TestDuplicatesAreNotTold(t *testing.T) {
	b := newBed(t, nil, nil, many(1, 1)...)
	b.until("ready", func() bool { return b.server.ready })
	before := 0
	b.server.with(func() { before = b.server.messages })
	for i := range 20 {
		beat := node("n00", "8")
		beat.Status.Conditions = []v1.NodeCondition{{Type: v1.NodeReady, Status: v1.ConditionTrue,
			LastHeartbeatTime: metav1.NewTime(time.Unix(int64(i), 0))}}
		if _, err := b.kube.CoreV1().Nodes().Update(background, beat, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.kube.CoreV1().Pods("ns").Delete(background, "p00", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.kube.CoreV1().Pods("ns").Create(background, pod("p00", 99, ""), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.until("the new pod alone", func() bool {
		return len(b.server.pods) == 1 && b.server.pods[string(uidOf(99))] != nil
	})
	b.server.with(func() {
		if sent := b.server.messages - before; sent > 2 {
			t.Errorf("%d messages for one pod that went and one that came", sent)
		}
	})
}

func TestALostConnectionIsResumedWithoutAListing(t *testing.T) {
	for _, fault := range []string{"drop", "lose"} {
		t.Run(fault, func(t *testing.T) {
			b := newBed(t, nil, nil, many(2, 4)...)
			b.until("ready", func() bool { return b.server.ready })
			b.until("acknowledged", func() bool { return b.syncer.Generation() == b.server.applied })
			broken := false
			b.server.with(func() {
				b.server.fault = func(uint64) string {
					if broken {
						return ""
					}
					broken = true
					return fault
				}
			})
			if err := b.kube.CoreV1().Pods("ns").Delete(background, "p01", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			b.until("told in the end", func() bool {
				return len(b.server.pods) == 3 && len(b.server.opens) > 1 && !b.server.listing
			})
			// A message that was applied though its answer was lost cannot be resumed from: the
			// server says so, and all is listed.
			want := map[string]uint64{"drop": 1, "lose": 2}[fault]
			if got := b.syncer.Listings(); got != want {
				t.Errorf("%d listings, want %d", got, want)
			}
		})
	}
}

func TestAServerThatMissesMessagesIsToldAllAgain(t *testing.T) {
	b := newBed(t, nil, nil, many(2, 4)...)
	b.until("ready", func() bool { return b.server.ready })
	asked := false
	b.server.with(func() {
		b.server.fault = func(uint64) string {
			if asked {
				return ""
			}
			asked = true
			return "relist"
		}
	})
	if err := b.kube.CoreV1().Pods("ns").Delete(background, "p01", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	b.until("a second listing", func() bool {
		return len(b.server.opens) == 2 && !b.server.listing && len(b.server.pods) == 3
	})
	b.server.with(func() {
		if b.server.opens[1].ResumeGeneration != 0 {
			t.Error("it is opened from nothing")
		}
	})
}

// The server is started anew with nothing, or with what it had: what went meanwhile is swept.
func TestARestartedServerIsListedTo(t *testing.T) {
	for _, keeps := range []bool{false, true} {
		b := newBed(t, nil, nil, many(2, 4)...)
		b.until("ready", func() bool { return b.server.ready })
		b.server.Stop()
		b.server.with(func() {
			b.server.boot = 2
			b.server.ready = false
			if !keeps {
				b.server.forget()
			}
		})
		if err := b.kube.CoreV1().Pods("ns").Delete(background, "p02", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		b.server.StartAs(b.server)
		b.until("listed", func() bool {
			return b.server.ready && len(b.server.nodes) == 2 && len(b.server.pods) == 3
		})
		if b.syncer.Listings() != 2 {
			t.Errorf("%d listings", b.syncer.Listings())
		}
	}
}

func TestASecondSyncerWaitsForTheFirst(t *testing.T) {
	b := newBed(t, nil, nil, many(1, 1)...)
	b.until("ready", func() bool { return b.server.ready })
	options := b.syncer.options
	options.Source = "another"
	second, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { _ = second.Run(ctx); close(done) }()
	time.Sleep(50 * time.Millisecond)
	if second.Listings() != 0 || second.Ready() {
		t.Error("two tell")
	}
	b.stop()
	b.until("it takes over", second.Ready)
	cancel()
	<-done
}

func TestWhatWasRefusedIsToldOnceMore(t *testing.T) {
	b := newBed(t, nil, nil)
	refused := 0
	b.server.with(func() {
		b.server.reject = func(delta *placementv1.Delta) *placementv1.Rejected {
			if delta.GetPod() == nil || refused > 1 {
				return nil
			}
			refused++
			return &placementv1.Rejected{Object: "pod " + delta.GetPod().Pod.Uid, Reason: "no"}
		}
	})
	if _, err := b.kube.CoreV1().Pods("ns").Create(background, pod("p", 1, "n"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.until("taken", func() bool { return len(b.server.pods) == 1 })
	if b.syncer.Rejected() != 2 {
		t.Errorf("%d refusals", b.syncer.Rejected())
	}
}

func hyperNode(name string, tier int, kind topologyv1alpha1.MemberType,
	selectors ...topologyv1alpha1.MemberSelector) *topologyv1alpha1.HyperNode {
	h := &topologyv1alpha1.HyperNode{ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: topologyv1alpha1.HyperNodeSpec{Tier: tier}}
	for _, selector := range selectors {
		h.Spec.Members = append(h.Spec.Members, topologyv1alpha1.MemberSpec{Type: kind, Selector: selector})
	}
	return h
}

func exact(name string) topologyv1alpha1.MemberSelector {
	return topologyv1alpha1.MemberSelector{ExactMatch: &topologyv1alpha1.ExactMatch{Name: name}}
}

func TestVolcanosQueuesGroupsAndHyperNodes(t *testing.T) {
	no := false
	grouped := pod("grouped", 50, "n00")
	grouped.Annotations = map[string]string{"scheduling.k8s.io/group-name": "g"}
	stays := pod("stays", 51, "n00")
	stays.Annotations = map[string]string{"scheduling.k8s.io/group-name": "g",
		"volcano.sh/preemptable": "false"}
	b := newBed(t, []runtime.Object{
		&schedulingv1beta1.Queue{ObjectMeta: metav1.ObjectMeta{Name: "root"}},
		&schedulingv1beta1.Queue{ObjectMeta: metav1.ObjectMeta{Name: "team"},
			Spec: schedulingv1beta1.QueueSpec{Parent: "root", Weight: 3, Reclaimable: &no,
				Capability: v1.ResourceList{"nvidia.com/gpu": resource.MustParse("16"),
					"cpu": resource.MustParse("10"), "pods": resource.MustParse("9")}},
			Status: schedulingv1beta1.QueueStatus{State: schedulingv1beta1.QueueStateOpen}},
		&schedulingv1beta1.PodGroup{ObjectMeta: metav1.ObjectMeta{Name: "g", Namespace: "ns",
			Annotations: map[string]string{"volcano.sh/preemptable": "false"}},
			Spec: schedulingv1beta1.PodGroupSpec{Queue: "team"}},
		hyperNode("leaf0", 1, topologyv1alpha1.MemberTypeNode, exact("n00"), exact("n01")),
		hyperNode("leaf1", 1, topologyv1alpha1.MemberTypeNode, topologyv1alpha1.MemberSelector{
			RegexMatch: &topologyv1alpha1.RegexMatch{Pattern: "^n02$"}}),
		hyperNode("spine", 2, topologyv1alpha1.MemberTypeHyperNode, exact("leaf0"), exact("leaf1")),
	}, nil, append(many(4, 0), grouped, stays)...)
	b.until("ready", func() bool { return b.server.ready && len(b.server.paths) == 3 })
	b.server.with(func() {
		q := b.server.queues["team"]
		if len(b.server.queues) != 1 || q == nil || q.Parent != "" || q.GetWeight() != 3 ||
			!q.NotReclaimable || q.Closed || len(q.Capacity) != 2 ||
			q.Capacity[0].Resource != "cpu" || q.Capacity[0].Amount != 10000 ||
			q.Capacity[1].Resource != "gpu" || q.Capacity[1].Amount != 16000 {
			t.Errorf("queues: %v", b.server.queues)
		}
		if got := b.server.pods[string(uidOf(50))].Standing.Queue; got != "team" {
			t.Errorf("a pod's queue is its group's: %q", got)
		}
		if b.server.pods[string(uidOf(50))].Standing.NotPreemptible {
			t.Error("a pod that says nothing may go, whatever its group says: as Volcano has it")
		}
		if !b.server.pods[string(uidOf(51))].Standing.NotPreemptible {
			t.Error("a pod that says no stays")
		}
		path := b.server.paths["n02"].Network
		if len(path) != 2 || path[0].Name != "leaf1" || path[0].Tier != 1 || path[1].Name != "spine" {
			t.Errorf("path: %v", path)
		}
		kinds := b.server.opens[0].Kinds
		if len(kinds) != 4 || !slices.Contains(kinds, placementv1.SyncKind_SYNC_KIND_TOPOLOGY) {
			t.Errorf("kinds: %v", kinds)
		}
	})
	closed := &schedulingv1beta1.Queue{ObjectMeta: metav1.ObjectMeta{Name: "team"},
		Status: schedulingv1beta1.QueueStatus{State: schedulingv1beta1.QueueStateClosing}}
	if _, err := b.volcano.SchedulingV1beta1().Queues().Update(background, closed, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := b.volcano.TopologyV1alpha1().HyperNodes().Delete(background, "leaf1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	b.until("closed, and the node without a path", func() bool {
		return b.server.queues["team"].Closed && len(b.server.paths) == 2
	})
}
