package harness

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	placementv1 "basalt.io/adapters/placement/v1"
)

// Cluster is what the bed is called in the protocol.
const Cluster = "default"

// Socket of `basalt serve`.
func (b *Bed) Socket() string { return filepath.Join(b.Dir, "basalt.sock") }

// Program of `basalt`: E2E_BASALT.
func (b *Bed) program() string {
	b.T.Helper()
	path := os.Getenv("E2E_BASALT")
	if path == "" {
		b.T.Fatal("E2E_BASALT is not set; it is the program basalt, as `make build` leaves it")
	}
	absolute, err := filepath.Abs(path)
	b.must(err)
	return absolute
}

const serveConfiguration = `listen_unix: %q
listen_http: "127.0.0.1:%d"
store: %q
%s
clusters:
- id: ` + Cluster + `
  lease_ttl_s: 20
  learn: "%s"
  tiers:
  - {tier: 1, name: rack}
  - {tier: 2, name: spine}
`

// StartServe starts the server on its folder, empty or as an earlier one left it, and waits until it
// answers. Lines are added to its configuration.
func (b *Bed) StartServe(lines ...string) {
	b.T.Helper()
	b.serve = b.startServe(nil, lines)
	b.waitHTTP(b.serve, b.URL("/healthz"), time.Minute)
}

// StartServeAtOnce does not wait until it answers: what is to end it may come before that.
func (b *Bed) StartServeAtOnce() {
	b.T.Helper()
	b.serve = b.startServe(nil, nil)
}

// StartServeUntil starts a server that ends by -9 at a step of what it writes to its store; the steps
// are crash.c's.
func (b *Bed) StartServeUntil(step string) *Process {
	b.T.Helper()
	b.serve = b.startServe([]string{"LD_PRELOAD=" + filepath.Join(b.bin, "crash.so"),
		"CRASH_UNDER=" + filepath.Join(b.Dir, "store"), "CRASH_AT=" + step}, nil)
	return b.serve
}

func (b *Bed) startServe(environment, lines []string) *Process {
	b.T.Helper()
	var err error
	if b.httpPort == 0 {
		b.httpPort, err = freePort()
		b.must(err)
	}
	// A server that was killed leaves its socket.
	_ = os.Remove(b.Socket())
	learn := map[bool]string{false: "no", true: "yes"}[b.Learn]
	config := b.write("basalt.yaml", fmt.Sprintf(serveConfiguration, b.Socket(), b.httpPort,
		filepath.Join(b.Dir, "store"), strings.Join(lines, "\n"), learn))
	p, err := startProcess(b.Dir, "basalt", b.program(), environment, "serve", "--config", config)
	b.must(err)
	return p
}

// Target of the server, for clients.
func (b *Bed) Target() string { return "unix://" + b.Socket() }

// URL of a path of the server's HTTP side.
func (b *Bed) URL(path string) string { return fmt.Sprintf("http://127.0.0.1:%d%s", b.httpPort, path) }

// KillServe ends the server with -9.
func (b *Bed) KillServe() { b.serve.Kill() }

// Serve is the running server.
func (b *Bed) Serve() *Process { return b.serve }

// UntilSynced waits until the server decides.
func (b *Bed) UntilSynced() {
	b.T.Helper()
	client := http.Client{Timeout: time.Second}
	b.Until(time.Minute, "basalt is ready", func() error {
		response, err := client.Get(b.URL("/readyz"))
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("/readyz says %s", response.Status)
		}
		return nil
	})
}

// Metric is the value of one line of the server's /metrics; NAME{LABELS} as it is written there.
func (b *Bed) Metric(line string) (float64, error) {
	client := http.Client{Timeout: 5 * time.Second}
	response, err := client.Get(b.URL("/metrics"))
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err
	}
	for _, one := range strings.Split(string(text), "\n") {
		if value, found := strings.CutPrefix(one, line+" "); found {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, fmt.Errorf("/metrics has no %s", line)
}

// Status of the cluster as the server sees it, after it has audited itself.
func (b *Bed) Status() (*placementv1.ClusterStatus, error) {
	conn, err := grpc.NewClient("unix://"+b.Socket(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(b.ctx, 10*time.Second)
	defer cancel()
	header := &placementv1.Header{Cluster: Cluster, Scheduler: "e2e"}
	status, err := placementv1.NewAdminClient(conn).Status(ctx, &placementv1.StatusRequest{
		Header: header, WantDigests: true, Audit: true})
	if err != nil {
		return nil, err
	}
	if problem := status.GetAuditError() + status.GetJournalError(); problem != "" {
		return nil, fmt.Errorf("the server says: %s", problem)
	}
	for _, one := range status.GetClusters() {
		if one.GetCluster() == Cluster {
			return one, nil
		}
	}
	return nil, fmt.Errorf("no cluster %s", Cluster)
}

// NothingLeaked waits until the server holds as many allocations as pods with cards hold nodes, and no
// open lease.
func (b *Bed) NothingLeaked(most time.Duration) {
	b.T.Helper()
	b.UntilAudited()
	b.Until(most, "the server holds what the cluster holds", func() error {
		status, err := b.Status()
		if err != nil {
			return err
		}
		// The server keeps pods without cards, too, for their processors and memory.
		bound := 0
		for _, pod := range b.List("") {
			if pod.Spec.NodeName != "" && pod.Status.Phase != "Succeeded" && pod.Status.Phase != "Failed" {
				bound++
			}
		}
		if status.GetLeases() != 0 || status.GetAllocations() != int64(bound) {
			return fmt.Errorf("%d open leases, %d allocations for %d pods", status.GetLeases(),
				status.GetAllocations(), bound)
		}
		return nil
	})
}

// Command tells the server what to do with a running pod or a card; its state when it is accepted.
func (b *Bed) Command(request *placementv1.CommandRequest) (*placementv1.CommandState, error) {
	return admin(b, func(ctx context.Context, c placementv1.AdminClient) (*placementv1.CommandState, error) {
		request.Header = &placementv1.Header{Cluster: Cluster, Scheduler: "e2e"}
		return c.Command(ctx, request)
	})
}

// UntilCommand waits until the command has come to a phase.
func (b *Bed) UntilCommand(most time.Duration, id string, phase placementv1.CommandPhase) {
	b.T.Helper()
	b.Until(most, id+" is "+phase.String(), func() error {
		list, err := admin(b, func(ctx context.Context, c placementv1.AdminClient) (*placementv1.ListCommandsResponse, error) {
			return c.ListCommands(ctx, &placementv1.ListCommandsRequest{Header: &placementv1.Header{Cluster: Cluster}})
		})
		if err != nil {
			return err
		}
		for _, state := range list.GetCommands() {
			if state.GetCommand().GetId() != id {
				continue
			}
			if state.GetPhase() == phase {
				return nil
			}
			return fmt.Errorf("it is %v: %s", state.GetPhase(), state.GetReason())
		}
		return fmt.Errorf("the server does not know it")
	})
}

func admin[T any](b *Bed, call func(context.Context, placementv1.AdminClient) (T, error)) (T, error) {
	var none T
	conn, err := grpc.NewClient("unix://"+b.Socket(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return none, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(b.ctx, 10*time.Second)
	defer cancel()
	return call(ctx, placementv1.NewAdminClient(conn))
}
