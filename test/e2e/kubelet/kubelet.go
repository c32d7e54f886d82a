// Package kubelet plays the node side of a cluster without machines: device plugins allocate what the
// scheduler assigned, pods run, pods that are deleted end. The plugins keep to what the real ones need
// from a scheduler, so that an assignment they could not read fails here, too.
package kubelet

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"

	"basalt.io/e2e/auditor"
)

// KwokAnnotation is on nodes that kwok keeps: they are none of ours.
const KwokAnnotation = "kwok.x-k8s.io/node"

// HoldLabel keeps a pod Pending on its node: its container never starts.
const HoldLabel = "e2e.basalt.io/hold"

const workers = 16

// Failure is a pod that a node refused.
type Failure struct {
	Pod    string
	Reason string
}

// served is a container that a plugin has answered, perhaps without the API server knowing: the call
// that says so is made again after an error, and must not take a second slot.
type served struct {
	pod       types.UID
	container int
}

// Kubelet serves all nodes of a cluster.
type Kubelet struct {
	client  kubernetes.Interface
	auditor *auditor.Auditor
	pods    corelisters.PodLister
	others  corelisters.NodeLister
	queue   workqueue.TypedRateLimitingInterface[string]

	mutex    sync.Mutex
	begun    map[served]string      // what was left to allocate after a container had its devices
	nodes    map[string]*sync.Mutex // kubelet admits one pod at a time
	failures []Failure
}

// Start serves nodes until the context ends. The auditor is told what plugins grant.
func Start(ctx context.Context, client kubernetes.Interface, audit *auditor.Auditor) (*Kubelet, error) {
	factory := informers.NewSharedInformerFactory(client, 0)
	pods := factory.Core().V1().Pods()
	nodes := factory.Core().V1().Nodes()
	k := &Kubelet{client: client, auditor: audit, pods: pods.Lister(), others: nodes.Lister(),
		queue: workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[string](
			20*time.Millisecond, 2*time.Second)),
		begun: map[served]string{}, nodes: map[string]*sync.Mutex{}}
	put := func(object any) {
		pod := object.(*v1.Pod)
		starts := pod.Spec.NodeName != "" && pod.Status.Phase == v1.PodPending
		if starts || pod.DeletionTimestamp != nil {
			k.queue.Add(pod.Namespace + "/" + pod.Name)
		}
	}
	if _, err := pods.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: put, UpdateFunc: func(_, object any) { put(object) }}); err != nil {
		return nil, err
	}
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), pods.Informer().HasSynced, nodes.Informer().HasSynced) {
		return nil, ctx.Err()
	}
	for range workers {
		go k.work(ctx)
	}
	go func() {
		<-ctx.Done()
		k.queue.ShutDown()
	}()
	return k, nil
}

// Failures are the pods that were refused so far.
func (k *Kubelet) Failures() []Failure {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	return append([]Failure(nil), k.failures...)
}

func (k *Kubelet) work(ctx context.Context) {
	for {
		key, down := k.queue.Get()
		if down {
			return
		}
		if err := k.serve(ctx, key); err != nil {
			k.queue.AddRateLimited(key)
		} else {
			k.queue.Forget(key)
		}
		k.queue.Done(key)
	}
}

func (k *Kubelet) begin(one served, left string) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	k.begun[one] = left
}

func (k *Kubelet) left(one served) (string, bool) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	left, begun := k.begun[one]
	return left, begun
}

func (k *Kubelet) node(name string) *sync.Mutex {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if k.nodes[name] == nil {
		k.nodes[name] = &sync.Mutex{}
	}
	return k.nodes[name]
}

// serve brings one pod on. An error is the API server's: it is tried again.
func (k *Kubelet) serve(ctx context.Context, key string) error {
	space, name, err := cache.SplitMetaNamespaceKey(key)
	if err != nil {
		return nil
	}
	pod, err := k.pods.Pods(space).Get(name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if node, err := k.others.Get(pod.Spec.NodeName); err == nil && node.Annotations[KwokAnnotation] != "" {
		return nil
	}
	if pod.DeletionTimestamp != nil {
		now := int64(0)
		err := k.client.CoreV1().Pods(space).Delete(ctx, name, metav1.DeleteOptions{
			GracePeriodSeconds: &now, Preconditions: &metav1.Preconditions{UID: &pod.UID}})
		if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			return nil
		}
		return err
	}
	if pod.Spec.NodeName == "" || pod.Status.Phase != v1.PodPending || pod.Labels[HoldLabel] != "" {
		return nil
	}
	mutex := k.node(pod.Spec.NodeName)
	mutex.Lock()
	defer mutex.Unlock()
	// What the lister has may be older than what this node did to the pod a moment ago.
	pod, err = k.client.CoreV1().Pods(space).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if pod.DeletionTimestamp != nil || pod.Status.Phase != v1.PodPending {
		return nil
	}
	if refused, err := k.allocate(ctx, pod); err != nil {
		return err
	} else if refused != "" {
		k.mutex.Lock()
		k.failures = append(k.failures, Failure{key, refused})
		k.mutex.Unlock()
		return k.status(ctx, pod, map[string]any{"phase": "Failed", "reason": "UnexpectedAdmissionError",
			"message": refused})
	}
	return k.status(ctx, pod, map[string]any{"phase": "Running", "conditions": []map[string]any{
		{"type": "Ready", "status": "True"}, {"type": "ContainersReady", "status": "True"},
		{"type": "Initialized", "status": "True"}}})
}

func (k *Kubelet) status(ctx context.Context, pod *v1.Pod, status map[string]any) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": pod.UID}, "status": status})
	if err != nil {
		return err
	}
	_, err = k.client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType,
		patch, metav1.PatchOptions{}, "status")
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

// plugin is a device plugin of one node. Allocate serves one container; refused is its error, with
// which kubelet refuses the pod.
type plugin interface {
	allocate(ctx context.Context, pod *v1.Pod, container int, count int64) (refused string, err error)
}

func containers(pod *v1.Pod) []v1.Container {
	return append(append([]v1.Container(nil), pod.Spec.InitContainers...), pod.Spec.Containers...)
}

// asksAs says whether the resource is the plugin's: its name, or the name for one model ("gpu-a100").
func asksAs(name v1.ResourceName, plugin string) bool {
	return string(name) == plugin || strings.HasPrefix(string(name), plugin+"-")
}

// allocate asks each container's plugin in turn, init containers first, as kubelet does.
func (k *Kubelet) allocate(ctx context.Context, pod *v1.Pod) (refused string, err error) {
	var node *v1.Node
	for container, spec := range containers(pod) {
		for name, quantity := range spec.Resources.Limits {
			var key string
			switch {
			case asksAs(name, "nvidia.com/gpu"):
				key = hamiRegister
			case asksAs(name, "volcano.sh/vgpu-number"):
				key = volcanoRegister
			default:
				continue
			}
			if quantity.IsZero() {
				continue
			}
			if node == nil {
				if node, err = k.client.CoreV1().Nodes().Get(ctx, pod.Spec.NodeName, metav1.GetOptions{}); err != nil {
					return "", err
				}
			}
			if node.Annotations[key] == "" {
				continue // NVIDIA's own plugin: kubelet picks any cards, and nobody is told which
			}
			var serving plugin = &hami{k, node.Name}
			if key == volcanoRegister {
				serving = &volcano{k, node.Name}
			}
			if refused, err = serving.allocate(ctx, pod, container, quantity.Value()); refused != "" || err != nil {
				return refused, err
			}
		}
	}
	return "", nil
}

func (k *Kubelet) annotate(ctx context.Context, pod *v1.Pod, annotations map[string]string) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": annotations}})
	if err != nil {
		return err
	}
	_, err = k.client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.MergePatchType, patch,
		metav1.PatchOptions{})
	return err
}

// unlock takes a lock's annotation off a node if its value ends as the owner's does.
func (k *Kubelet) unlock(ctx context.Context, nodeName, key string, owns func(value string) bool) error {
	for range 5 {
		node, err := k.client.CoreV1().Nodes().Get(ctx, nodeName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		value, locked := node.Annotations[key]
		if !locked || !owns(value) {
			return nil
		}
		patch := fmt.Sprintf(`{"metadata":{"resourceVersion":%q,"annotations":{%q:null}}}`, node.ResourceVersion, key)
		_, err = k.client.CoreV1().Nodes().Patch(ctx, nodeName, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
		if !apierrors.IsConflict(err) {
			return err
		}
	}
	return fmt.Errorf("node %s changes all the time", nodeName)
}
