package plugin

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"

	"basalt.io/adapters/hami"
)

// HAMi's own extender waits so long.
const lockWait = 28 * time.Second

// locks that the bind of a pod with these annotations needs on the node: those of HAMi's device
// plugins, where one runs. On other nodes nobody would take a lock off again.
func (p *Plugin) locks(node string, annotations map[string]string) []string {
	if !flag(p.args.NodeLock) {
		return nil
	}
	object, err := p.handle.SharedInformerFactory().Core().V1().Nodes().Lister().Get(node)
	if err != nil {
		return nil
	}
	return hami.Locks(annotations, registeredWithHAMi(object))
}

func registeredWithHAMi(node *v1.Node) bool {
	for key := range node.Annotations {
		if strings.HasPrefix(key, "hami.io/node-") && strings.Contains(key, "register") {
			return true
		}
	}
	return false
}

// lock all or none.
func (p *Plugin) lock(ctx context.Context, d *decision, pod *v1.Pod, node string, locks []string) error {
	ctx, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	for _, lock := range locks {
		if err := hami.Lock(ctx, p.handle.ClientSet(), lock, node, pod); err != nil {
			if !errors.Is(err, hami.ErrLocked) {
				p.books.leftLocked(pod.UID, lock, node) // it may have been taken, and the answer lost
			}
			p.unlock(ctx, d, pod, node)
			return fmt.Errorf("lock %s of node %s: %w", lock, node, err)
		}
		d.locks = append(d.locks, lock)
	}
	return nil
}

// unlock after a bind that failed. After a good one the device plugin does.
func (p *Plugin) unlock(ctx context.Context, d *decision, pod *v1.Pod, node string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), liveTimeout)
	defer cancel()
	for _, lock := range d.locks {
		if err := hami.Unlock(ctx, p.handle.ClientSet(), lock, node, pod); err != nil {
			klog.ErrorS(err, "A node's lock was not taken off; it is tried again", "node", node, "lock", lock)
			p.books.leftLocked(pod.UID, lock, node)
		}
	}
	d.locks = nil
}

// unlockLeft takes off what an earlier cycle of the pod has left: now none is being bound.
func (p *Plugin) unlockLeft(ctx context.Context, pod *v1.Pod) {
	for _, left := range p.books.takeLocked(pod.UID) {
		p.unlock(ctx, &decision{locks: []string{left.lock}}, pod, left.node)
	}
}
