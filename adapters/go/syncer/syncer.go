// Package syncer tells Basalt what a cluster holds: nodes with their cards and NUMA nodes, pods with
// their disruption budgets, and with Volcano queues and HyperNodes, as one stream of numbered
// messages.
//
// A stream begins with a full listing, taken after the server has opened it, and SyncComplete. After
// a broken connection it goes on where the server was, if the server still knows; else it begins
// anew. Of several changes of one object the last is told, so a slow server costs memory by objects,
// not by events. A second syncer of a cluster is refused by the server and waits: two replicas are
// safe.
package syncer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
	vcclient "volcano.sh/apis/pkg/client/clientset/versioned"

	"basalt.io/adapters/client"
	placementv1 "basalt.io/adapters/placement/v1"
	"basalt.io/adapters/podres"
)

// Options of a syncer. Client and Kube are required.
type Options struct {
	Client  *client.Client
	Kube    kubernetes.Interface
	Volcano vcclient.Interface // nil: no queues and no HyperNodes
	Budgets bool               // PodDisruptionBudgets, too
	Numa    dynamic.Interface  // NodeResourceTopologies, whose CRD must be there; nil: none
	Claims  bool               // read ResourceSlices and ResourceClaims (ServesClaims)
	Source  string             // who tells; unique by process. "HOST/PID"

	Batch      int           // deltas a message; 500
	Window     int           // messages that wait for their acknowledgement; 16
	RetryPause time.Duration // first of the pauses between tries, which grow to 5 s; 100 ms
	RejectedIn time.Duration // after which a refused object is told once more; 30 s
	ClaimGrace time.Duration // after which devices of a claim whose pod is not bound are held; 5 s

	// Room is called when the server has taken in what may make room for somebody: nodes, queues and
	// paths that have changed, pods that have ended. It must not block.
	Room func()
}

// Syncer runs one stream. Make it with New.
type Syncer struct {
	options    Options
	session    *session // the last one, if it may be resumed
	generation atomic.Uint64
	ready      atomic.Bool
	rejected   atomic.Uint64
	listings   atomic.Uint64
}

// New syncer; Run starts it.
func New(options Options) (*Syncer, error) {
	if options.Client == nil || options.Kube == nil {
		return nil, errors.New("syncer: no client")
	}
	if options.Source == "" {
		host, err := os.Hostname()
		if err != nil {
			return nil, err
		}
		options.Source = fmt.Sprintf("%s/%d", host, os.Getpid())
	}
	if options.Batch <= 0 {
		options.Batch = 500
	}
	if options.Window <= 0 {
		options.Window = 16
	}
	if options.RetryPause <= 0 {
		options.RetryPause = 100 * time.Millisecond
	}
	if options.RejectedIn <= 0 {
		options.RejectedIn = 30 * time.Second
	}
	if options.ClaimGrace <= 0 {
		options.ClaimGrace = 5 * time.Second
	}
	return &Syncer{options: options}, nil
}

// Ready says whether the server has said, on the present stream, that it decides.
func (s *Syncer) Ready() bool { return s.ready.Load() }

// Generation that the server has applied last, for Header.min_generation.
func (s *Syncer) Generation() uint64 { return s.generation.Load() }

// Rejected counts objects that the server has refused; Listings counts full listings.
func (s *Syncer) Rejected() uint64 { return s.rejected.Load() }

// Listings counts full listings.
func (s *Syncer) Listings() uint64 { return s.listings.Load() }

// Run tells until the context ends.
func (s *Syncer) Run(ctx context.Context) error {
	defer s.forget()
	pause := s.options.RetryPause
	for {
		opened, err := s.stream(ctx)
		s.ready.Store(false)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if opened {
			pause = s.options.RetryPause
		}
		if status.Code(err) == codes.AlreadyExists {
			klog.V(2).InfoS("Basalt is synced by another process; waiting", "reason", err.Error())
		} else {
			klog.ErrorS(err, "The sync stream to Basalt has ended; opening it again", "after", pause)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		pause = min(2*pause, 5*time.Second)
	}
}

func (s *Syncer) forget() {
	if s.session != nil {
		s.session.stop()
		s.session = nil
	}
}

type incoming struct {
	response *placementv1.SyncResponse
	err      error
}

var errRelist = errors.New("the server misses messages; listing anew")

// stream opens one and serves it until it ends; opened says how far it came.
func (s *Syncer) stream(ctx context.Context) (opened bool, err error) {
	c := s.options.Client
	if c.ServerEpoch() == 0 {
		c.Probe(ctx) // for the annotation keys
		if c.ServerEpoch() == 0 {
			return false, status.Error(codes.Unavailable, "the server does not answer")
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.Raw().Sync(ctx)
	if err != nil {
		return false, err
	}
	open := &placementv1.SyncOpen{Header: c.Header(), Source: s.options.Source}
	resumes := s.session != nil && s.session.complete && s.session.acked > 0
	if resumes {
		open.ResumeGeneration = s.session.acked
		open.ServerEpoch = s.session.epoch
	}
	open.Kinds = (&session{options: &s.options}).kinds()
	if err := send(stream, &placementv1.SyncRequest{
		Of: &placementv1.SyncRequest_Open{Open: open}}); err != nil {
		return false, err
	}
	first, err := stream.Recv()
	if err != nil {
		return false, err
	}
	if !resumes || first.GetRelist() {
		s.forget()
		s.session = newSession(context.WithoutCancel(ctx), &s.options)
		s.session.epoch = first.GetServerEpoch()
		s.listings.Add(1)
	} else {
		session := s.session
		var lost []item
		for _, message := range session.unacked {
			lost = append(lost, message.items...)
		}
		session.unacked = nil
		session.generation = session.acked
		session.books.again(lost)
	}
	s.ready.Store(first.GetReady())
	// Room for all answers that can be on their way: neither side waits for the other to read.
	answers := make(chan incoming, s.options.Window+2)
	go func() {
		for {
			response, err := stream.Recv()
			select {
			case answers <- incoming{response, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return true, s.serve(ctx, stream, answers)
}

type sender interface {
	Send(*placementv1.SyncRequest) error
	Recv() (*placementv1.SyncResponse, error)
}

// send of a stream that has ended says io.EOF; the reason is what Recv says.
func send(stream sender, request *placementv1.SyncRequest) error {
	err := stream.Send(request)
	if errors.Is(err, io.EOF) {
		if _, reason := stream.Recv(); reason != nil {
			return reason
		}
	}
	return err
}

func (s *Syncer) serve(ctx context.Context, stream sender, answers <-chan incoming) error {
	session := s.session
	refused := map[key]bool{}
	retry := time.NewTicker(s.options.RejectedIn)
	defer retry.Stop()
	for {
		if len(session.unacked) < s.options.Window {
			moved, err := s.tell(stream)
			if err != nil {
				return s.ended(answers, err)
			}
			if moved {
				// Answers are read between messages, and waited for when the window is full.
				select {
				case in := <-answers:
					if err := s.answered(in, refused); err != nil {
						return err
					}
				default:
				}
				continue
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case in := <-answers:
			if err := s.answered(in, refused); err != nil {
				return err
			}
		case <-session.books.wake:
		case <-retry.C:
			for k := range refused {
				session.books.retry(k)
			}
			clear(refused)
		}
	}
}

// ended prefers the server's reason to "EOF".
func (s *Syncer) ended(answers <-chan incoming, err error) error {
	if !errors.Is(err, io.EOF) {
		return err
	}
	for {
		select {
		case in := <-answers:
			if in.err != nil {
				return in.err
			}
		case <-time.After(time.Second):
			return err
		}
	}
}

// tell sends one message, if there is something to say.
func (s *Syncer) tell(stream sender) (bool, error) {
	session := s.session
	if !all(session.before) {
		return false, nil // pods' queues are known by their groups, cards by slices and claims, and so on
	}
	session.lookAtPaths()
	// Before the books are looked at: what comes later is told later.
	listed := session.listed()
	items := session.books.take(s.options.Batch)
	if len(items) == 0 {
		if session.complete || !listed {
			return false, nil
		}
		session.complete = true
		return false, stream.Send(&placementv1.SyncRequest{Of: &placementv1.SyncRequest_Complete{
			Complete: &placementv1.SyncComplete{Generation: session.generation,
				Kinds: session.kinds()}}})
	}
	message := &placementv1.SyncDeltas{}
	var told []item
	for _, it := range items {
		delta := session.delta(it)
		if delta == nil || !session.books.changed(it, delta) {
			continue
		}
		message.Deltas = append(message.Deltas, delta)
		told = append(told, it)
	}
	if len(message.Deltas) == 0 {
		return true, nil
	}
	session.generation++
	message.Generation = session.generation
	session.unacked = append(session.unacked, sent{session.generation, told})
	return true, stream.Send(&placementv1.SyncRequest{
		Of: &placementv1.SyncRequest_Deltas{Deltas: message}})
}

func (s *Syncer) answered(in incoming, refused map[key]bool) error {
	if in.err != nil {
		return in.err
	}
	session, response := s.session, in.response
	if response.GetRelist() {
		s.forget()
		return errRelist
	}
	session.epoch = response.GetServerEpoch()
	session.acked = max(session.acked, response.GetAppliedGeneration())
	room := false
	for len(session.unacked) > 0 && session.unacked[0].generation <= session.acked {
		room = room || slices.ContainsFunc(session.unacked[0].items, makesRoom)
		session.unacked = session.unacked[1:]
	}
	if room && s.options.Room != nil {
		s.options.Room()
	}
	s.generation.Store(session.acked)
	if response.GetReady() && !s.ready.Swap(true) {
		klog.InfoS("Basalt is synced and decides", "generation", session.acked)
	}
	for _, bad := range response.GetRejected() {
		s.rejected.Add(1)
		klog.InfoS("Basalt refuses an object", "object", bad.GetObject(), "reason", bad.GetReason())
		if k, ok := keyOf(bad.GetObject()); ok {
			refused[k] = true
			if k.kind == kindPod {
				refused[key{kindClaim, k.id}] = true // it may be a claim that is told like a pod
			}
		}
	}
	return nil
}

func makesRoom(it item) bool {
	if it.key.kind != kindPod || it.object == nil {
		return true
	}
	return podres.Ended(it.object.(*v1.Pod))
}

// keyOf what the server calls "node NAME", "pod UID", "queue NAME", "budget NAME", "path of node NAME".
func keyOf(object string) (key, bool) {
	for _, known := range []struct {
		prefix string
		kind   kind
	}{{"path of node ", kindPath}, {"node ", kindNode}, {"pod ", kindPod}, {"queue ", kindQueue},
		{"budget ", kindBudget}} {
		if id, found := strings.CutPrefix(object, known.prefix); found {
			return key{known.kind, id}, true
		}
	}
	return key{}, false
}
