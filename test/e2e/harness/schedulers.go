package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func (b *Bed) write(name, text string) string {
	path := filepath.Join(b.Dir, name)
	b.must(os.WriteFile(path, []byte(text), 0o644))
	return path
}

const kubeConfiguration = `apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
leaderElection: {leaderElect: false}
clientConnection: {kubeconfig: %q, qps: 2000, burst: 4000}
podInitialBackoffSeconds: 1
podMaxBackoffSeconds: 2
%s`

// StartStockScheduler starts kube-scheduler as Kubernetes ships it; more is added to its configuration.
func (b *Bed) StartStockScheduler(more string) *Process {
	b.T.Helper()
	config := b.write("kube-scheduler.yaml", fmt.Sprintf(kubeConfiguration, b.Kubeconfig, more))
	return b.Run("kube-scheduler", "kube-scheduler", "--config="+config, "--secure-port=0")
}

// StartKubeScheduler starts ours with the plugin. target is where the server listens; arguments are
// further lines of the plugin's, each "key: value".
func (b *Bed) StartKubeScheduler(target string, arguments ...string) *Process {
	b.T.Helper()
	lines := ""
	for _, line := range append([]string{"target: " + target, "cluster: " + Cluster}, arguments...) {
		lines += "      " + line + "\n"
	}
	config := b.write("basalt-kube-scheduler.yaml", fmt.Sprintf(kubeConfiguration, b.Kubeconfig, `profiles:
- schedulerName: `+KubeScheduler+`
  plugins:
    multiPoint:
      enabled: [{name: Basalt, weight: 100}]
    postFilter: {enabled: [{name: Basalt}]}
    bind: {enabled: [{name: Basalt}]}
  pluginConfig:
  - name: Basalt
    args:
`+lines+`  - name: NodeResourcesFit
    args:
      apiVersion: kubescheduler.config.k8s.io/v1
      kind: NodeResourcesFitArgs
      ignoredResources: [nvidia.com/gpumem, nvidia.com/gpucores, nvidia.com/gpumem-percentage]
`))
	return b.Run("basalt-kube-scheduler", "basalt-kube-scheduler", "--config="+config, "--secure-port=0", "-v=3")
}

// StartVolcano starts Volcano's scheduler with a configuration; program is the stock one or ours.
func (b *Bed) StartVolcano(program, configuration string, flags ...string) *Process {
	b.T.Helper()
	// Volcano reads its configuration again when anything in the same folder is written, as the logs are.
	b.must(os.MkdirAll(filepath.Join(b.Dir, "conf"), 0o755))
	config := b.write(filepath.Join("conf", program+".conf"), configuration)
	metrics, err := freePort()
	b.must(err)
	health, err := freePort()
	b.must(err)
	p := b.Run(program, program, append([]string{"--kubeconfig=" + b.Kubeconfig, "--scheduler-conf=" + config,
		"--leader-elect=false", "--schedule-period=200ms", fmt.Sprintf("--listen-address=127.0.0.1:%d", metrics),
		fmt.Sprintf("--healthz-address=127.0.0.1:%d", health), "--cache-dumper=false",
		"--disable-default-scheduler-config=true", "-v=3"}, flags...)...)
	b.openVolcanoQueues(p)
	return p
}

// openVolcanoQueues does the controller's work: Volcano's scheduler makes its queues, and waits for them.
func (b *Bed) openVolcanoQueues(p *Process) {
	b.T.Helper()
	for _, queue := range []string{"root", "default"} {
		b.Until(30*time.Second, "queue "+queue+" is there", func() error {
			if p.Ended() {
				b.T.Fatalf("%s has ended: %s", p.Name, tail(p.Log, 2000))
			}
			_, err := b.Dynamic.Resource(Queues).Get(b.ctx, queue, metav1.GetOptions{})
			return err
		})
		_, err := b.Dynamic.Resource(Queues).Patch(b.ctx, queue, types.MergePatchType,
			[]byte(`{"status":{"state":"Open"}}`), metav1.PatchOptions{}, "status")
		b.must(err)
	}
}

// StartSync starts the process that tells the server what the cluster holds and carries out what the
// server asks for.
func (b *Bed) StartSync(target string, flags ...string) *Process {
	b.T.Helper()
	return b.Run("basalt-sync", "basalt-sync", append([]string{"--kubeconfig=" + b.Kubeconfig, "--target=" + target,
		"--cluster=" + Cluster, "--volcano", "--health=", "--kube-api-qps=2000"}, flags...)...)
}

// VolcanoStock is a configuration of Volcano without Basalt.
const VolcanoStock = `actions: "enqueue, allocate, backfill"
tiers:
- plugins:
  - name: priority
  - name: gang
- plugins:
  - name: predicates
  - name: proportion
  - name: nodeorder
`

// StartController starts Volcano's controller, for tests of its Jobs.
func (b *Bed) StartController() *Process {
	b.T.Helper()
	listen, err := freePort()
	b.must(err)
	health, err := freePort()
	b.must(err)
	return b.Run("vc-controller-manager", "vc-controller-manager", "--kubeconfig="+b.Kubeconfig,
		"--leader-elect=false", fmt.Sprintf("--listen-address=127.0.0.1:%d", listen),
		fmt.Sprintf("--healthz-address=127.0.0.1:%d", health))
}
