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
	options      *Options
	client       *client.Client
	books        *books
	stop         context.CancelFunc
	synced       []cache.InformerSynced
	nodes        cache.Store
	podGroups    cache.Store
	groupsListed cache.InformerSynced // nil: without Volcano
	hyperNodes   cache.Store
	slices       cache.Indexer // ResourceSlices by node; nil: they are not read
	claims       cache.Store
	pods         cache.Indexer // by uid
	claimsListed cache.InformerSynced

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
	if options.Claims {
		s.watchClaims(kube)
	}
	s.watch(kube.Core().V1().Pods().Informer(), s.podSeen, s.podGone)
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
		s.synced = append(s.synced, groups.HasSynced)
		s.groupsListed = groups.HasSynced
		hyperNodes := volcano.Topology().V1alpha1().HyperNodes().Informer()
		s.hyperNodes = hyperNodes.GetStore()
		s.watch(hyperNodes, func(any) { s.pathsChanged() }, func(any) { s.pathsChanged() })
		volcano.Start(ctx.Done())
	}
	kube.Start(ctx.Done())
	go func() {
		for _, first := range []cache.InformerSynced{s.groupsListed, s.claimsListed} {
			if first != nil && cache.WaitForCacheSync(ctx.Done(), first) {
				s.books.signal()
			}
		}
		if cache.WaitForCacheSync(ctx.Done(), s.synced...) {
			s.books.signal()
		}
	}()
	return s
}

func (s *session) watch(informer cache.SharedIndexInformer, seen, gone func(any)) {
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
}

func (s *session) listed() bool {
	for _, synced := range s.synced {
		if !synced() {
			return false
		}
	}
	return true
}

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
	s.sharersAgain(pod)
	s.books.put(item{key: key{kindPod, string(pod.UID)}, object: pod})
}

func (s *session) podGone(object any) {
	pod := object.(*v1.Pod)
	s.sharersAgain(pod)
	s.books.put(item{key: key{kindPod, string(pod.UID)},
		failed: pod.Spec.NodeName != "" && pod.Status.Phase != v1.PodSucceeded})
}

// queueOf a pod is its PodGroup's.
func (s *session) queueOf(pod *v1.Pod) string {
	if s.podGroups == nil {
		return ""
	}
	group := podres.Group(pod)
	if group == "" {
		return ""
	}
	object, found, err := s.podGroups.GetByKey(pod.Namespace + "/" + group)
	if err != nil || !found {
		return ""
	}
	return object.(*schedulingv1beta1.PodGroup).Spec.Queue
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
	return kinds
}
