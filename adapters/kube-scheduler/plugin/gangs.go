package plugin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sort"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	placementv1 "basalt.io/adapters/placement/v1"
	"basalt.io/adapters/podres"
)

// refusal is kept a moment: each member of a gang would ask the same.
const refusalTime = 500 * time.Millisecond

// victimsTime is between two questions who gives way for one gang, which are expensive.
const victimsTime = 5 * time.Second

// gangBook knows the gangs that are being placed, by the uid of their PodGroup.
type gangBook struct {
	mutex sync.Mutex
	gangs map[types.UID]*gang
}

// gang is what the engine was last told of one. While it holds something its description must not
// change: pods that come later, or in place of others, are placed one by one beside it.
type gang struct {
	request *placementv1.GangRequest
	round   *round
	refused *fwk.Status
	until   time.Time
	asked   time.Time // when nobody could give way for it
}

func (g *gang) uids() []types.UID {
	var out []types.UID
	for _, task := range g.request.GetTasks() {
		for _, member := range task.GetMembers() {
			out = append(out, types.UID(member.GetUid()))
		}
	}
	return out
}

// round is one reservation of a gang, on its way to being bound.
type round struct {
	gang   types.UID
	mutex  sync.Mutex
	lease  *placementv1.Lease
	places map[types.UID]*placementv1.Place
	ready  map[types.UID]bool // wait in Permit
	left   map[types.UID]bool // not bound yet
	asking bool               // the confirmation is under way
	sure   bool               // confirmed
	dead   bool               // given up; never both this and sure
	renews context.CancelFunc
	answer sync.Mutex // one asks for confirmation, the others wait for the answer
}

func newGangBook() *gangBook { return &gangBook{gangs: map[types.UID]*gang{}} }

// preFilterGang asks for the pod's gang. done false with success: the pod is to be placed alone.
func (p *Plugin) preFilterGang(ctx context.Context, d *decision, pod *v1.Pod, nodes []fwk.NodeInfo) (bool, *fwk.Status) {
	group, members, err := p.members(pod)
	if err != nil {
		return true, fwk.NewStatus(fwk.UnschedulableAndUnresolvable, err.Error())
	}
	p.gangs.mutex.Lock()
	defer p.gangs.mutex.Unlock()
	g := p.gangs.gangs[group.uid]
	if g == nil {
		g = &gang{}
		p.gangs.gangs[group.uid] = g
	}
	if g.round != nil {
		if place := g.round.placeOf(pod.UID); place != nil {
			d.round = g.round
			d.add(place)
			return true, nil
		}
		if g.round.alive() && slices.Contains(g.uids(), pod.UID) {
			// The engine had no place for it beyond the minimum; it may have one later.
			return true, p.notPlaced(d, pod, placementv1.OutcomeKind_OUTCOME_KIND_WAIT, "the rest of its gang is being started")
		}
	}
	if g.refused != nil && time.Now().Before(g.until) {
		d.waits, d.member = true, g
		p.books.waits(pod)
		return true, g.refused
	}
	// A member that was lost is placed again under the words that its gang is held by.
	if g.request == nil || !slices.Contains(g.uids(), pod.UID) {
		request, err := p.gangRequest(ctx, group, members)
		if err != nil {
			p.books.waits(pod)
			return true, fwk.NewStatus(fwk.UnschedulableAndUnresolvable, "Basalt: "+err.Error())
		}
		if g.request != nil && g.round != nil && g.round.alive() {
			return false, nil // it came later
		}
		g.request = request
	}
	if err := p.constrain(g.request, members, d.claims.claimed(), nodes); err != nil {
		return true, fwk.NewStatus(fwk.UnschedulableAndUnresolvable, err.Error())
	}
	g.request.Constraints = &placementv1.Constraints{ExcludedNodes: p.books.vetoed(g.uids()...)}
	d.member = g
	response, err := p.client.Reserve(ctx, &placementv1.ReserveRequest{
		Of:    &placementv1.ReserveRequest_Gang{Gang: g.request},
		TtlUs: p.args.LeaseTTL.Microseconds(), WantAssignment: true})
	if grpcstatus.Code(err) == codes.InvalidArgument {
		// It is held under other words, of an earlier run of this process or of other pods.
		klog.V(2).InfoS("A gang's pods are placed one by one", "pod", klog.KObj(pod), "reason", err)
		g.request, d.member = nil, nil
		return false, nil
	}
	if err != nil {
		return true, failed(err)
	}
	answer := response.GetGang()
	if response.GetLease() == nil {
		reason := answer.GetReason()
		if reason == "" {
			reason = response.GetRefused()
		}
		status := p.notPlaced(d, pod, answer.GetKind(), reason)
		if d.waits {
			g.refused, g.until = status, time.Now().Add(refusalTime)
		}
		return true, status
	}
	r := &round{gang: group.uid, lease: response.GetLease(), places: map[types.UID]*placementv1.Place{},
		ready: map[types.UID]bool{}, left: map[types.UID]bool{}}
	siblings := map[string]*v1.Pod{}
	for _, member := range answer.GetMembers() {
		uid := types.UID(member.GetPod().GetUid())
		at := slices.IndexFunc(members, func(one *v1.Pod) bool { return one.UID == uid })
		if at < 0 || members[at].Spec.NodeName != "" {
			continue // bound already, or gone
		}
		r.places[uid], r.left[uid] = member.GetPlacement(), true
		siblings[members[at].Namespace+"/"+members[at].Name] = members[at]
	}
	g.refused = nil
	place := r.places[pod.UID]
	if place == nil {
		return true, p.notPlaced(d, pod, placementv1.OutcomeKind_OUTCOME_KIND_WAIT, "its gang has no place for it now")
	}
	g.round, d.round = r, r
	d.add(place)
	delete(siblings, pod.Namespace+"/"+pod.Name)
	p.handle.Activate(klog.FromContext(ctx), siblings)
	return true, nil
}

// gangRequest describes the gang by its pods: those that ask the same are one task. Tasks and members
// are in the order of names, so that the same pods are always the same words.
func (p *Plugin) gangRequest(ctx context.Context, group *podGroup, members []*v1.Pod) (*placementv1.GangRequest, error) {
	keys := p.client.AnnotationKeys()
	tasks := map[string]*placementv1.GangTask{}
	var names []string
	joins := false // a ComputeDomain
	sort.Slice(members, func(i, j int) bool { return members[i].Name < members[j].Name })
	for _, pod := range members {
		ask := podres.Ask(pod, keys)
		ask.GetPod().Name = ""
		if p.hasClaims(pod) {
			wants, err := p.claimer.reader.read(ctx, pod)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", pod.Name, err)
			}
			// Also what is allocated already: the gang's words stay the same.
			ask.GetPod().Claimed = wants.asked
			joins = joins || wants.domain != ""
		}
		words, err := proto.MarshalOptions{Deterministic: true}.Marshal(ask)
		if err != nil {
			words = []byte(pod.Name)
		}
		// Pods of one task go to the same nodes.
		if required := requiredNodes(pod); required != nil {
			if more, err := required.Marshal(); err == nil {
				words = append(words, more...)
			}
		}
		digest := sha256.Sum256(words)
		name := "task-" + hex.EncodeToString(digest[:6])
		if tasks[name] == nil {
			tasks[name] = &placementv1.GangTask{Name: name, Ask: ask}
			names = append(names, name)
		}
		tasks[name].Members = append(tasks[name].Members, podres.Key(pod, 0))
	}
	// The smallest tasks first: of a head and its workers the head must be there.
	sort.Slice(names, func(i, j int) bool {
		a, b := len(tasks[names[i]].Members), len(tasks[names[j]].Members)
		return a < b || (a == b && names[i] < names[j])
	})
	request := &placementv1.GangRequest{
		Gang: &placementv1.PodKey{Uid: string(group.uid), Namespace: group.namespace, Name: group.name},
		Job:  group.namespace + "/" + group.name, Standing: podres.Standing(members[0], ""), Level: group.level()}
	if slices.ContainsFunc(members, podres.Apart) {
		podres.Spread(request)
	}
	left := group.minimum
	for _, name := range names {
		task := tasks[name]
		task.Min = int32(min(left, len(task.Members)))
		left -= int(task.Min)
		request.Tasks = append(request.Tasks, task)
	}
	if joins && group.required == "" {
		if request.Level == nil {
			request.Level = &placementv1.LevelWish{}
		}
		request.Level.RequiredName = cliqueLabel
	}
	return request, nil
}

// constrain tells each task's node affinity, by that of one of its pods: they are alike in it. What the
// claims of one want holds for all.
func (p *Plugin) constrain(request *placementv1.GangRequest, members []*v1.Pod, wants *claimed, nodes []fwk.NodeInfo) error {
	byUID := map[string]*v1.Pod{}
	for _, member := range members {
		byUID[string(member.UID)] = member
	}
	for _, task := range request.GetTasks() {
		for _, key := range task.GetMembers() {
			pod := byUID[key.GetUid()]
			if pod == nil {
				continue
			}
			only, err := p.onlyNodes(pod, wants, nodes)
			if err != nil {
				return fmt.Errorf("pod %s: %w", pod.Name, err)
			}
			task.Constraints = nil
			if only != nil {
				task.Constraints = &placementv1.Constraints{OnlyNodes: only}
			}
			break
		}
	}
	return nil
}

func (r *round) placeOf(uid types.UID) *placementv1.Place {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.dead {
		return nil
	}
	return r.places[uid]
}

func (r *round) alive() bool {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return !r.dead && len(r.left) > 0
}

// take gives the member its part of the gang's lease.
func (r *round) take(uid types.UID, node string, d *decision) *fwk.Status {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	place := r.places[uid]
	if r.dead || place == nil || place.GetNode() != node {
		return fwk.NewStatus(fwk.Unschedulable, "its gang is no longer placed so")
	}
	d.lease, d.place = r.lease, place
	return nil
}

// memberLease ends one member's part, which is then missed and placed again.
func (r *round) memberLease(uid types.UID) *placementv1.Lease {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	delete(r.places, uid)
	delete(r.left, uid)
	return &placementv1.Lease{Cluster: r.lease.GetCluster(), Uid: string(uid), Epoch: r.lease.GetEpoch(),
		ServerEpoch: r.lease.GetServerEpoch(), Turn: r.lease.GetTurn()}
}

// confirm asks once for all members. If the round is given up meanwhile, nobody is bound by the answer,
// and the lease is given back only now: after the confirmation, which could otherwise come last.
func (r *round) confirm(ask func(*placementv1.Lease) error, giveBack func(*placementv1.Lease)) error {
	r.answer.Lock()
	defer r.answer.Unlock()
	r.mutex.Lock()
	lease, sure, dead := r.lease, r.sure, r.dead
	r.asking = !sure && !dead
	r.mutex.Unlock()
	if sure {
		return nil
	}
	if dead {
		return errGivenUp
	}
	err := ask(lease)
	r.mutex.Lock()
	dead = r.dead
	r.asking, r.sure = false, err == nil && !dead
	r.mutex.Unlock()
	if dead {
		giveBack(lease)
		return errGivenUp
	}
	if err == nil {
		r.stopRenewing()
	}
	return err
}

var errGivenUp = errors.New("the gang was given up")

func (r *round) stopRenewing() {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.renews != nil {
		r.renews()
		r.renews = nil
	}
}

// Permit lets a gang's members wait for one another: none is bound before all have their places.
func (p *Plugin) Permit(ctx context.Context, state fwk.CycleState, pod *v1.Pod, _ string) (*fwk.Status, time.Duration) {
	d := read(state)
	if d == nil || d.round == nil {
		return nil, 0
	}
	r := d.round
	r.mutex.Lock()
	if r.dead {
		r.mutex.Unlock()
		return fwk.NewStatus(fwk.Unschedulable, "its gang was given up"), 0
	}
	r.ready[pod.UID] = true
	complete := len(r.ready) == len(r.places)
	if !complete && r.renews == nil {
		renewing, stop := context.WithCancel(context.WithoutCancel(ctx))
		r.renews = stop
		go p.renew(renewing, r.lease)
	}
	var waiting []types.UID
	for uid := range r.ready {
		waiting = append(waiting, uid)
	}
	r.mutex.Unlock()
	if !complete {
		return fwk.NewStatus(fwk.Wait, "waits for the rest of its gang"), p.args.GangWait.Duration
	}
	for _, uid := range waiting {
		if one := p.handle.GetWaitingPod(uid); one != nil {
			one.Allow(Name)
		}
	}
	return nil, 0
}

// renew keeps a lease alive while members wait.
func (p *Plugin) renew(ctx context.Context, lease *placementv1.Lease) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(p.args.LeaseTTL.Duration / 3):
		}
		if _, err := p.client.Renew(ctx, lease, p.args.LeaseTTL.Duration); err != nil && ctx.Err() == nil {
			klog.V(2).InfoS("A gang's lease could not be renewed", "gang", lease.GetUid(), "reason", err.Error())
		}
	}
}

// abort gives a round up, unless it is confirmed: its waiting members go back to the queue, its lease is
// given back. While the confirmation is under way that is left to who asks for it: we may be on the
// scheduling thread, and do not wait for the answer.
func (p *Plugin) abort(ctx context.Context, r *round, why string) bool {
	r.mutex.Lock()
	if r.dead || r.sure {
		dead := r.dead
		r.mutex.Unlock()
		return dead
	}
	r.dead = true
	asking := r.asking
	var uids []types.UID
	for uid := range r.places {
		uids = append(uids, uid)
	}
	r.mutex.Unlock()
	r.stopRenewing()
	if !asking {
		p.release(ctx, r.lease)
	}
	for _, uid := range uids {
		if waiting := p.handle.GetWaitingPod(uid); waiting != nil {
			p.books.waits(waiting.GetPod())
			waiting.Reject(Name, "Basalt: the gang was given up: "+why)
		}
	}
	p.books.stir()
	return true
}

// bound notes that a member has its node.
func (b *gangBook) bound(r *round, uid types.UID) {
	r.mutex.Lock()
	delete(r.left, uid)
	over := len(r.left) == 0
	r.mutex.Unlock()
	if !over {
		return
	}
	b.mutex.Lock()
	defer b.mutex.Unlock()
	if g := b.gangs[r.gang]; g != nil && g.round == r {
		g.round = nil
	}
}

// nobody could give way for the gang; askedLately says so for a while.
func (b *gangBook) nobody(g *gang) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	g.asked = time.Now()
}

func (b *gangBook) askedLately(g *gang) bool {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return time.Since(g.asked) < victimsTime
}

// forget a PodGroup that is gone.
func (b *gangBook) forget(uid types.UID) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	delete(b.gangs, uid)
}

// members of the pod's group that live, and the group.
func (p *Plugin) members(pod *v1.Pod) (*podGroup, []*v1.Pod, error) {
	group, err := p.groups.group(pod.Namespace, groupOf(pod))
	if err != nil {
		return nil, nil, err
	}
	all, err := p.groups.pods(pod.Namespace, groupOf(pod))
	if err != nil {
		return nil, nil, err
	}
	var members []*v1.Pod
	for _, one := range all {
		if one.DeletionTimestamp == nil && !podres.Ended(one) {
			members = append(members, one)
		}
	}
	if len(members) < group.minimum {
		return nil, nil, fmt.Errorf("gang %s has %d of the %d pods that it needs", group.name, len(members), group.minimum)
	}
	return group, members, nil
}
