// Package podres says in the protocol's words what a Kubernetes pod asks for and holds. Vendors'
// resource names are not known here: the server reads them (devices::ReadRequest), so that stock
// extenders and these adapters mean the same by one pod.
package podres

import (
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	placementv1 "basalt.io/adapters/placement/v1"
)

// Annotations of pods that more than one of our packages uses.
const (
	preemptable = "volcano.sh/preemptable"

	GroupAnnotation        = "scheduling.k8s.io/group-name" // of a Volcano PodGroup
	VolcanoGroupAnnotation = "scheduling.volcano.sh/group-name"
	QueueAnnotation        = "scheduling.volcano.sh/queue-name"
	QueueLabel             = "volcano.sh/queue-name"
	// CardsAnnotation is written by our binds: the cards chosen, by UUID, in the order of the pod's
	// containers. What a vendor's plugin reads is written beside it; this one is how a server that
	// has lost its journal learns which cards a pod holds.
	CardsAnnotation = "basalt.io/cards"
	// EnforcedAnnotation: "true" when the device plugin gives exactly these cards, "false" when it
	// chooses by itself and the cards are advice.
	EnforcedAnnotation = "basalt.io/cards-enforced"
)

// Key of a pod. attempt is how often this pod has been scheduled from the start; adapters use 0.
func Key(pod *v1.Pod, attempt uint32) *placementv1.PodKey {
	return &placementv1.PodKey{Uid: string(pod.UID), Attempt: attempt, Namespace: pod.Namespace,
		Name: pod.Name}
}

func wanted(key string, keys []string) bool {
	for _, known := range keys {
		if key == known || (strings.HasSuffix(known, "/") && strings.HasPrefix(key, known)) {
			return true
		}
	}
	return false
}

// Resources are the pod's own words. keys are the server's (client.AnnotationKeys): annotations that
// device names use; a key that ends in '/' is a prefix.
func Resources(pod *v1.Pod, keys []string) *placementv1.PodResources {
	out := &placementv1.PodResources{Name: pod.Name}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		sidecar := c.RestartPolicy != nil && *c.RestartPolicy == v1.ContainerRestartPolicyAlways
		out.Containers = append(out.Containers, container(c, true, sidecar))
	}
	for i := range pod.Spec.Containers {
		out.Containers = append(out.Containers, container(&pod.Spec.Containers[i], false, false))
	}
	for key, value := range pod.Annotations {
		if wanted(key, keys) {
			if out.Annotations == nil {
				out.Annotations = map[string]string{}
			}
			out.Annotations[key] = value
		}
	}
	for key, value := range pod.Spec.NodeSelector {
		out.NodeSelector = append(out.NodeSelector, &placementv1.Label{Key: key, Value: value})
	}
	// Maps have no order; the server keeps asks by what they say.
	slices.SortFunc(out.NodeSelector, func(a, b *placementv1.Label) int {
		return strings.Compare(a.Key, b.Key)
	})
	for _, toleration := range pod.Spec.Tolerations {
		if toleration.Key != "" && !slices.Contains(out.Tolerations, toleration.Key) {
			out.Tolerations = append(out.Tolerations, toleration.Key)
		}
	}
	return out
}

func container(c *v1.Container, init, sidecar bool) *placementv1.PodResources_Container {
	return &placementv1.PodResources_Container{
		Name: c.Name, Init: init, Sidecar: sidecar,
		Limits: quantities(c.Resources.Limits), Requests: quantities(c.Resources.Requests),
	}
}

func quantities(list v1.ResourceList) map[string]string {
	if len(list) == 0 {
		return nil
	}
	out := make(map[string]string, len(list))
	for name, quantity := range list {
		out[string(name)] = quantity.String()
	}
	return out
}

// Ask of a pod.
func Ask(pod *v1.Pod, keys []string) *placementv1.Ask {
	return &placementv1.Ask{Of: &placementv1.Ask_Pod{Pod: Resources(pod, keys)}}
}

// Queue of a pod as its annotations and labels name it; "": none.
func Queue(pod *v1.Pod) string {
	for _, key := range []string{QueueAnnotation, QueueLabel} {
		if queue := pod.Annotations[key]; queue != "" {
			return queue
		}
		if queue := pod.Labels[key]; queue != "" {
			return queue
		}
	}
	return ""
}

// Group is the name of the pod's Volcano PodGroup; "": none.
func Group(pod *v1.Pod) string {
	if name := pod.Annotations[GroupAnnotation]; name != "" {
		return name
	}
	return pod.Annotations[VolcanoGroupAnnotation]
}

// Preemptable is what a pod or its PodGroup says of eviction, "true" or "false"; "": nothing.
func Preemptable(object metav1.Object) string {
	if word := object.GetAnnotations()[preemptable]; word != "" {
		return word
	}
	return object.GetLabels()[preemptable]
}

// Standing of a pod. A queue that is named here wins over the pod's own words.
func Standing(pod *v1.Pod, queue string) *placementv1.Standing {
	out := &placementv1.Standing{Queue: queue}
	if out.Queue == "" {
		out.Queue = Queue(pod)
	}
	if pod.Spec.Priority != nil {
		out.Priority = *pod.Spec.Priority
	}
	// Pods of a Volcano job may be evicted only if they say so, others unless they say not.
	word := Preemptable(pod)
	out.NotPreemptible = word == "false" || (Group(pod) != "" && word != "true")
	return out
}

// Request for one pod.
func Request(pod *v1.Pod, keys []string) *placementv1.PodRequest {
	return &placementv1.PodRequest{
		Pod: Key(pod, 0), Ask: Ask(pod, keys), Job: Job(pod), Standing: Standing(pod, ""),
	}
}

// Job is what the pod belongs to, for policies that keep a job together or apart: its group, else
// its controller; "": neither.
func Job(pod *v1.Pod) string {
	if group := Group(pod); group != "" {
		return pod.Namespace + "/" + group
	}
	for i := range pod.OwnerReferences {
		if owner := &pod.OwnerReferences[i]; owner.Controller != nil && *owner.Controller {
			return string(owner.UID)
		}
	}
	return ""
}

// HasDevices says whether the pod asks for anything that is not an ordinary resource: cards, parts
// of them, or something else that a device plugin offers.
func HasDevices(pod *v1.Pod) bool {
	for _, list := range [][]v1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			for _, amounts := range []v1.ResourceList{list[i].Resources.Limits,
				list[i].Resources.Requests} {
				for name, quantity := range amounts {
					if IsDevice(string(name)) && !quantity.IsZero() {
						return true
					}
				}
			}
		}
	}
	return false
}

// IsDevice says whether a resource name is a device plugin's.
func IsDevice(name string) bool {
	domain, _, found := strings.Cut(name, "/")
	return found && domain != "kubernetes.io" && !strings.HasSuffix(domain, ".kubernetes.io")
}

// Ended says whether the pod holds nothing any more.
func Ended(pod *v1.Pod) bool {
	return pod.Status.Phase == v1.PodSucceeded || pod.Status.Phase == v1.PodFailed
}

// State of a pod for the sync stream. keys as for Resources; grants are the server's keys of
// annotations in which device protocols say which cards a pod has (client.GrantAnnotationKeys);
// queue is that of its PodGroup, where it has one.
func State(pod *v1.Pod, keys, grants []string, queue string) *placementv1.PodState {
	out := &placementv1.PodState{
		Pod: Key(pod, 0), Ask: Ask(pod, keys), Job: Job(pod), Node: pod.Spec.NodeName,
		Standing: Standing(pod, queue), Phase: string(pod.Status.Phase),
	}
	if out.Node != "" && !Ended(pod) {
		out.GrantedUuids = Cards(pod)
		for key, value := range pod.Annotations {
			if wanted(key, grants) {
				if out.Annotations == nil {
					out.Annotations = map[string]string{}
				}
				out.Annotations[key] = value
			}
		}
	}
	return out
}
