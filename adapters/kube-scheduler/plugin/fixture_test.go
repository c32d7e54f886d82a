package plugin

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	clientset "k8s.io/client-go/kubernetes"
	kubefake "k8s.io/client-go/kubernetes/fake"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	fw "k8s.io/kubernetes/pkg/scheduler/framework"

	"basalt.io/adapters/client"
	"basalt.io/adapters/fake"
)

// handle is the part of kube-scheduler's framework that the plugin uses.
type handle struct {
	fw.Handle
	client    *kubefake.Clientset
	factory   informers.SharedInformerFactory
	mutex     sync.Mutex
	waiting   map[types.UID]*waitingPod
	activated map[string]int
}

type waitingPod struct {
	fw.WaitingPod
	pod      *v1.Pod
	allowed  bool
	rejected string
}

func (w *waitingPod) GetPod() *v1.Pod          { return w.pod }
func (w *waitingPod) Allow(string)             { w.allowed = true }
func (w *waitingPod) Reject(_, message string) { w.rejected = message }

func (h *handle) ClientSet() clientset.Interface                         { return h.client }
func (h *handle) SharedInformerFactory() informers.SharedInformerFactory { return h.factory }
func (h *handle) Activate(_ klog.Logger, pods map[string]*v1.Pod) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	for key := range pods {
		h.activated[key]++
	}
}
func (h *handle) GetWaitingPod(uid types.UID) fw.WaitingPod {
	if one := h.waiting[uid]; one != nil {
		return one
	}
	return nil
}

// groups by name; the pods are those of the test.
type testGroups struct {
	minimum map[string]int
	all     []*v1.Pod
}

func (g *testGroups) group(namespace, name string) (*podGroup, error) {
	minimum, found := g.minimum[name]
	if !found {
		return nil, fmt.Errorf("there is no PodGroup %s", name)
	}
	return &podGroup{namespace: namespace, name: name, uid: uid(9000 + len(name)), minimum: minimum}, nil
}

func (g *testGroups) pods(_, group string) ([]*v1.Pod, error) {
	var out []*v1.Pod
	for _, pod := range g.all {
		if groupOf(pod) == group {
			out = append(out, pod)
		}
	}
	return out, nil
}

type fixture struct {
	t      *testing.T
	server *fake.Server
	handle *handle
	plugin *Plugin
	groups *testGroups
	infos  []fwk.NodeInfo
	nodes  map[string]fwk.NodeInfo
}

func uid(number int) types.UID {
	return types.UID(fmt.Sprintf("00000000-0000-4000-8000-%012d", number))
}

// setup a plugin over a server that has these cards. Arguments may be changed before.
func setup(t *testing.T, cards map[string]int, change func(*Args, *client.Options)) *fixture {
	t.Helper()
	server := fake.New(cards)
	server.Start()
	t.Cleanup(server.Stop)
	args, err := decodeArgs(nil)
	if err != nil {
		t.Fatal(err)
	}
	args.ConfirmWait.Duration = 2 * time.Second
	options := server.Options()
	options.Scheduler = "test"
	if change != nil {
		change(args, &options)
	}
	connection, err := client.Dial(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	kube := kubefake.NewClientset()
	h := &handle{client: kube, factory: informers.NewSharedInformerFactory(kube, 0),
		waiting: map[types.UID]*waitingPod{}, activated: map[string]int{}}
	f := &fixture{t: t, server: server, handle: h, plugin: newPlugin(args, h, connection),
		groups: &testGroups{minimum: map[string]int{}}, nodes: map[string]fwk.NodeInfo{}}
	f.plugin.groups = f.groups
	for name := range cards {
		info := fw.NewNodeInfo()
		info.SetNode(&v1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"zone": name}}})
		f.infos, f.nodes[name] = append(f.infos, info), info
	}
	return f
}

// pod that asks so many cards; it is in the API server.
func (f *fixture) pod(number, cards int, group string) *v1.Pod {
	f.t.Helper()
	pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("p%d", number), Namespace: "default", UID: uid(number)},
		Spec: v1.PodSpec{Containers: []v1.Container{{Name: "c"}}}}
	if cards > 0 {
		pod.Spec.Containers[0].Resources.Limits = v1.ResourceList{
			"nvidia.com/gpu": *resource.NewQuantity(int64(cards), resource.DecimalSI)}
	}
	if group != "" {
		pod.Labels = map[string]string{GroupLabel: group}
	}
	f.groups.all = append(f.groups.all, pod)
	if _, err := f.handle.client.CoreV1().Pods("default").Create(context.Background(), pod, metav1.CreateOptions{}); err != nil {
		f.t.Fatal(err)
	}
	return pod
}

// cycle is one pod's way through the scheduler.
type cycle struct {
	f     *fixture
	pod   *v1.Pod
	state fwk.CycleState
	node  string
}

func (f *fixture) cycle(pod *v1.Pod) *cycle {
	return &cycle{f: f, pod: pod, state: fw.NewCycleState()}
}

// choose runs PreFilter, Filter and Score, and takes the best node.
func (c *cycle) choose() *fwk.Status {
	result, status := c.f.plugin.PreFilter(context.Background(), c.state, c.pod, c.f.infos)
	if !status.IsSuccess() {
		return status
	}
	best := int64(-1)
	for node := range result.NodeNames {
		if status := c.f.plugin.Filter(context.Background(), c.state, c.pod, c.f.nodes[node]); !status.IsSuccess() {
			return status
		}
		score, status := c.f.plugin.Score(context.Background(), c.state, c.pod, c.f.nodes[node])
		if !status.IsSuccess() {
			return status
		}
		if score > best {
			best, c.node = score, node
		}
	}
	return nil
}

func (c *cycle) must(status *fwk.Status) {
	c.f.t.Helper()
	if !status.IsSuccess() {
		c.f.t.Fatalf("%s: %s", status.Code(), status.Message())
	}
}

// reserve runs choose, Reserve and Permit.
func (c *cycle) reserve() *fwk.Status {
	c.f.t.Helper()
	c.must(c.choose())
	c.must(c.f.plugin.Reserve(context.Background(), c.state, c.pod, c.node))
	status, _ := c.f.plugin.Permit(context.Background(), c.state, c.pod, c.node)
	if status.IsWait() {
		c.f.handle.waiting[c.pod.UID] = &waitingPod{pod: c.pod}
	}
	return status
}

func (c *cycle) bind() *fwk.Status {
	if status := c.f.plugin.PreBind(context.Background(), c.state, c.pod, c.node); !status.IsSuccess() {
		return status
	}
	return c.f.plugin.Bind(context.Background(), c.state, c.pod, c.node)
}

func (c *cycle) unreserve() {
	c.f.plugin.Unreserve(context.Background(), c.state, c.pod, c.node)
}

// bindings that were posted, by pod.
func (f *fixture) bindings() map[string]*v1.Binding {
	out := map[string]*v1.Binding{}
	for _, action := range f.handle.client.Actions() {
		create, ok := action.(interface {
			GetObject() runtime.Object
		})
		if !ok || action.GetSubresource() != "binding" {
			continue
		}
		binding := create.GetObject().(*v1.Binding)
		out[binding.Name] = binding
	}
	return out
}

// statuses as kube-scheduler gives them to PostFilter.
func (f *fixture) refusedBy(plugin string, nodes ...string) fw.NodeToStatusReader {
	out := fw.NewDefaultNodeToStatus()
	for _, node := range nodes {
		out.Set(node, fwk.NewStatus(fwk.Unschedulable, "no").WithPlugin(plugin))
	}
	return out
}
