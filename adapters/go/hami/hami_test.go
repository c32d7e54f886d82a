package hami

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"
)

func pod(name string) *v1.Pod {
	return &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
}

func node(lock string) *v1.Node {
	n := &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}
	if lock != "" {
		n.Annotations = map[string]string{NodeLock: lock}
	}
	return n
}

func lockOf(t *testing.T, kube *fake.Clientset) string {
	t.Helper()
	n, err := kube.CoreV1().Nodes().Get(context.Background(), "n", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return n.Annotations[NodeLock]
}

func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"2026-08-21T06:20:39Z,default,pod-a": "default/pod-a",
		"2026-08-21T06:20:39Z":               "/",
	} {
		if got, err := parse(text); err != nil || got.namespace+"/"+got.name != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "2026-08-21T06:20:39Z,default", "now,default,a",
		"2026-08-21T06:20:39Z,a,b,c"} {
		if _, err := parse(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

func TestLockAndUnlock(t *testing.T) {
	kube := fake.NewClientset(node(""), pod("a"), pod("b"))
	if err := Lock(soon(t), kube, NodeLock, "n", pod("a")); err != nil {
		t.Fatal(err)
	}
	if by, err := parse(lockOf(t, kube)); err != nil || by.name != "a" || by.namespace != "default" {
		t.Fatalf("%v, %v", by, err)
	}
	if err := Lock(soon(t), kube, NodeLock, "n", pod("a")); err != nil {
		t.Errorf("its own lock: %v", err)
	}
	if err := Lock(soon(t), kube, NodeLock, "n", pod("b")); !errors.Is(err, ErrLocked) {
		t.Errorf("another's lock: %v", err)
	}
	if err := Unlock(soon(t), kube, NodeLock, "n", pod("b")); err != nil || lockOf(t, kube) == "" {
		t.Errorf("another does not unlock: %v", err)
	}
	if err := Unlock(soon(t), kube, NodeLock, "n", pod("a")); err != nil || lockOf(t, kube) != "" {
		t.Errorf("unlock: %v", err)
	}
}

func TestALockThatItsOwnerLeftBehindIsTaken(t *testing.T) {
	now := time.Now().Format(time.RFC3339)
	for name, test := range map[string]struct {
		change func(*v1.Pod)
		taken  bool
	}{
		"waits":           {func(*v1.Pod) {}, false},
		"is bound here":   {func(p *v1.Pod) { p.Spec.NodeName = "n" }, false},
		"is on another":   {func(p *v1.Pod) { p.Spec.NodeName = "other" }, true},
		"has ended there": {func(p *v1.Pod) { p.Spec.NodeName, p.Status.Phase = "n", v1.PodFailed }, true},
	} {
		by := pod("owner")
		test.change(by)
		kube := fake.NewClientset(node(now+",default,owner"), by)
		err := Lock(soon(t), kube, NodeLock, "n", pod("a"))
		if taken := strings.HasSuffix(lockOf(t, kube), ",default,a"); taken != test.taken || (err == nil) != test.taken {
			t.Errorf("the owner %s: taken %v, %v", name, taken, err)
		}
	}
}

func TestStaleLocksAreTaken(t *testing.T) {
	fresh := time.Now().Format(time.RFC3339)
	for name, lock := range map[string]string{
		"expired":        time.Now().Add(-6*time.Minute).Format(time.RFC3339) + ",default,b",
		"its pod gone":   fresh + ",default,gone",
		"cannot be read": "yesterday",
	} {
		kube := fake.NewClientset(node(lock), pod("b"))
		if err := Lock(soon(t), kube, NodeLock, "n", pod("a")); err != nil ||
			!strings.HasSuffix(lockOf(t, kube), ",default,a") {
			t.Errorf("%s: %v, %s", name, err, lockOf(t, kube))
		}
	}
	kube := fake.NewClientset(node(fresh))
	if err := Lock(soon(t), kube, NodeLock, "n", pod("a")); !errors.Is(err, ErrLocked) {
		t.Errorf("a lock without a name that is not old: %v", err)
	}
}

func TestAConflictIsTriedAgain(t *testing.T) {
	kube := fake.NewClientset(node(""))
	conflicts := 1
	kube.PrependReactor("update", "nodes", func(k8stesting.Action) (bool, runtime.Object, error) {
		if conflicts == 0 {
			return false, nil, nil
		}
		conflicts--
		return true, nil, apierrors.NewConflict(schema.GroupResource{Resource: "nodes"}, "n", nil)
	})
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := Lock(ctx, kube, NodeLock, "n", pod("a")); err != nil || conflicts != 0 {
		t.Error(err)
	}
}

func TestLocksByVendor(t *testing.T) {
	for keys, want := range map[string][]string{
		"hami.io/vgpu-devices-to-allocate":                                          {NodeLock},
		"hami.io/vgpu-devices-allocated":                                            nil,
		"hami.io/cambricon-mlu-devices-to-allocate":                                 {CambriconLock},
		"hami.io/metax-gpu-devices-to-allocate":                                     nil,
		"hami.io/dcu-devices-to-allocate hami.io/cambricon-mlu-devices-to-allocate": {CambriconLock, NodeLock},
		"volcano.sh/devices-to-allocate":                                            {VolcanoLock},
	} {
		annotations := map[string]string{}
		for _, key := range strings.Fields(keys) {
			annotations[key] = "x"
		}
		if got := Locks(annotations, true); !slices.Equal(got, want) {
			t.Errorf("%s: %v", keys, got)
		}
	}
	annotations := map[string]string{"volcano.sh/devices-to-allocate": "x", "hami.io/vgpu-devices-to-allocate": "x"}
	if got := Locks(annotations, false); !slices.Equal(got, []string{VolcanoLock}) {
		t.Errorf("where HAMi's plugins do not run: %v", got)
	}
	if Phase(annotations, []string{VolcanoLock}, time.Unix(12, 0)); annotations["hami.io/bind-phase"] != "" {
		t.Error("Volcano's plugin has a phase of its own")
	}
	Phase(annotations, []string{NodeLock}, time.Unix(12, 0))
	if annotations["hami.io/bind-phase"] != "allocating" || annotations["hami.io/bind-time"] != "12" {
		t.Errorf("%v", annotations)
	}
}
