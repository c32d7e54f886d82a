package cases

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"basalt.io/e2e/harness"
)

// The Helm chart, at a real API server: each object is as the server's schemas have it, and each program,
// run with the chart's arguments, configuration, certificates and the rights of its service account alone,
// does all of its work.
func TestChart(t *testing.T) {
	b := harness.Start(t)
	b.AddNodes(harness.Nodes{Name: "n", Count: 4, Cards: 4, Plugin: harness.HAMi})
	b.HyperNode("rack-0", 1, "n-0", "n-1")
	chart := b.InstallChart("rel", "basalt-system", map[string]any{
		"cluster":        harness.Cluster,
		"engine":         map[string]any{"needsQueues": true, "drainTimeoutSeconds": 1, "access": []any{map[string]any{"identity": harness.ClientName, "role": "scheduler"}}},
		"kubeScheduler":  map[string]any{"enabled": true, "schedulerName": harness.KubeScheduler},
		"volcano":        map[string]any{"enabled": true},
		"sync":           map[string]any{"enabled": true, "queues": true, "hami": true},
		"serviceMonitor": map[string]any{"enabled": true},
		"prometheusRule": map[string]any{"enabled": true},
		"dashboards":     map[string]any{"enabled": true},
	})
	chart.StartEngine()
	sync := chart.StartSync()
	chart.UntilReady()
	kube := chart.StartKubeScheduler()
	volcano := chart.StartVolcano()

	// Who has no certificate learns nothing, not even whether the engine is well.
	if text, err := chart.Ask(chart.HTTPS(false), http.MethodGet, "/metrics", ""); err == nil {
		t.Errorf("metrics without a certificate: %.80s", text)
	}

	// kube-scheduler: slices (HAMi's lock), a gang (PodGroup), preemption.
	b.PodsOf(3, harness.PodSpec{Name: "part", Scheduler: harness.KubeScheduler, Limits: slice(20480, 30), Labels: of("part")})
	b.Gang("gang", 2)
	b.PodsOf(2, kubeMember("member", "gang", cards(1)))
	b.UntilRunning(soon, "of=part", 3)
	b.UntilRunning(soon, "of=member", 2)

	// Volcano: a gang, its PodGroup's conditions, and one that waits with a reason.
	b.VolcanoGang("batch", 8, "default", nil)
	b.PodsOf(8, volcanoMember("batch", "batch", cards(1)))
	b.UntilRunning(soon, "of=batch", 8)
	b.VolcanoGang("waits", 16, "default", nil)
	b.PodsOf(16, volcanoMember("waits", "waits", cards(1)))
	noneBound(b, 3*time.Second, "of=waits")
	for i := range 16 {
		b.Delete(fmt.Sprintf("waits-%d", i))
	}

	// A stock extender's bind: basalt-sync locks the node and binds.
	pod := b.Pod(harness.PodSpec{Name: "stock", Scheduler: "nobody", Limits: slice(1024, 10), Labels: of("stock")})
	text, err := json.Marshal(map[string]any{"Pod": pod, "NodeNames": []string{"n-0", "n-1", "n-2", "n-3"}})
	if err != nil {
		t.Fatal(err)
	}
	client := chart.HTTPS(true)
	answer, err := chart.Ask(client, http.MethodPost, "/v1/"+harness.Cluster+"/kube/filter", string(text))
	if err != nil {
		t.Fatal(err)
	}
	var filtered struct{ NodeNames []string }
	if err := json.Unmarshal([]byte(answer), &filtered); err != nil || len(filtered.NodeNames) == 0 {
		t.Fatalf("no node for it: %s %v", answer, err)
	}
	text, err = json.Marshal(map[string]any{"PodName": pod.Name, "PodNamespace": pod.Namespace, "PodUID": pod.UID, "Node": filtered.NodeNames[0]})
	if err != nil {
		t.Fatal(err)
	}
	if answer, err := chart.Ask(client, http.MethodPost, "/v1/"+harness.Cluster+"/kube/bind", string(text)); err != nil || !strings.Contains(answer, `"Error":""`) {
		t.Errorf("bind: %s %v", answer, err)
	}
	b.UntilRunning(soon, "of=stock", 1)

	// Preemption: the engine names the victims, kube-scheduler deletes them.
	b.PodsOf(12, harness.PodSpec{Name: "low", Scheduler: harness.KubeScheduler, Limits: cards(1), Labels: of("low"), Priority: "low"})
	b.Until(soon, "no whole card is free", func() error {
		if bound := b.Bound("of=low"); bound < 2 {
			return errorf("%d of the low ones are bound", bound)
		}
		return nil
	})
	b.Pod(harness.PodSpec{Name: "high", Scheduler: harness.KubeScheduler, Limits: cards(1), Labels: of("high"), Priority: "high"})
	b.UntilRunning(soon, "of=high", 1)

	for _, pod := range b.List("of=low") {
		b.Delete(pod.Name)
	}
	end(b)
	for _, p := range []*harness.Process{sync, kube, volcano} {
		if lines := p.Forbidden(); len(lines) > 0 {
			t.Errorf("%s was refused %d times, first: %s", p.Name, len(lines), lines[0])
		}
	}

	// And no more than that.
	for _, right := range []struct {
		part, verb, group, resource, namespace string
		may                                    bool
	}{
		{"sync", "list", "", "pods", "default", true},
		{"sync", "create", "", "pods/eviction", "default", true},
		{"sync", "delete", "", "pods", "default", false},
		{"sync", "patch", "", "pods", "default", true}, // orders to agents
		{"sync", "update", "", "pods", "default", false},
		{"sync", "list", "", "secrets", "default", false},
		{"sync", "get", "", "configmaps", "basalt-system", false},
		{"kube-scheduler", "update", "", "nodes", "", true},
		{"kube-scheduler", "patch", "", "nodes", "", false},
		{"kube-scheduler", "list", "", "secrets", "kube-system", false},
		{"kube-scheduler", "create", "", "pods", "default", false},
		{"kube-scheduler", "update", "coordination.k8s.io", "leases", "default", false},
		{"volcano", "update", "scheduling.volcano.sh", "podgroups", "default", true},
		{"volcano", "list", "", "secrets", "default", false},
		{"volcano", "create", "", "pods", "default", false},
		{"volcano", "create", "apiextensions.k8s.io", "customresourcedefinitions", "", false},
		{"engine", "list", "", "pods", "default", false},
		{"engine", "get", "", "nodes", "", false},
		{"engine", "create", "", "pods/binding", "default", false},
	} {
		if may := chart.May(right.part, right.verb, right.group, right.resource, right.namespace); may != right.may {
			t.Errorf("%s may %s %s: %v", right.part, right.verb, right.resource, may)
		}
	}
}

// The chart as it comes: kube-scheduler tells the engine what there is, Volcano's queues, too.
func TestChartDefaults(t *testing.T) {
	b := harness.Start(t)
	b.AddNodes(harness.Nodes{Name: "n", Count: 1, Cards: 2, Plugin: harness.HAMi})
	b.Queue("team", map[string]any{"capability": map[string]any{"nvidia.com/gpu": "1"}})
	chart := b.InstallChart("basalt", "default", map[string]any{"cluster": harness.Cluster})
	chart.StartEngine()
	kube := chart.StartKubeScheduler()
	chart.UntilReady()
	in := map[string]string{"of": "team", "volcano.sh/queue-name": "team"}
	b.PodsOf(2, harness.PodSpec{Name: "team", Scheduler: "basalt", Limits: cards(1), Labels: in})
	b.UntilRunning(soon, "of=team", 1)
	b.Stays(2*time.Second, "the queue has one card", func() error {
		if bound := b.Bound("of=team"); bound != 1 {
			return errorf("%d are bound", bound)
		}
		return nil
	})
	end(b)
	if lines := kube.Forbidden(); len(lines) > 0 {
		t.Errorf("%s was refused %d times, first: %s", kube.Name, len(lines), lines[0])
	}
}
