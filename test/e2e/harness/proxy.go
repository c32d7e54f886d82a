package harness

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	placementv1 "basalt.io/adapters/placement/v1"
)

// Message is one on its way through the proxy.
type Message struct {
	Method string // "Reserve", "Sync", ...
	Reply  bool   // from the server
	Gang   bool   // its request is about a gang
	Number int    // of this method and direction, from 1
}

// Fate of a message.
type Fate struct {
	Drop  bool          // its call fails with UNAVAILABLE
	Twice bool          // it is delivered once more
	Late  time.Duration // ... so much later; on a stream after the message behind it
}

// Proxy stands between schedulers and the server, and treats messages as a bad network would. The
// judge sees each message before it is passed on; it may kill the server.
type Proxy struct {
	Path   string
	judge  atomic.Pointer[func(Message) Fate]
	conn   *grpc.ClientConn
	counts map[string]*atomic.Int64
}

// Judge from now on; messages are counted anew.
func (p *Proxy) Judge(judge func(Message) Fate) {
	for _, count := range p.counts {
		count.Store(0)
	}
	p.judge.Store(&judge)
}

// frame is a message as bytes: the proxy knows no protocol.
type frame struct{ data []byte }

type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }
func (rawCodec) Marshal(value any) ([]byte, error) {
	one, ok := value.(*frame)
	if !ok {
		return nil, fmt.Errorf("a message of type %T", value)
	}
	return one.data, nil
}
func (rawCodec) Unmarshal(data []byte, value any) error {
	one, ok := value.(*frame)
	if !ok {
		return fmt.Errorf("a message of type %T", value)
	}
	one.data = append([]byte(nil), data...)
	return nil
}

// StartProxy listens on a socket of its own.
func (b *Bed) StartProxy(judge func(Message) Fate) *Proxy {
	b.T.Helper()
	p := &Proxy{Path: filepath.Join(b.Dir, "proxy.sock"), counts: map[string]*atomic.Int64{}}
	p.judge.Store(&judge)
	for _, method := range []string{"Hello", "Sync", "Propose", "Reserve", "Confirm", "Renew", "Release", "Batch",
		"Evaluate", "Evict", "Explain", "GetSnapshot", "Watch", "ReportUsage", "WatchActions", "AckAction"} {
		p.counts[method+"/false"], p.counts[method+"/true"] = &atomic.Int64{}, &atomic.Int64{}
	}
	var err error
	p.conn, err = grpc.NewClient("unix://"+b.Socket(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: time.Second, Backoff: backoff.Config{
			BaseDelay: 20 * time.Millisecond, Multiplier: 1.5, MaxDelay: 200 * time.Millisecond}}),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(rawCodec{}), grpc.MaxCallRecvMsgSize(16<<20)))
	b.must(err)
	_ = os.Remove(p.Path)
	listener, err := net.Listen("unix", p.Path)
	b.must(err)
	server := grpc.NewServer(grpc.ForceServerCodec(rawCodec{}), grpc.UnknownServiceHandler(p.serve), grpc.MaxRecvMsgSize(16<<20))
	go func() { _ = server.Serve(listener) }() // ends by Stop
	b.T.Cleanup(func() {
		server.Stop()
		_ = p.conn.Close()
	})
	return p
}

func (p *Proxy) fate(method string, reply, gang bool) Fate {
	count := p.counts[fmt.Sprintf("%s/%v", method, reply)]
	if count == nil {
		return Fate{}
	}
	return (*p.judge.Load())(Message{method, reply, gang, int(count.Add(1))})
}

// ofGang says whether a request is about a gang. What cannot be read is about none.
func ofGang(method string, data []byte) bool {
	switch method {
	case "Propose":
		request := &placementv1.ProposeRequest{}
		return proto.Unmarshal(data, request) == nil && request.GetGang() != nil
	case "Reserve":
		request := &placementv1.ReserveRequest{}
		return proto.Unmarshal(data, request) == nil && request.GetGang() != nil
	case "Evict":
		request := &placementv1.EvictRequest{}
		return proto.Unmarshal(data, request) == nil && request.GetGang() != nil
	case "Confirm":
		request := &placementv1.ConfirmRequest{}
		return proto.Unmarshal(data, request) == nil && request.GetLease().GetGang()
	case "Release":
		request := &placementv1.ReleaseRequest{}
		return proto.Unmarshal(data, request) == nil && request.GetLease().GetGang()
	}
	return false
}

var streams = map[string]bool{"Sync": true, "Watch": true, "WatchActions": true, "GetSnapshot": true}

func (p *Proxy) serve(_ any, from grpc.ServerStream) error {
	path, _ := grpc.MethodFromServerStream(from)
	method := path[strings.LastIndex(path, "/")+1:]
	ctx := from.Context()
	if header, ok := metadata.FromIncomingContext(ctx); ok {
		ctx = metadata.NewOutgoingContext(ctx, header.Copy())
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if streams[method] {
		return p.stream(ctx, path, method, from)
	}
	request := &frame{}
	if err := from.RecvMsg(request); err != nil {
		return err
	}
	gang := ofGang(method, request.data)
	fate := p.fate(method, false, gang)
	if fate.Drop {
		return status.Error(codes.Unavailable, "the proxy dropped the request")
	}
	if fate.Twice {
		go func() {
			time.Sleep(fate.Late)
			late, end := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer end()
			_ = p.conn.Invoke(late, path, request, &frame{}) // whoever waits for it has its answer
		}()
	}
	answer := &frame{}
	if err := p.conn.Invoke(ctx, path, request, answer); err != nil {
		return err
	}
	if p.fate(method, true, gang).Drop {
		return status.Error(codes.Unavailable, "the proxy dropped the answer")
	}
	return from.SendMsg(answer)
}

func (p *Proxy) stream(ctx context.Context, path, method string, from grpc.ServerStream) error {
	to, err := p.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, path)
	if err != nil {
		return err
	}
	ends := make(chan error, 2)
	go func() { ends <- p.pump(method, false, from.RecvMsg, to.SendMsg, to.CloseSend) }()
	go func() { ends <- p.pump(method, true, to.RecvMsg, from.SendMsg, nil) }()
	for range 2 {
		if err := <-ends; err != nil && err != io.EOF {
			return err
		} else if method != "Sync" && err == io.EOF {
			continue // the request of a stream of answers has ended
		} else if err == io.EOF {
			return nil
		}
	}
	return nil
}

// pump passes messages on in one direction until it ends. One that is late goes behind the next, if
// that comes in its time: a stream loses nothing.
func (p *Proxy) pump(method string, reply bool, receive, pass func(any) error, closed func() error) error {
	var mutex sync.Mutex
	var late *frame
	overdue := time.NewTimer(time.Hour)
	defer overdue.Stop()
	send := func(one *frame) error { // nil: only what is late
		mutex.Lock()
		defer mutex.Unlock()
		for _, frame := range []*frame{one, late} {
			if frame == nil {
				continue
			}
			if err := pass(frame); err != nil {
				return err
			}
		}
		late = nil
		return nil
	}
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		for {
			select {
			case <-overdue.C:
				_ = send(nil) // a stream that is broken says so to the next message, too
			case <-ended:
				return
			}
		}
	}()
	for {
		one := &frame{}
		if err := receive(one); err != nil {
			if err == io.EOF && closed != nil {
				_ = closed()
			}
			return err
		}
		fate := p.fate(method, reply, false)
		if fate.Drop {
			return status.Error(codes.Unavailable, "the proxy broke the stream")
		}
		if fate.Late > 0 && !fate.Twice {
			mutex.Lock()
			holds := late == nil
			if holds {
				late = one
				overdue.Reset(fate.Late)
			}
			mutex.Unlock()
			if holds {
				continue
			}
		}
		if err := send(one); err != nil {
			return err
		}
		if fate.Twice {
			if err := send(one); err != nil {
				return err
			}
		}
	}
}

// Target of the proxy, for clients.
func (p *Proxy) Target() string { return "unix://" + p.Path }
