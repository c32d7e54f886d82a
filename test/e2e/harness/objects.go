package harness

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"basalt.io/e2e/kubelet"
)

// Plugin is which device plugin a node has.
type Plugin string

const (
	HAMi    Plugin = "hami"    // registers cards for HAMi: shares, and cards by UUID
	Volcano Plugin = "volcano" // registers them for Volcano's deviceshare
	Stock   Plugin = "stock"   // NVIDIA's own: counts cards and chooses by itself
	DRA     Plugin = "dra"     // none; a DRA driver publishes a ResourceSlice
	Bare    Plugin = "bare"    // none; what Also says
)

// Nodes describes fake nodes NAME-0 .. NAME-(Count-1) that are alike.
type Nodes struct {
	Name    string
	Count   int
	Cards   int
	Plugin  Plugin
	Labels  map[string]string
	Version string            // of HAMi's plugin: "2.7", "2.8", "2.10" (also "")
	Model   string            // of its cards; CardModel
	Memory  int               // of its cards, MiB; CardMemory
	Also    map[string]string // more that the kubelet offers
	Kwok    bool              // kwok keeps the node and its pods, not our kubelet
}

// The cards of all fake nodes.
const (
	CardModel  = "NVIDIA A100-SXM4-80GB"
	CardMemory = 81920 // MiB
	CardSplit  = 10
)

// UUID of a card of a fake node.
func UUID(node string, card int) string { return fmt.Sprintf("GPU-%s-%d", node, card) }

// NodeName of the i-th of these nodes.
func (n Nodes) NodeName(i int) string { return fmt.Sprintf("%s-%d", n.Name, i) }

func (n Nodes) build(i int) *v1.Node {
	name := n.NodeName(i)
	node := &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{},
		Labels: map[string]string{"kubernetes.io/hostname": name, "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}}}
	for key, value := range n.Labels {
		node.Labels[key] = value
	}
	model := CardModel
	if n.Model != "" {
		model = n.Model
		node.Labels["nvidia.com/gpu.product"] = strings.ReplaceAll(model, " ", "-")
	}
	if n.Memory == 0 {
		n.Memory = CardMemory
	}
	node.Labels["nvidia.com/gpu.memory"] = fmt.Sprint(n.Memory)
	have := v1.ResourceList{"cpu": resource.MustParse("128"), "memory": resource.MustParse("1024Gi"),
		"pods": resource.MustParse("200"), "ephemeral-storage": resource.MustParse("1Ti")}
	count := func(number int) resource.Quantity { return *resource.NewQuantity(int64(number), resource.DecimalSI) }
	switch n.Plugin {
	case HAMi:
		node.Annotations["hami.io/node-nvidia-register"] = n.register(name, model)
		have["nvidia.com/gpu"] = count(n.Cards * CardSplit)
	case Volcano:
		text := ""
		for c := range n.Cards {
			text += fmt.Sprintf("%s,%d,%d,NVIDIA-%s,true,hami-core:", UUID(name, c), CardSplit, n.Memory,
				strings.TrimPrefix(model, "NVIDIA "))
		}
		node.Annotations["volcano.sh/node-vgpu-register"] = text
		have["volcano.sh/vgpu-number"] = count(n.Cards * CardSplit)
		have["volcano.sh/vgpu-memory"] = count(n.Cards * n.Memory)
		have["volcano.sh/vgpu-cores"] = count(n.Cards * 100)
	case DRA:
	case Bare:
		delete(node.Labels, "nvidia.com/gpu.product")
		delete(node.Labels, "nvidia.com/gpu.memory")
	default:
		have["nvidia.com/gpu"] = count(n.Cards)
	}
	for name, amount := range n.Also {
		have[v1.ResourceName(name)] = resource.MustParse(amount)
	}
	node.Status = v1.NodeStatus{Capacity: have, Allocatable: have}
	node.Status.Conditions = []v1.NodeCondition{{Type: v1.NodeReady, Status: v1.ConditionTrue, Reason: "Fake"}}
	if n.Kwok { // kwok says when it is ready
		node.Annotations[kubelet.KwokAnnotation] = "fake"
		node.Status.Conditions[0].Status = v1.ConditionFalse
	}
	return node
}

// register is HAMi's, as the version of its plugin writes it: text up to v2.7, JSON with an empty
// devicepairscore in v2.8 and v2.9, JSON since.
func (n Nodes) register(node, model string) string {
	type device struct {
		ID      string    `json:"id"`
		Index   int       `json:"index,omitempty"`
		Count   int       `json:"count"`
		Memory  int       `json:"devmem"`
		Cores   int       `json:"devcore"`
		Type    string    `json:"type"`
		NUMA    int       `json:"numa,omitempty"`
		Mode    string    `json:"mode"`
		Healthy bool      `json:"health"`
		Pair    *struct{} `json:"devicepairscore,omitempty"`
	}
	text := ""
	var list []device
	for c := range n.Cards {
		numa := 2 * c / n.Cards
		text += fmt.Sprintf("%s,%d,%d,100,NVIDIA-%s,%d,true,%d,hami-core:", UUID(node, c), CardSplit, n.Memory, model, numa, c)
		one := device{ID: UUID(node, c), Index: c, Count: CardSplit, Memory: n.Memory, Cores: 100, Type: model,
			NUMA: numa, Mode: "hami-core", Healthy: true}
		if n.Version == "2.8" {
			one.Pair = &struct{}{}
		}
		list = append(list, one)
	}
	if n.Version == "2.7" {
		return text
	}
	// The plugin goes through a map: the order is random.
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	out, err := json.Marshal(list)
	if err != nil {
		panic(err)
	}
	return string(out)
}

// AddNodes makes the nodes.
func (b *Bed) AddNodes(nodes Nodes) {
	b.T.Helper()
	b.Each(nodes.Count, func(i int) error {
		if _, err := b.Client.CoreV1().Nodes().Create(b.ctx, nodes.build(i), metav1.CreateOptions{}); err != nil || nodes.Plugin != DRA {
			return err
		}
		_, err := b.Client.ResourceV1().ResourceSlices().Create(b.ctx, nodes.slice(i), metav1.CreateOptions{})
		return err
	})
}

// Each calls for 0..count-1 from a few goroutines; the first error fails the test.
func (b *Bed) Each(count int, do func(i int) error) {
	b.T.Helper()
	var group sync.WaitGroup
	var mutex sync.Mutex
	var first error
	next := 0
	for range min(count, 16) {
		group.Add(1)
		go func() {
			defer group.Done()
			for {
				mutex.Lock()
				i := next
				next++
				stop := i >= count || first != nil
				mutex.Unlock()
				if stop {
					return
				}
				if err := do(i); err != nil {
					mutex.Lock()
					first = err
					mutex.Unlock()
				}
			}
		}()
	}
	group.Wait()
	b.must(first)
}

// PodSpec is a pod of one container.
type PodSpec struct {
	Name        string
	Scheduler   string
	Limits      map[string]string // "nvidia.com/gpu": "1"
	Annotations map[string]string
	Labels      map[string]string
	Priority    string // class
	OwnGang     bool   // each pod is of a Volcano PodGroup of its own name
	Prepare     func(*v1.Pod)
}

// Schedulers' names.
const (
	KubeScheduler    = "basalt-kube" // ours, with the plugin
	StockScheduler   = "default-scheduler"
	VolcanoScheduler = "volcano"
)

// Build the pod's object.
func (s PodSpec) Build() *v1.Pod {
	limits := v1.ResourceList{"cpu": resource.MustParse("100m"), "memory": resource.MustParse("128Mi")}
	for name, amount := range s.Limits {
		limits[v1.ResourceName(name)] = resource.MustParse(amount)
	}
	pod := &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: s.Name, Namespace: "default", Annotations: s.Annotations, Labels: s.Labels},
		Spec: v1.PodSpec{SchedulerName: s.Scheduler, PriorityClassName: s.Priority,
			Containers: []v1.Container{{Name: "main", Image: "none", Resources: v1.ResourceRequirements{
				Limits: limits, Requests: limits}}}},
	}
	if s.Prepare != nil {
		s.Prepare(pod)
	}
	return pod
}

// Pod makes one.
func (b *Bed) Pod(spec PodSpec) *v1.Pod {
	b.T.Helper()
	pod, err := b.Client.CoreV1().Pods("default").Create(b.ctx, spec.Build(), metav1.CreateOptions{})
	b.must(err)
	return pod
}

// TryPod is Pod for use from several goroutines.
func (b *Bed) TryPod(spec PodSpec) error {
	_, err := b.Client.CoreV1().Pods("default").Create(b.ctx, spec.Build(), metav1.CreateOptions{})
	return err
}

// PodsOf makes NAME-0 .. NAME-(count-1), all alike.
func (b *Bed) PodsOf(count int, spec PodSpec) {
	b.T.Helper()
	b.Each(count, func(i int) error {
		one := spec
		one.Name = fmt.Sprintf("%s-%d", spec.Name, i)
		if spec.OwnGang {
			one.Annotations = map[string]string{"scheduling.k8s.io/group-name": one.Name}
		}
		return b.TryPod(one)
	})
}

// Delete pods by name.
func (b *Bed) Delete(names ...string) {
	b.T.Helper()
	for _, name := range names {
		b.must(b.Client.CoreV1().Pods("default").Delete(b.ctx, name, metav1.DeleteOptions{}))
	}
}

// DeleteAll pods, and wait until they are gone.
func (b *Bed) DeleteAll() {
	b.T.Helper()
	b.must(b.Client.CoreV1().Pods("default").DeleteCollection(b.ctx, metav1.DeleteOptions{}, metav1.ListOptions{}))
	b.Until(time.Minute, "all pods are gone", func() error {
		if n := len(b.List("")); n > 0 {
			return fmt.Errorf("%d are left", n)
		}
		return nil
	})
}

// Get a pod as the API server has it.
func (b *Bed) Get(name string) *v1.Pod {
	b.T.Helper()
	pod, err := b.Client.CoreV1().Pods("default").Get(b.ctx, name, metav1.GetOptions{})
	b.must(err)
	return pod
}

// List the pods with a label; "" lists all.
func (b *Bed) List(selector string) []v1.Pod {
	b.T.Helper()
	list, err := b.Client.CoreV1().Pods("default").List(b.ctx, metav1.ListOptions{LabelSelector: selector})
	b.must(err)
	return list.Items
}

// Ungate takes a pod's scheduling gates off.
func (b *Bed) Ungate(name string) {
	b.T.Helper()
	_, err := b.Client.CoreV1().Pods("default").Patch(b.ctx, name, types.MergePatchType,
		[]byte(`{"spec":{"schedulingGates":null}}`), metav1.PatchOptions{})
	b.must(err)
}

// Cordon a node, or take that back.
func (b *Bed) Cordon(node string, on bool) {
	b.T.Helper()
	_, err := b.Client.CoreV1().Nodes().Patch(b.ctx, node, types.MergePatchType,
		[]byte(fmt.Sprintf(`{"spec":{"unschedulable":%v}}`, on)), metav1.PatchOptions{})
	b.must(err)
}

// Events about an object of the namespace default: "REASON: message", oldest first.
func (b *Bed) Events(kind, name string) []string {
	b.T.Helper()
	list, err := b.Client.CoreV1().Events("default").List(b.ctx, metav1.ListOptions{
		FieldSelector: "involvedObject.kind=" + kind + ",involvedObject.name=" + name})
	b.must(err)
	var out []string
	for _, event := range list.Items {
		out = append(out, event.Reason+": "+event.Message)
	}
	return out
}

// Finish ends a running pod with success.
func (b *Bed) Finish(name string) {
	b.T.Helper()
	_, err := b.Client.CoreV1().Pods("default").Patch(b.ctx, name, types.MergePatchType,
		[]byte(`{"status":{"phase":"Succeeded"}}`), metav1.PatchOptions{}, "status")
	b.must(err)
}
