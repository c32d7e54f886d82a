package executor

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	kubefake "k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"

	"basalt.io/adapters/client"
	"basalt.io/adapters/fake"
	placementv1 "basalt.io/adapters/placement/v1"
	"basalt.io/adapters/podres"
)

type server struct {
	*fake.Server
	mutex   sync.Mutex
	actions []*placementv1.Action
	acks    map[string]*placementv1.AckActionRequest
	opens   int
}

func (s *server) WatchActions(_ *placementv1.WatchActionsRequest,
	stream placementv1.Placement_WatchActionsServer) error {
	s.mutex.Lock()
	s.opens++
	s.mutex.Unlock()
	for {
		s.mutex.Lock()
		actions := s.actions
		s.actions = nil
		s.mutex.Unlock()
		for _, action := range actions {
			if err := stream.Send(action); err != nil {
				return err
			}
		}
		select {
		case <-stream.Context().Done():
			return nil
		case <-time.After(time.Millisecond):
		}
	}
}

func (s *server) AckAction(_ context.Context, request *placementv1.AckActionRequest) (
	*placementv1.AckActionResponse, error) {
	s.mutex.Lock()
	s.acks[request.Id] = request
	s.mutex.Unlock()
	return &placementv1.AckActionResponse{Known: true}, nil
}

func (s *server) order(actions ...*placementv1.Action) {
	s.mutex.Lock()
	s.actions = append(s.actions, actions...)
	s.mutex.Unlock()
}

func (s *server) answer(t *testing.T, id string) *placementv1.AckActionRequest {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		s.mutex.Lock()
		ack := s.acks[id]
		s.mutex.Unlock()
		if ack != nil {
			return ack
		}
	}
	t.Fatalf("no answer to %s", id)
	return nil
}

func pod(name, on string) *v1.Pod {
	return &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name,
		UID: types.UID("uid-" + name)}, Spec: v1.PodSpec{NodeName: on}}
}

func start(t *testing.T, pods ...runtime.Object) (*server, *kubefake.Clientset) {
	t.Helper()
	s := &server{Server: fake.New(nil), acks: map[string]*placementv1.AckActionRequest{}}
	s.StartAs(s)
	c, err := client.Dial(s.Options())
	if err != nil {
		t.Fatal(err)
	}
	kube := kubefake.NewClientset(pods...)
	e, err := New(Options{Client: c, Kube: kube, RetryPause: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { _ = e.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done; _ = c.Close(); s.Stop() })
	return s, kube
}

func action(id string, kind placementv1.ActionKind, name string) *placementv1.Action {
	return &placementv1.Action{Id: id, ServerEpoch: 1, Kind: kind, Node: "n",
		Pod:   &placementv1.PodKey{Uid: "uid-" + name, Namespace: "ns", Name: name},
		Lease: &placementv1.Lease{TtlUs: 10_000_000},
		To: &placementv1.Place{Node: "n", CardUuids: []string{"GPU-1"},
			Assignment: &placementv1.Assignment{Annotations: map[string]string{"k": "v"},
				Labels: map[string]string{"l": "w"}}}}
}

const (
	evict = placementv1.ActionKind_ACTION_KIND_EVICT
	bind  = placementv1.ActionKind_ACTION_KIND_BIND
)

func TestBindWritesTheAssignmentWithTheNode(t *testing.T) {
	s, kube := start(t, pod("p", ""))
	var mutex sync.Mutex
	var bindings []*v1.Binding
	kube.PrependReactor("create", "pods", func(a k8stesting.Action) (bool, runtime.Object, error) {
		if a.GetSubresource() != "binding" {
			return false, nil, nil
		}
		mutex.Lock()
		defer mutex.Unlock()
		bindings = append(bindings, a.(k8stesting.CreateAction).GetObject().(*v1.Binding))
		if len(bindings) == 1 {
			return true, nil, apierrors.NewInternalError(context.DeadlineExceeded)
		}
		return true, nil, nil
	})
	s.order(action("b", bind, "p"))
	if ack := s.answer(t, "b"); !ack.Done {
		t.Fatalf("%v", ack)
	}
	mutex.Lock()
	defer mutex.Unlock()
	got := bindings[len(bindings)-1]
	if len(bindings) != 2 || got.Target.Name != "n" || got.UID != "uid-p" ||
		got.Annotations["k"] != "v" || got.Labels["l"] != "w" ||
		got.Annotations[podres.CardsAnnotation] != "GPU-1" {
		t.Errorf("%d binds, the last %v", len(bindings), got)
	}
}

// A no gives the place back: it is said of what was refused, and never of what may have been done. After
// the deadline nothing is sent any more.
func TestABindInDoubtIsNotAnswered(t *testing.T) {
	s, kube := start(t, pod("lost", ""), pod("refused", ""), pod("late", ""))
	var mutex sync.Mutex
	var last time.Time
	kube.PrependReactor("create", "pods", func(a k8stesting.Action) (bool, runtime.Object, error) {
		mutex.Lock()
		defer mutex.Unlock()
		last = time.Now()
		switch a.(k8stesting.CreateAction).GetObject().(*v1.Binding).Name {
		case "refused":
			return true, nil, apierrors.NewForbidden(v1.Resource("pods"), "refused", context.Canceled)
		case "late":
			t.Error("a bind was sent after its deadline")
		}
		return true, nil, apierrors.NewInternalError(context.DeadlineExceeded)
	})
	lost, refused, late := action("lost", bind, "lost"), action("refused", bind, "refused"), action("late", bind, "late")
	deadline := time.Now().Add(200 * time.Millisecond)
	lost.DeadlineUs, refused.DeadlineUs = deadline.UnixMicro(), deadline.UnixMicro()
	late.DeadlineUs = time.Now().Add(-time.Millisecond).UnixMicro()
	s.order(lost, refused, late)
	for _, id := range []string{"refused", "late"} {
		if ack := s.answer(t, id); ack.Done || ack.Error == "" {
			t.Errorf("%s: %v", id, ack)
		}
	}
	time.Sleep(time.Until(deadline) + 300*time.Millisecond)
	mutex.Lock()
	defer mutex.Unlock()
	if last.After(deadline.Add(50 * time.Millisecond)) {
		t.Errorf("a bind was sent %s after the deadline", last.Sub(deadline))
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if ack := s.acks["lost"]; ack != nil {
		t.Errorf("an answer to what nobody knows: %v", ack)
	}
}

func TestBindsThatAreDoneOrCannotBe(t *testing.T) {
	s, kube := start(t, pod("there", "n"), pod("elsewhere", "m"), pod("other", ""))
	binds := 0
	kube.PrependReactor("create", "pods", func(a k8stesting.Action) (bool, runtime.Object, error) {
		binds++
		return true, nil, nil
	})
	reused := action("reused", bind, "other")
	reused.Pod.Uid = "uid-earlier"
	s.order(action("there", bind, "there"), action("elsewhere", bind, "elsewhere"),
		action("gone", bind, "gone"), reused)
	for id, done := range map[string]bool{"there": true, "elsewhere": false, "gone": false,
		"reused": false} {
		if ack := s.answer(t, id); ack.Done != done || (ack.Error == "") != done {
			t.Errorf("%s: %v", id, ack)
		}
	}
	if binds != 0 {
		t.Errorf("%d binds", binds)
	}
}

func TestEvict(t *testing.T) {
	s, kube := start(t, pod("p", "n"))
	var mutex sync.Mutex
	budget := 2
	kube.PrependReactor("create", "pods", func(a k8stesting.Action) (bool, runtime.Object, error) {
		if a.GetSubresource() != "eviction" {
			return false, nil, nil
		}
		mutex.Lock()
		defer mutex.Unlock()
		if budget > 0 {
			budget--
			return true, nil, apierrors.NewTooManyRequests("its budget allows none now", 1)
		}
		return true, nil, nil
	})
	s.order(action("e", evict, "p"))
	if ack := s.answer(t, "e"); !ack.Done {
		t.Errorf("%v", ack)
	}
	// An order of an earlier run of the server is nobody's any more.
	newer := action("newer", evict, "p")
	newer.ServerEpoch = 2
	s.order(newer)
	s.answer(t, "newer")
	s.order(action("older", evict, "p"))
	time.Sleep(20 * time.Millisecond)
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.acks["older"] != nil {
		t.Error("an order of an earlier run is carried out")
	}
}

const (
	block    = placementv1.ActionKind_ACTION_KIND_BLOCK
	resume   = placementv1.ActionKind_ACTION_KIND_RESUME
	commit   = placementv1.ActionKind_ACTION_KIND_COMMIT_AND_EXIT
	migrate  = placementv1.ActionKind_ACTION_KIND_MIGRATE
	moveCard = placementv1.ActionKind_ACTION_KIND_MOVE_CARD
)

func withAgent(p *v1.Pod, words string) *v1.Pod {
	p.Annotations = map[string]string{AgentAnnotation: words}
	return p
}

func numbered(a *placementv1.Action, sequence uint64) *placementv1.Action {
	a.Sequence = sequence
	return a
}

// eventually reads an object's annotation until it is as wanted.
func eventually(t *testing.T, key, want string, read func() (metav1.Object, error)) {
	t.Helper()
	var is string
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		object, err := read()
		if err != nil {
			t.Fatal(err)
		}
		if is = object.GetAnnotations()[key]; is == want {
			return
		}
	}
	t.Fatalf("%s is %q, not %q", key, is, want)
}

func podReader(kube *kubefake.Clientset, name string) func() (metav1.Object, error) {
	return func() (metav1.Object, error) {
		return kube.CoreV1().Pods("ns").Get(context.Background(), name, metav1.GetOptions{})
	}
}

// answerAs is the pod's agent.
func answerAs(t *testing.T, kube *kubefake.Clientset, name, text string) {
	t.Helper()
	patch, _ := json.Marshal(map[string]any{"metadata": map[string]any{
		"annotations": map[string]string{OrderDoneAnnotation: text}}})
	if _, err := kube.CoreV1().Pods("ns").Patch(context.Background(), name, types.MergePatchType, patch,
		metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

func evictions(kube *kubefake.Clientset) (names []string) {
	for _, a := range kube.Actions() {
		if a.GetSubresource() == "eviction" {
			names = append(names, a.(k8stesting.CreateAction).GetObject().(metav1.Object).GetName())
		}
	}
	return names
}

func TestBlockAndResumeAreTheAgentsToCarryOut(t *testing.T) {
	s, kube := start(t, withAgent(pod("p", "n"), "block,commit"), pod("none", "n"))
	s.order(numbered(action("b", block, "p"), 5))
	eventually(t, OrderAnnotation, "1.5 block", podReader(kube, "p"))
	time.Sleep(10 * time.Millisecond)
	s.mutex.Lock()
	early := s.acks["b"]
	s.mutex.Unlock()
	if early != nil {
		t.Fatalf("answered before the agent: %v", early)
	}
	answerAs(t, kube, "p", "1.5 block")
	if ack := s.answer(t, "b"); !ack.Done {
		t.Errorf("%v", ack)
	}
	s.order(numbered(action("r", resume, "p"), 6))
	eventually(t, OrderAnnotation, "1.6 resume", podReader(kube, "p"))
	answerAs(t, kube, "p", "1.6 resume failed: the driver hangs")
	if ack := s.answer(t, "r"); ack.Done || !strings.Contains(ack.Error, "the driver hangs") {
		t.Errorf("%v", ack)
	}
	s.order(numbered(action("nobody", block, "none"), 7), numbered(action("gone", block, "gone"), 8))
	for _, id := range []string{"nobody", "gone"} {
		if ack := s.answer(t, id); ack.Done || ack.Error == "" {
			t.Errorf("%s: %v", id, ack)
		}
	}
	if names := evictions(kube); names != nil {
		t.Errorf("evicted %v", names)
	}
}

// What an executor that lags behind says later than a newer order changes nothing.
func TestAnOlderOrderNeverUndoesANewerOne(t *testing.T) {
	p := withAgent(pod("p", "n"), "block")
	p.Annotations[OrderAnnotation] = "2.3 resume"
	s, kube := start(t, p)
	older := numbered(action("b", block, "p"), 9)
	s.order(older)
	if ack := s.answer(t, "b"); ack.Done || !strings.Contains(ack.Error, "newer order") {
		t.Errorf("%v", ack)
	}
	eventually(t, OrderAnnotation, "2.3 resume", podReader(kube, "p"))
	// In one executor: what waits for the agent gives way to what comes behind it.
	first, second := numbered(action("first", block, "p"), 4), numbered(action("second", resume, "p"), 5)
	first.ServerEpoch, second.ServerEpoch = 2, 2
	s.order(first)
	eventually(t, OrderAnnotation, "2.4 block", podReader(kube, "p"))
	s.order(second)
	if ack := s.answer(t, "first"); ack.Done {
		t.Errorf("%v", ack)
	}
	eventually(t, OrderAnnotation, "2.5 resume", podReader(kube, "p"))
	answerAs(t, kube, "p", "2.5 resume")
	if ack := s.answer(t, "second"); !ack.Done {
		t.Errorf("%v", ack)
	}
}

// The answer to an older run's copy would not be taken.
func TestANewerRunOfTheServerIsAnswered(t *testing.T) {
	s, kube := start(t, withAgent(pod("p", "n"), "block"))
	s.order(numbered(action("b", block, "p"), 5))
	eventually(t, OrderAnnotation, "1.5 block", podReader(kube, "p"))
	again := numbered(action("b", block, "p"), 1)
	again.ServerEpoch = 2
	s.order(again)
	eventually(t, OrderAnnotation, "2.1 block", podReader(kube, "p"))
	answerAs(t, kube, "p", "2.1 block")
	if ack := s.answer(t, "b"); !ack.Done || ack.ServerEpoch != 2 {
		t.Errorf("%v", ack)
	}
}

func TestNothingIsEndedBeforeItsWorkIsSaved(t *testing.T) {
	finished := withAgent(pod("finished", "n"), "commit")
	finished.Status.Phase = v1.PodSucceeded
	s, kube := start(t, withAgent(pod("c", "n"), "commit"), withAgent(pod("m", "n"), "commit"),
		withAgent(pod("slow", "n"), "commit"), pod("plain", "n"), pod("none", "n"), finished)
	saving := numbered(action("m", migrate, "m"), 2)
	saving.Commit = true
	slow := numbered(action("slow", commit, "slow"), 3)
	slow.DeadlineUs = time.Now().Add(50 * time.Millisecond).UnixMicro()
	s.order(numbered(action("c", commit, "c"), 1), saving, slow,
		numbered(action("none", commit, "none"), 4), numbered(action("finished", commit, "finished"), 5))
	eventually(t, OrderAnnotation, "1.1 commit", podReader(kube, "c"))
	eventually(t, OrderAnnotation, "1.2 commit", podReader(kube, "m"))
	for id, done := range map[string]bool{"slow": false, "none": false, "finished": true} {
		if ack := s.answer(t, id); ack.Done != done {
			t.Errorf("%s: %v", id, ack)
		}
	}
	if names := evictions(kube); names != nil {
		t.Errorf("evicted %v before they had saved", names)
	}
	answerAs(t, kube, "c", "1.1 commit")
	answerAs(t, kube, "m", "1.2 commit")
	s.order(numbered(action("plain", migrate, "plain"), 6))
	for _, id := range []string{"c", "m", "plain"} {
		if ack := s.answer(t, id); !ack.Done {
			t.Errorf("%s: %v", id, ack)
		}
	}
	names := evictions(kube)
	slices.Sort(names)
	if !slices.Equal(names, []string{"c", "m", "plain"}) {
		t.Errorf("evicted %v", names)
	}
}

func TestMoveCardIsWrittenOnTheNode(t *testing.T) {
	bare := &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", Annotations: map[string]string{
		CardModesAnnotation: `{"GPU-0":{"mode":"mig","order":"1.1"},"GPU-9":{"mode":"shared","order":"7.1"}}`}}}
	agent := &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "agent", Annotations: map[string]string{
		AgentAnnotation: "cards"}}}
	s, kube := start(t, bare, agent)
	reader := func(name string) func() (metav1.Object, error) {
		return func() (metav1.Object, error) {
			return kube.CoreV1().Nodes().Get(context.Background(), name, metav1.GetOptions{})
		}
	}
	move := func(id, node, uuid string, sequence uint64) *placementv1.Action {
		return &placementv1.Action{Id: id, ServerEpoch: 3, Sequence: sequence, Kind: moveCard, Node: node,
			Card: &placementv1.CardMove{Uuid: uuid, Mode: placementv1.CardMode_CARD_MODE_PASSTHROUGH}}
	}
	s.order(move("a", "n", "GPU-1", 1), move("newer", "n", "GPU-9", 2), move("none", "gone", "GPU-1", 3),
		move("waits", "agent", "GPU-1", 4))
	for id, done := range map[string]bool{"a": true, "newer": false, "none": false} {
		if ack := s.answer(t, id); ack.Done != done {
			t.Errorf("%s: %v", id, ack)
		}
	}
	eventually(t, CardModesAnnotation, `{"GPU-0":{"mode":"mig","order":"1.1"},`+
		`"GPU-1":{"mode":"passthrough","order":"3.1"},"GPU-9":{"mode":"shared","order":"7.1"}}`, reader("n"))
	wanted := `{"GPU-1":{"mode":"passthrough","order":"3.4"}}`
	eventually(t, CardModesAnnotation, wanted, reader("agent"))
	node, _ := kube.CoreV1().Nodes().Get(context.Background(), "agent", metav1.GetOptions{})
	node.Annotations[CardModesDoneAnnotation] = wanted
	if _, err := kube.CoreV1().Nodes().Update(context.Background(), node, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if ack := s.answer(t, "waits"); !ack.Done {
		t.Errorf("%v", ack)
	}
}
