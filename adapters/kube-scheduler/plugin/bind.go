package plugin

import (
	"context"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	fwk "k8s.io/kube-scheduler/framework"

	"basalt.io/adapters/binds"
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
	d.refused = binds.Refused(err)
	return fwk.AsStatus(err)
}

const liveTimeout = 5 * time.Second

func (p *Plugin) live(ctx context.Context, pod *v1.Pod) (*v1.Pod, error) {
	return binds.Live(ctx, p.handle.ClientSet(), pod)
}
