// basalt-sync tells Basalt what a cluster holds, and carries out what Basalt orders. Run one or more
// for a cluster: the server takes one of them, and the others wait.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	vcclient "volcano.sh/apis/pkg/client/clientset/versioned"

	"basalt.io/adapters/client"
	"basalt.io/adapters/executor"
	"basalt.io/adapters/syncer"
	"basalt.io/adapters/usage"
)

func main() {
	klog.InitFlags(nil)
	var o client.Options
	flag.StringVar(&o.Target, "target", "unix:///run/basalt/basalt.sock", "Basalt's gRPC address")
	flag.StringVar(&o.Cluster, "cluster", "default", "the cluster's id")
	flag.StringVar(&o.CAFile, "ca-file", "", "CA of the server's certificate; without it, no TLS")
	flag.StringVar(&o.CertFile, "cert-file", "", "client certificate")
	flag.StringVar(&o.KeyFile, "key-file", "", "its key")
	flag.StringVar(&o.ServerName, "server-name", "", "name in the server's certificate")
	kubeconfig := flag.String("kubeconfig", "", "without it, the pod's service account")
	volcano := flag.Bool("volcano", false, "sync Volcano's queues, groups and HyperNodes, too")
	claims := flag.Bool("dra", true, "sync ResourceSlices and ResourceClaims, where the API server has them")
	execute := flag.Bool("execute", true, "carry out evictions, and binds for stock extenders")
	budgets := flag.Bool("budgets", true, "sync PodDisruptionBudgets, too")
	numa := flag.Bool("node-topology", false, "sync NodeResourceTopologies, too: their CRD must be there")
	var targets []usage.Target
	flag.Func("usage-url", "page of metrics that tells what cards are used; NODE=URL if it names no "+
		"node; may stand several times", func(text string) error {
		target, err := usage.ParseTarget(text)
		targets = append(targets, target)
		return err
	})
	every := flag.Duration("usage-interval", 30*time.Second, "between two looks at them")
	hami := flag.Bool("hami", false, "nodes run HAMi's device plugins: lock them for binds")
	health := flag.String("health", "127.0.0.1:7075", "address of /healthz and /readyz; empty: none")
	qps := flag.Float64("kube-api-qps", 200, "requests a second to the API server")
	flag.Parse()
	if flag.NArg() > 0 {
		fail(fmt.Errorf("unknown argument %q", flag.Arg(0)))
	}
	o.Target = client.Address(o.Target)
	o.Scheduler = "basalt-sync"
	o.OnDown = client.Closed

	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		fail(err)
	}
	config.QPS, config.Burst = float32(*qps), int(2**qps)
	config.UserAgent = "basalt-sync"
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		fail(err)
	}
	c, err := client.Dial(o)
	if err != nil {
		fail(err)
	}
	options := syncer.Options{Client: c, Kube: kube, Budgets: *budgets,
		Claims: *claims && syncer.ServesClaims(kube)}
	if *numa {
		if options.Numa, err = dynamic.NewForConfig(config); err != nil {
			fail(err)
		}
	}
	if *volcano {
		if options.Volcano, err = vcclient.NewForConfig(config); err != nil {
			fail(err)
		}
	}
	s, err := syncer.New(options)
	if err != nil {
		fail(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	var reporter *usage.Reporter
	if len(targets) > 0 {
		if reporter, err = usage.New(usage.Options{Client: c, Targets: targets, Interval: *every}); err != nil {
			fail(err)
		}
	}
	if *health != "" {
		serveHealth(*health, s, reporter)
	}
	reported := make(chan error, 1)
	if reporter != nil {
		go func() { reported <- reporter.Run(ctx) }()
	} else {
		reported <- nil
	}
	executed := make(chan error, 1)
	if *execute {
		e, err := executor.New(executor.Options{Client: c, Kube: kube, HAMi: *hami})
		if err != nil {
			fail(err)
		}
		go func() { executed <- e.Run(ctx) }()
	} else {
		executed <- nil
	}
	if err := s.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		fail(err)
	}
	<-executed
	<-reported
	if err := c.Close(); err != nil {
		klog.ErrorS(err, "Closing the connection")
	}
	klog.Flush()
}

func serveHealth(address string, s *syncer.Syncer, reporter *usage.Reporter) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ok")
	})
	// A replica that waits for another is not ready, and is right so.
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !s.Ready() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		fmt.Fprintf(w, "ready %v\ngeneration %d\nrejected %d\nlistings %d\n", s.Ready(),
			s.Generation(), s.Rejected(), s.Listings())
		if reporter != nil {
			fmt.Fprintf(w, "usage_failed %d\n", reporter.Failed())
		}
	})
	server := &http.Server{Addr: address, Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		if err := server.ListenAndServe(); err != nil {
			fail(err)
		}
	}()
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "basalt-sync:", err)
	klog.Flush()
	os.Exit(1)
}
