// drive is a small cluster for the test of deploy/: it tells a running `basalt serve` nodes, queues and
// pods, and asks it for decisions until its input ends, so that everything that the server measures has
// happened. Argument: the server's socket. "driven" is written when each kind of event was there once.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	pb "basalt.io/adapters/placement/v1"
)

const cluster = "prod"

type driver struct {
	ctx        context.Context
	placement  pb.PlacementClient
	sync       pb.Placement_SyncClient
	generation uint64
	pods       int
}

func header() *pb.Header { return &pb.Header{Cluster: cluster, Scheduler: "drive"} }

func (d *driver) newPod() *pb.PodKey {
	d.pods++
	return &pb.PodKey{Uid: fmt.Sprintf("00000000-0000-4000-8000-%012x", d.pods), Name: fmt.Sprintf("pod-%d", d.pods),
		Namespace: "default"}
}

// spec of so many cards with so much of each.
func spec(gpus, milli int32) *pb.Ask {
	return &pb.Ask{Of: &pb.Ask_Spec{Spec: &pb.RequestSpec{CpuMilli: 1000, MemoryMib: 1024, Gpus: gpus, GpuMilli: milli}}}
}

func (d *driver) pod(gpus, milli int32, queue string) *pb.PodRequest {
	return &pb.PodRequest{Pod: d.newPod(), Ask: spec(gpus, milli), Standing: &pb.Standing{Queue: queue}}
}

func (d *driver) send(request *pb.SyncRequest) (*pb.SyncResponse, error) {
	if err := d.sync.Send(request); err != nil {
		return nil, err
	}
	return d.sync.Recv()
}

func (d *driver) tell(deltas ...*pb.Delta) (*pb.SyncResponse, error) {
	d.generation++
	return d.send(&pb.SyncRequest{Of: &pb.SyncRequest_Deltas{
		Deltas: &pb.SyncDeltas{Generation: d.generation, Deltas: deltas}}})
}

func nodeDelta(node *pb.NodeState) *pb.Delta { return &pb.Delta{Of: &pb.Delta_Node{Node: node}} }
func podDelta(pod *pb.PodState) *pb.Delta    { return &pb.Delta{Of: &pb.Delta_Pod{Pod: pod}} }

func cards(node, model string, memory int64, count int) []*pb.CardSpec {
	var list []*pb.CardSpec
	for i := range count {
		list = append(list, &pb.CardSpec{Uuid: fmt.Sprintf("GPU-%s-%d", node, i), Model: model, MemoryMib: memory, Slots: 10})
	}
	return list
}

func plain(name, model string, memory int64, count int) *pb.NodeState {
	return &pb.NodeState{Spec: &pb.NodeSpec{Name: name, CpuMilli: 16000, MemoryMib: 131072, MaxPods: 110,
		Cards: cards(name, model, memory, count)}}
}

// cluster of three nodes, one of them as HAMi registers it, one with an ill card, and two queues.
func (d *driver) list() error {
	kinds := []pb.SyncKind{pb.SyncKind_SYNC_KIND_NODES, pb.SyncKind_SYNC_KIND_PODS, pb.SyncKind_SYNC_KIND_QUEUES}
	if _, err := d.send(&pb.SyncRequest{Of: &pb.SyncRequest_Open{
		Open: &pb.SyncOpen{Header: header(), Source: "drive", Kinds: kinds}}}); err != nil {
		return err
	}
	hami := &pb.NodeState{Kubernetes: &pb.NodeResources{Name: "hami-0",
		Allocatable: map[string]string{"cpu": "64", "memory": "256Gi", "pods": "110", "nvidia.com/gpu": "20"},
		Annotations: map[string]string{"hami.io/node-nvidia-register": `[` +
			`{"id":"GPU-hami-0-0","count":10,"devmem":40960,"devcore":100,"type":"NVIDIA A100-SXM4-40GB","mode":"hami-core","health":true},` +
			`{"id":"GPU-hami-0-1","index":1,"count":10,"devmem":40960,"devcore":100,"type":"NVIDIA A100-SXM4-40GB","mode":"hami-core","health":true}]`}}}
	ill := plain("t4-1", "T4", 15360, 4)
	ill.Spec.Cards[3].Unhealthy = true
	amount := func(milli int64) []*pb.Amount { return []*pb.Amount{{Resource: "gpu", Amount: milli}} }
	queue := func(name string, most int64) *pb.Delta {
		return &pb.Delta{Of: &pb.Delta_Queue{Queue: &pb.QueueState{Name: name, Deserved: amount(1000), Capacity: amount(most)}}}
	}
	// The last one is refused: a node has a name.
	answer, err := d.tell(nodeDelta(hami), nodeDelta(plain("t4-0", "T4", 15360, 4)), nodeDelta(ill), queue("wide", 8000),
		queue("narrow", 1000), nodeDelta(plain("", "T4", 15360, 1)))
	if err != nil {
		return err
	}
	if len(answer.GetRejected()) != 1 {
		return fmt.Errorf("one node has no name, the server refuses %v", answer.GetRejected())
	}
	answer, err = d.send(&pb.SyncRequest{Of: &pb.SyncRequest_Complete{
		Complete: &pb.SyncComplete{Generation: d.generation, Kinds: kinds}}})
	if err != nil {
		return err
	}
	if !answer.GetReady() {
		return errors.New("all is listed, and the server is not ready")
	}
	return nil
}

func (d *driver) reserve(pod *pb.PodRequest, confirm bool) (*pb.ReserveResponse, error) {
	return d.placement.Reserve(d.ctx, &pb.ReserveRequest{Header: header(), Of: &pb.ReserveRequest_Pod{Pod: pod}, Confirm: confirm})
}

// place takes a place for good, or fails.
func (d *driver) place(pod *pb.PodRequest) (*pb.Place, error) {
	answer, err := d.reserve(pod, true)
	if err != nil {
		return nil, err
	}
	if kind := answer.GetPod().GetKind(); kind != pb.OutcomeKind_OUTCOME_KIND_PLACED {
		return nil, fmt.Errorf("%s: %s, %s", pod.GetPod().GetName(), kind, answer.GetPod().GetReason())
	}
	return answer.GetPod().GetPlacement(), nil
}

func want(kind pb.OutcomeKind, answer *pb.ReserveResponse, err error) error {
	if err == nil && answer.GetPod().GetKind() != kind {
		err = fmt.Errorf("%s instead of %s: %s", answer.GetPod().GetKind(), kind, answer.GetPod().GetReason())
	}
	return err
}

// once lets happen what stays: pods, a gang, a lease that is open, cards that are others than chosen.
func (d *driver) once() error {
	whole := d.pod(1, 1000, "wide")
	place, err := d.place(whole)
	if err != nil {
		return err
	}
	if _, err = d.place(d.pod(1, 300, "narrow")); err != nil {
		return err
	}
	answer, err := d.reserve(d.pod(1, 1000, "narrow"), true)
	if err = want(pb.OutcomeKind_OUTCOME_KIND_WAIT, answer, err); err != nil {
		return fmt.Errorf("past the queue's capacity: %w", err)
	}
	answer, err = d.reserve(d.pod(16, 1000, "wide"), true)
	if err = want(pb.OutcomeKind_OUTCOME_KIND_INFEASIBLE, answer, err); err != nil {
		return fmt.Errorf("more cards than a node has: %w", err)
	}
	var members []*pb.PodKey
	for range 2 {
		members = append(members, d.newPod())
	}
	gang, err := d.placement.Reserve(d.ctx, &pb.ReserveRequest{Header: header(), Confirm: true, Of: &pb.ReserveRequest_Gang{
		Gang: &pb.GangRequest{Gang: d.newPod(), Standing: &pb.Standing{Queue: "wide"},
			Tasks: []*pb.GangTask{{Name: "workers", Ask: spec(1, 500), Min: 2, Members: members}}}}})
	if err != nil {
		return err
	}
	if kind := gang.GetGang().GetKind(); kind != pb.OutcomeKind_OUTCOME_KIND_PLACED {
		return fmt.Errorf("the gang: %s, %s", kind, gang.GetGang().GetReason())
	}
	if _, err = d.reserve(d.pod(1, 100, "wide"), false); err != nil {
		return err
	}
	// The device plugin took another card; a pod that we did not place, whose annotation nobody can read.
	other := place.GetCardUuids()[0]
	last := len(other) - 1
	other = other[:last] + map[bool]string{true: "1", false: "0"}[other[last] == '0']
	if _, err = d.tell(
		podDelta(&pb.PodState{Pod: whole.GetPod(), Ask: whole.GetAsk(), Node: place.GetNode(), GrantedUuids: []string{other}}),
		podDelta(&pb.PodState{Pod: d.newPod(), Ask: spec(1, 100), Node: "hami-0",
			Annotations: map[string]string{"hami.io/vgpu-devices-allocated": "nothing,that,can:be;read"}})); err != nil {
		return err
	}
	_, err = d.placement.ReportUsage(d.ctx, &pb.ReportUsageRequest{Header: header(), Samples: []*pb.ReportUsageRequest_Sample{{
		Node: place.GetNode(), CardUuid: place.GetCardUuids()[0], TimeUs: time.Now().UnixMicro(), ComputeMilli: 700, MemoryMib: 9000}}})
	return err
}

// round is a pod's life, from the proposal to its end.
func (d *driver) round() error {
	pod := d.pod(1, 200, "wide")
	if _, err := d.placement.Propose(d.ctx, &pb.ProposeRequest{Header: header(), Of: &pb.ProposeRequest_Pod{Pod: pod}}); err != nil {
		return err
	}
	if _, err := d.placement.Evaluate(d.ctx, &pb.EvaluateRequest{Header: header(), Pod: pod, Nodes: []string{"t4-0", "hami-0"}}); err != nil {
		return err
	}
	answer, err := d.reserve(pod, false)
	if err = want(pb.OutcomeKind_OUTCOME_KIND_PLACED, answer, err); err != nil {
		return err
	}
	confirmed, err := d.placement.Confirm(d.ctx, &pb.ConfirmRequest{Header: header(), Lease: answer.GetLease()})
	if err != nil {
		return err
	}
	if confirmed.GetAnswer() != pb.LeaseAnswer_LEASE_ANSWER_OK {
		return fmt.Errorf("confirm: %s", confirmed.GetReason())
	}
	_, err = d.tell(&pb.Delta{Of: &pb.Delta_PodGone{PodGone: &pb.PodGone{Uid: pod.GetPod().GetUid()}}})
	return err
}

func run(socket string) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	connection, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	d := &driver{ctx: ctx, placement: pb.NewPlacementClient(connection)}
	if d.sync, err = d.placement.Sync(ctx); err != nil {
		return err
	}
	for _, step := range []func() error{d.list, d.once, d.round} {
		if err := step(); err != nil {
			return err
		}
	}
	fmt.Println("driven")
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	for {
		select {
		case <-ended:
			return nil
		case <-time.After(50 * time.Millisecond):
			if err := d.round(); err != nil {
				return err
			}
		}
	}
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: drive SOCKET")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "drive:", err)
		os.Exit(1)
	}
}
