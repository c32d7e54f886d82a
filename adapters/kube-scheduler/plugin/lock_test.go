package plugin

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	ktesting "k8s.io/client-go/testing"

	"basalt.io/adapters/hami"
)

const toAllocate = "hami.io/vgpu-devices-to-allocate"

// hamiNodes are nodes of the API server, the first with HAMi's plugin.
func (f *fixture) hamiNodes() {
	f.t.Helper()
	for name, annotations := range map[string]map[string]string{
		"a": {"hami.io/node-nvidia-register": "[]"}, "b": nil} {
		node := &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: annotations}}
		if err := f.handle.factory.Core().V1().Nodes().Informer().GetStore().Add(node); err != nil {
			f.t.Fatal(err)
		}
		if _, err := f.handle.client.CoreV1().Nodes().Create(context.Background(), node, metav1.CreateOptions{}); err != nil {
			f.t.Fatal(err)
		}
	}
}

func (f *fixture) lockOf(node string) string {
	f.t.Helper()
	object, err := f.handle.client.CoreV1().Nodes().Get(context.Background(), node, metav1.GetOptions{})
	if err != nil {
		f.t.Fatal(err)
	}
	return object.Annotations[hami.NodeLock]
}

func TestHAMisLockIsHadBeforeTheLeaseIsConfirmed(t *testing.T) {
	for node, locks := range map[string]bool{"a": true, "b": false} {
		t.Run(node, func(t *testing.T) {
			f := setup(t, map[string]int{node: 1}, nil)
			f.hamiNodes()
			c := f.cycle(f.pod(1, 1, ""))
			c.must(c.choose())
			read(c.state).place.Assignment.Annotations[toAllocate] = "GPU-1,NVIDIA,1,1:;"
			c.must(f.plugin.Reserve(context.Background(), c.state, c.pod, c.node))
			if locks && f.server.Count("Confirm") != 0 {
				t.Error("confirmed before the lock is had")
			}
			c.must(f.plugin.PreBind(context.Background(), c.state, c.pod, c.node))
			if got := f.lockOf(node); strings.HasSuffix(got, ",default,p1") != locks {
				t.Errorf("the node's lock: %q", got)
			}
			c.must(f.plugin.Bind(context.Background(), c.state, c.pod, c.node))
			annotations := f.bindings()["p1"].Annotations
			if (annotations["hami.io/bind-phase"] == "allocating") != locks || annotations[toAllocate] == "" {
				t.Errorf("annotations: %v", annotations)
			}
		})
	}
}

func TestALockIsGivenBackWithTheLease(t *testing.T) {
	f := setup(t, map[string]int{"a": 1}, nil)
	f.hamiNodes()
	c := f.cycle(f.pod(1, 1, ""))
	c.must(c.choose())
	read(c.state).place.Assignment.Annotations[toAllocate] = "GPU-1,NVIDIA,1,1:;"
	c.must(f.plugin.Reserve(context.Background(), c.state, c.pod, c.node))
	f.server.Expire(string(c.pod.UID))
	if status := f.plugin.PreBind(context.Background(), c.state, c.pod, c.node); status.IsSuccess() {
		t.Fatal("confirmed a lease that has expired")
	}
	c.unreserve()
	if got := f.lockOf("a"); got != "" {
		t.Errorf("the node is still locked: %q", got)
	}
}

func TestALockedNodeBindsNothing(t *testing.T) {
	f := setup(t, map[string]int{"a": 1}, nil)
	f.hamiNodes()
	other := f.pod(2, 1, "")
	if err := hami.Lock(context.Background(), f.handle.client, hami.NodeLock, "a", other); err != nil {
		t.Fatal(err)
	}
	c := f.cycle(f.pod(1, 1, ""))
	c.must(c.choose())
	read(c.state).place.Assignment.Annotations[toAllocate] = "GPU-1,NVIDIA,1,1:;"
	c.must(f.plugin.Reserve(context.Background(), c.state, c.pod, c.node))
	ctx, cancel := context.WithTimeout(context.Background(), 250*time.Millisecond)
	defer cancel()
	if status := f.plugin.PreBind(ctx, c.state, c.pod, c.node); status.IsSuccess() {
		t.Error("the lock is another pod's")
	}
	if f.server.Count("Confirm") != 0 {
		t.Error("confirmed without the lock")
	}
	c.unreserve()
	if !strings.HasSuffix(f.lockOf("a"), ",default,p2") {
		t.Errorf("the other pod's lock: %q", f.lockOf("a"))
	}
}

func TestALockThatCouldNotBeTakenOffIsTakenOffLater(t *testing.T) {
	f := setup(t, map[string]int{"a": 1}, nil)
	f.hamiNodes()
	pod := f.pod(1, 1, "")
	c := f.cycle(pod)
	c.must(c.reserve())
	read(c.state).place.Assignment.Annotations[toAllocate] = "GPU-1,NVIDIA,1,1:;"
	f.server.Expire(string(pod.UID))
	if status := f.plugin.PreBind(context.Background(), c.state, pod, c.node); status.IsSuccess() {
		t.Fatal("confirmed a lease that has expired")
	}
	away := true
	f.handle.client.PrependReactor("get", "nodes", func(ktesting.Action) (bool, runtime.Object, error) {
		return away, nil, errors.New("the API server is away")
	})
	c.unreserve()
	away = false
	if f.lockOf("a") == "" {
		t.Fatal("the lock was taken off without an API server")
	}
	again := f.cycle(pod)
	again.must(again.choose())
	if got := f.lockOf("a"); got != "" {
		t.Errorf("the node is still locked: %q", got)
	}
}
