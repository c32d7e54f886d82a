package syncer

import (
	"context"
	"fmt"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"

	placementv1 "basalt.io/adapters/placement/v1"
)

// NumaResource are the objects in which exporters on the nodes tell their NUMA nodes.
var NumaResource = schema.GroupVersionResource{Group: "topology.node.k8s.io", Version: "v1alpha2",
	Resource: "noderesourcetopologies"}

func (s *session) watchNuma(ctx context.Context, client dynamic.Interface) {
	factory := dynamicinformer.NewFilteredDynamicSharedInformerFactory(client, 0, v1.NamespaceAll,
		newest)
	informer := factory.ForResource(NumaResource).Informer()
	if err := informer.SetTransform(strip); err != nil {
		panic(err) // only of an informer that runs
	}
	s.numa = informer.GetStore()
	nodeAgain := func(object any) {
		// Its node has the same name.
		name := object.(*unstructured.Unstructured).GetName()
		if node, found, err := s.nodes.GetByKey(name); err == nil && found {
			s.books.put(item{key: key{kindNode, name}, object: node})
		}
	}
	s.before = append(s.before, s.watch(informer, nodeAgain, nodeAgain))
	factory.Start(ctx.Done())
}

// numaOf a node; nil: not told. What each zone may hand out is told, not what is left there: that
// is the server's to know.
func (s *session) numaOf(node string) *placementv1.NumaReport {
	if s.numa == nil {
		return nil
	}
	object, found, err := s.numa.GetByKey(node)
	if err != nil || !found {
		return nil
	}
	content := object.(*unstructured.Unstructured).Object
	out := &placementv1.NumaReport{}
	if old, _, err := unstructured.NestedStringSlice(content, "topologyPolicies"); err == nil &&
		len(old) > 0 {
		out.Policy = old[0]
	}
	for _, attribute := range objects(content, "attributes") {
		switch attribute["name"] {
		case "topologyManagerPolicy":
			out.Policy = text(attribute["value"])
		case "topologyManagerScope":
			out.Scope = text(attribute["value"])
		}
	}
	for _, zone := range objects(content, "zones") {
		if zone["type"] != "Node" {
			continue
		}
		told := &placementv1.NumaReport_Zone{Name: text(zone["name"]),
			Allocatable: map[string]string{}}
		for _, resource := range objects(zone, "resources") {
			told.Allocatable[text(resource["name"])] = text(resource["allocatable"])
		}
		out.Zones = append(out.Zones, told)
	}
	if len(out.Zones) == 0 {
		return nil
	}
	return out
}

// objects of a list of objects; what is none is left out.
func objects(object map[string]any, field string) []map[string]any {
	list, _ := object[field].([]any)
	var out []map[string]any
	for _, element := range list {
		if entry, ok := element.(map[string]any); ok {
			out = append(out, entry)
		}
	}
	return out
}

// text of a scalar: quantities are written as texts or as numbers.
func text(value any) string {
	if value == nil {
		return ""
	}
	return fmt.Sprint(value)
}
