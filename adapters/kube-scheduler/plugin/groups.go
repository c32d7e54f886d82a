package plugin

import (
	"context"
	"fmt"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"

	placementv1 "basalt.io/adapters/placement/v1"
)

// GroupLabel names a pod's PodGroup of scheduler-plugins, as KubeRay and the training operators set it.
const GroupLabel = "scheduling.x-k8s.io/pod-group"

// Annotations of a PodGroup: the network tier that holds all of its pods, by the cluster's name of it.
const (
	RequiredTier  = "basalt.io/required-tier"
	PreferredTier = "basalt.io/preferred-tier"
)

var podGroups = schema.GroupVersionResource{Group: "scheduling.x-k8s.io", Version: "v1alpha1", Resource: "podgroups"}

func groupOf(pod *v1.Pod) string { return pod.Labels[GroupLabel] }

type podGroup struct {
	namespace, name     string
	uid                 types.UID
	minimum             int
	required, preferred string
}

func (g *podGroup) level() *placementv1.LevelWish {
	if g.required == "" && g.preferred == "" {
		return nil
	}
	return &placementv1.LevelWish{RequiredName: g.required, PreferredName: g.preferred}
}

var errNoKind = fmt.Errorf("the cluster has no PodGroups of %s; install them or take the label off", podGroups.Group)

// groupLister finds PodGroups and their pods.
type groupLister interface {
	group(namespace, name string) (*podGroup, error)
	pods(namespace, group string) ([]*v1.Pod, error)
}

type liveGroups struct {
	store   cache.Store // nil: the cluster does not have the kind
	indexer cache.Indexer
}

func (l *liveGroups) group(namespace, name string) (*podGroup, error) {
	if l.store == nil {
		return nil, errNoKind
	}
	object, found, err := l.store.GetByKey(namespace + "/" + name)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, fmt.Errorf("there is no PodGroup %s", name)
	}
	return readGroup(object.(*unstructured.Unstructured)), nil
}

func readGroup(object *unstructured.Unstructured) *podGroup {
	minimum, _, _ := unstructured.NestedInt64(object.Object, "spec", "minMember")
	return &podGroup{namespace: object.GetNamespace(), name: object.GetName(), uid: object.GetUID(),
		minimum: max(1, int(min(minimum, 1<<20))), required: object.GetAnnotations()[RequiredTier],
		preferred: object.GetAnnotations()[PreferredTier]}
}

func (l *liveGroups) pods(namespace, group string) ([]*v1.Pod, error) {
	objects, err := l.indexer.ByIndex(groupIndex, namespace+"/"+group)
	if err != nil {
		return nil, err
	}
	out := make([]*v1.Pod, 0, len(objects))
	for _, object := range objects {
		out = append(out, object.(*v1.Pod))
	}
	return out, nil
}

const groupIndex = "basalt.io/pod-group"

func groupKeys(object any) ([]string, error) {
	pod, ok := object.(*v1.Pod)
	if !ok || groupOf(pod) == "" {
		return nil, nil
	}
	return []string{pod.Namespace + "/" + groupOf(pod)}, nil
}

// startGroups lists PodGroups, when the cluster has the kind.
func (p *Plugin) startGroups(ctx context.Context) error {
	pods := p.handle.SharedInformerFactory().Core().V1().Pods().Informer()
	// Profiles of one process share the informer.
	if _, indexed := pods.GetIndexer().GetIndexers()[groupIndex]; !indexed {
		if err := pods.AddIndexers(cache.Indexers{groupIndex: groupKeys}); err != nil {
			return err
		}
	}
	groups := &liveGroups{indexer: pods.GetIndexer()}
	p.groups = groups
	list, err := p.handle.ClientSet().Discovery().ServerResourcesForGroupVersion(podGroups.GroupVersion().String())
	if err != nil || !has(list, podGroups.Resource) {
		return nil
	}
	client, err := dynamic.NewForConfig(p.handle.KubeConfig())
	if err != nil {
		return err
	}
	factory := dynamicinformer.NewDynamicSharedInformerFactory(client, 0)
	informer := factory.ForResource(podGroups).Informer()
	groups.store = informer.GetStore()
	_, err = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { p.books.stir() },
		UpdateFunc: func(any, any) { p.books.stir() },
		DeleteFunc: func(object any) {
			if unknown, ok := object.(cache.DeletedFinalStateUnknown); ok {
				object = unknown.Obj
			}
			if group, ok := object.(metav1.Object); ok {
				p.gangs.forget(group.GetUID())
			}
		},
	})
	if err != nil {
		return err
	}
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		return ctx.Err()
	}
	return nil
}

func has(list *metav1.APIResourceList, name string) bool {
	for i := range list.APIResources {
		if list.APIResources[i].Name == name {
			return true
		}
	}
	return false
}
