package harness

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// BindWatch notes when pods were first seen, and first seen with a node.
type BindWatch struct {
	bed   *Bed
	mutex sync.Mutex
	moved *sync.Cond
	made  map[string]time.Time
	at    map[string]time.Time
}

// WatchBinds begins to watch.
func (b *Bed) WatchBinds() *BindWatch {
	b.T.Helper()
	w := &BindWatch{bed: b, made: map[string]time.Time{}, at: map[string]time.Time{}}
	w.moved = sync.NewCond(&w.mutex)
	see := func(object any) {
		pod := object.(*v1.Pod)
		w.mutex.Lock()
		defer w.mutex.Unlock()
		if _, known := w.made[pod.Name]; !known {
			w.made[pod.Name] = time.Now()
		}
		if pod.Spec.NodeName == "" {
			return
		}
		if _, known := w.at[pod.Name]; !known {
			w.at[pod.Name] = time.Now()
			w.moved.Broadcast()
		}
	}
	factory := informers.NewSharedInformerFactory(b.Client, 0)
	informer := factory.Core().V1().Pods().Informer()
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: see, UpdateFunc: func(_, object any) { see(object) }})
	b.must(err)
	factory.Start(b.ctx.Done())
	if !cache.WaitForCacheSync(b.ctx.Done(), informer.HasSynced) {
		b.T.Fatal("the pods could not be listed")
	}
	return w
}

// Until the pod has its node; when that was.
func (w *BindWatch) Until(name string, most time.Duration) time.Time {
	w.bed.T.Helper()
	expired := false
	timer := time.AfterFunc(most, func() {
		w.mutex.Lock()
		defer w.mutex.Unlock()
		expired = true
		w.moved.Broadcast()
	})
	defer timer.Stop()
	w.mutex.Lock()
	defer w.mutex.Unlock()
	for {
		if at, bound := w.at[name]; bound {
			return at
		}
		if expired {
			w.bed.T.Fatalf("pod %s has no node after %s", name, most)
		}
		w.moved.Wait()
	}
}

// Took is the time from when the pod was first seen to when it was seen with its node; both by the
// same watch.
func (w *BindWatch) Took(name string) time.Duration {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return w.at[name].Sub(w.made[name])
}

// Some waits until so many pods have a node, or the time is over; the times of those that have one,
// ascending.
func (w *BindWatch) Some(count int, most time.Duration) []time.Time {
	w.bed.T.Helper()
	for end := time.Now().Add(most); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		w.mutex.Lock()
		bound := len(w.at)
		w.mutex.Unlock()
		if bound >= count {
			break
		}
	}
	w.mutex.Lock()
	out := slices.Collect(maps.Values(w.at))
	w.mutex.Unlock()
	slices.SortFunc(out, time.Time.Compare)
	return out
}

// TryVolcanoGang is VolcanoGang for use from several goroutines.
func (b *Bed) TryVolcanoGang(name string, minimum int, queue string) error {
	_, err := b.Dynamic.Resource(VolcanoPodGroups).Namespace("default").Create(b.ctx,
		object(VolcanoPodGroups, "PodGroup", name, map[string]any{"minMember": int64(minimum), "queue": queue}),
		metav1.CreateOptions{})
	return err
}

// DeleteGang deletes a Volcano PodGroup and its pods NAME-0 .. NAME-(count-1), and waits until all are
// gone.
func (b *Bed) DeleteGang(name string, count int) {
	b.T.Helper()
	b.must(b.Dynamic.Resource(VolcanoPodGroups).Namespace("default").Delete(b.ctx, name, metav1.DeleteOptions{}))
	b.Each(count, func(i int) error {
		return b.Client.CoreV1().Pods("default").Delete(b.ctx, fmt.Sprintf("%s-%d", name, i), metav1.DeleteOptions{})
	})
	b.Until(time.Minute, "the gang's pods are gone", func() error {
		left := 0
		for _, pod := range b.List("") {
			if strings.HasPrefix(pod.Name, name+"-") {
				left++
			}
		}
		if left > 0 {
			return fmt.Errorf("%d are left", left)
		}
		return nil
	})
}
