package syncer

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	dynamicfake "k8s.io/client-go/dynamic/fake"

	placementv1 "basalt.io/adapters/placement/v1"
)

func nodeTopology(name string, policy string, cpus ...any) *unstructured.Unstructured {
	var zones []any
	for i, cpu := range cpus {
		zones = append(zones, map[string]any{"name": "node-" + string(rune('0'+i)), "type": "Node",
			"costs": []any{map[string]any{"name": "node-0", "value": int64(10)}},
			"resources": []any{
				map[string]any{"name": "cpu", "capacity": "32", "allocatable": cpu, "available": "1"},
				map[string]any{"name": "nvidia.com/gpu", "capacity": "4", "allocatable": "4", "available": "0"}}})
	}
	zones = append(zones, map[string]any{"name": "socket-0", "type": "Socket"}, "nonsense")
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "topology.node.k8s.io/v1alpha2", "kind": "NodeResourceTopology",
		"metadata":         map[string]any{"name": name},
		"topologyPolicies": []any{"BestEffort"},
		"attributes": []any{map[string]any{"name": "topologyManagerPolicy", "value": policy},
			map[string]any{"name": "topologyManagerScope", "value": "pod"},
			map[string]any{"name": "nodeTopologyPodsFingerprint", "value": "x"}},
		"zones": zones}}
}

func TestNumaNodesOfNodes(t *testing.T) {
	client := dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(),
		map[schema.GroupVersionResource]string{NumaResource: "NodeResourceTopologyList"},
		nodeTopology("n", "single-numa-node", "30", int64(31)), nodeTopology("gone", "none", "1"))
	b := newBed(t, nil, func(o *Options) { o.Numa = client }, node("n", "8"), node("plain", "8"))
	b.until("ready", func() bool { return b.server.ready })
	numa := func() *placementv1.NumaReport { return b.server.nodes["n"].GetKubernetes().GetNuma() }
	b.server.with(func() {
		got := numa()
		if got.GetPolicy() != "single-numa-node" || got.GetScope() != "pod" || len(got.GetZones()) != 2 {
			t.Fatalf("got %v", got)
		}
		if zone := got.Zones[1]; zone.Name != "node-1" || zone.Allocatable["cpu"] != "31" ||
			zone.Allocatable["nvidia.com/gpu"] != "4" {
			t.Errorf("zone %v", zone)
		}
		if b.server.nodes["plain"].GetKubernetes().GetNuma() != nil {
			t.Error("a node without an object has no report")
		}
		// With the first word about each node: none is told twice.
		if b.server.nodesTold != 2 {
			t.Errorf("%d words about nodes", b.server.nodesTold)
		}
	})
	objects := client.Resource(NumaResource)
	if _, err := objects.Update(background, nodeTopology("n", "none", "30"), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.until("it changes", func() bool { return numa().GetPolicy() == "none" && len(numa().GetZones()) == 1 })
	if err := objects.Delete(background, "n", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	b.until("it goes", func() bool { return numa() == nil })
}
