// basalt-node runs on a node and says on its objects what only the node knows: which cards the
// kubelet gave to which pod, and how they are wired. It needs no connection to Basalt's server.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	podresourcesv1 "k8s.io/kubelet/pkg/apis/podresources/v1"

	"basalt.io/adapters/nodeagent"
)

func main() {
	klog.InitFlags(nil)
	var o nodeagent.Options
	flag.StringVar(&o.Node, "node", os.Getenv("NODE_NAME"), "this node's name; $NODE_NAME")
	flag.StringVar(&o.Machine, "machine", "", "file of `basalt topo publish --out`: say how the cards are wired")
	flag.DurationVar(&o.Interval, "interval", 10*time.Second, "between two looks")
	socket := flag.String("podresources", "/var/lib/kubelet/pod-resources/kubelet.sock",
		"the kubelet's socket: say which cards it gave; empty: do not")
	resources := flag.String("resources", "nvidia.com/gpu,amd.com/gpu", "of which resources it is said")
	kubeconfig := flag.String("kubeconfig", "", "without it, the pod's service account")
	flag.Parse()
	if flag.NArg() > 0 {
		fail(fmt.Errorf("unknown argument %q", flag.Arg(0)))
	}
	o.Resources = strings.Split(*resources, ",")
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		fail(err)
	}
	config.UserAgent = "basalt-node"
	if o.Kube, err = kubernetes.NewForConfig(config); err != nil {
		fail(err)
	}
	if *socket != "" {
		connection, err := nodeagent.Dial(*socket)
		if err != nil {
			fail(err)
		}
		defer func() { _ = connection.Close() }()
		o.PodResources = podresourcesv1.NewPodResourcesListerClient(connection)
	}
	agent, err := nodeagent.New(o)
	if err != nil {
		fail(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := agent.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		fail(err)
	}
	klog.Flush()
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "basalt-node:", err)
	klog.Flush()
	os.Exit(1)
}
