package harness

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// Kinds of custom resources that tests make.
var (
	VolcanoPodGroups = schema.GroupVersionResource{Group: "scheduling.volcano.sh", Version: "v1beta1", Resource: "podgroups"}
	VolcanoJobs      = schema.GroupVersionResource{Group: "batch.volcano.sh", Version: "v1alpha1", Resource: "jobs"}
	Queues           = schema.GroupVersionResource{Group: "scheduling.volcano.sh", Version: "v1beta1", Resource: "queues"}
	HyperNodes       = schema.GroupVersionResource{Group: "topology.volcano.sh", Version: "v1alpha1", Resource: "hypernodes"}
	PodGroups        = schema.GroupVersionResource{Group: "scheduling.x-k8s.io", Version: "v1alpha1", Resource: "podgroups"}

	definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
)

func (b *Bed) applyKinds() {
	b.T.Helper()
	b.applyKindsOf("crds")
}

// applyKindsOf makes the kinds of a folder beside the programs.
func (b *Bed) applyKindsOf(folder string) {
	b.T.Helper()
	files, err := filepath.Glob(filepath.Join(b.bin, folder, "*.yaml"))
	b.must(err)
	if len(files) == 0 {
		b.T.Fatal("no definitions of kinds; run test/e2e/build.sh crds")
	}
	var names []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		b.must(err)
		decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
		for {
			object := &unstructured.Unstructured{}
			err := decoder.Decode(&object.Object)
			if errors.Is(err, io.EOF) {
				break
			}
			b.must(err)
			if object.GetKind() != "CustomResourceDefinition" {
				continue
			}
			unstructured.RemoveNestedField(object.Object, "status")
			_, err = b.Dynamic.Resource(definitions).Create(b.ctx, object, metav1.CreateOptions{})
			b.must(err)
			names = append(names, object.GetName())
		}
	}
	b.Until(30*time.Second, "all kinds are established", func() error {
		for _, name := range names {
			object, err := b.Dynamic.Resource(definitions).Get(b.ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			conditions, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions")
			established := false
			for _, condition := range conditions {
				c := condition.(map[string]any)
				established = established || (c["type"] == "Established" && c["status"] == "True")
			}
			if !established {
				return fmt.Errorf("%s is not", name)
			}
		}
		return nil
	})
}

func priorityClass(name string, value int32) *schedulingv1.PriorityClass {
	return &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Value: value}
}

func object(gvr schema.GroupVersionResource, kind, name string, spec map[string]any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": gvr.GroupVersion().String(), "kind": kind,
		"metadata": map[string]any{"name": name}, "spec": spec,
	}}
}

// Queue makes a Volcano queue and opens it: that is otherwise the controller's work.
func (b *Bed) Queue(name string, spec map[string]any) {
	b.T.Helper()
	if spec == nil {
		spec = map[string]any{}
	}
	for key, value := range map[string]any{"weight": int64(1), "reclaimable": true} {
		if _, said := spec[key]; !said {
			spec[key] = value
		}
	}
	_, err := b.Dynamic.Resource(Queues).Create(b.ctx, object(Queues, "Queue", name, spec), metav1.CreateOptions{})
	b.must(err)
	b.QueueState(name, "Open")
}

// QueueState opens a Volcano queue ("Open") or closes it ("Closed").
func (b *Bed) QueueState(name, state string) {
	b.T.Helper()
	_, err := b.Dynamic.Resource(Queues).Patch(b.ctx, name, types.MergePatchType,
		[]byte(fmt.Sprintf(`{"status":{"state":%q}}`, state)), metav1.PatchOptions{}, "status")
	b.must(err)
}

// VolcanoGangStatus is a PodGroup's phase, and its conditions as "TYPE REASON: message".
func (b *Bed) VolcanoGangStatus(name string) (phase string, conditions []string) {
	b.T.Helper()
	group, err := b.Dynamic.Resource(VolcanoPodGroups).Namespace("default").Get(b.ctx, name, metav1.GetOptions{})
	b.must(err)
	phase, _, _ = unstructured.NestedString(group.Object, "status", "phase")
	list, _, _ := unstructured.NestedSlice(group.Object, "status", "conditions")
	for _, one := range list {
		c := one.(map[string]any)
		conditions = append(conditions, fmt.Sprintf("%v %v: %v", c["type"], c["reason"], c["message"]))
	}
	return phase, conditions
}

// SetMinimum changes how many pods a PodGroup of scheduler-plugins needs.
func (b *Bed) SetMinimum(name string, minimum int) {
	b.T.Helper()
	_, err := b.Dynamic.Resource(PodGroups).Namespace("default").Patch(b.ctx, name, types.MergePatchType,
		[]byte(fmt.Sprintf(`{"spec":{"minMember":%d}}`, minimum)), metav1.PatchOptions{})
	b.must(err)
}

// VolcanoGang makes a PodGroup of Volcano that its scheduler may start at once.
func (b *Bed) VolcanoGang(name string, minimum int, queue string, more map[string]any) {
	b.T.Helper()
	spec := map[string]any{"minMember": int64(minimum), "queue": queue}
	for key, value := range more {
		spec[key] = value
	}
	_, err := b.Dynamic.Resource(VolcanoPodGroups).Namespace("default").Create(b.ctx,
		object(VolcanoPodGroups, "PodGroup", name, spec), metav1.CreateOptions{})
	b.must(err)
}

// Gang makes a PodGroup of scheduler-plugins.
func (b *Bed) Gang(name string, minimum int) {
	b.T.Helper()
	_, err := b.Dynamic.Resource(PodGroups).Namespace("default").Create(b.ctx,
		object(PodGroups, "PodGroup", name, map[string]any{"minMember": int64(minimum)}), metav1.CreateOptions{})
	b.must(err)
}

// AnnotateGang adds annotations to a PodGroup of scheduler-plugins.
func (b *Bed) AnnotateGang(name string, annotations map[string]string) {
	b.T.Helper()
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": annotations}})
	b.must(err)
	_, err = b.Dynamic.Resource(PodGroups).Namespace("default").Patch(b.ctx, name, types.MergePatchType, patch,
		metav1.PatchOptions{})
	b.must(err)
}

// HyperNode makes a network domain of nodes (or of HyperNodes, when tier is above 1).
func (b *Bed) HyperNode(name string, tier int, members ...string) {
	b.T.Helper()
	kind := "Node"
	if tier > 1 {
		kind = "HyperNode"
	}
	var list []any
	for _, member := range members {
		list = append(list, map[string]any{"type": kind,
			"selector": map[string]any{"exactMatch": map[string]any{"name": member}}})
	}
	_, err := b.Dynamic.Resource(HyperNodes).Create(b.ctx, object(HyperNodes, "HyperNode", name,
		map[string]any{"tier": int64(tier), "members": list}), metav1.CreateOptions{})
	b.must(err)
}
