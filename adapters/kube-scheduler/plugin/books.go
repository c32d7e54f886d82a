package plugin

import (
	"context"
	"maps"
	"slices"
	"sort"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	placementv1 "basalt.io/adapters/placement/v1"
)

const (
	maxVetoes   = 64              // of one pod; then it waits until they are forgotten
	vetoTime    = 5 * time.Minute // after which a node is tried again, changed or not
	wakePause   = 100 * time.Millisecond
	idleWake    = 15 * time.Second // what no event told
	watchPause  = time.Second
	bookForgets = 30 * time.Minute
)

// books are what the plugin remembers of pods between cycles. All is lost with the process, and costs
// only questions then.
type books struct {
	mutex     sync.Mutex
	pods      map[types.UID]*entry
	stirred   int // wakes still to come
	stirrings chan struct{}
}

type entry struct {
	pod       *v1.Pod
	waits     bool
	gated     bool               // its gang is not complete: it is not woken
	nominated *placementv1.Lease // victims leave for it
	vetoes    map[string]time.Time
	locked    map[lockOn]bool // nodes' locks that could not be taken off
	used      time.Time
}

type lockOn struct{ lock, node string }

func newBooks() *books {
	return &books{pods: map[types.UID]*entry{}, stirrings: make(chan struct{}, 1)}
}

func (b *books) entry(uid types.UID) *entry {
	e := b.pods[uid]
	if e == nil {
		e = &entry{vetoes: map[string]time.Time{}}
		b.pods[uid] = e
	}
	e.used = time.Now()
	return e
}

// seen takes a pod's latest object; it waits no longer.
func (b *books) seen(pod *v1.Pod) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	e := b.entry(pod.UID)
	e.pod, e.waits, e.gated = pod, false, false
}

// gate keeps a pod that need not be woken before its gang is complete.
func (b *books) gate(pod *v1.Pod) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	e := b.entry(pod.UID)
	e.pod, e.waits, e.gated = pod, false, true
}

// open lets the gated pods of a gang be woken; false: there were none.
func (b *books) open(namespace, group string) bool {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	some := false
	for _, e := range b.pods {
		if e.gated && e.pod.Namespace == namespace && groupOf(e.pod) == group {
			e.gated, e.waits, some = false, true, true
		}
	}
	return some
}

// waits puts the pod among those that are woken when something may have made room.
func (b *books) waits(pod *v1.Pod) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	e := b.entry(pod.UID)
	e.pod, e.waits = pod, true
}

func (b *books) forget(uid types.UID) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	delete(b.pods, uid)
}

// veto remembers that another plugin will not have the pod on the node.
func (b *books) veto(uid types.UID, nodes []string) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	e := b.entry(uid)
	for _, node := range nodes {
		if len(e.vetoes) < maxVetoes {
			e.vetoes[node] = time.Now()
		}
	}
}

// leftLocked notes a lock of the pod's that may still be on the node; takeLocked forgets and gives them.
func (b *books) leftLocked(uid types.UID, lock, node string) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	e := b.entry(uid)
	if e.locked == nil {
		e.locked = map[lockOn]bool{}
	}
	e.locked[lockOn{lock, node}] = true
}

func (b *books) takeLocked(uid types.UID) []lockOn {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	e := b.pods[uid]
	if e == nil || len(e.locked) == 0 {
		return nil
	}
	out := slices.Collect(maps.Keys(e.locked))
	e.locked = nil
	return out
}

// forgive a node: what it was vetoed for may be over.
func (b *books) forgive(node string) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	for _, e := range b.pods {
		delete(e.vetoes, node)
	}
}

func (b *books) forgiveAll() {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	for _, e := range b.pods {
		clear(e.vetoes)
	}
}

func (b *books) vetoed(uids ...types.UID) []string {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	set := map[string]bool{}
	for _, uid := range uids {
		e := b.pods[uid]
		if e == nil {
			continue
		}
		for node, when := range e.vetoes {
			if time.Since(when) > vetoTime {
				delete(e.vetoes, node)
			} else {
				set[node] = true
			}
		}
	}
	out := make([]string, 0, len(set))
	for node := range set {
		out = append(out, node)
	}
	sort.Strings(out)
	return out
}

func (b *books) nominate(uid types.UID, lease *placementv1.Lease) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.entry(uid).nominated = lease
}

func (b *books) nominated(uid types.UID) bool {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	e := b.pods[uid]
	return e != nil && e.nominated != nil
}

// stir wakes the waiting soon. Twice: what this process sees of the API server and what the server
// has been told of it differ by a moment.
func (b *books) stir() {
	b.mutex.Lock()
	b.stirred = 2
	b.mutex.Unlock()
	select {
	case b.stirrings <- struct{}{}:
	default:
	}
}

// take the waiting ones, by namespace/name.
func (b *books) take() (pods map[string]*v1.Pod, again bool) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	pods = map[string]*v1.Pod{}
	for uid, e := range b.pods {
		if e.waits {
			pods[e.pod.Namespace+"/"+e.pod.Name] = e.pod
		} else if time.Since(e.used) > bookForgets {
			delete(b.pods, uid)
		}
	}
	b.stirred--
	return pods, b.stirred > 0
}

// wake brings waiting pods back into the queue, at most once a wakePause.
func (p *Plugin) wake(ctx context.Context) {
	logger := klog.FromContext(ctx)
	idle := time.NewTicker(idleWake)
	defer idle.Stop()
	for again := false; ; {
		if !again {
			select {
			case <-ctx.Done():
				return
			case <-p.books.stirrings:
			case <-idle.C:
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wakePause):
		}
		var pods map[string]*v1.Pod
		if pods, again = p.books.take(); len(pods) > 0 {
			p.handle.Activate(logger, pods)
		}
	}
}

// watch stirs when the server has given something back: leases of other schedulers end without an
// event of the API server, and of a pod's end the server may hear later than this process.
func (p *Plugin) watch(ctx context.Context) {
	for ctx.Err() == nil {
		stream, err := p.client.Raw().Watch(ctx, &placementv1.WatchRequest{Header: p.client.Header()})
		for err == nil {
			var event *placementv1.WatchEvent
			if event, err = stream.Recv(); err == nil && makesRoom(event) {
				p.books.stir()
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(watchPause):
		}
		// A server that comes back may decide otherwise.
		p.books.stir()
	}
}

func makesRoom(event *placementv1.WatchEvent) bool {
	switch event.GetOf().(type) {
	case *placementv1.WatchEvent_ReleasedUid, *placementv1.WatchEvent_ExpiredUid,
		*placementv1.WatchEvent_Mismatch, *placementv1.WatchEvent_PolicyChanged, *placementv1.WatchEvent_Freed:
		return true
	}
	return event.GetLagged()
}
