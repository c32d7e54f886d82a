// Package nodeagent stands on a node and says on its objects what only the node knows: which devices
// the kubelet has given to which pod, where a device plugin chooses by itself (NVIDIA's own), and how
// the node's cards are wired. Basalt's server reads both from the annotations, so that it knows them
// again after it has lost everything else.
package nodeagent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	podresourcesv1 "k8s.io/kubelet/pkg/apis/podresources/v1"

	"basalt.io/adapters/podres"
)

const (
	// GrantedAnnotation of a pod: what its kubelet has given it, as the server reads it
	// (devices/allocation.h).
	GrantedAnnotation = "basalt.io/granted"
	// MachineAnnotation of a node: how its cards are wired, as `basalt topo publish` says it.
	MachineAnnotation = "basalt.io/machine"

	maxKubelet   = 16 << 20
	maxGranted   = 32 << 10
	maxPatch     = 64 << 10
	machineAgain = 10 * time.Minute // in case somebody has taken it off
	grantAgain   = time.Minute      // our own word comes back by the watch before
)

// Options of an Agent. Kube, Node, and one of PodResources and Machine are required.
type Options struct {
	Kube         kubernetes.Interface
	Node         string
	PodResources podresourcesv1.PodResourcesListerClient // the kubelet; nil: grants are not told
	Resources    []string                                // whose devices are told
	Machine      string                                  // file with the patch of `basalt topo publish`; "": none
	Interval     time.Duration                           // between two looks; 10 s
}

// Dial the kubelet's socket.
func Dial(socket string) (*grpc.ClientConn, error) {
	return grpc.NewClient("unix://"+socket,
		grpc.WithTransportCredentials(insecure.NewCredentials()), // the socket's mode is its lock
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxKubelet)))
}

// Agent of one node. Make it with New.
type Agent struct {
	options Options
	pods    cache.Store
	machine string // that was told last
	told    time.Time
	said    map[types.UID]said
}

// said of a pod.
type said struct {
	text string
	at   time.Time
}

// New agent; Run starts it.
func New(options Options) (*Agent, error) {
	if options.Kube == nil || options.Node == "" {
		return nil, errors.New("nodeagent: no client or no node")
	}
	if options.PodResources == nil && options.Machine == "" {
		return nil, errors.New("nodeagent: neither the kubelet nor a machine is to be told of")
	}
	if options.Interval <= 0 {
		options.Interval = 10 * time.Second
	}
	return &Agent{options: options, said: map[types.UID]said{}}, nil
}

// Run looks each Interval until the context ends. What fails is said and tried again.
func (a *Agent) Run(ctx context.Context) error {
	if a.options.PodResources != nil {
		factory := informers.NewSharedInformerFactoryWithOptions(a.options.Kube, 0,
			informers.WithTweakListOptions(func(list *metav1.ListOptions) {
				list.FieldSelector = fields.OneTermEqualSelector("spec.nodeName", a.options.Node).String()
			}))
		informer := factory.Core().V1().Pods().Informer()
		a.pods = informer.GetStore()
		factory.Start(ctx.Done())
		defer factory.Shutdown()
		if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
			return ctx.Err()
		}
	}
	for {
		if err := a.round(ctx); err != nil && ctx.Err() == nil {
			klog.ErrorS(err, "The node cannot be told of", "node", a.options.Node)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(a.options.Interval):
		}
	}
}

func (a *Agent) round(ctx context.Context) error {
	var machine, grants error
	if a.options.Machine != "" {
		machine = a.tellMachine(ctx)
	}
	if a.options.PodResources != nil {
		grants = a.tellGrants(ctx)
	}
	return errors.Join(machine, grants)
}

// machineOf a patch. It may say nothing else: who writes the file gets no other right over the node.
func machineOf(patch []byte) (string, error) {
	var said struct {
		Metadata struct {
			Annotations map[string]string `json:"annotations"`
		} `json:"metadata"`
	}
	decoder := json.NewDecoder(bytes.NewReader(patch))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&said); err != nil {
		return "", fmt.Errorf("it is no patch of `basalt topo publish`: %w", err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return "", errors.New("something stands behind the patch")
	}
	machine := said.Metadata.Annotations[MachineAnnotation]
	if machine == "" || len(said.Metadata.Annotations) != 1 {
		return "", fmt.Errorf("it must say the annotation %s and nothing else", MachineAnnotation)
	}
	return machine, nil
}

func (a *Agent) tellMachine(ctx context.Context) error {
	file, err := os.Open(a.options.Machine)
	if err != nil {
		return fmt.Errorf("machine: %w", err)
	}
	defer file.Close()
	patch, err := io.ReadAll(io.LimitReader(file, maxPatch+1))
	if err != nil {
		return fmt.Errorf("machine: %w", err)
	}
	if len(patch) > maxPatch {
		return fmt.Errorf("machine: %s has more than %d bytes", a.options.Machine, maxPatch)
	}
	machine, err := machineOf(patch)
	if err != nil {
		return fmt.Errorf("machine: %s: %w", a.options.Machine, err)
	}
	if machine == a.machine && time.Since(a.told) < machineAgain {
		return nil
	}
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"annotations": map[string]string{MachineAnnotation: machine}}})
	if err != nil {
		return err
	}
	if _, err := a.options.Kube.CoreV1().Nodes().Patch(ctx, a.options.Node, types.MergePatchType, body,
		metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("machine: %w", err)
	}
	a.machine, a.told = machine, time.Now()
	klog.InfoS("The node's machine is told", "node", a.options.Node, "machine", machine)
	return nil
}

// grant of one resource to one container.
type grant struct {
	Container string   `json:"container"`
	Resource  string   `json:"resource"`
	IDs       []string `json:"ids"`
}

// granted to a pod, in a form that is the same for the same grants; "": nothing of these resources.
func granted(pod *podresourcesv1.PodResources, resources []string) (string, error) {
	ids := map[[2]string][]string{} // by container and resource: one of each may be listed in parts
	for _, container := range pod.GetContainers() {
		for _, devices := range container.GetDevices() {
			if slices.Contains(resources, devices.GetResourceName()) {
				key := [2]string{container.GetName(), devices.GetResourceName()}
				ids[key] = append(ids[key], devices.GetDeviceIds()...)
			}
		}
	}
	var out []grant
	for key, list := range ids {
		slices.Sort(list)
		out = append(out, grant{key[0], key[1], slices.Compact(list)})
	}
	if len(out) == 0 {
		return "", nil
	}
	slices.SortFunc(out, func(a, b grant) int {
		if order := strings.Compare(a.Container, b.Container); order != 0 {
			return order
		}
		return strings.Compare(a.Resource, b.Resource)
	})
	text, err := json.Marshal(out)
	if err != nil {
		return "", err
	}
	if len(text) > maxGranted {
		return "", fmt.Errorf("pod %s/%s has devices for %d bytes of text", pod.GetNamespace(),
			pod.GetName(), len(text))
	}
	return string(text), nil
}

func (a *Agent) tellGrants(ctx context.Context) error {
	limit, cancel := context.WithTimeout(ctx, a.options.Interval+10*time.Second)
	defer cancel()
	list, err := a.options.PodResources.List(limit, &podresourcesv1.ListPodResourcesRequest{})
	if err != nil {
		return fmt.Errorf("the kubelet: %w", err)
	}
	byName := map[string]*podresourcesv1.PodResources{}
	twice := map[string]bool{}
	for _, pod := range list.GetPodResources() {
		name := pod.GetNamespace() + "/" + pod.GetName()
		twice[name] = byName[name] != nil
		byName[name] = pod
	}
	var wrong []error
	now := time.Now()
	maps.DeleteFunc(a.said, func(_ types.UID, last said) bool { return now.Sub(last.at) >= grantAgain })
	for _, object := range a.pods.List() {
		pod := object.(*v1.Pod)
		name := pod.Namespace + "/" + pod.Name
		// The kubelet tells no UIDs. One that runs is the one that the kubelet means, unless it has
		// a second one of this name that has not ended yet.
		if pod.Status.Phase != v1.PodRunning || podres.Ended(pod) || byName[name] == nil || twice[name] {
			continue
		}
		text, err := granted(byName[name], a.options.Resources)
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		if text == "" || pod.Annotations[GrantedAnnotation] == text || a.said[pod.UID].text == text {
			continue
		}
		if err := a.annotate(limit, pod, text); err != nil {
			wrong = append(wrong, fmt.Errorf("pod %s: %w", name, err))
			continue
		}
		a.said[pod.UID] = said{text, now}
	}
	return errors.Join(wrong...)
}

func (a *Agent) annotate(ctx context.Context, pod *v1.Pod, text string) error {
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid":         string(pod.UID), // another pod of this name is refused
		"annotations": map[string]string{GrantedAnnotation: text}}})
	if err != nil {
		return err
	}
	_, err = a.options.Kube.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.MergePatchType, body,
		metav1.PatchOptions{})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // gone since
	}
	return err
}
