package kubelet

import (
	"context"
	"math"
	"strconv"
	"strings"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	volcanoRegister   = "volcano.sh/node-vgpu-register"
	volcanoLock       = "hamivgpu"
	volcanoNode       = "volcano.sh/vgpu-node"
	volcanoTime       = "volcano.sh/vgpu-time"
	volcanoToAllocate = "volcano.sh/devices-to-allocate"
	volcanoPhase      = "volcano.sh/bind-phase"
)

// volcano is volcano-vgpu-device-plugin: the pod is the oldest one of this node whose devices to
// allocate are as many as kubelet asks for. It cannot tell two such pods apart.
type volcano struct {
	kubelet *Kubelet
	node    string
}

func (v *volcano) allocate(ctx context.Context, pod *v1.Pod, container int, count int64) (string, error) {
	this := served{pod.UID, container}
	if name, begun := v.kubelet.left(this); begun {
		return "", v.finish(ctx, pod.Namespace, name)
	}
	list, err := v.kubelet.client.CoreV1().Pods("").List(ctx, metav1.ListOptions{
		FieldSelector: "status.phase=Pending,spec.nodeName=" + v.node})
	if err != nil {
		return "", err
	}
	var oldest *v1.Pod
	least := uint64(math.MaxUint64)
	for i := range list.Items {
		one := &list.Items[i]
		when, err := strconv.ParseUint(one.Annotations[volcanoTime], 10, 64)
		text := one.Annotations[volcanoToAllocate]
		if err != nil || one.Annotations[volcanoNode] != v.node || text == "" || when >= least {
			continue
		}
		if int64(strings.Count(text, ":")) == count {
			oldest, least = one, when
		}
	}
	if oldest == nil {
		return "no pod is to get as many devices as are asked", nil
	}
	devices, err := parseSlot(strings.ReplaceAll(oldest.Annotations[volcanoToAllocate], ";", ""), container)
	if err != nil {
		return err.Error(), nil
	}
	v.kubelet.auditor.Granted(pod, container, devices)
	if oldest.Namespace == pod.Namespace {
		v.kubelet.begin(this, oldest.Name)
	}
	return "", v.finish(ctx, oldest.Namespace, oldest.Name)
}

func (v *volcano) finish(ctx context.Context, space, name string) error {
	err := v.kubelet.annotate(ctx, &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: space, Name: name}},
		map[string]string{volcanoToAllocate: "", volcanoPhase: "success",
			volcanoTime: strconv.FormatUint(math.MaxUint64, 10)})
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	return v.kubelet.unlock(ctx, v.node, volcanoLock, func(string) bool { return true })
}
