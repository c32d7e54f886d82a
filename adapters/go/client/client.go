// Package client is how a scheduler talks to Basalt: one connection, deadlines, retries that cannot
// allocate twice, and a watch over whether the server decides.
//
// What makes a retry safe is the server's: a pod's uid and attempt allocate once, and a request id
// that was answered is not answered with a new lease. So the client keeps one request id for all
// tries of a call, and says a call again only when the connection failed, within the call's deadline.
package client

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	placementv1 "basalt.io/adapters/placement/v1"
)

// OnDown is what a scheduler does while Basalt does not decide.
type OnDown string

const (
	// Closed: nothing with cards is placed until Basalt is back.
	Closed OnDown = "closed"
	// Fallback: the host places by its own means once Basalt has been away for Options.DownAfter.
	Fallback OnDown = "fallback"
)

// Options of a connection. Only Target is required.
type Options struct {
	Target  string // "unix:///run/basalt/basalt.sock", "127.0.0.1:7070", "dns:///basalt:7070"
	Cluster string // "default"
	// Scheduler names who asks. A run's random part is put behind it: what one run confirmed is not
	// released by a late call of another.
	Scheduler string

	CAFile, CertFile, KeyFile string // TLS when CAFile is set; a client certificate when all are
	ServerName                string // of the server's certificate, when it is not the target's host

	ProposeTimeout time.Duration // of calls about a pod, and about leases; 200 ms
	GangTimeout    time.Duration // of calls about a gang, a batch, victims; 1 s

	OnDown    OnDown        // Closed
	DownAfter time.Duration // without an answer from a ready server; 5 s
	ProbeEach time.Duration // 1 s

	DialOptions []grpc.DialOption // for tests
}

const (
	maxMessage  = 16 << 20
	retryPause  = 5 * time.Millisecond
	retryPauses = 100 * time.Millisecond // the longest
)

func (o *Options) defaults() error {
	if o.Target == "" {
		return errors.New("basalt: no target; write unix:///PATH or HOST:PORT")
	}
	if o.Cluster == "" {
		o.Cluster = "default"
	}
	if o.Scheduler == "" {
		o.Scheduler = "scheduler"
	}
	for _, d := range []struct {
		value *time.Duration
		usual time.Duration
	}{
		{&o.ProposeTimeout, 200 * time.Millisecond},
		{&o.GangTimeout, time.Second},
		{&o.DownAfter, 5 * time.Second},
		{&o.ProbeEach, time.Second},
	} {
		if *d.value < 0 {
			return errors.New("basalt: a negative time")
		}
		if *d.value == 0 {
			*d.value = d.usual
		}
	}
	switch o.OnDown {
	case "":
		o.OnDown = Closed
	case Closed, Fallback:
	default:
		return fmt.Errorf("basalt: on-down %q; write %q or %q", o.OnDown, Closed, Fallback)
	}
	if (o.CertFile == "") != (o.KeyFile == "") || (o.CertFile != "" && o.CAFile == "") {
		return errors.New("basalt: a client certificate needs its key and the server's CA file")
	}
	return nil
}

func (o *Options) credentials() (credentials.TransportCredentials, error) {
	if o.CAFile == "" {
		return insecure.NewCredentials(), nil
	}
	pem, err := os.ReadFile(o.CAFile)
	if err != nil {
		return nil, fmt.Errorf("basalt: CA file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("basalt: %s holds no certificate", o.CAFile)
	}
	config := &tls.Config{RootCAs: pool, ServerName: o.ServerName, MinVersion: tls.VersionTLS12}
	if o.CertFile != "" {
		// Read at each handshake, so that a renewed certificate is used without a restart.
		if _, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile); err != nil {
			return nil, fmt.Errorf("basalt: client certificate: %w", err)
		}
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
			return &pair, err
		}
	}
	return credentials.NewTLS(config), nil
}

// Client is safe for use by several goroutines.
type Client struct {
	options Options
	run     string // Header.scheduler
	conn    *grpc.ClientConn
	raw     placementv1.PlacementClient

	requests atomic.Uint64
	gate     gate
	stop     context.CancelFunc
	stopped  sync.WaitGroup
}

// Dial begins to connect and to probe; it does not wait for the server.
func Dial(options Options) (*Client, error) {
	if err := options.defaults(); err != nil {
		return nil, err
	}
	transport, err := options.credentials()
	if err != nil {
		return nil, err
	}
	var random [4]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, err
	}
	dial := append([]grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage),
			grpc.MaxCallSendMsgSize(maxMessage)),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2,
				MaxDelay: time.Second},
			MinConnectTimeout: time.Second,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second,
			Timeout: 10 * time.Second}),
	}, options.DialOptions...)
	conn, err := grpc.NewClient(options.Target, dial...)
	if err != nil {
		return nil, fmt.Errorf("basalt: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &Client{
		options: options,
		run:     options.Scheduler + "/" + hex.EncodeToString(random[:]),
		conn:    conn,
		raw:     placementv1.NewPlacementClient(conn),
		stop:    cancel,
	}
	c.gate.began = time.Now()
	c.stopped.Add(1)
	go c.probe(ctx)
	return c, nil
}

// Close ends the connection and the probe.
func (c *Client) Close() error {
	c.stop()
	err := c.conn.Close()
	c.stopped.Wait()
	return err
}

// Raw is the generated client, for streams. It fills no headers and retries nothing.
func (c *Client) Raw() placementv1.PlacementClient { return c.raw }

// Cluster that all calls are about.
func (c *Client) Cluster() string { return c.options.Cluster }

// Run is Header.scheduler of all calls.
func (c *Client) Run() string { return c.run }

// Header with a new request id.
func (c *Client) Header() *placementv1.Header {
	return &placementv1.Header{
		Cluster:   c.options.Cluster,
		Scheduler: c.run,
		RequestId: fmt.Sprintf("%s-%d", c.run, c.requests.Add(1)),
	}
}

func (c *Client) fill(header **placementv1.Header) {
	if *header == nil {
		*header = c.Header()
		return
	}
	filled := c.Header()
	if (*header).Cluster == "" {
		(*header).Cluster = filled.Cluster
	}
	if (*header).Scheduler == "" {
		(*header).Scheduler = filled.Scheduler
	}
	if (*header).RequestId == "" {
		(*header).RequestId = filled.RequestId
	}
}

// again says whether the same call may be made once more: the connection failed, or the server is
// going down. What a server has refused stays refused.
func again(err error) bool {
	return status.Code(err) == codes.Unavailable
}

// Down says whether an error means that Basalt does not answer, as against that it refuses.
func Down(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded:
		return true
	}
	return errors.Is(err, context.DeadlineExceeded)
}

func call[Request, Response any](ctx context.Context, c *Client, limit time.Duration,
	method func(context.Context, *Request, ...grpc.CallOption) (*Response, error),
	request *Request) (*Response, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	pause := retryPause
	for {
		response, err := method(ctx, request)
		if err == nil || !again(err) {
			return response, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(pause):
		}
		pause = min(2*pause, retryPauses)
	}
}

func (c *Client) limit(gang bool) time.Duration {
	if gang {
		return c.options.GangTimeout
	}
	return c.options.ProposeTimeout
}

// Propose asks for a place and takes nothing.
func (c *Client) Propose(ctx context.Context, request *placementv1.ProposeRequest) (
	*placementv1.ProposeResponse, error) {
	c.fill(&request.Header)
	return call(ctx, c, c.limit(request.GetGang() != nil), c.raw.Propose, request)
}

// Reserve takes a place, or several for a gang, until the lease's time is over.
func (c *Client) Reserve(ctx context.Context, request *placementv1.ReserveRequest) (
	*placementv1.ReserveResponse, error) {
	c.fill(&request.Header)
	return call(ctx, c, c.limit(request.GetGang() != nil), c.raw.Reserve, request)
}

// Confirm makes a lease permanent. On Down(err) it may or may not be confirmed: ask again with the
// same lease before anything is bound.
func (c *Client) Confirm(ctx context.Context, lease *placementv1.Lease) (
	*placementv1.ConfirmResponse, error) {
	return call(ctx, c, c.limit(lease.GetGang()), c.raw.Confirm,
		&placementv1.ConfirmRequest{Header: c.Header(), Lease: lease})
}

// Renew gives a lease that is not confirmed more time; 0 is the server's usual time.
func (c *Client) Renew(ctx context.Context, lease *placementv1.Lease, ttl time.Duration) (
	*placementv1.RenewResponse, error) {
	return call(ctx, c, c.limit(lease.GetGang()), c.raw.Renew,
		&placementv1.RenewRequest{Header: c.Header(), Lease: lease, TtlUs: ttl.Microseconds()})
}

// Release ends a lease. Said twice it ends nothing more.
func (c *Client) Release(ctx context.Context, lease *placementv1.Lease) (
	*placementv1.ReleaseResponse, error) {
	return call(ctx, c, c.limit(lease.GetGang()), c.raw.Release,
		&placementv1.ReleaseRequest{Header: c.Header(), Lease: lease})
}

// Batch does several calls in turn for one answer.
func (c *Client) Batch(ctx context.Context, request *placementv1.BatchRequest) (
	*placementv1.BatchResponse, error) {
	c.fill(&request.Header)
	return call(ctx, c, c.options.GangTimeout, c.raw.Batch, request)
}

// Evaluate says of each named node whether the pod fits there.
func (c *Client) Evaluate(ctx context.Context, request *placementv1.EvaluateRequest) (
	*placementv1.EvaluateResponse, error) {
	c.fill(&request.Header)
	return call(ctx, c, c.options.ProposeTimeout, c.raw.Evaluate, request)
}

// Evict asks who must give way.
func (c *Client) Evict(ctx context.Context, request *placementv1.EvictRequest) (
	*placementv1.EvictResponse, error) {
	c.fill(&request.Header)
	return call(ctx, c, c.options.GangTimeout, c.raw.Evict, request)
}

// ReportUsage tells what cards and pods really use.
func (c *Client) ReportUsage(ctx context.Context, request *placementv1.ReportUsageRequest) (
	*placementv1.ReportUsageResponse, error) {
	c.fill(&request.Header)
	return call(ctx, c, c.options.GangTimeout, c.raw.ReportUsage, request)
}

// Explain says why a pod is or is not placed.
func (c *Client) Explain(ctx context.Context, request *placementv1.ExplainRequest) (
	*placementv1.ExplainResponse, error) {
	c.fill(&request.Header)
	return call(ctx, c, c.options.GangTimeout, c.raw.Explain, request)
}

// Address is the target as people write it in files: "unix:/path" becomes "unix:///path".
func Address(text string) string {
	if rest, ok := strings.CutPrefix(text, "unix:"); ok && strings.HasPrefix(rest, "/") &&
		!strings.HasPrefix(rest, "//") {
		return "unix://" + rest
	}
	return text
}
