package usage

import (
	"compress/gzip"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"basalt.io/adapters/client"
	"basalt.io/adapters/fake"
	placementv1 "basalt.io/adapters/placement/v1"
)

type server struct {
	*fake.Server
	mutex   sync.Mutex
	reports []*placementv1.ReportUsageRequest
}

func (s *server) Hello(ctx context.Context, request *placementv1.HelloRequest) (
	*placementv1.HelloResponse, error) {
	hello, err := s.Server.Hello(ctx, request)
	if hello != nil {
		hello.UsageMetricNames = []string{"DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_FB_USED"}
	}
	return hello, err
}

func (s *server) ReportUsage(_ context.Context, request *placementv1.ReportUsageRequest) (
	*placementv1.ReportUsageResponse, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.reports = append(s.reports, request)
	return &placementv1.ReportUsageResponse{Taken: 1}, nil
}

func (s *server) told() []*placementv1.ReportUsageRequest {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return append([]*placementv1.ReportUsageRequest(nil), s.reports...)
}

func newBed(t *testing.T, options Options) (*server, *Reporter) {
	t.Helper()
	s := &server{Server: fake.New(nil)}
	s.StartAs(s)
	c, err := client.Dial(s.Options())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Close()
		s.Stop()
	})
	c.Probe(context.Background())
	options.Client = c
	r, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	return s, r
}

const dcgm = `# HELP DCGM_FI_DEV_GPU_UTIL GPU utilization (in %).
# TYPE DCGM_FI_DEV_GPU_UTIL gauge
DCGM_FI_DEV_GPU_UTIL{gpu="0",UUID="GPU-0",Hostname="n1"} 37
DCGM_FI_DEV_GPU_UTILITY{gpu="0"} 1
DCGM_FI_DEV_FB_USED{gpu="0",UUID="GPU-0",Hostname="n1"} 1234
go_goroutines 9
`

func page(body func(w http.ResponseWriter, r *http.Request)) *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(body))
}

func TestTheServersMetricsArePassedOn(t *testing.T) {
	plain := page(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, dcgm) })
	defer plain.Close()
	packed := page(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		zipped := gzip.NewWriter(w)
		fmt.Fprint(zipped, "DCGM_FI_DEV_GPU_UTIL 5\n")
		_ = zipped.Close()
	})
	defer packed.Close()
	s, r := newBed(t, Options{Targets: []Target{{URL: plain.URL}}})
	r.Round(context.Background())
	told := s.told()
	want := "DCGM_FI_DEV_GPU_UTIL{gpu=\"0\",UUID=\"GPU-0\",Hostname=\"n1\"} 37\n" +
		"DCGM_FI_DEV_FB_USED{gpu=\"0\",UUID=\"GPU-0\",Hostname=\"n1\"} 1234\n"
	if len(told) != 1 || told[0].Exposition != want || told[0].Node != "" ||
		told[0].GetHeader().GetRequestId() == "" || r.Failed() != 0 {
		t.Errorf("told %v, failed %d", told, r.Failed())
	}
	s, r = newBed(t, Options{Targets: []Target{{URL: packed.URL, Node: "n7"}}})
	r.Round(context.Background())
	if told = s.told(); len(told) != 1 || told[0].Node != "n7" ||
		told[0].Exposition != "DCGM_FI_DEV_GPU_UTIL 5\n" {
		t.Errorf("told %v", told)
	}
}

func TestLongPagesGoInParts(t *testing.T) {
	long := page(func(w http.ResponseWriter, _ *http.Request) {
		for i := range 100 {
			fmt.Fprintf(w, "DCGM_FI_DEV_GPU_UTIL{gpu=\"%d\"} 1\n", i)
		}
	})
	defer long.Close()
	s, r := newBed(t, Options{Targets: []Target{{URL: long.URL}}, Chunk: 1000})
	r.Round(context.Background())
	lines := 0
	for _, report := range s.told() {
		if len(report.Exposition) > 1000 || !strings.HasSuffix(report.Exposition, "\n") {
			t.Errorf("a part of %d bytes", len(report.Exposition))
		}
		lines += strings.Count(report.Exposition, "\n")
	}
	if lines != 100 || len(s.told()) < 3 {
		t.Errorf("%d lines in %d parts", lines, len(s.told()))
	}
}

// An exporter can neither fill the memory nor hold the reporter up, nor send it elsewhere.
func TestFaultyPages(t *testing.T) {
	elsewhere := page(func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") })
	defer elsewhere.Close()
	done := make(chan struct{})
	defer close(done)
	for name, body := range map[string]func(http.ResponseWriter, *http.Request){
		"too long": func(w http.ResponseWriter, _ *http.Request) {
			for range 100 {
				fmt.Fprintln(w, strings.Repeat("x", 100))
			}
		},
		"a long line": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, "DCGM_FI_DEV_GPU_UTIL{a=\""+strings.Repeat("x", maxLine)+"\"} 1\n")
		},
		"an error": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) },
		"elsewhere": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusFound)
		},
		"slow": func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
			case <-done:
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			bad := page(body)
			defer bad.Close()
			s, r := newBed(t, Options{Targets: []Target{{URL: bad.URL}}, MaxBytes: 5000,
				Timeout: time.Second})
			r.Round(context.Background())
			if len(s.told()) != 0 || r.Failed() != 1 {
				t.Errorf("told %v, failed %d", s.told(), r.Failed())
			}
		})
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	asked := make(chan struct{}, 100)
	plain := page(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, dcgm)
		asked <- struct{}{}
	})
	defer plain.Close()
	_, r := newBed(t, Options{Targets: []Target{{URL: plain.URL}}, Interval: time.Millisecond})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- r.Run(ctx) }()
	<-asked
	<-asked
	cancel()
	if err := <-ended; err != context.Canceled {
		t.Errorf("ended with %v", err)
	}
}

func TestParseTarget(t *testing.T) {
	for text, want := range map[string]Target{
		"http://h:9400/metrics":        {URL: "http://h:9400/metrics"},
		"n1=http://h:9400/metrics":     {URL: "http://h:9400/metrics", Node: "n1"},
		"https://p/federate?match[]=x": {URL: "https://p/federate?match[]=x"},
		"http://p/f?to=http://q":       {URL: "http://p/f?to=http://q"},
	} {
		if got, err := ParseTarget(text); err != nil || got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, bad := range []string{"", "n1", "ftp://h", "http://", "n1=ftp://h", "://"} {
		if got, err := ParseTarget(bad); err == nil {
			t.Errorf("%q is taken for %v", bad, got)
		}
	}
	if _, err := ParseTarget("ftp://u:secret@h"); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v", err)
	}
}
