// Package executor carries out what Basalt orders of a cluster: EVICT ends a pod whose place somebody
// else needs, BIND binds a pod for a stock extender. Each order comes at least once and is idempotent:
// it names a pod by its uid. An order is answered when it is done, or when it will never be; what
// may yet succeed is tried again until the order's own time is over.
package executor

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"

	"basalt.io/adapters/client"
	"basalt.io/adapters/hami"
	placementv1 "basalt.io/adapters/placement/v1"
	"basalt.io/adapters/podres"
)

// Options of an executor. Client and Kube are required.
type Options struct {
	Client     *client.Client
	Kube       kubernetes.Interface
	HAMi       bool          // nodes run HAMi's device plugins: node lock and bind phase
	Workers    int           // 8; orders of one pod are carried out in their order
	RetryPause time.Duration // 500 ms
}

// Executor of one cluster's orders. Make it with New.
type Executor struct {
	options Options
	mutex   sync.Mutex
	epoch   uint64
	doing   map[string]bool // ids that are being carried out: an order may be sent again meanwhile
}

// New executor; Run starts it.
func New(options Options) (*Executor, error) {
	if options.Client == nil || options.Kube == nil {
		return nil, errors.New("executor: no client")
	}
	if options.Workers <= 0 {
		options.Workers = 8
	}
	if options.RetryPause <= 0 {
		options.RetryPause = 500 * time.Millisecond
	}
	return &Executor{options: options, doing: map[string]bool{}}, nil
}

type order struct {
	action *placementv1.Action
	came   time.Time
}

// Run carries out orders until the context ends.
func (e *Executor) Run(ctx context.Context) error {
	queues := make([]chan order, e.options.Workers)
	var workers sync.WaitGroup
	for i := range queues {
		queues[i] = make(chan order, 1024)
		workers.Add(1)
		go func() {
			defer workers.Done()
			for o := range queues[i] {
				e.carryOut(ctx, o)
			}
		}()
	}
	for ctx.Err() == nil {
		err := e.watch(ctx, queues)
		if ctx.Err() == nil {
			klog.V(2).InfoS("The stream of orders has ended; opening it again", "reason", err)
			select {
			case <-ctx.Done():
			case <-time.After(e.options.RetryPause):
			}
		}
	}
	for _, queue := range queues {
		close(queue)
	}
	workers.Wait()
	return ctx.Err()
}

func (e *Executor) watch(ctx context.Context, queues []chan order) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := e.options.Client.Raw().WatchActions(ctx,
		&placementv1.WatchActionsRequest{Header: e.options.Client.Header()})
	if err != nil {
		return err
	}
	for {
		action, err := stream.Recv()
		if err != nil {
			return err
		}
		if !e.begin(action) {
			continue
		}
		hash := fnv.New32a()
		hash.Write([]byte(action.GetPod().GetUid()))
		select {
		case queues[hash.Sum32()%uint32(len(queues))] <- order{action, time.Now()}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (e *Executor) begin(action *placementv1.Action) bool {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	if action.GetServerEpoch() < e.epoch || e.doing[action.GetId()] {
		return false // of an earlier run of the server, or here already
	}
	e.epoch = action.GetServerEpoch()
	e.doing[action.GetId()] = true
	return true
}

func (e *Executor) carryOut(ctx context.Context, o order) {
	defer func() {
		e.mutex.Lock()
		delete(e.doing, o.action.GetId())
		e.mutex.Unlock()
	}()
	ends := time.Time{}
	if at := o.action.GetDeadlineUs(); at > 0 {
		ends = time.UnixMicro(at)
	}
	for {
		var again bool
		var err error
		switch o.action.GetKind() {
		case placementv1.ActionKind_ACTION_KIND_EVICT:
			again, err = e.evict(ctx, o.action)
		case placementv1.ActionKind_ACTION_KIND_BIND:
			again, err = e.bind(ctx, o)
		default:
			err = fmt.Errorf("an unknown order %v", o.action.GetKind())
		}
		if ctx.Err() != nil {
			return
		}
		if !again || (!ends.IsZero() && time.Now().After(ends)) {
			e.answer(ctx, o.action, err)
			return
		}
		klog.V(2).InfoS("An order is tried again", "order", o.action.GetId(), "reason", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(e.options.RetryPause):
		}
	}
}

func (e *Executor) answer(ctx context.Context, action *placementv1.Action, err error) {
	request := &placementv1.AckActionRequest{Header: e.options.Client.Header(),
		Id: action.GetId(), ServerEpoch: action.GetServerEpoch(), Done: err == nil}
	if err != nil {
		request.Error = err.Error()
		klog.ErrorS(err, "An order is not carried out", "order", action.GetId())
	}
	limit, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	// An answer that is lost is asked for: the order is sent again.
	if _, err := e.options.Client.Raw().AckAction(limit, request); err != nil {
		klog.V(2).InfoS("An answer was not taken", "order", action.GetId(), "reason", err)
	}
}

// lasting errors do not go away by trying again.
func lasting(err error) bool {
	return apierrors.IsNotFound(err) || apierrors.IsConflict(err) || apierrors.IsInvalid(err) ||
		apierrors.IsForbidden(err) || apierrors.IsBadRequest(err) ||
		apierrors.IsMethodNotSupported(err)
}

func (e *Executor) evict(ctx context.Context, action *placementv1.Action) (again bool, err error) {
	pod := action.GetPod()
	uid := types.UID(pod.GetUid())
	err = e.options.Kube.CoreV1().Pods(pod.GetNamespace()).EvictV1(ctx, &policyv1.Eviction{
		ObjectMeta:    metav1.ObjectMeta{Namespace: pod.GetNamespace(), Name: pod.GetName()},
		DeleteOptions: &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}}})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return false, nil // gone, or another pod of that name
	}
	return err != nil && !lasting(err), err
}

func (e *Executor) bind(ctx context.Context, o order) (again bool, err error) {
	action := o.action
	lease, key := action.GetLease(), action.GetPod()
	if ttl := lease.GetTtlUs(); ttl > 0 && time.Since(o.came).Microseconds() > ttl {
		return false, errors.New("the lease is over")
	}
	pods := e.options.Kube.CoreV1().Pods(key.GetNamespace())
	pod, err := pods.Get(ctx, key.GetName(), metav1.GetOptions{})
	if err != nil {
		return !lasting(err), err
	}
	if string(pod.UID) != key.GetUid() {
		return false, errors.New("the pod is gone, another has its name")
	}
	if pod.Spec.NodeName != "" {
		if pod.Spec.NodeName == action.GetNode() {
			return false, nil
		}
		return false, fmt.Errorf("the pod is on node %s already", pod.Spec.NodeName)
	}
	annotations, labels := podres.BindMetadata(action.GetTo())
	var locks []string
	limit, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for _, lock := range hami.Locks(annotations, e.options.HAMi) {
		if err := hami.Lock(limit, e.options.Kube, lock, action.GetNode(), pod); err != nil {
			e.unlock(ctx, locks, action.GetNode(), pod)
			return true, err
		}
		locks = append(locks, lock)
	}
	hami.Phase(annotations, locks, time.Now())
	err = pods.Bind(ctx, &v1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: key.GetNamespace(), Name: key.GetName(),
			UID: types.UID(key.GetUid()), Annotations: annotations, Labels: labels},
		Target: v1.ObjectReference{Kind: "Node", Name: action.GetNode()}}, metav1.CreateOptions{})
	if err != nil {
		e.unlock(ctx, locks, action.GetNode(), pod)
	}
	return err != nil && !lasting(err), err
}

func (e *Executor) unlock(ctx context.Context, locks []string, node string, pod *v1.Pod) {
	for _, lock := range locks {
		if err := hami.Unlock(ctx, e.options.Kube, lock, node, pod); err != nil {
			klog.ErrorS(err, "A node stays locked until the lock's time is over", "node", node)
		}
	}
}
