// Package fake is a small placement server for tests of adapters: it keeps cards a node, leases and
// confirmations by the protocol's rules (idempotent by uid and attempt, fenced, turns, gangs all or
// nothing, exclusions), places first-fit by node name, and records every call. It knows no policy.
package fake

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"basalt.io/adapters/client"
	placementv1 "basalt.io/adapters/placement/v1"
)

// Hold is what a pod holds.
type Hold struct {
	Node      string
	Cards     []int
	Epoch     uint64
	Gang      string
	Confirmed bool
	Bound     bool // as far as the server was told
}

type answer struct{ epoch, turn uint64 }

// Server is safe for use by several goroutines; its exported fields are set before it is used.
type Server struct {
	placementv1.UnimplementedPlacementServer

	Cards map[string]int // by node
	Keys  []string       // annotation keys
	// DRA drivers whose devices are cards: card i of a node is gpu-i of the first one's pool NODE.
	Drivers []string
	// Before is asked before each call, by the method's name; an error is the call's answer.
	Before func(method string) error
	// Victims answers Evict; nil: nothing can give way.
	Victims func(*placementv1.EvictRequest) *placementv1.EvictResponse
	NotFree bool // Confirm waits for victims to leave

	mutex     sync.Mutex
	ready     bool
	boot      uint64
	epoch     uint64
	held      map[string]*Hold
	turns     map[string]uint64 // Lease.turn of who reserved or confirmed it last, by pod's or gang's uid
	turn      uint64            // the newest
	answered  map[string]answer // by request id and uid
	described map[string]string // a gang's members, when it was reserved last
	calls     []string
	gangs     []*placementv1.GangRequest
	pods      []*placementv1.PodRequest
	listener  *bufconn.Listener
	grpc      *grpc.Server
}

// New server with cards by node, ready. Start makes it reachable.
func New(cards map[string]int) *Server {
	return &Server{Cards: cards, ready: true, boot: 1, epoch: 1 << 40, held: map[string]*Hold{},
		turns: map[string]uint64{}, turn: 1 << 40, answered: map[string]answer{},
		described: map[string]string{}}
}

// Start serves in this process; Stop ends it, and Start may be called again.
func (s *Server) Start() { s.StartAs(s) }

// StartAs serves what embeds this server and has calls of its own.
func (s *Server) StartAs(service placementv1.PlacementServer) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.listener = bufconn.Listen(1 << 20)
	s.grpc = grpc.NewServer()
	placementv1.RegisterPlacementServer(s.grpc, service)
	go func(server *grpc.Server, listener net.Listener) {
		_ = server.Serve(listener) // ends by Stop
	}(s.grpc, s.listener)
}

// Stop breaks all connections.
func (s *Server) Stop() {
	s.mutex.Lock()
	server := s.grpc
	s.grpc, s.listener = nil, nil
	s.mutex.Unlock()
	if server != nil {
		server.Stop()
	}
}

// Options of a client of this server.
func (s *Server) Options() client.Options {
	return client.Options{Target: "passthrough:///fake", DialOptions: []grpc.DialOption{
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			s.mutex.Lock()
			listener := s.listener
			s.mutex.Unlock()
			if listener == nil {
				return nil, fmt.Errorf("the server is down")
			}
			return listener.DialContext(ctx)
		}), grpc.WithTransportCredentials(insecure.NewCredentials())}}
}

// SetReady makes the cluster synced or not.
func (s *Server) SetReady(ready bool) {
	s.mutex.Lock()
	s.ready = ready
	s.mutex.Unlock()
}

// Restart makes another run of the server; with keep it has its journal.
func (s *Server) Restart(keep bool) {
	s.mutex.Lock()
	s.boot++
	s.epoch, s.turn = s.boot<<40, s.boot<<40
	s.turns, s.answered = map[string]uint64{}, map[string]answer{}
	if !keep {
		s.held = map[string]*Hold{}
	}
	s.mutex.Unlock()
}

// Expire ends a lease that is not confirmed, as its time would.
func (s *Server) Expire(uid string) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for pod, hold := range s.held {
		if (pod == uid || hold.Gang == uid) && !hold.Confirmed {
			delete(s.held, pod)
		}
	}
}

// Held by uid.
func (s *Server) Held() map[string]Hold {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	out := map[string]Hold{}
	for uid, hold := range s.held {
		out[uid] = *hold
	}
	return out
}

// Calls so far, methods' names in order, without Hello.
func (s *Server) Calls() []string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return slices.Clone(s.calls)
}

// Count of calls of a method.
func (s *Server) Count(method string) int {
	n := 0
	for _, call := range s.Calls() {
		if call == method {
			n++
		}
	}
	return n
}

// Gangs that were asked about, in order; Pods likewise.
func (s *Server) Gangs() []*placementv1.GangRequest {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return slices.Clone(s.gangs)
}

// Pods that were asked about, in order.
func (s *Server) Pods() []*placementv1.PodRequest {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return slices.Clone(s.pods)
}

func (s *Server) enter(ctx context.Context, method string) error {
	if s.Before != nil {
		if err := s.Before(method); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return status.FromContextError(err).Err()
	}
	s.mutex.Lock()
	if method != "Hello" {
		s.calls = append(s.calls, method)
	}
	return nil
}

// Hello says who is there.
func (s *Server) Hello(ctx context.Context, request *placementv1.HelloRequest) (
	*placementv1.HelloResponse, error) {
	if err := s.enter(ctx, "Hello"); err != nil {
		return nil, err
	}
	defer s.mutex.Unlock()
	return &placementv1.HelloResponse{ServerEpoch: s.boot, PodAnnotationKeys: s.Keys, CardDrivers: s.Drivers,
		Clusters: []*placementv1.ClusterStatus{{Cluster: request.GetHeader().GetCluster(),
			Ready: s.ready}}}, nil
}

// Unavailable is an error as a server that is going down gives it.
func Unavailable() error { return status.Error(codes.Unavailable, "draining") }
