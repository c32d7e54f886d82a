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
	return b.runKubeScheduler("kube-scheduler", config)
}

func (b *Bed) runKubeScheduler(program, config string, flags ...string) *Process {
	b.T.Helper()
	port, err := freePort()
	b.must(err)
	p := b.Run(program, program, append([]string{"--config=" + config, "--bind-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", port), "--cert-dir=" + filepath.Join(b.Dir, program+".pki"),
		"--authorization-always-allow-paths=/metrics"}, flags...)...)
	p.Metrics = fmt.Sprintf("https://127.0.0.1:%d/metrics", port)
	return p
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
      disabled: [{name: DynamicResources}]
    postFilter: {enabled: [{name: Basalt}]}
    bind: {enabled: [{name: Basalt}]}
  pluginConfig:
  - name: Basalt
    args:
`+lines+`  - name: NodeResourcesFit
    args:
      apiVersion: kubescheduler.config.k8s.io/v1
      kind: NodeResourcesFitArgs
      ignoredResources: [nvidia.com/gpumem, nvidia.com/gpucores, nvidia.com/gpumem-percentage, nvidia.com/gpumem-a100]
`))
	return b.runKubeScheduler("basalt-kube-scheduler", config, b.verbosity("-v=3")...)
}

// verbosity of schedulers: nothing by default when figures are taken.
func (b *Bed) verbosity(usual string) []string {
	if b.Quiet {
		return nil
	}
	return []string{usual}
}

// StartVolcano starts Volcano's scheduler with a configuration; program is the stock one or ours.
func (b *Bed) StartVolcano(program, configuration string, flags ...string) *Process {
	b.T.Helper()
	return b.startVolcano(program, program, configuration, flags...)
}

// StartVolcanoAs starts one that takes the pods of this scheduler's name.
func (b *Bed) StartVolcanoAs(program, name, configuration string, flags ...string) *Process {
	b.T.Helper()
	return b.startVolcano(program, program+"-"+name, configuration, append([]string{"--scheduler-name=" + name}, flags...)...)
}

func (b *Bed) startVolcano(program, name, configuration string, flags ...string) *Process {
	b.T.Helper()
	// Volcano reads its configuration again when anything in the same folder is written, as the logs are.
	b.must(os.MkdirAll(filepath.Join(b.Dir, name+".d"), 0o755))
	config := b.write(filepath.Join(name+".d", "scheduler.conf"), configuration)
	metrics, err := freePort()
	b.must(err)
	health, err := freePort()
	b.must(err)
	flags = append(b.verbosity("-v=3"), flags...)
	p := b.Run(name, program, append([]string{"--kubeconfig=" + b.Kubeconfig, "--scheduler-conf=" + config,
		"--leader-elect=false", "--schedule-period=200ms", "--enable-metrics=true",
		fmt.Sprintf("--listen-address=127.0.0.1:%d", metrics),
		fmt.Sprintf("--healthz-address=127.0.0.1:%d", health), "--cache-dumper=false",
		"--disable-default-scheduler-config=true"}, flags...)...)
	p.Metrics = fmt.Sprintf("http://127.0.0.1:%d/metrics", metrics)
	b.waitHTTP(p, p.Metrics, 30*time.Second)
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
