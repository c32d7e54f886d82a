package syncer

import (
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"basalt.io/adapters/dra"
	placementv1 "basalt.io/adapters/placement/v1"
	"basalt.io/adapters/podres"
)

const (
	byNode = "node"
	byUID  = "uid"
)

// ServesClaims says whether the API server has ResourceClaims in the version that is read here.
func ServesClaims(kube kubernetes.Interface) bool {
	list, err := kube.Discovery().ServerResourcesForGroupVersion(resourceapi.SchemeGroupVersion.String())
	if err != nil {
		return false
	}
	for i := range list.APIResources {
		if list.APIResources[i].Name == "resourceclaims" {
			return true
		}
	}
	return false
}

// watchClaims: slices are told with their node. An allocated claim is told with the pod that holds
// its devices; where no pod holds them the claim itself is told like a pod, so that they are taken.
func (s *session) watchClaims(kube informers.SharedInformerFactory, pods cache.SharedIndexInformer) {
	informer := kube.Resource().V1().ResourceSlices().Informer()
	if err := informer.AddIndexers(cache.Indexers{byNode: func(object any) ([]string, error) {
		if slice := object.(*resourceapi.ResourceSlice); slice.Spec.NodeName != nil {
			return []string{*slice.Spec.NodeName}, nil
		}
		return nil, nil
	}}); err != nil {
		panic(err) // only of an informer that runs
	}
	s.slices = informer.GetIndexer()
	s.watch(informer, s.sliceSeen, s.sliceSeen)
	if err := pods.AddIndexers(cache.Indexers{byUID: func(object any) ([]string, error) {
		return []string{string(object.(*v1.Pod).UID)}, nil
	}}); err != nil {
		panic(err)
	}
	claims := kube.Resource().V1().ResourceClaims().Informer()
	s.claims = claims.GetStore()
	s.watchChanges(claims, s.claimSeen)
	s.before = append(s.before, informer.HasSynced, claims.HasSynced)
}

func (s *session) sliceSeen(object any) {
	slice := object.(*resourceapi.ResourceSlice)
	if slice.Spec.NodeName == nil {
		return
	}
	if node, found, err := s.nodes.GetByKey(*slice.Spec.NodeName); err == nil && found {
		s.books.put(item{key: key{kindNode, *slice.Spec.NodeName}, object: node})
	}
}

// claimSeen with what it was and what it is; nil: it was not, or is gone.
func (s *session) claimSeen(before, after any) {
	pods := map[types.UID]bool{}
	for _, object := range []any{before, after} {
		if claim, ok := object.(*resourceapi.ResourceClaim); ok {
			for i := range claim.Status.ReservedFor {
				pods[claim.Status.ReservedFor[i].UID] = true
			}
		}
	}
	for uid := range pods {
		s.podAgain(uid)
	}
	claim, ok := after.(*resourceapi.ResourceClaim)
	if !ok {
		if was := before.(*resourceapi.ResourceClaim); was.Status.Allocation != nil {
			s.books.put(item{key: key{kindClaim, string(was.UID)}})
		}
		return
	}
	was, known := before.(*resourceapi.ResourceClaim)
	if claim.Status.Allocation == nil && (!known || was.Status.Allocation == nil) {
		return
	}
	s.books.put(item{key: key{kindClaim, string(claim.UID)}, object: claim})
}

// claimAgain tells a claim once more, if it is still there.
func (s *session) claimAgain(k key, name string) {
	object, found, err := s.claims.GetByKey(name)
	if err == nil && found && string(object.(*resourceapi.ResourceClaim).UID) == k.id {
		s.books.put(item{key: k, object: object})
	}
}

func (s *session) podOf(uid types.UID) *v1.Pod {
	objects, err := s.pods.ByIndex(byUID, string(uid))
	if err != nil || len(objects) == 0 {
		return nil
	}
	return objects[0].(*v1.Pod)
}

// podAgain tells a pod once more: what it holds may have changed with its claims.
func (s *session) podAgain(uid types.UID) {
	if pod := s.podOf(uid); pod != nil {
		s.books.put(item{key: key{kindPod, string(uid)}, object: pod})
	}
}

// claimsOf a pod that are there.
func (s *session) claimsOf(pod *v1.Pod) []*resourceapi.ResourceClaim {
	if s.claims == nil {
		return nil
	}
	var out []*resourceapi.ResourceClaim
	for _, name := range dra.Claims(pod) {
		if object, found, err := s.claims.GetByKey(pod.Namespace + "/" + name); err == nil && found {
			out = append(out, object.(*resourceapi.ResourceClaim))
		}
	}
	return out
}

// sharersAgain: when a pod comes or ends another one may hold what they share. It is told before the
// pod itself, so that what is shared is never free in between.
func (s *session) sharersAgain(pod *v1.Pod) {
	for _, claim := range s.claimsOf(pod) {
		if claim.Status.Allocation == nil {
			continue
		}
		for i := range claim.Status.ReservedFor {
			if uid := claim.Status.ReservedFor[i].UID; uid != pod.UID {
				s.podAgain(uid)
			}
		}
		s.books.put(item{key: key{kindClaim, string(claim.UID)}, object: claim})
	}
}

// holds says whether a pod has its node and has not ended.
func (s *session) holds(uid types.UID) bool {
	pod := s.podOf(uid)
	return pod != nil && pod.Spec.NodeName != "" && !podres.Ended(pod)
}

func (s *session) holder(claim *resourceapi.ResourceClaim) types.UID {
	return dra.Holder(claim, s.holds)
}

// devicesOf a pod: those of its claims that no other pod holds before it.
func (s *session) devicesOf(pod *v1.Pod) []*placementv1.Device {
	if pod.Spec.NodeName == "" || podres.Ended(pod) {
		return nil
	}
	var out []*placementv1.Device
	for _, claim := range s.claimsOf(pod) {
		if s.holder(claim) == pod.UID {
			out = append(out, dra.Devices(claim, s.client.CardDrivers())...)
		}
	}
	return out
}

// claimDelta is of a claim as the holder of its devices; nil: there is nothing to tell.
func (s *session) claimDelta(it item) *placementv1.Delta {
	gone := &placementv1.Delta{Of: &placementv1.Delta_PodGone{PodGone: &placementv1.PodGone{Uid: it.key.id}}}
	claim, ok := it.object.(*resourceapi.ResourceClaim)
	if !ok {
		return s.onlyIfTold(it.key, gone)
	}
	devices := dra.Devices(claim, s.client.CardDrivers())
	node := dra.NodeOf(claim)
	if len(devices) == 0 || node == "" || s.holder(claim) != "" {
		return s.onlyIfTold(it.key, gone)
	}
	if s.justReserved(claim) {
		return nil
	}
	s.claimsTold[it.key.id] = true
	return &placementv1.Delta{Of: &placementv1.Delta_Pod{Pod: &placementv1.PodState{
		Pod: &placementv1.PodKey{Uid: it.key.id, Namespace: claim.Namespace, Name: claim.Name},
		Ask: &placementv1.Ask{Of: &placementv1.Ask_Pod{Pod: &placementv1.PodResources{Name: claim.Name,
			Containers: []*placementv1.PodResources_Container{{Name: "claim"}}}}},
		Node: node, Phase: string(v1.PodRunning), Devices: devices,
		// Nobody can be evicted: there is no pod.
		Standing: &placementv1.Standing{NotPreemptible: true}}}}
}

// onlyIfTold: once told a claim is remembered, so that its end is told again when it was lost.
func (s *session) onlyIfTold(k key, gone *placementv1.Delta) *placementv1.Delta {
	delete(s.reserved, k.id)
	if !s.claimsTold[k.id] {
		return nil
	}
	return gone
}

// justReserved: a scheduler is binding the claim's pod. Its devices are held by a lease, or will be
// seen with the pod; if it is not bound soon, they are the claim's.
func (s *session) justReserved(claim *resourceapi.ResourceClaim) bool {
	if len(claim.Status.ReservedFor) == 0 {
		return false
	}
	k := key{kindClaim, string(claim.UID)}
	since, known := s.reserved[k.id]
	if !known {
		since = time.Now()
		s.reserved[k.id] = since
		time.AfterFunc(s.options.ClaimGrace, func() { s.claimAgain(k, claim.Namespace+"/"+claim.Name) })
	}
	return time.Since(since) < s.options.ClaimGrace
}

// slicesOf a node as the server reads them. While a driver replaces a pool slice by slice the node has
// the cards that it had: pods hold them.
func (s *session) slicesOf(node string) []string {
	if s.slices == nil {
		return nil
	}
	objects, err := s.slices.ByIndex(byNode, node)
	if err != nil {
		panic(err) // only of an index that is not there
	}
	var all []*resourceapi.ResourceSlice
	for _, object := range objects {
		all = append(all, object.(*resourceapi.ResourceSlice))
	}
	drivers := s.client.CardDrivers()
	whole := dra.Slices(all, drivers)
	if len(whole) == 0 && slices.ContainsFunc(all, func(slice *resourceapi.ResourceSlice) bool {
		return slices.Contains(drivers, slice.Spec.Driver)
	}) {
		return s.slicesTold[node]
	}
	specs, err := dra.Specs(whole)
	if err != nil {
		klog.ErrorS(err, "A node's resource slices cannot be told", "node", node)
		return s.slicesTold[node]
	}
	s.slicesTold[node] = specs
	return specs
}

func (s *session) watchChanges(informer cache.SharedIndexInformer, changed func(before, after any)) {
	handle, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(object any) { changed(nil, object) },
		UpdateFunc: func(before, after any) {
			if before.(metav1.Object).GetUID() != after.(metav1.Object).GetUID() {
				changed(before, nil) // deleted and made again between two looks
				before = nil
			}
			changed(before, after)
		},
		DeleteFunc: func(object any) {
			if unknown, ok := object.(cache.DeletedFinalStateUnknown); ok {
				object = unknown.Obj
			}
			if object != nil {
				changed(object, nil)
			}
		},
	})
	if err != nil {
		panic(err) // only of an informer that has ended
	}
	s.synced = append(s.synced, handle.HasSynced)
}
