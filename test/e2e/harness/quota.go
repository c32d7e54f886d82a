package harness

import (
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
)

// ResourceQuota makes a native quota of the namespace default ("requests.nvidia.com/gpu": "3"). The API
// server counts what is made against it; its controller, which is played here, what has ended.
func (b *Bed) ResourceQuota(name string, hard map[string]string) {
	b.T.Helper()
	quotas := b.Client.CoreV1().ResourceQuotas("default")
	list := v1.ResourceList{}
	for key, amount := range hard {
		list[v1.ResourceName(key)] = resource.MustParse(amount)
	}
	_, err := quotas.Create(b.ctx, &v1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1.ResourceQuotaSpec{Hard: list}}, metav1.CreateOptions{})
	b.must(err)
	b.must(b.recountQuota(name))
	go func() {
		for tick := time.NewTicker(500 * time.Millisecond); ; {
			select {
			case <-b.ctx.Done():
				tick.Stop()
				return
			case <-tick.C:
				_ = b.recountQuota(name) // the next tick tries again
			}
		}
	}()
}

// SetQuota changes its limits.
func (b *Bed) SetQuota(name, key, amount string) {
	b.T.Helper()
	b.must(retry.RetryOnConflict(retry.DefaultRetry, func() error {
		quotas := b.Client.CoreV1().ResourceQuotas("default")
		quota, err := quotas.Get(b.ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		quota.Spec.Hard[v1.ResourceName(key)] = resource.MustParse(amount)
		_, err = quotas.Update(b.ctx, quota, metav1.UpdateOptions{})
		return err
	}))
	b.must(b.recountQuota(name))
}

// recountQuota writes what live pods request. It only lowers what admission has counted: a pod that was
// counted may not be listed yet.
func (b *Bed) recountQuota(name string) error {
	return retry.RetryOnConflict(retry.DefaultRetry, func() error {
		quotas := b.Client.CoreV1().ResourceQuotas("default")
		quota, err := quotas.Get(b.ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		pods, err := b.Client.CoreV1().Pods("default").List(b.ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		used := v1.ResourceList{}
		for key := range quota.Spec.Hard {
			sum := resource.Quantity{}
			for i := range pods.Items {
				pod := &pods.Items[i]
				if pod.Status.Phase == v1.PodSucceeded || pod.Status.Phase == v1.PodFailed {
					continue
				}
				for c := range pod.Spec.Containers {
					sum.Add(pod.Spec.Containers[c].Resources.Requests[v1.ResourceName(strings.TrimPrefix(string(key), "requests."))])
				}
			}
			used[key] = sum
		}
		quota.Status = v1.ResourceQuotaStatus{Hard: quota.Spec.Hard, Used: used}
		_, err = quotas.UpdateStatus(b.ctx, quota, metav1.UpdateOptions{})
		return err
	})
}
