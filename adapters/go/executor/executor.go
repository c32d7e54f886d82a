// Package executor carries out what Basalt orders of a cluster: EVICT ends a pod whose place somebody
// else needs, BIND binds a pod for a stock extender; BLOCK, RESUME, COMMIT_AND_EXIT, MIGRATE and
// MOVE_CARD are operators' (orders.go). Each order comes at least once and is idempotent: it names a
// pod by its uid, and what it writes has its number, so that an older one never undoes it. An order
// is answered when it is done, or when it will never be; what may yet succeed is tried again until
// the order's own time is over.
package executor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"

	"basalt.io/adapters/binds"
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
	Workers    int           // 8 calls of the API server at once; orders of one pod in their order
	RetryPause time.Duration // 500 ms
}

// Executor of one cluster's orders. Make it with New.
type Executor struct {
	options Options
	mutex   sync.Mutex
	epoch   uint64
	doing   map[string]*order   // by id, all that are in lanes: an order may be sent again meanwhile
	lanes   map[string][]*order // of one pod or node, oldest first; the first is being carried out
	running sync.WaitGroup      // a goroutine a lane
	calls   chan struct{}       // room for calls of the API server
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
	return &Executor{options: options, doing: map[string]*order{}, lanes: map[string][]*order{},
		calls: make(chan struct{}, options.Workers)}, nil
}

type order struct {
	action *placementv1.Action
	came   time.Time
}

var (
	errDoubt   = errors.New("the bind may have been done or be on its way")
	errSettled = errors.New("it cannot be bound any more")
)

// Run carries out orders until the context ends.
func (e *Executor) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		err := e.watch(ctx)
		if ctx.Err() == nil {
			klog.V(2).InfoS("The stream of orders has ended; opening it again", "reason", err)
			select {
			case <-ctx.Done():
			case <-time.After(e.options.RetryPause):
			}
		}
	}
	e.running.Wait()
	return ctx.Err()
}

func (e *Executor) watch(ctx context.Context) error {
	limit, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := e.options.Client.Raw().WatchActions(limit,
		&placementv1.WatchActionsRequest{Header: e.options.Client.Header()})
	if err != nil {
		return err
	}
	for {
		action, err := stream.Recv()
		if err != nil {
			return err
		}
		e.take(ctx, order{action: action, came: time.Now()})
	}
}

// take puts an order behind those of its pod or node. One that is there already is a copy; from a
// newer run of the server it replaces the older run's, whose answer that run would not take.
func (e *Executor) take(ctx context.Context, o order) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	if o.action.GetServerEpoch() < e.epoch {
		return
	}
	e.epoch = o.action.GetServerEpoch()
	if there := e.doing[o.action.GetId()]; there != nil {
		if there.action.GetServerEpoch() < o.action.GetServerEpoch() {
			*there = o
		}
		return
	}
	e.doing[o.action.GetId()] = &o
	key := o.action.GetPod().GetUid()
	if key == "" {
		key = "node " + o.action.GetNode()
	}
	e.lanes[key] = append(e.lanes[key], &o)
	if len(e.lanes[key]) > 1 {
		return
	}
	e.running.Add(1)
	go func() {
		defer e.running.Done()
		for next := &o; next != nil; {
			next = e.after(key, e.carryOut(ctx, key, next))
		}
	}()
}

// after ends the first order of the lane; nil: it was the last. It is not over when a newer run of the
// server has asked for the same since it was answered.
func (e *Executor) after(key string, answered *placementv1.Action) *order {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	if first := e.lanes[key][0]; first.action != answered {
		return first
	}
	delete(e.doing, e.lanes[key][0].action.GetId())
	e.lanes[key] = e.lanes[key][1:]
	if len(e.lanes[key]) == 0 {
		delete(e.lanes, key)
		return nil
	}
	return e.lanes[key][0]
}

// now is the order as the newest run of the server gave it.
func (e *Executor) now(o *order) order {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	return *o
}

// overtaken: a newer order to the pod's agent waits behind this one.
func (e *Executor) overtaken(key string, action *placementv1.Action) bool {
	kind := action.GetKind()
	if kind != placementv1.ActionKind_ACTION_KIND_BLOCK && kind != placementv1.ActionKind_ACTION_KIND_RESUME {
		return false
	}
	e.mutex.Lock()
	defer e.mutex.Unlock()
	return len(e.lanes[key]) > 1
}

func (e *Executor) try(ctx context.Context, o order) (again bool, err error) {
	select {
	case e.calls <- struct{}{}:
		defer func() { <-e.calls }()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	switch o.action.GetKind() {
	case placementv1.ActionKind_ACTION_KIND_EVICT:
		return e.evict(ctx, o.action)
	case placementv1.ActionKind_ACTION_KIND_BIND:
		return e.bind(ctx, o)
	case placementv1.ActionKind_ACTION_KIND_BLOCK:
		return e.tell(ctx, o.action, "block", "block")
	case placementv1.ActionKind_ACTION_KIND_RESUME:
		return e.tell(ctx, o.action, "resume", "block")
	case placementv1.ActionKind_ACTION_KIND_COMMIT_AND_EXIT:
		return e.commit(ctx, o.action)
	case placementv1.ActionKind_ACTION_KIND_MIGRATE:
		return e.migrate(ctx, o.action)
	case placementv1.ActionKind_ACTION_KIND_MOVE_CARD:
		return e.moveCard(ctx, o.action)
	}
	return false, fmt.Errorf("an unknown order %v", o.action.GetKind())
}

// carryOut returns what it has answered, or given up with the context.
func (e *Executor) carryOut(ctx context.Context, key string, of *order) *placementv1.Action {
	doubt := false
	for {
		o := e.now(of)
		ends := o.action.GetDeadlineUs()
		again, err := e.try(ctx, o)
		if ctx.Err() != nil {
			return o.action
		}
		doubt = (doubt || errors.Is(err, errDoubt)) && !errors.Is(err, errSettled)
		if !again || (ends > 0 && time.Now().After(time.UnixMicro(ends))) || e.overtaken(key, o.action) {
			// A no would give the place back, and the bind may still land there.
			if err == nil || !doubt {
				e.answer(ctx, o.action, err)
			}
			return o.action
		}
		klog.V(2).InfoS("An order is tried again", "order", o.action.GetId(), "reason", err)
		select {
		case <-ctx.Done():
			return o.action
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
		if apierrors.IsNotFound(err) {
			err = fmt.Errorf("%w: %w", errSettled, err)
		}
		return !lasting(err), err
	}
	if string(pod.UID) != key.GetUid() {
		return false, fmt.Errorf("%w: the pod is gone, another has its name", errSettled)
	}
	if pod.Spec.NodeName != "" {
		if pod.Spec.NodeName == action.GetNode() {
			return false, nil
		}
		return false, fmt.Errorf("%w: the pod is on node %s", errSettled, pod.Spec.NodeName)
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
	// After its deadline the engine counts with the place again: no request is sent that could come later.
	if ends := action.GetDeadlineUs(); ends > 0 {
		var over context.CancelFunc
		ctx, over = context.WithDeadline(ctx, time.UnixMicro(ends))
		defer over()
		if ctx.Err() != nil {
			e.unlock(context.WithoutCancel(ctx), locks, action.GetNode(), pod)
			return false, errors.New("its deadline has passed")
		}
	}
	err = pods.Bind(ctx, &v1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: key.GetNamespace(), Name: key.GetName(),
			UID: types.UID(key.GetUid()), Annotations: annotations, Labels: labels},
		Target: v1.ObjectReference{Kind: "Node", Name: action.GetNode()}}, metav1.CreateOptions{})
	if err != nil && !binds.Refused(err) {
		return true, fmt.Errorf("%w: %w", errDoubt, err)
	}
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
