package fake

import (
	"context"

	placementv1 "basalt.io/adapters/placement/v1"
)

// of a lease: the pods that hold it, or why it is refused.
func (s *Server) of(lease *placementv1.Lease) ([]string, placementv1.LeaseAnswer) {
	var pods []string
	for uid, hold := range s.held {
		if uid != lease.GetUid() && (hold.Gang == "" || hold.Gang != lease.GetUid()) {
			continue
		}
		if hold.Epoch == lease.GetEpoch() {
			pods = append(pods, uid)
		} else if !lease.GetGang() {
			return nil, placementv1.LeaseAnswer_LEASE_ANSWER_FENCED
		}
	}
	if len(pods) > 0 {
		return pods, placementv1.LeaseAnswer_LEASE_ANSWER_OK
	}
	if lease.GetServerEpoch() < s.boot {
		return nil, placementv1.LeaseAnswer_LEASE_ANSWER_FENCED
	}
	return nil, placementv1.LeaseAnswer_LEASE_ANSWER_EXPIRED
}

// turnOf the lease in an answer: a request that is said again has the one that it had.
func (s *Server) turnOf(header *placementv1.Header, uid string, epoch uint64) uint64 {
	if header.GetRequestId() == "" {
		s.turn++
		return s.turn
	}
	key := header.GetScheduler() + " " + header.GetRequestId() + " " + uid
	if s.answered[key].epoch != epoch {
		s.turn++
		s.answered[key] = answer{epoch, s.turn}
	}
	return s.answered[key].turn
}

func (s *Server) takeTurn(uid string, turn uint64) {
	if turn <= s.turn {
		s.turns[uid] = max(s.turns[uid], turn)
	}
}

// whyNot says why a lease that these pods hold is not released, as the server's WhyNotReleased.
func (s *Server) whyNot(lease *placementv1.Lease, pods []string) string {
	confirmed := false
	for _, uid := range pods {
		if s.held[uid].Bound {
			return "it is bound to a node; its place is free once it is gone"
		}
		confirmed = confirmed || s.held[uid].Confirmed
	}
	if !confirmed || lease.GetEpoch() == 0 {
		return ""
	}
	switch s.turns[lease.GetUid()] {
	case 0:
		return "it was confirmed in an earlier run of the server; reserve it again first"
	case lease.GetTurn():
		return ""
	}
	return "it was reserved again since"
}

// Confirm a lease.
func (s *Server) Confirm(ctx context.Context, request *placementv1.ConfirmRequest) (
	*placementv1.ConfirmResponse, error) {
	if err := s.enter(ctx, "Confirm"); err != nil {
		return nil, err
	}
	defer s.mutex.Unlock()
	pods, answer := s.of(request.GetLease())
	if s.NotFree && answer == placementv1.LeaseAnswer_LEASE_ANSWER_OK {
		return &placementv1.ConfirmResponse{
			Answer: placementv1.LeaseAnswer_LEASE_ANSWER_ROOM_NOT_FREE}, nil
	}
	for _, uid := range pods {
		s.held[uid].Confirmed = true
		s.takeTurn(uid, request.GetLease().GetTurn())
	}
	if len(pods) > 0 {
		s.takeTurn(request.GetLease().GetUid(), request.GetLease().GetTurn())
	}
	return &placementv1.ConfirmResponse{Answer: answer, Reason: answer.String()}, nil
}

// Renew changes nothing: leases here end only by Expire.
func (s *Server) Renew(ctx context.Context, request *placementv1.RenewRequest) (
	*placementv1.RenewResponse, error) {
	if err := s.enter(ctx, "Renew"); err != nil {
		return nil, err
	}
	defer s.mutex.Unlock()
	_, answer := s.of(request.GetLease())
	return &placementv1.RenewResponse{Answer: answer, Lease: request.GetLease()}, nil
}

// Release a lease; epoch 0 is whatever it holds.
func (s *Server) Release(ctx context.Context, request *placementv1.ReleaseRequest) (
	*placementv1.ReleaseResponse, error) {
	if err := s.enter(ctx, "Release"); err != nil {
		return nil, err
	}
	defer s.mutex.Unlock()
	lease := request.GetLease()
	var pods []string
	answer := placementv1.LeaseAnswer_LEASE_ANSWER_OK
	if lease.GetEpoch() != 0 {
		pods, answer = s.of(lease)
	} else {
		for uid, hold := range s.held {
			if uid == lease.GetUid() || (hold.Gang != "" && hold.Gang == lease.GetUid()) {
				pods = append(pods, uid)
			}
		}
	}
	if reason := s.whyNot(lease, pods); reason != "" {
		return &placementv1.ReleaseResponse{Answer: placementv1.LeaseAnswer_LEASE_ANSWER_FENCED, Reason: reason}, nil
	}
	for _, uid := range pods {
		delete(s.held, uid)
	}
	return &placementv1.ReleaseResponse{Answer: answer}, nil
}

// Evaluate says of each node whether it has the cards.
func (s *Server) Evaluate(ctx context.Context, request *placementv1.EvaluateRequest) (
	*placementv1.EvaluateResponse, error) {
	if err := s.enter(ctx, "Evaluate"); err != nil {
		return nil, err
	}
	defer s.mutex.Unlock()
	out := &placementv1.EvaluateResponse{Kind: placementv1.OutcomeKind_OUTCOME_KIND_WAIT}
	for _, node := range request.GetNodes() {
		verdict := &placementv1.NodeVerdict{Node: node,
			Reason: placementv1.Reason_REASON_NO_CARD_FREE, Text: "no card is free"}
		if len(s.free(node, nil)) >= need(request.GetPod().GetAsk()) {
			verdict.Reason = placementv1.Reason_REASON_FITS
			out.Kind = placementv1.OutcomeKind_OUTCOME_KIND_PLACED
		}
		out.Verdicts = append(out.Verdicts, verdict)
	}
	return out, nil
}

// Evict asks Victims.
func (s *Server) Evict(ctx context.Context, request *placementv1.EvictRequest) (
	*placementv1.EvictResponse, error) {
	if err := s.enter(ctx, "Evict"); err != nil {
		return nil, err
	}
	defer s.mutex.Unlock()
	if s.Victims == nil {
		return &placementv1.EvictResponse{Reason: "nobody can give way"}, nil
	}
	return s.Victims(request), nil
}
