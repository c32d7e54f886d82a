package plugin

import (
	"context"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	fwk "k8s.io/kube-scheduler/framework"

	"basalt.io/adapters/hami"
	"basalt.io/adapters/podres"
)

// Bind writes the node, and the assignment with it: the API server puts both on the pod in one step
// (Kubernetes 1.34), so that no pod is ever bound without its cards.
func (p *Plugin) Bind(ctx context.Context, state fwk.CycleState, pod *v1.Pod, node string) *fwk.Status {
	d := read(state)
	if d == nil || d.lease == nil {
		return fwk.NewStatus(fwk.Skip)
	}
	annotations, labels := podres.BindMetadata(d.place)
	hami.Phase(annotations, d.locks, time.Now())
	d.bound = true
	err := p.handle.ClientSet().CoreV1().Pods(pod.Namespace).Bind(ctx, &v1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID,
			Annotations: annotations, Labels: labels},
		Target: v1.ObjectReference{Kind: "Node", Name: node},
	}, metav1.CreateOptions{})
	if err == nil {
		return nil
	}
	// The answer may be lost and the pod bound: what the API server has is what counts.
	if now, ask := p.live(context.WithoutCancel(ctx), pod); ask == nil && now.UID == pod.UID && now.Spec.NodeName == node {
		return nil
	}
	return fwk.AsStatus(err)
}

const liveTimeout = 5 * time.Second

func (p *Plugin) live(ctx context.Context, pod *v1.Pod) (*v1.Pod, error) {
	ctx, cancel := context.WithTimeout(ctx, liveTimeout)
	defer cancel()
	return p.handle.ClientSet().CoreV1().Pods(pod.Namespace).Get(ctx, pod.Name, metav1.GetOptions{})
}

// unbound says that the pod has no node and will not get one by the bind that failed. A bind without
// an answer may still be on its way; then nobody knows.
func (p *Plugin) unbound(ctx context.Context, pod *v1.Pod) bool {
	now, err := p.live(ctx, pod)
	if apierrors.IsNotFound(err) {
		return true
	}
	if err != nil || now.UID != pod.UID {
		return err == nil
	}
	return now.Spec.NodeName == "" && now.DeletionTimestamp != nil
}
