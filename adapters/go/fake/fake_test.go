package fake

import (
	"context"
	"testing"

	"google.golang.org/protobuf/proto"

	placementv1 "basalt.io/adapters/placement/v1"
)

func reserve(t *testing.T, s *Server, request string, confirm bool) *placementv1.Lease {
	t.Helper()
	response, err := s.Reserve(context.Background(), &placementv1.ReserveRequest{
		Header: &placementv1.Header{RequestId: request, Scheduler: "test"}, Confirm: confirm,
		Of: &placementv1.ReserveRequest_Pod{Pod: &placementv1.PodRequest{Pod: &placementv1.PodKey{Uid: "p"}}}})
	if err != nil || response.GetLease() == nil {
		t.Fatal(response, err)
	}
	return response.GetLease()
}

// released says whether the lease was let go.
func released(t *testing.T, s *Server, lease *placementv1.Lease) bool {
	t.Helper()
	response, err := s.Release(context.Background(), &placementv1.ReleaseRequest{Lease: lease})
	if err != nil {
		t.Fatal(err)
	}
	ok := response.GetAnswer() == placementv1.LeaseAnswer_LEASE_ANSWER_OK
	if _, held := s.Held()["p"]; held == ok {
		t.Errorf("answer %v, held %v", response, held)
	}
	return ok
}

func TestAConfirmedLeaseIsReleasedByItsNewestTurnOnly(t *testing.T) {
	s := New(map[string]int{"n": 1})
	first := reserve(t, s, "1", true)
	if said := reserve(t, s, "1", true); !proto.Equal(said, first) {
		t.Errorf("the same request: %v, then %v", first, said)
	}
	second := reserve(t, s, "2", true)
	if second.Epoch != first.Epoch || second.Turn <= first.Turn {
		t.Errorf("another request: %v, then %v", first, second)
	}
	wrong := proto.Clone(second).(*placementv1.Lease)
	wrong.Turn = 0
	if released(t, s, first) || released(t, s, wrong) || !released(t, s, second) {
		t.Error("released by another turn")
	}
	// What is not confirmed is nobody's yet.
	third := reserve(t, s, "3", false)
	reserve(t, s, "4", false)
	if !released(t, s, third) {
		t.Error("an open lease was kept")
	}
}

func TestALeaseOfAnEarlierRunIsReservedAgainBeforeItIsReleased(t *testing.T) {
	s := New(map[string]int{"n": 1})
	old := reserve(t, s, "1", true)
	s.Restart(true)
	if released(t, s, old) {
		t.Error("released without a turn of this run")
	}
	if again := reserve(t, s, "1", true); again.Turn <= old.Turn || !released(t, s, again) {
		t.Errorf("%v, then %v", old, again)
	}
}

func TestABoundPodsPlaceIsNotReleased(t *testing.T) {
	s := New(map[string]int{"n": 1})
	s.Hold("p", "n", 0)
	if released(t, s, &placementv1.Lease{Uid: "p"}) || released(t, s, reserve(t, s, "1", true)) {
		t.Error("released")
	}
}

func TestAMembersPartHasTheTurnOfItsGangsLease(t *testing.T) {
	s := New(map[string]int{"n": 1})
	ask := func(request string) *placementv1.Lease {
		response, err := s.Reserve(context.Background(), &placementv1.ReserveRequest{
			Header: &placementv1.Header{RequestId: request}, Of: &placementv1.ReserveRequest_Gang{
				Gang: &placementv1.GangRequest{Gang: &placementv1.PodKey{Uid: "g"}, Tasks: []*placementv1.GangTask{{
					Min: 1, Members: []*placementv1.PodKey{{Uid: "p"}}}}}}})
		if err != nil || response.GetLease() == nil {
			t.Fatal(response, err)
		}
		if _, err := s.Confirm(context.Background(), &placementv1.ConfirmRequest{Lease: response.GetLease()}); err != nil {
			t.Fatal(err)
		}
		return response.GetLease()
	}
	part := func(gang *placementv1.Lease) *placementv1.Lease {
		return &placementv1.Lease{Uid: "p", Epoch: gang.Epoch, ServerEpoch: gang.ServerEpoch, Turn: gang.Turn}
	}
	first, second := ask("1"), ask("2")
	if released(t, s, part(first)) || released(t, s, first) || !released(t, s, part(second)) {
		t.Error("released by another turn")
	}
}
