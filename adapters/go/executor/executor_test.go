package executor

import (
	"context"
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
