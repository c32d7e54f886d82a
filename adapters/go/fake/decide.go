package fake

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strconv"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	placementv1 "basalt.io/adapters/placement/v1"
)

func need(ask *placementv1.Ask) int {
	if spec := ask.GetSpec(); spec != nil {
		return int(spec.Gpus)
	}
	cards := int(ask.GetPod().GetClaimed().GetCount())
	for _, container := range ask.GetPod().GetContainers() {
		for _, name := range []string{"nvidia.com/gpu", "volcano.sh/vgpu-number"} {
			if text, found := container.GetLimits()[name]; found {
				n, _ := strconv.Atoi(text)
				cards += n
			}
		}
	}
	return cards
}

func (s *Server) free(node string, extra map[string][]int) []int {
	used := map[int]bool{}
	for _, hold := range s.held {
		if hold.Node == node {
			for _, card := range hold.Cards {
				used[card] = true
			}
		}
	}
	for _, card := range extra[node] {
		used[card] = true
	}
	var out []int
	for card := range s.Cards[node] {
		if !used[card] {
			out = append(out, card)
		}
	}
	return out
}

func (s *Server) place(cards int, extra map[string][]int, constraints ...*placementv1.Constraints) *placementv1.Place {
	nodes := make([]string, 0, len(s.Cards))
	for node := range s.Cards {
		nodes = append(nodes, node)
	}
	sort.Strings(nodes)
	for _, node := range nodes {
		allowed := true
		for _, c := range constraints {
			allowed = allowed && !slices.Contains(c.GetExcludedNodes(), node) &&
				(len(c.GetOnlyNodes()) == 0 || slices.Contains(c.GetOnlyNodes(), node))
		}
		free := s.free(node, extra)
		if !allowed || len(free) < cards {
			continue
		}
		return s.placeOf(node, free[:cards])
	}
	return nil
}

func (s *Server) placeOf(node string, cards []int) *placementv1.Place {
	place := &placementv1.Place{Node: node}
	for _, card := range cards {
		place.Cards |= 1 << card
		place.CardUuids = append(place.CardUuids, fmt.Sprintf("%s/%d", node, card))
		if len(s.Drivers) > 0 {
			place.Devices = append(place.Devices, &placementv1.Device{Driver: s.Drivers[0], Pool: node,
				Device: fmt.Sprintf("gpu-%d", card)})
		}
	}
	place.Assignment = &placementv1.Assignment{Interface: "fake", Enforced: true,
		Annotations: map[string]string{"fake/assigned": fmt.Sprint(place.CardUuids)}}
	return place
}

// Propose changes nothing.
func (s *Server) Propose(ctx context.Context, request *placementv1.ProposeRequest) (
	*placementv1.ProposeResponse, error) {
	if err := s.enter(ctx, "Propose"); err != nil {
		return nil, err
	}
	defer s.mutex.Unlock()
	if gang := request.GetGang(); gang != nil {
		return &placementv1.ProposeResponse{Of: &placementv1.ProposeResponse_Gang{
			Gang: s.proposeGang(gang)}}, nil
	}
	pod := request.GetPod()
	s.pods = append(s.pods, pod)
	decision := s.proposePod(pod)
	s.alternatives(pod, decision)
	return &placementv1.ProposeResponse{Of: &placementv1.ProposeResponse_Pod{Pod: decision}}, nil
}

func (s *Server) alternatives(pod *placementv1.PodRequest, decision *placementv1.Decision) {
	if decision.Kind != placementv1.OutcomeKind_OUTCOME_KIND_PLACED {
		return
	}
	excluded := []string{decision.Placement.Node}
	for range pod.GetAlternatives() {
		next := s.place(need(pod.GetAsk()), nil, pod.GetConstraints(),
			&placementv1.Constraints{ExcludedNodes: excluded})
		if next == nil {
			break
		}
		excluded = append(excluded, next.Node)
		decision.Alternatives = append(decision.Alternatives, next)
	}
}

func (s *Server) proposePod(pod *placementv1.PodRequest) *placementv1.Decision {
	if !s.ready {
		return &placementv1.Decision{Kind: placementv1.OutcomeKind_OUTCOME_KIND_NOT_READY,
			Reason: "the cluster is not synced yet"}
	}
	if hold := s.held[pod.GetPod().GetUid()]; hold != nil {
		return &placementv1.Decision{Kind: placementv1.OutcomeKind_OUTCOME_KIND_PLACED,
			AlreadyHeld: true, Placement: s.placeOf(hold.Node, hold.Cards)}
	}
	place := s.place(need(pod.GetAsk()), nil, pod.GetConstraints())
	if place == nil {
		return &placementv1.Decision{Kind: placementv1.OutcomeKind_OUTCOME_KIND_WAIT,
			Reason: "no node has enough free cards"}
	}
	return &placementv1.Decision{Kind: placementv1.OutcomeKind_OUTCOME_KIND_PLACED, Placement: place}
}

func (s *Server) proposeGang(gang *placementv1.GangRequest) *placementv1.GangDecision {
	s.gangs = append(s.gangs, gang)
	if !s.ready {
		return &placementv1.GangDecision{Kind: placementv1.OutcomeKind_OUTCOME_KIND_NOT_READY,
			Reason: "the cluster is not synced yet"}
	}
	out := &placementv1.GangDecision{Kind: placementv1.OutcomeKind_OUTCOME_KIND_PLACED}
	taken := map[string][]int{}
	member := int32(0)
	var again []*placementv1.GangDecision_Member
	for _, task := range gang.GetTasks() {
		placed := int32(0)
		for _, pod := range task.GetMembers() {
			if hold := s.held[pod.GetUid()]; hold != nil {
				out.Held++
				placed++
				again = append(again, &placementv1.GangDecision_Member{
					Member: member, Pod: pod, Placement: s.placeOf(hold.Node, hold.Cards)})
			} else if place := s.place(need(task.GetAsk()), taken, gang.GetConstraints(),
				task.GetConstraints()); place != nil {
				for card := range s.Cards[place.Node] {
					if place.Cards&(1<<card) != 0 {
						taken[place.Node] = append(taken[place.Node], card)
					}
				}
				out.Members = append(out.Members, &placementv1.GangDecision_Member{Member: member,
					Pod: pod, Placement: place})
				placed++
			}
			member++
		}
		if placed < task.GetMin() {
			return &placementv1.GangDecision{Kind: placementv1.OutcomeKind_OUTCOME_KIND_WAIT,
				Reason: fmt.Sprintf("task %s has room for %d of %d", task.GetName(), placed,
					task.GetMin())}
		}
	}
	if len(out.Members) == 0 { // to whom lost the first answer
		out.Members = again
	}
	return out
}

func membersOf(gang *placementv1.GangRequest) string {
	text := ""
	for _, task := range gang.GetTasks() {
		text += fmt.Sprintf("%s %d:", task.GetName(), task.GetMin())
		for _, pod := range task.GetMembers() {
			text += " " + pod.GetUid()
		}
	}
	return text
}

// otherwise says why a gang cannot be asked for in these words while pods hold what they hold.
func (s *Server) otherwise(gang *placementv1.GangRequest) string {
	uid := gang.GetGang().GetUid()
	holds := false
	for _, hold := range s.held {
		holds = holds || hold.Gang == uid
	}
	if holds && s.described[uid] != membersOf(gang) {
		return "holds places under another description; release it first"
	}
	for _, task := range gang.GetTasks() {
		for _, pod := range task.GetMembers() {
			if hold := s.held[pod.GetUid()]; hold != nil && hold.Gang != uid {
				return "its pod " + pod.GetUid() + " is allocated outside the gang"
			}
		}
	}
	return ""
}

// Hold makes a pod hold cards as if it had been observed there.
func (s *Server) Hold(uid, node string, cards ...int) { s.keep(uid, node, cards, true) }

// HoldUnbound makes a pod hold cards that were confirmed for it, as for a scheduler that ended then.
func (s *Server) HoldUnbound(uid, node string, cards ...int) { s.keep(uid, node, cards, false) }

func (s *Server) keep(uid, node string, cards []int, bound bool) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.epoch++
	s.held[uid] = &Hold{Node: node, Cards: cards, Epoch: s.epoch, Confirmed: true, Bound: bound}
}

// Reserve takes places. A gang's members that it holds are told again.
func (s *Server) Reserve(ctx context.Context, request *placementv1.ReserveRequest) (
	*placementv1.ReserveResponse, error) {
	if err := s.enter(ctx, "Reserve"); err != nil {
		return nil, err
	}
	defer s.mutex.Unlock()
	if gang := request.GetGang(); gang != nil {
		if why := s.otherwise(gang); why != "" {
			return nil, status.Error(codes.InvalidArgument, why)
		}
		decision := s.proposeGang(gang)
		response := &placementv1.ReserveResponse{
			Of: &placementv1.ReserveResponse_Gang{Gang: decision}}
		if decision.Kind != placementv1.OutcomeKind_OUTCOME_KIND_PLACED {
			return response, nil
		}
		s.described[gang.GetGang().GetUid()] = membersOf(gang)
		if len(decision.Members) == 0 || s.held[decision.Members[0].Pod.GetUid()] != nil {
			s.epoch-- // said again: the same lease
			for _, hold := range s.held {
				if hold.Gang == gang.GetGang().GetUid() {
					s.epoch = max(s.epoch, hold.Epoch-1)
				}
			}
		}
		s.epoch++
		for _, member := range decision.Members {
			s.hold(member.Pod.GetUid(), gang.GetGang().GetUid(), member.Placement, request.GetConfirm())
		}
		response.Lease = &placementv1.Lease{Cluster: request.GetHeader().GetCluster(),
			Uid: gang.GetGang().GetUid(), Gang: true, Epoch: s.epoch, ServerEpoch: s.boot,
			Turn: s.turnOf(request.GetHeader(), gang.GetGang().GetUid(), s.epoch), TtlUs: 30_000_000}
		s.takeTurn(gang.GetGang().GetUid(), response.Lease.Turn)
		for _, task := range gang.GetTasks() {
			for _, member := range task.GetMembers() {
				if s.held[member.GetUid()] != nil {
					s.takeTurn(member.GetUid(), response.Lease.Turn)
				}
			}
		}
		return response, nil
	}
	pod := request.GetPod()
	s.pods = append(s.pods, pod)
	if node := request.GetPlacement().GetNode(); node != "" {
		pod.Constraints = &placementv1.Constraints{OnlyNodes: []string{node},
			ExcludedNodes: pod.GetConstraints().GetExcludedNodes()}
	}
	decision := s.proposePod(pod)
	if request.GetPlacement() == nil {
		s.alternatives(pod, decision)
	}
	response := &placementv1.ReserveResponse{Of: &placementv1.ReserveResponse_Pod{Pod: decision}}
	if decision.Kind != placementv1.OutcomeKind_OUTCOME_KIND_PLACED {
		return response, nil
	}
	uid := pod.GetPod().GetUid()
	if s.held[uid] == nil {
		s.epoch++
		s.hold(uid, "", decision.Placement, request.GetConfirm())
	}
	response.Lease = &placementv1.Lease{Cluster: request.GetHeader().GetCluster(), Uid: uid,
		Epoch: s.held[uid].Epoch, ServerEpoch: s.boot, TtlUs: 30_000_000,
		Turn: s.turnOf(request.GetHeader(), uid, s.held[uid].Epoch)}
	s.takeTurn(uid, response.Lease.Turn)
	return response, nil
}

func (s *Server) hold(uid, gang string, place *placementv1.Place, confirm bool) {
	if s.held[uid] != nil {
		return
	}
	hold := &Hold{Node: place.Node, Epoch: s.epoch, Gang: gang, Confirmed: confirm}
	for card := range s.Cards[place.Node] {
		if place.Cards&(1<<card) != 0 {
			hold.Cards = append(hold.Cards, card)
		}
	}
	s.held[uid] = hold
}
