// Package usage asks exporters what cards are really used, and reports it to Basalt: DCGM's, HAMi's
// and Volcano's monitors and others, or a Prometheus that has asked them (its /federate page).
//
// Which metrics there are and what they measure is the server's to know: it names those that it
// reads, and their lines are passed on as they are.
package usage

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/klog/v2"

	"basalt.io/adapters/client"
	placementv1 "basalt.io/adapters/placement/v1"
)

const (
	maxLine = 64 << 10
	atOnce  = 8 // targets that are asked side by side
)

// Target is one page of metrics.
type Target struct {
	URL  string
	Node string // of metrics that name no node; "": the page names them
}

// ParseTarget of "URL" or "NODE=URL".
func ParseTarget(text string) (Target, error) {
	target := Target{URL: text}
	if node, rest, found := strings.Cut(text, "=http"); found && !strings.Contains(node, "/") {
		target = Target{URL: "http" + rest, Node: node}
	}
	page, err := url.Parse(target.URL)
	if err != nil {
		return Target{}, fmt.Errorf("usage target: %w", err)
	}
	if (page.Scheme != "http" && page.Scheme != "https") || page.Host == "" {
		return Target{}, fmt.Errorf("usage target %q is no http or https URL, with NODE= in front if its metrics name no node",
			page.Redacted())
	}
	return target, nil
}

// Options of a Reporter. Client and Targets are required.
type Options struct {
	Client   *client.Client
	Targets  []Target
	Interval time.Duration // between two rounds; 30 s
	Timeout  time.Duration // of one page; 10 s
	MaxBytes int64         // of one page, unpacked; 32 MiB
	Chunk    int           // of one report; 2 MiB
}

// Reporter asks and reports until it is told to stop. Make it with New.
type Reporter struct {
	options Options
	http    *http.Client
	failed  atomic.Uint64
	mutex   sync.Mutex
	broken  map[string]bool // targets whose last answer was none
}

// New reporter; Run starts it.
func New(options Options) (*Reporter, error) {
	if options.Client == nil || len(options.Targets) == 0 {
		return nil, errors.New("usage: no client or no target")
	}
	if options.Interval <= 0 {
		options.Interval = 30 * time.Second
	}
	if options.Timeout <= 0 {
		options.Timeout = 10 * time.Second
	}
	if options.MaxBytes <= 0 {
		options.MaxBytes = 32 << 20
	}
	if options.Chunk <= 0 {
		options.Chunk = 2 << 20
	}
	return &Reporter{options: options, broken: map[string]bool{}, http: &http.Client{
		Timeout: options.Timeout,
		// A page that sends elsewhere is none that was configured.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Failed counts pages that could not be read or reported.
func (r *Reporter) Failed() uint64 { return r.failed.Load() }

// Run reports each Interval until the context ends.
func (r *Reporter) Run(ctx context.Context) error {
	defer r.http.CloseIdleConnections()
	for {
		r.Round(ctx)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(r.options.Interval):
		}
	}
}

// Round asks all targets once.
func (r *Reporter) Round(ctx context.Context) {
	names := map[string]bool{}
	for _, name := range r.options.Client.UsageMetricNames() {
		names[name] = true
	}
	if len(names) == 0 {
		return // the server has not answered yet
	}
	var waits sync.WaitGroup
	free := make(chan struct{}, atOnce)
	for _, target := range r.options.Targets {
		free <- struct{}{}
		waits.Add(1)
		go func() {
			defer waits.Done()
			defer func() { <-free }()
			r.note(target, r.one(ctx, target, names))
		}()
	}
	waits.Wait()
}

// note says once that a target fails, and once that it is well again.
func (r *Reporter) note(target Target, err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	if err != nil {
		r.failed.Add(1)
	}
	r.mutex.Lock()
	was := r.broken[target.URL]
	r.broken[target.URL] = err != nil
	r.mutex.Unlock()
	page, parseErr := url.Parse(target.URL)
	if parseErr != nil || was == (err != nil) {
		return
	}
	if err != nil {
		klog.ErrorS(err, "The use of cards cannot be reported", "target", page.Redacted())
	} else {
		klog.InfoS("The use of cards is reported again", "target", page.Redacted())
	}
}

func (r *Reporter) one(ctx context.Context, target Target, names map[string]bool) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.URL, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Accept", "text/plain;version=0.0.4;q=1,*/*;q=0.1")
	response, err := r.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the exporter answers %s", response.Status)
	}
	chunks, err := pick(response.Body, r.options.MaxBytes, r.options.Chunk, names)
	if err != nil {
		return err
	}
	for _, chunk := range chunks {
		answer, err := r.options.Client.ReportUsage(ctx, &placementv1.ReportUsageRequest{
			Exposition: chunk, Node: target.Node})
		if err != nil {
			return err
		}
		klog.V(4).InfoS("Use of cards", "node", target.Node, "taken", answer.GetTaken(),
			"unknown", answer.GetUnknown(), "stale", answer.GetStale())
	}
	return nil
}

// pick the lines of these metrics, in chunks of whole lines.
func pick(body io.Reader, limit int64, chunk int, names map[string]bool) ([]string, error) {
	var chunks []string
	var now bytes.Buffer
	limited := &io.LimitedReader{R: body, N: limit + 1}
	lines := bufio.NewScanner(limited)
	lines.Buffer(make([]byte, 0, 4096), maxLine)
	for lines.Scan() {
		line := lines.Bytes()
		end := bytes.IndexAny(line, "{ \t")
		if end <= 0 || !names[string(line[:end])] {
			continue
		}
		if now.Len() > 0 && now.Len()+len(line) >= chunk {
			chunks = append(chunks, now.String())
			now.Reset()
		}
		now.Write(line)
		now.WriteByte('\n')
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("the page: %w", err)
	}
	if limited.N <= 0 {
		return nil, fmt.Errorf("the page has more than %d bytes", limit)
	}
	if now.Len() > 0 {
		chunks = append(chunks, now.String())
	}
	return chunks, nil
}
