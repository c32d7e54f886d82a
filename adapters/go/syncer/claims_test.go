package syncer

import (
	"slices"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	placementv1 "basalt.io/adapters/placement/v1"
)

const driver = "gpu.nvidia.com"

func slice(name, node string, generation, of int64, devices ...string) *resourceapi.ResourceSlice {
	out := &resourceapi.ResourceSlice{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: resourceapi.ResourceSliceSpec{
		Driver: driver, NodeName: &node,
		Pool: resourceapi.ResourcePool{Name: node, Generation: generation, ResourceSliceCount: of}}}
	for _, device := range devices {
		out.Spec.Devices = append(out.Spec.Devices, resourceapi.Device{Name: device})
	}
	return out
}

func claim(name string, uid int, node string, pods ...int) *resourceapi.ResourceClaim {
	out := &resourceapi.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns", UID: uidOf(uid)}}
	if node == "" {
		return out
	}
	yes := true
	out.Status.Allocation = &resourceapi.AllocationResult{
		NodeSelector: &v1.NodeSelector{NodeSelectorTerms: []v1.NodeSelectorTerm{{MatchFields: []v1.NodeSelectorRequirement{{
			Key: "metadata.name", Operator: v1.NodeSelectorOpIn, Values: []string{node}}}}}},
		Devices: resourceapi.DeviceAllocationResult{Results: []resourceapi.DeviceRequestAllocationResult{
			{Request: "r", Driver: driver, Pool: node, Device: "gpu-0"},
			{Request: "other", Driver: "nic.example.com", Pool: node, Device: "nic-0"},
			{Request: "admin", Driver: driver, Pool: node, Device: "gpu-1", AdminAccess: &yes}}}}
	for _, pod := range pods {
		out.Status.ReservedFor = append(out.Status.ReservedFor,
			resourceapi.ResourceClaimConsumerReference{Resource: "pods", UID: uidOf(pod)})
	}
	return out
}

func using(pod *v1.Pod, claim string) *v1.Pod {
	pod.Spec.Containers[0].Resources = v1.ResourceRequirements{}
	pod.Spec.ResourceClaims = []v1.PodResourceClaim{{Name: "gpus", ResourceClaimName: &claim}}
	return pod
}

func claimsBed(t *testing.T, grace time.Duration, objects ...runtime.Object) *bed {
	t.Helper()
	return newBed(t, nil, func(o *Options) { o.Claims, o.ClaimGrace = true, grace }, objects...)
}

// held says who holds which devices.
func (s *server) held() map[string][]string {
	out := map[string][]string{}
	for uid, pod := range s.pods {
		for _, device := range pod.Devices {
			out[uid] = append(out[uid], device.Pool+"/"+device.Device)
		}
	}
	return out
}

func (s *server) holds(number int, devices ...string) bool {
	held := s.held()
	return len(held) == 1 && slices.Equal(held[string(uidOf(number))], devices)
}

func slicesTold(state *placementv1.NodeState) int {
	return len(state.GetKubernetes().GetResourceSlices())
}

func TestOnlyWholePoolsAreTold(t *testing.T) {
	b := claimsBed(t, 0, node("n1", "0"), slice("a", "n1", 1, 1, "gpu-0"), slice("b", "n2", 1, 1))
	b.server.Drivers = []string{driver}
	b.until("told", func() bool { return b.server.ready && slicesTold(b.server.nodes["n1"]) == 1 })
	// The next generation has two slices. One of them is no pool: what was there stays.
	next := slice("c", "n1", 2, 2, "gpu-0")
	if _, err := b.kube.ResourceV1().ResourceSlices().Create(background, next, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond)
	b.server.with(func() {
		if slicesTold(b.server.nodes["n1"]) != 1 {
			t.Error("half of a pool is told")
		}
	})
	if _, err := b.kube.ResourceV1().ResourceSlices().Create(background, slice("d", "n1", 2, 2, "gpu-1"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.until("both", func() bool { return slicesTold(b.server.nodes["n1"]) == 2 })
	for _, name := range []string{"a", "c", "d"} {
		if err := b.kube.ResourceV1().ResourceSlices().Delete(background, name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	b.until("none", func() bool { return slicesTold(b.server.nodes["n1"]) == 0 })
}

func TestASharedClaimIsHeldOnce(t *testing.T) {
	b := claimsBed(t, 0, node("n1", "0"), using(pod("p1", 1, "n1"), "c"), using(pod("p2", 2, "n1"), "c"),
		claim("c", 100, "n1", 1, 2))
	b.until("the first holds it", func() bool { return b.server.ready && b.server.holds(1, "n1/gpu-0") })
	ended := using(pod("p1", 1, "n1"), "c")
	ended.Status.Phase = v1.PodSucceeded
	if _, err := b.kube.CoreV1().Pods("ns").UpdateStatus(background, ended, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.until("the second holds it", func() bool { return b.server.holds(2, "n1/gpu-0") })
	if err := b.kube.CoreV1().Pods("ns").Delete(background, "p2", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	// Allocated still, and nobody's: the claim itself holds its devices.
	b.until("the claim holds it", func() bool {
		return b.server.holds(100, "n1/gpu-0") && b.server.pods[string(uidOf(100))].Node == "n1"
	})
	if _, err := b.kube.ResourceV1().ResourceClaims("ns").UpdateStatus(background, claim("c", 100, ""), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.until("nobody", func() bool { return len(b.server.held()) == 0 && b.server.pods[string(uidOf(100))] == nil })
}

// While a scheduler binds a pod its claim is allocated and the pod has no node. That is the pod's lease;
// if it is not bound soon, the devices are the claim's.
func TestAClaimWhosePodIsNotBound(t *testing.T) {
	b := claimsBed(t, 200*time.Millisecond, node("n1", "0"), using(pod("p1", 1, ""), "c"), claim("c", 100, "n1", 1))
	b.until("ready", func() bool { return b.server.ready })
	b.server.with(func() {
		if held := b.server.held(); len(held) != 0 {
			t.Errorf("held %v", held)
		}
	})
	b.until("the claim holds it", func() bool { return b.server.holds(100, "n1/gpu-0") })
	if _, err := b.kube.CoreV1().Pods("ns").Update(background, using(pod("p1", 1, "n1"), "c"), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.until("its pod holds it", func() bool {
		return b.server.holds(1, "n1/gpu-0") && b.server.pods[string(uidOf(100))] == nil
	})
}
