// Package binds says what became of a bind that failed: its answer may be lost, and the pod bound.
package binds

import (
	"context"
	"errors"
	"net/http"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const timeout = 5 * time.Second

// Live is the pod as the API server has it now.
func Live(ctx context.Context, kube kubernetes.Interface, pod *v1.Pod) (*v1.Pod, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return kube.CoreV1().Pods(pod.Namespace).Get(ctx, pod.Name, metav1.GetOptions{})
}

// Refused says that this is the API server's own no. Without an answer, or with one that says that it
// is busy or broken, the bind may have been done or be on its way.
func Refused(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return false
	}
	code := status.Status().Code
	return code >= http.StatusBadRequest && code < http.StatusInternalServerError &&
		code != http.StatusRequestTimeout && code != http.StatusTooManyRequests
}

// Over says that the pod has no node and gets none by the bind that failed. settled: that bind was
// refused, or never sent; one that is on its way can only miss a pod that is gone or is being deleted.
func Over(ctx context.Context, kube kubernetes.Interface, pod *v1.Pod, settled bool) bool {
	now, err := Live(ctx, kube, pod)
	if apierrors.IsNotFound(err) || (err == nil && now.UID != pod.UID) {
		return true
	}
	return err == nil && now.Spec.NodeName == "" && (settled || now.DeletionTimestamp != nil)
}
