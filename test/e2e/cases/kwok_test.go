package cases

import (
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"basalt.io/e2e/harness"
)

// Single pods and gangs of 64 with topology on nodes that KWOK keeps, through both schedulers: the nodes
// are made not ready, and KWOK makes them so.
func TestKwok(t *testing.T) {
	nodes := harness.Nodes{Name: "n", Count: 32, Cards: 8, Plugin: harness.Stock, Kwok: true}
	b := harness.Start(t)
	b.AddNodes(nodes)
	low, high := racks(b, nodes)
	b.StartServe()
	b.StartKubeScheduler(b.Target())
	b.UntilSynced()
	b.StartVolcano("basalt-vc-scheduler", volcanoConfig(b.Target(), false))
	b.Pod(harness.PodSpec{Name: "early", Scheduler: harness.KubeScheduler, Limits: cards(1), Labels: of("early")})
	b.Until(soon, "a pod waits: no node is ready", func() error {
		if why := b.Why("early"); !strings.Contains(why, "Basalt") {
			return errorf("it says %q", why)
		}
		return nil
	})
	b.StartKwok()
	b.UntilRunning(soon, "of=early", 1)
	inOneRack := map[string]any{"networkTopology": map[string]any{"mode": "hard", "highestTierAllowed": int64(1)}}
	b.PodsOf(8, harness.PodSpec{Name: "one", Scheduler: harness.KubeScheduler, Limits: cards(1), Labels: of("one")})
	b.UntilRunning(soon, "of=one", 8)
	b.Gang("kube", 64)
	b.AnnotateGang("kube", map[string]string{"basalt.io/required-tier": "rack"})
	b.PodsOf(64, kubeMember("kube", "kube", cards(1)))
	b.VolcanoGang("volcano", 64, "default", inOneRack)
	b.PodsOf(64, volcanoMember("volcano", "volcano", cards(1)))
	for _, gang := range []string{"kube", "volcano"} {
		b.UntilRunning(2*soon, "of="+gang, 64)
		if on := nodesOf(b, "of="+gang); allIn(on, low) != nil && allIn(on, high) != nil {
			t.Errorf("%s is on %v, of two racks", gang, on)
		}
	}
	list, err := b.Client.CoreV1().Nodes().List(b.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range list.Items {
		if !strings.HasPrefix(node.Status.NodeInfo.KubeletVersion, "kwok-") {
			t.Errorf("node %s is kept by %q", node.Name, node.Status.NodeInfo.KubeletVersion)
		}
	}
	for _, pod := range b.List("") {
		if len(pod.Status.ContainerStatuses) != 1 || pod.Status.PodIP == "" || pod.Status.Phase != v1.PodRunning {
			t.Errorf("pod %s was not started by KWOK: %v", pod.Name, pod.Status)
		}
	}
	b.GangsWhole(map[string]int{"kube": 64, "volcano": 64})
	end(b)
	b.DeleteAll()
	end(b)
}
