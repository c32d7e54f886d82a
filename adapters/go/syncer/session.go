package syncer

import (
	"context"
	"maps"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	schedulingv1beta1 "volcano.sh/apis/pkg/apis/scheduling/v1beta1"
	topologyv1alpha1 "volcano.sh/apis/pkg/apis/topology/v1alpha1"
	vcinformers "volcano.sh/apis/pkg/client/informers/externalversions"

	"basalt.io/adapters/client"
	placementv1 "basalt.io/adapters/placement/v1"
	"basalt.io/adapters/podres"
)

// session is one listing of the cluster and what has changed since. It begins after the server has
// opened the stream: what the server holds and this listing does not have is gone.
type session struct {
	options    *Options
	client     *client.Client
	books      *books
	stop       context.CancelFunc
	synced     []cache.InformerSynced
	before     []cache.InformerSynced // what nodes and pods are told with: nothing is told earlier
	nodes      cache.Store
	pods       cache.Indexer // by uid, too, where claims are read
	podGroups  cache.Store   // nil: without Volcano
	hyperNodes cache.Store
	budgets    *budgets      // nil: not told
	numa       cache.Store   // NodeResourceTopologies; nil: not told
	slices     cache.Indexer // ResourceSlices by node; nil: they are not read
	claims     cache.Store

	slicesTold map[string][]string  // a node's last whole pools
	claimsTold map[string]bool      // claims that were told as holders, by uid
	reserved   map[string]time.Time // when a claim was seen reserved by pods of which none is bound

	generation uint64 // of the last message sent
	epoch      uint64 // of the server that acknowledged
	unacked    []sent
	acked      uint64
	complete   bool // SyncComplete was sent

	pathMutex sync.Mutex
	pathDirty bool
	pathTold  map[string]bool
}

type sent struct {
	generation uint64
	items      []item
}

// A list that is read from the API server's memory may be older than what the server holds.
func newest(options *metav1.ListOptions) {
	if options.ResourceVersion == "0" {
		options.ResourceVersion = ""
	}
}

// What is not told is not kept.
func strip(object any) (any, error) {
	if meta, ok := object.(metav1.Object); ok {
		meta.SetManagedFields(nil)
	}
	if node, ok := object.(*v1.Node); ok {
		node.Status.Images = nil
	}
	return object, nil
}

func newSession(ctx context.Context, options *Options) *session {
	ctx, stop := context.WithCancel(ctx)
	s := &session{options: options, client: options.Client, books: newBooks(), stop: stop,
		pathTold: map[string]bool{}, slicesTold: map[string][]string{},
		claimsTold: map[string]bool{}, reserved: map[string]time.Time{}}
	kube := informers.NewSharedInformerFactoryWithOptions(options.Kube, 0,
		informers.WithTweakListOptions(newest), informers.WithTransform(strip))
	// Informers of a factory are started by name: those that are not asked for list nothing.
	nodes := kube.Core().V1().Nodes().Informer()
	s.nodes = nodes.GetStore()
	s.watch(nodes, s.nodeSeen, s.nodeGone)
	pods := kube.Core().V1().Pods().Informer()
	s.pods = pods.GetIndexer()
	if options.Budgets {
		s.watchBudgets(kube.Policy().V1().PodDisruptionBudgets().Informer())
	}
	if options.Claims {
		s.watchClaims(kube, pods)
	}
	s.watch(pods, s.podSeen, s.podGone)
	if options.Volcano != nil {
		volcano := vcinformers.NewSharedInformerFactoryWithOptions(options.Volcano, 0,
			vcinformers.WithTweakListOptions(newest), vcinformers.WithTransform(strip))
		s.watch(volcano.Scheduling().V1beta1().Queues().Informer(), func(object any) {
			if queue := object.(*schedulingv1beta1.Queue); queue.Name != rootQueue {
				s.books.put(item{key: key{kindQueue, queue.Name}, object: queue})
			}
		}, func(object any) {
			if queue := object.(*schedulingv1beta1.Queue); queue.Name != rootQueue {
				s.books.put(item{key: key{kindQueue, queue.Name}})
			}
		})
		groups := volcano.Scheduling().V1beta1().PodGroups().Informer()
		s.podGroups = groups.GetStore()
		s.before = append(s.before, groups.HasSynced)
		hyperNodes := volcano.Topology().V1alpha1().HyperNodes().Informer()
		s.hyperNodes = hyperNodes.GetStore()
		s.watch(hyperNodes, func(any) { s.pathsChanged() }, func(any) { s.pathsChanged() })
		volcano.Start(ctx.Done())
	}
	if options.Numa != nil {
		s.watchNuma(ctx, options.Numa)
	}
	kube.Start(ctx.Done())
	s.synced = append(s.synced, s.before...)
	go func() {
		if cache.WaitForCacheSync(ctx.Done(), s.before...) {
			s.books.signal()
		}
		if cache.WaitForCacheSync(ctx.Done(), s.synced...) {
			s.books.signal()
		}
	}()
	return s
}

func (s *session) watch(informer cache.SharedIndexInformer, seen, gone func(any)) cache.InformerSynced {
	// The handle's HasSynced is true once the handler has had the whole list.
	handle, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: seen,
		UpdateFunc: func(before, after any) {
			if was, ok := before.(metav1.Object); ok && was.GetUID() != after.(metav1.Object).GetUID() {
				gone(before) // deleted and made again between two looks
			}
			seen(after)
		},
		DeleteFunc: func(object any) {
			if unknown, ok := object.(cache.DeletedFinalStateUnknown); ok {
				object = unknown.Obj
			}
			if object != nil {
				gone(object)
			}
		},
	})
	if err != nil {
		panic(err) // only of an informer that has ended
	}
	s.synced = append(s.synced, handle.HasSynced)
	return handle.HasSynced
}

func all(synced []cache.InformerSynced) bool {
	for _, is := range synced {
		if !is() {
			return false
		}
	}
	return true
}

func (s *session) listed() bool { return all(s.synced) }

func (s *session) nodeSeen(object any) {
	node := object.(*v1.Node)
	k := key{kindNode, node.Name}
	// A heartbeat does not move a node in the network.
	moved := true
	if before, known := s.books.last(k).(*v1.Node); known {
		moved = !maps.Equal(before.Labels, node.Labels)
	}
	s.books.put(item{key: k, object: node})
	if moved {
		s.pathsChanged()
	}
}

func (s *session) nodeGone(object any) {
	s.books.put(item{key: key{kindNode, object.(*v1.Node).Name}})
	s.pathsChanged()
}

func (s *session) podSeen(object any) {
	pod := object.(*v1.Pod)
	k := key{kindPod, string(pod.UID)}
	if s.budgets != nil {
		before, _ := s.books.last(k).(*v1.Pod)
		s.budgets.podSeen(before, pod)
	}
	s.sharersAgain(pod)
	s.books.put(item{key: k, object: pod})
}

func (s *session) podGone(object any) {
	pod := object.(*v1.Pod)
	if s.budgets != nil {
		s.budgets.podSeen(pod, nil)
	}
	s.sharersAgain(pod)
	s.books.put(item{key: key{kindPod, string(pod.UID)},
		failed: pod.Spec.NodeName != "" && pod.Status.Phase != v1.PodSucceeded})
}

// groupOf a pod; nil: none that is known.
func (s *session) groupOf(pod *v1.Pod) *schedulingv1beta1.PodGroup {
	name := podres.Group(pod)
	if s.podGroups == nil || name == "" {
		return nil
	}
	object, found, err := s.podGroups.GetByKey(pod.Namespace + "/" + name)
	if err != nil || !found {
		return nil
	}
	return object.(*schedulingv1beta1.PodGroup)
}

// podState is what the pod itself says, with what its group and its disruption budgets say of it.
func (s *session) podState(pod *v1.Pod) *placementv1.PodState {
	queue := ""
	if group := s.groupOf(pod); group != nil {
		queue = group.Spec.Queue
	}
	state := podres.State(pod, s.client.AnnotationKeys(), s.client.GrantAnnotationKeys(), queue)
	if s.budgets != nil {
		state.Standing.Budget = s.budgets.of(pod)
	}
	return state
}

func (s *session) pathsChanged() {
	if s.options.Volcano == nil {
		return
	}
	s.pathMutex.Lock()
	s.pathDirty = true
	s.pathMutex.Unlock()
	s.books.signal()
}

// lookAtPaths puts the paths of nodes into the books, once they are listed.
func (s *session) lookAtPaths() {
	s.pathMutex.Lock()
	defer s.pathMutex.Unlock()
	if !s.pathDirty || !s.listed() {
		return
	}
	s.pathDirty = false
	var nodes []*v1.Node
	for _, object := range s.nodes.List() {
		nodes = append(nodes, object.(*v1.Node))
	}
	var hyperNodes []*topologyv1alpha1.HyperNode
	for _, object := range s.hyperNodes.List() {
		hyperNodes = append(hyperNodes, object.(*topologyv1alpha1.HyperNode))
	}
	now := paths(hyperNodes, nodes)
	for node, path := range now {
		s.books.put(item{key: key{kindPath, node}, object: path})
		s.pathTold[node] = true
	}
	for node := range s.pathTold {
		if now[node] == nil {
			s.books.put(item{key: key{kindPath, node}})
			delete(s.pathTold, node)
		}
	}
}

func (s *session) kinds() []placementv1.SyncKind {
	kinds := []placementv1.SyncKind{placementv1.SyncKind_SYNC_KIND_NODES,
		placementv1.SyncKind_SYNC_KIND_PODS}
	if s.options.Volcano != nil {
		kinds = append(kinds, placementv1.SyncKind_SYNC_KIND_QUEUES,
			placementv1.SyncKind_SYNC_KIND_TOPOLOGY)
	}
	if s.options.Budgets {
		kinds = append(kinds, placementv1.SyncKind_SYNC_KIND_BUDGETS)
	}
	return kinds
}
