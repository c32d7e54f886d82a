package nodeagent

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	kubefake "k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"
	podresourcesv1 "k8s.io/kubelet/pkg/apis/podresources/v1"
)

// kubelet is the server of podresources on a Unix socket, as kubelets have it.
type kubelet struct {
	podresourcesv1.UnimplementedPodResourcesListerServer
	mutex sync.Mutex
	pods  []*podresourcesv1.PodResources
}

func (k *kubelet) List(context.Context, *podresourcesv1.ListPodResourcesRequest) (
	*podresourcesv1.ListPodResourcesResponse, error) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	return &podresourcesv1.ListPodResourcesResponse{PodResources: k.pods}, nil
}

func (k *kubelet) has(pods ...*podresourcesv1.PodResources) {
	k.mutex.Lock()
	k.pods = pods
	k.mutex.Unlock()
}

func (k *kubelet) dial(t *testing.T) podresourcesv1.PodResourcesListerClient {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "kubelet.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	podresourcesv1.RegisterPodResourcesListerServer(server, k)
	go func() { _ = server.Serve(listener) }()
	connection, err := Dial(socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = connection.Close()
		server.Stop()
	})
	return podresourcesv1.NewPodResourcesListerClient(connection)
}

func given(name, container, resource string, ids ...string) *podresourcesv1.PodResources {
	return &podresourcesv1.PodResources{Namespace: "ns", Name: name,
		Containers: []*podresourcesv1.ContainerResources{{Name: container,
			Devices: []*podresourcesv1.ContainerDevices{{ResourceName: resource, DeviceIds: ids},
				{ResourceName: "rdma/hca", DeviceIds: []string{"mlx5_0"}}}}}}
}

func pod(name, uid, node string, phase v1.PodPhase) *v1.Pod {
	return &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns", UID: types.UID(uid)},
		Spec: v1.PodSpec{NodeName: node}, Status: v1.PodStatus{Phase: phase}}
}

func start(t *testing.T, options Options) {
	t.Helper()
	options.Node = "n1"
	options.Interval = time.Millisecond
	options.Resources = []string{"nvidia.com/gpu"}
	agent, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- agent.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != context.Canceled {
			t.Errorf("ended with %v", err)
		}
	})
}

func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never: " + what)
		}
	}
}

func patches(kube *kubefake.Clientset) (out []k8stesting.PatchAction) {
	for _, action := range kube.Actions() {
		if patch, ok := action.(k8stesting.PatchAction); ok {
			out = append(out, patch)
		}
	}
	return out
}

func TestGrantsAreSaidOnPods(t *testing.T) {
	kube := kubefake.NewClientset(pod("a", "u-a", "n1", v1.PodRunning),
		pod("waits", "u-w", "n1", v1.PodPending), pod("plain", "u-p", "n1", v1.PodRunning),
		pod("twice", "u-t", "n1", v1.PodRunning), pod("ended", "u-e", "n1", v1.PodSucceeded))
	k := &kubelet{}
	k.has(given("a", "main", "nvidia.com/gpu", "GPU-2", "GPU-1"), given("waits", "c", "nvidia.com/gpu", "GPU-3"),
		given("plain", "c", "other.com/x", "x"), given("twice", "c", "nvidia.com/gpu", "GPU-4"),
		given("twice", "c", "nvidia.com/gpu", "GPU-5"), given("ended", "c", "nvidia.com/gpu", "GPU-6"),
		given("unknown", "c", "nvidia.com/gpu", "GPU-7"))
	start(t, Options{Kube: kube, PodResources: k.dial(t)})
	said := func(name string) string {
		p, err := kube.CoreV1().Pods("ns").Get(context.Background(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return p.Annotations[GrantedAnnotation]
	}
	const want = `[{"container":"main","resource":"nvidia.com/gpu","ids":["GPU-1","GPU-2"]}]`
	until(t, "the pod's cards are said", func() bool { return said("a") == want })
	time.Sleep(50 * time.Millisecond)
	for _, name := range []string{"waits", "plain", "twice", "ended"} {
		if text := said(name); text != "" {
			t.Errorf("pod %s: %s", name, text)
		}
	}
	// What is said is not said again, and only of the pod with this UID.
	first := patches(kube)
	if len(first) != 1 || !strings.Contains(string(first[0].GetPatch()), `"uid":"u-a"`) ||
		first[0].GetPatchType() != types.MergePatchType {
		t.Errorf("%d patches", len(first))
	}
	k.has(given("a", "main", "nvidia.com/gpu", "GPU-1", "GPU-9"))
	until(t, "a change is said", func() bool { return strings.Contains(said("a"), "GPU-9") })
}

func TestMachineIsSaidOnTheNode(t *testing.T) {
	kube := kubefake.NewClientset(&v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}})
	file := filepath.Join(t.TempDir(), "machine.json")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	start(t, Options{Kube: kube, Machine: file}) // it comes later
	said := func() map[string]string {
		node, err := kube.CoreV1().Nodes().Get(context.Background(), "n1", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return node.Annotations
	}
	write(`{"metadata":{"annotations":{"basalt.io/machine":"2xH100 link=0-1:nv18"}}}`)
	until(t, "it is said", func() bool { return said()[MachineAnnotation] == "2xH100 link=0-1:nv18" })
	write(`{"metadata":{"annotations":{"basalt.io/machine":"2xA100","evil":"x"}}}`)
	time.Sleep(50 * time.Millisecond)
	if got := said(); len(got) != 1 || got[MachineAnnotation] != "2xH100 link=0-1:nv18" {
		t.Errorf("got %v", got)
	}
	if n := len(patches(kube)); n != 1 {
		t.Errorf("%d patches", n)
	}
	write(`{"metadata":{"annotations":{"basalt.io/machine":"2xA100"}}}`)
	until(t, "it is said anew", func() bool { return said()[MachineAnnotation] == "2xA100" })
}

func TestPatchesThatAreRefused(t *testing.T) {
	for _, bad := range []string{"", "{}", `{"spec":{"unschedulable":true}}`,
		`{"metadata":{"annotations":{"basalt.io/machine":"m"},"labels":{"a":"b"}}}`,
		`{"metadata":{"annotations":{"basalt.io/machine":""}}}`,
		`{"metadata":{"annotations":{"basalt.io/machine":"m"}}}{}`,
		`{"metadata":{"annotations":{"basalt.io/machine":null}}}`} {
		if got, err := machineOf([]byte(bad)); err == nil {
			t.Errorf("%s is taken: %q", bad, got)
		}
	}
}

func TestWhatAnAgentNeeds(t *testing.T) {
	kube := kubefake.NewClientset()
	for _, bad := range []Options{{}, {Kube: kube, Machine: "m"}, {Kube: kube, Node: "n"}} {
		if _, err := New(bad); err == nil {
			t.Errorf("%v is taken", bad)
		}
	}
}
