package syncer

import (
	"hash/maphash"
	"sync"

	"google.golang.org/protobuf/proto"
	v1 "k8s.io/api/core/v1"
	schedulingv1beta1 "volcano.sh/apis/pkg/apis/scheduling/v1beta1"

	"basalt.io/adapters/nodes"
	placementv1 "basalt.io/adapters/placement/v1"
)

type kind int

const (
	kindNode kind = iota
	kindQueue
	kindPath
	kindBudget
	kindPod
	kindClaim // a claim that holds its devices itself
)

// key of an object of the stream: a node's or queue's name, a budget's namespace and name, a pod's uid.
type key struct {
	kind kind
	id   string
}

// item is the newest that is known of an object; its object is nil when it is gone.
type item struct {
	key    key
	object any
	failed bool // of a pod that is gone
}

// books hold what is to be told and what was. They grow with the number of objects, never with the
// number of events: of several changes of one object the last is told.
type books struct {
	mutex   sync.Mutex
	pending map[key]item
	order   []key
	told    map[key]told
	wake    chan struct{}
	seed    maphash.Seed
}

// told is what the server has been sent of an object, so that a change that means nothing to it
// (a heartbeat, a condition) is not sent.
type told struct {
	hash   uint64
	object any
}

func newBooks() *books {
	return &books{pending: map[key]item{}, told: map[key]told{}, wake: make(chan struct{}, 1),
		seed: maphash.MakeSeed()}
}

func (b *books) put(it item) {
	b.mutex.Lock()
	b.putLocked(it)
	b.mutex.Unlock()
	b.signal()
}

func (b *books) putLocked(it item) {
	if _, waits := b.pending[it.key]; !waits {
		b.order = append(b.order, it.key)
	}
	b.pending[it.key] = it
}

func (b *books) signal() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// last that was known of an object, told or not; nil: nothing.
func (b *books) last(k key) any {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	if it, waits := b.pending[k]; waits {
		return it.object
	}
	return b.told[k].object
}

// take the oldest, at most n.
func (b *books) take(n int) []item {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	n = min(n, len(b.order))
	out := make([]item, 0, n)
	for _, k := range b.order[:n] {
		out = append(out, b.pending[k])
		delete(b.pending, k)
	}
	if b.order = b.order[n:]; len(b.order) == 0 {
		b.order = nil // the array is not kept for ever
	}
	return out
}

func (b *books) empty() bool {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return len(b.order) == 0
}

// again puts back what was sent and not acknowledged, unless something newer waits.
func (b *books) again(items []item) {
	b.mutex.Lock()
	for _, it := range items {
		delete(b.told, it.key)
		if _, waits := b.pending[it.key]; !waits {
			b.putLocked(it)
		}
	}
	b.mutex.Unlock()
	b.signal()
}

// retry tells an object once more, as it is.
func (b *books) retry(k key) {
	b.mutex.Lock()
	if last, known := b.told[k]; known {
		delete(b.told, k)
		if _, waits := b.pending[k]; !waits {
			b.putLocked(item{key: k, object: last.object})
		}
	}
	b.mutex.Unlock()
	b.signal()
}

// changed says whether the delta differs from the last one of its object, and notes it.
func (b *books) changed(it item, delta *placementv1.Delta) bool {
	bytes, err := proto.MarshalOptions{Deterministic: true}.Marshal(delta)
	if err != nil {
		return true // Send will say why
	}
	hash := maphash.Bytes(b.seed, bytes)
	b.mutex.Lock()
	defer b.mutex.Unlock()
	last, known := b.told[it.key]
	if it.object == nil {
		delete(b.told, it.key)
		return true
	}
	b.told[it.key] = told{hash, it.object}
	return !known || last.hash != hash
}

// delta of an item.
func (s *session) delta(it item) *placementv1.Delta {
	switch it.key.kind {
	case kindNode:
		if it.object == nil {
			delete(s.slicesTold, it.key.id)
			return &placementv1.Delta{Of: &placementv1.Delta_NodeGone{NodeGone: it.key.id}}
		}
		state := nodes.State(it.object.(*v1.Node), s.client.NodeAnnotationKeys())
		state.Kubernetes.Numa = s.numaOf(it.key.id)
		state.Kubernetes.ResourceSlices = s.slicesOf(it.key.id)
		return &placementv1.Delta{Of: &placementv1.Delta_Node{Node: state}}
	case kindPod:
		if it.object == nil {
			return &placementv1.Delta{Of: &placementv1.Delta_PodGone{
				PodGone: &placementv1.PodGone{Uid: it.key.id, Failed: it.failed}}}
		}
		state := s.podState(it.object.(*v1.Pod))
		state.Devices = s.devicesOf(it.object.(*v1.Pod))
		return &placementv1.Delta{Of: &placementv1.Delta_Pod{Pod: state}}
	case kindClaim:
		return s.claimDelta(it)
	case kindQueue:
		if it.object == nil {
			return &placementv1.Delta{Of: &placementv1.Delta_QueueGone{QueueGone: it.key.id}}
		}
		queue := it.object.(*schedulingv1beta1.Queue)
		return &placementv1.Delta{Of: &placementv1.Delta_Queue{Queue: queueState(queue)}}
	case kindBudget:
		return &placementv1.Delta{Of: &placementv1.Delta_Budget{Budget: s.budgets.state(it)}}
	case kindPath:
		path := &placementv1.NodePath{Node: it.key.id}
		if it.object != nil {
			path = it.object.(*placementv1.NodePath)
		}
		return &placementv1.Delta{Of: &placementv1.Delta_Path{Path: path}}
	}
	return nil
}
