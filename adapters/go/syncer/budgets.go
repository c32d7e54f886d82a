package syncer

import (
	"maps"
	"slices"
	"strings"
	"sync"

	v1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/cache"

	placementv1 "basalt.io/adapters/placement/v1"
	"basalt.io/adapters/podres"
)

// budgets are the PodDisruptionBudgets, as the engine has them: a pod has one, by name. A pod that
// several select is never evicted by the API server; its budget is "NAMESPACE/ONE+TWO", which allows
// nothing.
type budgets struct {
	books   *books
	objects cache.Indexer
	pods    cache.Indexer

	mutex     sync.Mutex
	selectors map[string]selector // by namespace and name
}

type selector struct {
	of     *metav1.LabelSelector
	parsed labels.Selector
}

func (s *session) watchBudgets(informer cache.SharedIndexInformer) {
	s.budgets = &budgets{books: s.books, objects: informer.GetIndexer(), pods: s.pods,
		selectors: map[string]selector{}}
	s.before = append(s.before, s.watch(informer, s.budgets.seen, s.budgets.gone))
}

func (b *budgets) seen(object any) {
	budget := object.(*policyv1.PodDisruptionBudget)
	name := budget.Namespace + "/" + budget.Name
	b.mutex.Lock()
	was, known := b.selectors[name]
	b.mutex.Unlock()
	b.books.put(item{key: key{kindBudget, name}, object: budget})
	if !known || !equality.Semantic.DeepEqual(was.of, budget.Spec.Selector) {
		parsed, err := metav1.LabelSelectorAsSelector(budget.Spec.Selector)
		if err != nil {
			parsed = labels.Nothing() // the API server refuses such
		}
		b.mutex.Lock()
		b.selectors[name] = selector{budget.Spec.Selector, parsed}
		b.mutex.Unlock()
		b.podsAgain(budget.Namespace)
	}
}

func (b *budgets) gone(object any) {
	budget := object.(*policyv1.PodDisruptionBudget)
	name := budget.Namespace + "/" + budget.Name
	b.mutex.Lock()
	delete(b.selectors, name)
	b.mutex.Unlock()
	b.books.put(item{key: key{kindBudget, name}})
	b.podsAgain(budget.Namespace)
}

// podsAgain tells the namespace's pods once more, where their budget is another one now.
func (b *budgets) podsAgain(namespace string) {
	for _, pod := range b.podsIn(namespace) {
		if pod.Spec.NodeName != "" {
			b.books.put(item{key: key{kindPod, string(pod.UID)}, object: pod})
		}
	}
}

func (b *budgets) podsIn(namespace string) []*v1.Pod {
	objects, err := b.pods.ByIndex(cache.NamespaceIndex, namespace)
	if err != nil {
		panic(err) // informers of a factory have this index
	}
	out := make([]*v1.Pod, 0, len(objects))
	for _, object := range objects {
		out = append(out, object.(*v1.Pod))
	}
	return out
}

// names of the budgets that select the pod, ascending.
func (b *budgets) names(pod *v1.Pod) []string {
	objects, err := b.objects.ByIndex(cache.NamespaceIndex, pod.Namespace)
	if err != nil {
		panic(err)
	}
	var out []string
	b.mutex.Lock()
	defer b.mutex.Unlock()
	for _, object := range objects {
		name := object.(*policyv1.PodDisruptionBudget).Name
		its, known := b.selectors[pod.Namespace+"/"+name]
		if known && its.parsed.Matches(labels.Set(pod.Labels)) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// of a pod: Standing.budget.
func (b *budgets) of(pod *v1.Pod) string {
	names := b.names(pod)
	if len(names) == 0 {
		return ""
	}
	name := pod.Namespace + "/" + strings.Join(names, "+")
	if len(names) > 1 {
		b.books.put(item{key: key{kindBudget, name}, object: name})
	}
	return name
}

// podSeen has the budgets counted again whose pods it changes. Either may be nil.
func (b *budgets) podSeen(before, now *v1.Pod) {
	if before != nil && now != nil && runs(before) == runs(now) &&
		maps.Equal(before.Labels, now.Labels) {
		return
	}
	for _, pod := range []*v1.Pod{before, now} {
		if pod == nil || !runs(pod) {
			continue
		}
		for _, name := range b.names(pod) {
			full := pod.Namespace + "/" + name
			if object, found, err := b.objects.GetByKey(full); err == nil && found {
				b.books.put(item{key: key{kindBudget, full}, object: object})
			}
		}
	}
}

func runs(pod *v1.Pod) bool {
	return pod.Spec.NodeName != "" && pod.DeletionTimestamp == nil && !podres.Ended(pod)
}

// state of a budget. How many may go is the API server's own figure, which knows of pods that are
// not ready; so many of those that run now must stay.
func (b *budgets) state(it item) *placementv1.Budget {
	out := &placementv1.Budget{Name: it.key.id}
	none := int32(0)
	budget, single := it.object.(*policyv1.PodDisruptionBudget)
	switch {
	case it.object == nil:
	case !single, budget.Status.ObservedGeneration < budget.Generation:
		out.MaxUnavailable = &none // the API server lets none go before it has counted
	default:
		running := int32(0)
		for _, pod := range b.podsIn(budget.Namespace) {
			if names := b.names(pod); runs(pod) && len(names) == 1 && names[0] == budget.Name {
				running++
			}
		}
		stay := max(running-budget.Status.DisruptionsAllowed, 0)
		out.MinAvailable = &stay
	}
	return out
}
