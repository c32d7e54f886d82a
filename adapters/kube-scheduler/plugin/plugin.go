// Package plugin puts Basalt into kube-scheduler: nodes and cards of pods that ask for devices are
// chosen by the engine, and held by a lease from PreFilter until the pod is bound.
//
//	PreFilter   takes a lease on the best node, and learns of some alternatives; a gang's as a whole
//	Filter      is the node one of them
//	Score       the engine's order
//	Reserve     moves the lease when kube-scheduler chose an alternative, and begins to confirm it;
//	            Unreserve gives it back
//	Permit      members of a gang wait for one another
//	PreBind     waits for the confirmation: nothing is bound that is not confirmed
//	Bind        writes node, annotations and labels in one step
//	PostFilter  remembers other plugins' vetoes; else asks the engine who gives way
//
// Pods that ask for no devices are none of its business, unless they are of a gang that does. Resource
// claims are allocated here, too (claims.go).
package plugin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	fw "k8s.io/kubernetes/pkg/scheduler/framework"

	"basalt.io/adapters/binds"
	"basalt.io/adapters/client"
	placementv1 "basalt.io/adapters/placement/v1"
	"basalt.io/adapters/podres"
)

// Name of the plugin in KubeSchedulerConfiguration.
const Name = "Basalt"

const stateKey fwk.StateKey = "basalt.io/decision"

// Plugin is one profile's. It is safe for use by several goroutines: binding cycles overlap.
type Plugin struct {
	args   *Args
	handle fw.Handle
	client *client.Client
	gangs  *gangBook // nil: the cluster has no PodGroups
	groups groupLister
	books  *books

	claimer *claimer // nil: the cluster's scheduler allocates no resource claims
}

var (
	_ fw.PreEnqueuePlugin    = &Plugin{}
	_ fw.EnqueueExtensions   = &Plugin{}
	_ fw.PreFilterPlugin     = &Plugin{}
	_ fw.PreFilterExtensions = &Plugin{}
	_ fw.FilterPlugin        = &Plugin{}
	_ fw.PostFilterPlugin    = &Plugin{}
	_ fw.ScorePlugin         = &Plugin{}
	_ fw.ReservePlugin       = &Plugin{}
	_ fw.PermitPlugin        = &Plugin{}
	_ fw.PreBindPlugin       = &Plugin{}
	_ fw.BindPlugin          = &Plugin{}
	_ fw.PostBindPlugin      = &Plugin{}
)

// New is what app.WithPlugin takes.
func New(ctx context.Context, object runtime.Object, handle fw.Handle) (fw.Plugin, error) {
	args, err := decodeArgs(object)
	if err != nil {
		return nil, err
	}
	connection, err := client.Dial(args.options())
	if err != nil {
		return nil, err
	}
	go func() {
		<-ctx.Done()
		_ = connection.Close()
	}()
	p := newPlugin(args, handle, connection)
	if p.claimer, err = newClaimer(ctx, handle, connection.CardDrivers); err != nil {
		return nil, err
	}
	if err := p.start(ctx); err != nil {
		return nil, err
	}
	return p, nil
}

func newPlugin(args *Args, handle fw.Handle, connection *client.Client) *Plugin {
	return &Plugin{args: args, handle: handle, client: connection, books: newBooks(), gangs: newGangBook()}
}

// Name of the plugin.
func (p *Plugin) Name() string { return Name }

// decision is what is known about a pod in one scheduling cycle.
type decision struct {
	request *placementv1.PodRequest // as the engine was asked; of a gang's member, without gang
	ranks   map[string]int          // nodes that may be taken, 0 is the best
	held    bool                    // it held its place before this cycle
	waits   bool                    // it was not placed, and something might make room
	round   *round                  // of the pod's gang; nil: it is placed alone
	member  *gang                   // the gang that it waits for

	lease   *placementv1.Lease
	place   *placementv1.Place
	confirm *confirmation // under way; nil: PreBind asks
	locks   []string      // HAMi's, that are held on the node
	bound   bool          // Bind was tried
	refused bool          // by the API server

	claims *claimState                   // nil: the pod has no resource claims
	places map[string]*placementv1.Place // by node, as offered
	dry    bool                          // kube-scheduler plays through a preemption
}

// confirmation that is asked for while the scheduling cycle goes on.
type confirmation struct {
	done chan struct{}
	err  error // once done is closed
}

// onlyClaims: the engine has no say in the pod, whose claims are allocated without it.
func (d *decision) onlyClaims() bool { return d.request == nil && d.claims != nil }

// Clone is made before a dry run changes anything.
func (d *decision) Clone() fwk.StateData {
	copied := *d
	return &copied
}

func read(state fwk.CycleState) *decision {
	data, err := state.Read(stateKey)
	if err != nil {
		return nil
	}
	return data.(*decision)
}

// asks says whether the engine may have a say: the pod asks for devices or has resource claims.
func (p *Plugin) asks(pod *v1.Pod) bool { return podres.HasDevices(pod) || p.hasClaims(pod) }

// waitsForCards is true of pods without devices of a gang that has some: a head without cards starts
// with its workers.
func (p *Plugin) waitsForCards(pod *v1.Pod) bool {
	if groupOf(pod) == "" || podres.HasDevices(pod) {
		return false
	}
	if _, err := p.groups.group(pod.Namespace, groupOf(pod)); err != nil {
		return false
	}
	all, err := p.groups.pods(pod.Namespace, groupOf(pod))
	return err == nil && slices.ContainsFunc(all, p.asks)
}

// request for one pod, with what has been vetoed and what the pod's own affinity rules out.
func (p *Plugin) request(pod *v1.Pod, wants *claimed, nodes []fwk.NodeInfo) (*placementv1.PodRequest, error) {
	request := podres.Request(pod, p.client.AnnotationKeys())
	if wants != nil {
		request.Ask.GetPod().Claimed = wants.cards
	}
	request.Alternatives = *p.args.Alternatives
	if group := groupOf(pod); group != "" {
		request.Job = pod.Namespace + "/" + group
	}
	constraints, err := p.constraints(pod, wants, nodes)
	request.Constraints = constraints
	return request, err
}

func (p *Plugin) constraints(pod *v1.Pod, wants *claimed, nodes []fwk.NodeInfo) (*placementv1.Constraints, error) {
	only, err := p.onlyNodes(pod, wants, nodes)
	return &placementv1.Constraints{ExcludedNodes: p.books.vetoed(pod.UID), OnlyNodes: only}, err
}

// requiredNodes is the pod's required node affinity; nil: none.
func requiredNodes(pod *v1.Pod) *v1.NodeSelector {
	if affinity := pod.Spec.Affinity; affinity != nil && affinity.NodeAffinity != nil {
		return affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	}
	return nil
}

// onlyNodes are those that the pod's required node affinity and its claims allow; nil: all. The engine
// knows selectors and taints; expressions are Kubernetes' own language.
func (p *Plugin) onlyNodes(pod *v1.Pod, wants *claimed, nodes []fwk.NodeInfo) ([]string, error) {
	var rules []func(*v1.Node) (bool, error)
	if requiredNodes(pod) != nil {
		rules = append(rules, nodeaffinity.GetRequiredNodeAffinity(pod).Match)
	}
	if wants != nil {
		for _, selector := range wants.on {
			rules = append(rules, func(node *v1.Node) (bool, error) { return selector.Match(node), nil })
		}
		if wants.domain != "" {
			clique, err := p.claimer.cliqueNodes(wants, nodes)
			if err != nil {
				return nil, err
			}
			rules = append(rules, func(node *v1.Node) (bool, error) { return clique[node.Name], nil })
		}
	}
	if len(rules) == 0 {
		return nil, nil
	}
	var only []string
	for _, info := range nodes {
		fits := true
		for _, rule := range rules {
			one, err := rule(info.Node())
			if err != nil {
				return nil, err
			}
			fits = fits && one
		}
		if fits {
			only = append(only, info.Node().Name)
		}
	}
	if len(only) == 0 {
		return nil, errNoNode
	}
	return only, nil
}

var errNoNode = errors.New("no node matches the pod's node affinity, or the place and clique of its resource claims")

// failed is the status of a call without an answer: an Error, so that the pod is tried again soon.
func failed(err error) *fwk.Status {
	return fwk.AsStatus(fmt.Errorf("basalt: %w", err))
}

// PreFilter asks the engine.
func (p *Plugin) PreFilter(ctx context.Context, state fwk.CycleState, pod *v1.Pod, nodes []fwk.NodeInfo) (
	*fw.PreFilterResult, *fwk.Status) {
	claims, status := p.readClaims(ctx, pod)
	if !status.IsSuccess() {
		return nil, status
	}
	engine := (podres.HasDevices(pod) || claims.wantsCards() || p.waitsForCards(pod)) && !p.client.FallBack()
	if !engine && claims == nil {
		return nil, fwk.NewStatus(fwk.Skip)
	}
	if !engine {
		// No card is to be chosen: what a claim has it keeps, and other devices are upstream's.
		state.Write(stateKey, &decision{claims: claims})
		return nil, p.preFilterClaims(ctx, state, claims, pod, nodes, p.client.FallBack(), nil)
	}
	p.books.seen(pod)
	p.unlockLeft(ctx, pod)
	if p.client.AnnotationKeys() == nil && p.client.ServerEpoch() == 0 && !p.client.Probe(ctx) {
		return nil, failed(errors.New("the server does not answer"))
	}
	request, err := p.request(pod, claims.claimed(), nodes)
	if errors.Is(err, errNoNode) {
		return nil, fwk.NewStatus(fwk.UnschedulableAndUnresolvable, err.Error())
	}
	if err != nil {
		return nil, fwk.AsStatus(err)
	}
	d := &decision{request: request, ranks: map[string]int{}, claims: claims, places: map[string]*placementv1.Place{}}
	state.Write(stateKey, d)
	if groupOf(pod) != "" {
		done, status := p.preFilterGang(ctx, d, pod, nodes)
		if !status.IsSuccess() {
			return d.result(), status
		}
		if done {
			return p.offer(ctx, state, d, pod, nodes)
		}
	}
	response, err := p.reserve(ctx, request, nil)
	if err != nil {
		return nil, failed(err)
	}
	answer := response.GetPod()
	if response.GetLease() == nil {
		reason := answer.GetReason()
		if reason == "" {
			reason = response.GetRefused()
		}
		return nil, p.notPlaced(d, pod, answer.GetKind(), reason)
	}
	d.held = answer.GetAlreadyHeld()
	d.lease, d.place = response.GetLease(), answer.GetPlacement()
	d.add(d.place)
	if !d.held {
		for _, place := range answer.GetAlternatives() {
			d.add(place)
		}
	}
	return p.offer(ctx, state, d, pod, nodes)
}

// add a place after those that are better.
func (d *decision) add(place *placementv1.Place) {
	if _, known := d.ranks[place.GetNode()]; !known {
		d.ranks[place.GetNode()] = len(d.ranks)
		d.places[place.GetNode()] = place
	}
}

// offer the engine's nodes, with their devices for the pod's claims.
func (p *Plugin) offer(ctx context.Context, state fwk.CycleState, d *decision, pod *v1.Pod, nodes []fwk.NodeInfo) (
	*fw.PreFilterResult, *fwk.Status) {
	if d.claims != nil {
		places := make([]*placementv1.Place, 0, len(d.places))
		for _, place := range d.places {
			places = append(places, place)
		}
		if status := p.preFilterClaims(ctx, state, d.claims, pod, nodes, false, places); !status.IsSuccess() {
			return nil, status
		}
	}
	return d.result(), nil
}

// reserve the place; nil: the best one. The lease lasts over a cycle that ends without a
// word to plugins: the pod's next one finds it, or its time ends.
func (p *Plugin) reserve(ctx context.Context, request *placementv1.PodRequest, place *placementv1.Place) (
	*placementv1.ReserveResponse, error) {
	return p.client.Reserve(ctx, &placementv1.ReserveRequest{
		Of: &placementv1.ReserveRequest_Pod{Pod: request}, Placement: place,
		TtlUs: p.args.LeaseTTL.Microseconds(), WantReasons: true, WantAssignment: true})
}

func (d *decision) result() *fw.PreFilterResult {
	return &fw.PreFilterResult{NodeNames: sets.KeySet(d.ranks)}
}

// notPlaced is the status of a pod that must wait; it is woken by what may make room.
func (p *Plugin) notPlaced(d *decision, pod *v1.Pod, kind placementv1.OutcomeKind, reason string) *fwk.Status {
	if reason == "" {
		reason = "no room"
	}
	switch kind {
	case placementv1.OutcomeKind_OUTCOME_KIND_NOT_READY:
		return failed(errors.New("the server is not synced yet"))
	case placementv1.OutcomeKind_OUTCOME_KIND_INFEASIBLE:
		p.books.waits(pod)
		return fwk.NewStatus(fwk.UnschedulableAndUnresolvable, "Basalt: "+reason)
	}
	d.waits = true
	p.books.waits(pod)
	// Not Unschedulable: kube-scheduler's own preemption knows nothing of cards.
	return fwk.NewStatus(fwk.UnschedulableAndUnresolvable, "Basalt: "+reason)
}

// PreFilterExtensions notices dry runs.
func (p *Plugin) PreFilterExtensions() fw.PreFilterExtensions { return p }

// AddPod is called for nominated pods in any cycle.
func (p *Plugin) AddPod(context.Context, fwk.CycleState, *v1.Pod, fwk.PodInfo, fwk.NodeInfo) *fwk.Status {
	return nil
}

// RemovePod is called only when kube-scheduler plays through a preemption, on a copy of the state.
func (p *Plugin) RemovePod(_ context.Context, state fwk.CycleState, _ *v1.Pod, _ fwk.PodInfo, _ fwk.NodeInfo) *fwk.Status {
	if d := read(state); d != nil && !d.dry {
		copied := *d
		copied.dry = true
		state.Write(stateKey, &copied)
	}
	return nil
}

// Filter lets the engine's nodes through.
func (p *Plugin) Filter(ctx context.Context, state fwk.CycleState, pod *v1.Pod, node fwk.NodeInfo) *fwk.Status {
	d := read(state)
	if d == nil {
		return fwk.AsStatus(errors.New("basalt: no decision"))
	}
	if d.onlyClaims() {
		return p.claimer.inner.Filter(ctx, state, pod, node)
	}
	if d.dry {
		return fwk.NewStatus(fwk.UnschedulableAndUnresolvable, "Basalt chooses who gives way")
	}
	if _, offered := d.ranks[node.Node().Name]; !offered {
		return fwk.NewStatus(fwk.UnschedulableAndUnresolvable, "not a node that Basalt offers")
	}
	if d.claims.active() {
		if status := p.claimer.inner.Filter(ctx, state, pod, node); !status.IsSuccess() {
			d.claims.refuse(node.Node().Name)
			return status
		}
	}
	return nil
}

// Score keeps the engine's order.
func (p *Plugin) Score(_ context.Context, state fwk.CycleState, _ *v1.Pod, node fwk.NodeInfo) (int64, *fwk.Status) {
	d := read(state)
	if d == nil || len(d.ranks) == 0 {
		return 0, nil
	}
	return fw.MaxNodeScore - int64(d.ranks[node.Node().Name])*fw.MaxNodeScore/int64(len(d.ranks)), nil
}

// ScoreExtensions: the scores are what they should be.
func (p *Plugin) ScoreExtensions() fw.ScoreExtensions { return nil }

// Reserve moves the lease to the node that was chosen, and begins to confirm it.
func (p *Plugin) Reserve(ctx context.Context, state fwk.CycleState, pod *v1.Pod, node string) *fwk.Status {
	d := read(state)
	if d == nil {
		return nil
	}
	if !d.onlyClaims() {
		if status := p.reserveCards(ctx, d, pod, node); !status.IsSuccess() {
			return status
		}
	}
	if d.claims.active() {
		return p.claimer.inner.Reserve(ctx, state, pod, node)
	}
	return nil
}

func (p *Plugin) reserveCards(ctx context.Context, d *decision, pod *v1.Pod, node string) *fwk.Status {
	if d.round != nil {
		return d.round.take(pod.UID, node, d)
	}
	if d.place.GetNode() != node {
		if status := p.move(ctx, d, pod, node); !status.IsSuccess() {
			return status
		}
	}
	// A confirmed lease has no end of its own, and a lock may take its time: that comes first then.
	if len(p.locks(node, d.place.GetAssignment().GetAnnotations())) == 0 {
		c, lease := &confirmation{done: make(chan struct{})}, d.lease
		d.confirm = c
		ctx = context.WithoutCancel(ctx) // the scheduling cycle's ends when the binding cycle begins
		go func() {
			defer close(c.done)
			c.err = p.confirm(ctx, lease)
		}()
	}
	return nil
}

// move the lease to an alternative: others had vetoed the engine's first choice.
func (p *Plugin) move(ctx context.Context, d *decision, pod *v1.Pod, node string) *fwk.Status {
	released, err := p.client.Release(ctx, d.lease)
	if err != nil {
		return failed(err)
	}
	if released.GetAnswer() != placementv1.LeaseAnswer_LEASE_ANSWER_OK {
		return fwk.NewStatus(fwk.Unschedulable, "Basalt: "+released.GetReason())
	}
	d.lease, d.place = nil, nil
	place := &placementv1.Place{Node: node}
	if d.claims.active() && d.places[node] != nil {
		place = d.places[node] // its devices are what the claims were fitted to
	}
	response, err := p.reserve(ctx, d.request, place)
	if err != nil {
		return failed(err)
	}
	if response.GetLease() == nil {
		reason := response.GetRefused()
		if reason == "" {
			reason = response.GetPod().GetReason()
		}
		if response.GetPod().GetKind() == placementv1.OutcomeKind_OUTCOME_KIND_NOT_READY {
			return failed(errors.New("the server is not synced yet"))
		}
		// Another scheduler was faster; there may be room elsewhere.
		p.books.waits(pod)
		p.books.stir()
		return fwk.NewStatus(fwk.Unschedulable, "Basalt: "+reason)
	}
	d.lease, d.place = response.GetLease(), response.GetPod().GetPlacement()
	return nil
}

// Unreserve gives back what the cycle took. It may be called without Reserve, and after a failed bind.
func (p *Plugin) Unreserve(ctx context.Context, state fwk.CycleState, pod *v1.Pod, node string) {
	d := read(state)
	if d == nil {
		return
	}
	if d.bound && !binds.Over(context.WithoutCancel(ctx), p.handle.ClientSet(), pod, d.refused) {
		// It has its node, or nobody knows: the lease stays, and the next cycle finds it.
		for _, lock := range d.locks {
			p.books.leftLocked(pod.UID, lock, node)
		}
		return
	}
	if d.claims.active() {
		p.claimer.unreserve(ctx, state, d.claims, pod, node, !d.onlyClaims())
	}
	if d.lease == nil {
		return
	}
	p.unlock(ctx, d, pod, node)
	lease := d.lease
	if d.round != nil {
		if p.abort(ctx, d.round, fmt.Sprintf("%s/%s cannot be started", pod.Namespace, pod.Name)) {
			return
		}
		lease = d.round.memberLease(pod.UID)
	}
	d.lease = nil
	p.release(ctx, lease)
	p.books.stir()
}

// release ends a lease, once: one that is not confirmed ends by itself, one that is belongs to the pod
// and is found again by its next cycle, or ends with it.
func (p *Plugin) release(ctx context.Context, lease *placementv1.Lease) {
	answer, err := p.client.Release(context.WithoutCancel(ctx), lease)
	if err != nil {
		klog.ErrorS(err, "A lease could not be given back; it ends by itself", "uid", lease.GetUid())
	} else if answer.GetAnswer() != placementv1.LeaseAnswer_LEASE_ANSWER_OK {
		klog.V(2).InfoS("A lease was not given back", "uid", lease.GetUid(), "reason", answer.GetReason())
	}
}

// PreBindPreFlight says whether PreBind has work.
func (p *Plugin) PreBindPreFlight(_ context.Context, state fwk.CycleState, _ *v1.Pod, _ string) *fwk.Status {
	if d := read(state); d == nil || (d.lease == nil && !d.claims.active()) {
		return fwk.NewStatus(fwk.Skip)
	}
	return nil
}

// PreBind has the lease confirmed, after the node's lock is had; then the claims are written.
func (p *Plugin) PreBind(ctx context.Context, state fwk.CycleState, pod *v1.Pod, node string) *fwk.Status {
	d := read(state)
	if d == nil {
		return nil
	}
	if d.lease != nil {
		if status := p.confirmCards(ctx, d, pod, node); !status.IsSuccess() {
			return status
		}
	}
	if d.claims.active() {
		d.claims.allocating = true
		return p.claimer.inner.PreBind(ctx, state, pod, node)
	}
	return nil
}

func (p *Plugin) confirmCards(ctx context.Context, d *decision, pod *v1.Pod, node string) *fwk.Status {
	if locks := p.locks(node, d.place.GetAssignment().GetAnnotations()); len(locks) > 0 {
		if err := p.lock(ctx, d, pod, node, locks); err != nil {
			p.books.waits(pod)
			return fwk.NewStatus(fwk.Unschedulable, "Basalt: "+err.Error())
		}
	}
	var err error
	switch {
	case d.round != nil:
		err = d.round.confirm(func(lease *placementv1.Lease) error { return p.confirm(ctx, lease) },
			func(lease *placementv1.Lease) { p.release(ctx, lease) })
	case d.confirm != nil:
		<-d.confirm.done // in confirmWait at the latest
		err = d.confirm.err
	default:
		err = p.confirm(ctx, d.lease)
	}
	if err != nil {
		p.books.waits(pod)
		p.books.stir()
		return fwk.NewStatus(fwk.Unschedulable, "Basalt: "+err.Error())
	}
	return nil
}

const confirmPause = 100 * time.Millisecond

// confirm asks until there is an answer: without one the lease may be confirmed or not.
func (p *Plugin) confirm(ctx context.Context, lease *placementv1.Lease) error {
	deadline := time.Now().Add(p.args.ConfirmWait.Duration)
	for {
		response, err := p.client.Confirm(ctx, lease)
		switch {
		case err != nil && !client.Down(err):
			return err
		case err != nil:
		case response.GetAnswer() == placementv1.LeaseAnswer_LEASE_ANSWER_OK:
			return nil
		case response.GetAnswer() == placementv1.LeaseAnswer_LEASE_ANSWER_NOT_READY,
			response.GetAnswer() == placementv1.LeaseAnswer_LEASE_ANSWER_ROOM_NOT_FREE:
			err = errors.New(response.GetReason())
		default:
			return fmt.Errorf("the lease is over: %s", response.GetReason())
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return fmt.Errorf("not confirmed: %w", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(confirmPause):
		}
	}
}

// PostBind forgets what was remembered of the pod.
func (p *Plugin) PostBind(_ context.Context, state fwk.CycleState, pod *v1.Pod, _ string) {
	d := read(state)
	if d == nil {
		return
	}
	p.books.forget(pod.UID)
	if d.round != nil {
		p.gangs.bound(d.round, pod.UID)
	}
}
