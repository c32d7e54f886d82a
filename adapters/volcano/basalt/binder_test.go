package basalt

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kubefake "k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"

	"volcano.sh/volcano/pkg/scheduler/api"
	"volcano.sh/volcano/pkg/scheduler/cache"

	"basalt.io/adapters/client"
	"basalt.io/adapters/fake"
	"basalt.io/adapters/hami"
	placementv1 "basalt.io/adapters/placement/v1"
)

type bindBed struct {
	server *fake.Server
	binder *binder
	kube   *kubefake.Clientset
	lease  *placementv1.Lease
	bind   *cache.BindContext
}

// newBindBed has a pod with a confirmed lease that is about to be bound.
func newBindBed(t *testing.T) *bindBed {
	t.Helper()
	b := &bindBed{server: fake.New(map[string]int{"n": 1})}
	b.server.Start()
	t.Cleanup(b.server.Stop)
	options := b.server.Options()
	options.ProbeEach = 5 * time.Millisecond
	options.ProposeTimeout = 2 * time.Second
	c, err := client.Dial(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	for c.ServerEpoch() == 0 {
		time.Sleep(time.Millisecond)
	}
	reply, err := c.Reserve(background, &placementv1.ReserveRequest{Confirm: true,
		Of: &placementv1.ReserveRequest_Pod{Pod: &placementv1.PodRequest{
			Pod: &placementv1.PodKey{Uid: "uid-p"}}}})
	if err != nil || reply.GetLease() == nil {
		t.Fatal(reply, err)
	}
	b.lease = reply.GetLease()
	pod := &v1.Pod{ObjectMeta: metaOf("p")}
	pod.Annotations = map[string]string{"hami.io/vgpu-devices-to-allocate": "GPU-1,NVIDIA,1,1:;"}
	b.kube = kubefake.NewClientset(&v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}, pod.DeepCopy())
	b.binder = &binder{client: c, kube: b.kube, hami: true}
	b.bind = &cache.BindContext{TaskInfo: &api.TaskInfo{UID: "uid-p", Name: "p", Namespace: "ns",
		Pod: pod, TransactionContext: api.TransactionContext{NodeName: "n"}},
		Extensions: map[string]cache.BindContextExtension{Name: &record{lease: b.lease,
			label: map[string]string{"hami.io/vgpu-node": "n"}}}}
	return b
}

func (b *bindBed) lock(t *testing.T) string {
	t.Helper()
	node, err := b.kube.CoreV1().Nodes().Get(background, "n", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return node.Annotations[hami.NodeLock]
}

func TestABindLocksTheNodeAndTellsThePlugin(t *testing.T) {
	b := newBindBed(t)
	if err := b.binder.PreBind(background, b.bind); err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(b.lock(t), ",ns,p") {
		t.Errorf("lock %q", b.lock(t))
	}
	pod, err := b.kube.CoreV1().Pods("ns").Get(background, "p", metav1.GetOptions{})
	if err != nil || pod.Labels["hami.io/vgpu-node"] != "n" {
		t.Errorf("labels %v, %v", pod.Labels, err)
	}
	if b.bind.TaskInfo.Pod.Annotations["hami.io/bind-phase"] != "allocating" {
		t.Errorf("annotations %v", b.bind.TaskInfo.Pod.Annotations)
	}
	if b.server.Count("Confirm") != 0 {
		t.Error("a lease of this run needs no call")
	}
	b.binder.PreBindRollBack(background, b.bind) // another plugin's PreBind failed
	if b.lock(t) != "" || len(b.server.Held()) != 0 {
		t.Errorf("after a bind that was not sent: lock %q, held %v", b.lock(t), b.server.Held())
	}
}

func TestAPlaceIsGivenBackOnlyAfterABindThatWasRefused(t *testing.T) {
	pods := v1.Resource("pods")
	for name, c := range map[string]struct {
		err   error
		bound bool // all the same
		keeps bool
	}{
		"refused":               {apierrors.NewForbidden(pods, "p", errors.New("quota")), false, false},
		"bound before":          {apierrors.NewConflict(pods, "p", errors.New("it has a node")), true, true},
		"bound, no answer":      {errors.New("the connection was lost"), true, true},
		"on its way, no answer": {errors.New("the connection was lost"), false, true},
		"timed out":             {apierrors.NewTimeoutError("etcd", 1), false, true},
		"not now":               {apierrors.NewTooManyRequests("busy", 1), false, true},
		"broken":                {apierrors.NewInternalError(errors.New("etcd")), false, true},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBindBed(t)
			b.kube.PrependReactor("create", "pods", func(action k8stesting.Action) (bool, runtime.Object, error) {
				if action.GetSubresource() != "binding" {
					return false, nil, nil
				}
				if c.bound {
					now := b.bind.TaskInfo.Pod.DeepCopy()
					now.Spec.NodeName = "n"
					if err := b.kube.Tracker().Update(v1.SchemeGroupVersion.WithResource("pods"), now, "ns"); err != nil {
						t.Error(err)
					}
				}
				return true, nil, c.err
			})
			if err := b.binder.PreBind(background, b.bind); err != nil {
				t.Fatal(err)
			}
			task := b.bind.TaskInfo
			if failed := (bindMethod{}).Bind(b.kube, []*api.TaskInfo{task}); failed[task.UID] != c.err.Error() {
				t.Fatalf("failed: %v", failed)
			}
			b.binder.PreBindRollBack(background, b.bind)
			if held, lock := len(b.server.Held()) != 0, b.lock(t) != ""; held != c.keeps || lock != c.keeps {
				t.Errorf("held %v, locked %v", held, lock)
			}
		})
	}
}

func TestABindIsAsVolcanosOwn(t *testing.T) {
	b := newBindBed(t)
	if err := b.binder.PreBind(background, b.bind); err != nil {
		t.Fatal(err)
	}
	if failed := (bindMethod{}).Bind(b.kube, []*api.TaskInfo{b.bind.TaskInfo}); len(failed) != 0 {
		t.Fatal(failed)
	}
	ours := b.kube.Actions()[len(b.kube.Actions())-1]
	cache.NewDefaultBinder(b.kube, nil).Bind(b.kube, []*api.TaskInfo{b.bind.TaskInfo})
	if own := b.kube.Actions()[len(b.kube.Actions())-1]; !reflect.DeepEqual(ours, own) {
		t.Errorf("%v, and Volcano's own %v", ours, own)
	}
	if _, left := binding.Load(b.bind.TaskInfo); left {
		t.Error("its record is still kept")
	}
}

func TestVolcanoBindsByOurMethod(t *testing.T) {
	Register()
	if method := cache.GetBindMethod(); method != (bindMethod{}) {
		t.Errorf("%T", method)
	}
}

func TestABindNeedsALease(t *testing.T) {
	b := newBindBed(t)
	delete(b.bind.Extensions, Name)
	if err := b.binder.PreBind(background, b.bind); !errors.Is(err, errNotOurs) {
		t.Errorf("a pod that Basalt did not place: %v", err)
	}
	b.bind.Extensions[Name] = &record{}
	if err := b.binder.PreBind(background, b.bind); err != nil {
		t.Errorf("fallback: %v", err)
	}
	for _, keeps := range []bool{true, false} {
		b := newBindBed(t)
		b.server.Restart(keeps)
		for b.binder.client.ServerEpoch() != 2 {
			time.Sleep(time.Millisecond)
		}
		if err := b.binder.PreBind(background, b.bind); (err == nil) != keeps {
			t.Errorf("after a restart, journal kept %v: %v", keeps, err)
		}
	}
}

func TestAPreBindThatFailsCleansUp(t *testing.T) {
	b := newBindBed(t)
	b.kube.PrependReactor("patch", "pods", func(k8stesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, "p")
	})
	if err := b.binder.PreBind(background, b.bind); err == nil {
		t.Fatal("the pod is gone")
	}
	if b.lock(t) != "" || len(b.server.Held()) != 0 {
		t.Errorf("lock %q, held %v", b.lock(t), b.server.Held())
	}
}
