package plugin

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	resourceslicetracker "k8s.io/dynamic-resource-allocation/resourceslice/tracker"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/apis/config"
	fw "k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/dynamicresources"
	"k8s.io/kubernetes/pkg/scheduler/util/assumecache"

	placementv1 "basalt.io/adapters/placement/v1"
)

const gpuDriver = "gpu.nvidia.com"

// draHandle is a framework handle whose claims and slices are the fake API server's.
type draHandle struct {
	*handle
	manager fw.SharedDRAManager
	enabled []string // PreBind plugins of the profile
}

func (h *draHandle) SharedDRAManager() fw.SharedDRAManager { return h.manager }
func (h *draHandle) EventRecorder() events.EventRecorder   { return events.NewFakeRecorder(100) }
func (h *draHandle) ListPlugins() *config.Plugins {
	out := &config.Plugins{}
	for _, name := range h.enabled {
		out.PreBind.Enabled = append(out.PreBind.Enabled, config.Plugin{Name: name})
	}
	return out
}

// device of NVIDIA's driver.
func device(name, uuid, product, kind string) resourceapi.Device {
	text := func(value string) resourceapi.DeviceAttribute {
		return resourceapi.DeviceAttribute{StringValue: &value}
	}
	return resourceapi.Device{Name: name,
		Attributes: map[resourceapi.QualifiedName]resourceapi.DeviceAttribute{
			"uuid": text(uuid), "productName": text(product), "type": text(kind)},
		Capacity: map[resourceapi.QualifiedName]resourceapi.DeviceCapacity{"memory": {Value: resource.MustParse("80Gi")}}}
}

func gpus(node string, count int, product string) *resourceapi.ResourceSlice {
	out := &resourceapi.ResourceSlice{ObjectMeta: metav1.ObjectMeta{Name: node + "-" + gpuDriver},
		Spec: resourceapi.ResourceSliceSpec{Driver: gpuDriver, NodeName: &node,
			Pool: resourceapi.ResourcePool{Name: node, Generation: 1, ResourceSliceCount: 1}}}
	for i := range count {
		out.Spec.Devices = append(out.Spec.Devices,
			device(fmt.Sprintf("gpu-%d", i), fmt.Sprintf("GPU-%s-%d", node, i), product, "gpu"))
	}
	return out
}

func class(name, expression string) *resourceapi.DeviceClass {
	return &resourceapi.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: resourceapi.DeviceClassSpec{
		Selectors: []resourceapi.DeviceSelector{{CEL: &resourceapi.CELDeviceSelector{Expression: expression}}}}}
}

var gpuClass = class(gpuDriver, `device.driver == "gpu.nvidia.com" && device.attributes["gpu.nvidia.com"].type == "gpu"`)

func claimOf(name string, count int64, selectors ...string) *resourceapi.ResourceClaim {
	exactly := &resourceapi.ExactDeviceRequest{DeviceClassName: gpuDriver, Count: count,
		AllocationMode: resourceapi.DeviceAllocationModeExactCount}
	for _, expression := range selectors {
		exactly.Selectors = append(exactly.Selectors,
			resourceapi.DeviceSelector{CEL: &resourceapi.CELDeviceSelector{Expression: expression}})
	}
	return &resourceapi.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: "claim-" + uid(0)},
		Spec: resourceapi.ResourceClaimSpec{Devices: resourceapi.DeviceClaim{
			Requests: []resourceapi.DeviceRequest{{Name: "gpus", Exactly: exactly}}}}}
}

// setupClaims is setup with a claimer over these objects.
func setupClaims(t *testing.T, cards map[string]int, objects ...runtime.Object) *fixture {
	t.Helper()
	f := setup(t, cards, nil)
	f.server.Drivers = []string{gpuDriver}
	if !f.plugin.client.Probe(context.Background()) {
		t.Fatal("the server does not answer")
	}
	ctx, stop := context.WithCancel(context.Background())
	// The fake API server has no versions; what the scheduler assumes is told from what it sees by them.
	version := 1
	f.handle.client.PrependReactor("update", "resourceclaims", func(action clienttesting.Action) (bool, runtime.Object, error) {
		version++
		claim := action.(clienttesting.UpdateAction).GetObject().(*resourceapi.ResourceClaim)
		claim.ResourceVersion = strconv.Itoa(version)
		return false, nil, nil
	})
	for i, object := range objects {
		if claim, ok := object.(*resourceapi.ResourceClaim); ok {
			claim.UID, claim.ResourceVersion = uid(5000+i), "1"
		}
		if err := f.handle.client.Tracker().Add(object); err != nil {
			t.Fatal(err)
		}
	}
	resources := f.handle.factory.Resource().V1()
	tracker, err := resourceslicetracker.StartTracker(ctx, resourceslicetracker.Options{
		SliceInformer: resources.ResourceSlices(), ClassInformer: resources.DeviceClasses(), KubeClient: f.handle.client})
	if err != nil {
		t.Fatal(err)
	}
	claims := assumecache.NewAssumeCache(klog.Background(), resources.ResourceClaims().Informer(), "resource claim", "", nil)
	handled := claims.AddEventHandler(cache.ResourceEventHandlerFuncs{})
	h := &draHandle{handle: f.handle}
	h.manager = dynamicresources.NewDRAManager(ctx, claims, tracker, f.handle.factory)
	f.handle.factory.Start(ctx.Done())
	t.Cleanup(func() { stop(); f.handle.factory.Shutdown() })
	f.handle.factory.WaitForCacheSync(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), handled.HasSynced, tracker.HasSynced) {
		t.Fatal("claims are not listed")
	}
	f.plugin.handle = h
	if f.plugin.claimer, err = newClaimer(ctx, h, f.plugin.client.CardDrivers); err != nil {
		t.Fatal(err)
	}
	return f
}

// claiming makes a pod that uses these claims.
func (f *fixture) claiming(number int, claims ...string) *v1.Pod {
	f.t.Helper()
	pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("p%d", number), Namespace: "default", UID: uid(number)},
		Spec: v1.PodSpec{Containers: []v1.Container{{Name: "c"}}}}
	for i := range claims {
		pod.Spec.ResourceClaims = append(pod.Spec.ResourceClaims,
			v1.PodResourceClaim{Name: fmt.Sprintf("r%d", i), ResourceClaimName: &claims[i]})
	}
	f.groups.all = append(f.groups.all, pod)
	if _, err := f.handle.client.CoreV1().Pods("default").Create(context.Background(), pod, metav1.CreateOptions{}); err != nil {
		f.t.Fatal(err)
	}
	return pod
}

func (f *fixture) claim(name string) *resourceapi.ResourceClaim {
	f.t.Helper()
	claim, err := f.handle.client.ResourceV1().ResourceClaims("default").Get(context.Background(), name, metav1.GetOptions{})
	if err != nil {
		f.t.Fatal(err)
	}
	return claim
}

// devices of a claim as "POOL/DEVICE".
func devices(claim *resourceapi.ResourceClaim) []string {
	var out []string
	if claim.Status.Allocation != nil {
		for _, result := range claim.Status.Allocation.Devices.Results {
			out = append(out, result.Pool+"/"+result.Device)
		}
	}
	slices.Sort(out)
	return out
}

func TestAClaimIsAllocatedTheEnginesCards(t *testing.T) {
	f := setupClaims(t, map[string]int{"n1": 4, "n2": 4}, gpuClass, gpus("n1", 4, "NVIDIA H100"), gpus("n2", 4, "NVIDIA H100"),
		claimOf("a", 2))
	// By the API server alone gpu-0 is free; the engine knows better.
	f.server.Hold("somebody", "n1", 0, 2)
	c := f.cycle(f.claiming(1, "a"))
	c.must(c.reserve())
	if got := f.claim("a"); got.Status.Allocation != nil {
		t.Error("it is written before the lease is confirmed")
	}
	c.must(c.bind())
	claim := f.claim("a")
	if got := devices(claim); !slices.Equal(got, []string{"n1/gpu-1", "n1/gpu-3"}) {
		t.Errorf("allocated %v", got)
	}
	if len(claim.Status.ReservedFor) != 1 || claim.Status.ReservedFor[0].UID != uid(1) {
		t.Errorf("reserved for %v", claim.Status.ReservedFor)
	}
	terms := claim.Status.Allocation.NodeSelector.NodeSelectorTerms
	if len(terms) != 1 || terms[0].MatchFields[0].Values[0] != "n1" {
		t.Errorf("node selector %v", terms)
	}
	if hold := f.server.Held()[string(uid(1))]; !hold.Confirmed || !slices.Equal(hold.Cards, []int{1, 3}) {
		t.Errorf("lease %+v", hold)
	}
	if got := f.bindings()["p1"].Annotations["basalt.io/cards"]; got != "n1/1,n1/3" {
		t.Errorf("cards %q", got)
	}
}

func TestSelectorsBecomeProductsOrUUIDs(t *testing.T) {
	const product = `device.attributes["gpu.nvidia.com"].productName`
	profile := "1g.10gb"
	cut := device("gpu-9-mig-1g10gb-19-0", "MIG-1", "NVIDIA H100", "mig")
	parent := "GPU-n1-0"
	cut.Attributes["parentUUID"] = resourceapi.DeviceAttribute{StringValue: &parent}
	cut.Attributes["profile"] = resourceapi.DeviceAttribute{StringValue: &profile}
	h100 := gpus("n1", 2, "NVIDIA H100")
	h100.Spec.Devices = append(h100.Spec.Devices, cut)
	f := setupClaims(t, map[string]int{"n1": 2, "n2": 2}, gpuClass, h100, gpus("n2", 2, "NVIDIA A30"),
		class("any", `device.driver == "gpu.nvidia.com"`),
		class("nic", `device.driver == "nic.example.com"`))
	for _, test := range []struct {
		name  string
		claim *resourceapi.ResourceClaim
		want  *placementv1.ClaimedCards
		fault string
	}{
		{"all", claimOf("c", 1), &placementv1.ClaimedCards{Driver: gpuDriver, Count: 1}, ""},
		{"product", claimOf("c", 2, product+` == "NVIDIA A30"`),
			&placementv1.ClaimedCards{Driver: gpuDriver, Count: 2, Products: []string{"NVIDIA A30"}}, ""},
		{"uuid", claimOf("c", 1, `device.attributes["gpu.nvidia.com"].uuid in ["GPU-n1-1", "GPU-n2-0"]`),
			&placementv1.ClaimedCards{Driver: gpuDriver, Count: 1, Uuids: []string{"GPU-n1-1", "GPU-n2-0"}}, ""},
		{"nothing there", claimOf("c", 1, product+` == "NVIDIA T4"`), nil, ""},
		{"mig", func() *resourceapi.ResourceClaim {
			claim := claimOf("c", 1, `device.attributes["gpu.nvidia.com"].type == "mig"`)
			claim.Spec.Devices.Requests[0].Exactly.DeviceClassName = "any"
			return claim
		}(), &placementv1.ClaimedCards{Driver: gpuDriver, Count: 1, MigProfile: profile}, ""},
		{"cards or instances", func() *resourceapi.ResourceClaim {
			claim := claimOf("c", 1)
			claim.Spec.Devices.Requests[0].Exactly.DeviceClassName = "any"
			return claim
		}(), nil, "select one kind of device"},
		{"a NIC", func() *resourceapi.ResourceClaim {
			claim := claimOf("c", 1)
			claim.Spec.Devices.Requests[0].Exactly.DeviceClassName = "nic"
			return claim
		}(), nil, ""},
		{"all of a node", func() *resourceapi.ResourceClaim {
			claim := claimOf("c", 0)
			claim.Spec.Devices.Requests[0].Exactly.AllocationMode = resourceapi.DeviceAllocationModeAll
			return claim
		}(), nil, "write ExactCount"},
		{"first available", func() *resourceapi.ResourceClaim {
			claim := claimOf("c", 1)
			claim.Spec.Devices.Requests[0] = resourceapi.DeviceRequest{Name: "r", FirstAvailable: []resourceapi.DeviceSubRequest{
				{Name: "s", DeviceClassName: gpuDriver, AllocationMode: resourceapi.DeviceAllocationModeExactCount, Count: 1}}}
			return claim
		}(), nil, "firstAvailable is not read"},
		{"no expression", claimOf("c", 1, `device.`), nil, "selector"},
		{"no class", func() *resourceapi.ResourceClaim {
			claim := claimOf("c", 1)
			claim.Spec.Devices.Requests[0].Exactly.DeviceClassName = "missing"
			return claim
		}(), nil, "not found"},
		{"two kinds", func() *resourceapi.ResourceClaim {
			claim := claimOf("c", 1)
			claim.Spec.Devices.Requests = append(claim.Spec.Devices.Requests,
				claimOf("d", 1, product+` == "NVIDIA A30"`).Spec.Devices.Requests[0])
			return claim
		}(), nil, "cards of one kind"},
		{"two requests of one kind", func() *resourceapi.ResourceClaim {
			claim := claimOf("c", 1)
			claim.Spec.Devices.Requests = append(claim.Spec.Devices.Requests, claimOf("d", 2).Spec.Devices.Requests[0])
			return claim
		}(), &placementv1.ClaimedCards{Driver: gpuDriver, Count: 3}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			out := &claimed{}
			err := f.plugin.claimer.reader.readClaim(context.Background(), test.claim, out)
			switch {
			case test.fault != "" && (err == nil || !strings.Contains(err.Error(), test.fault)):
				t.Errorf("error %v, want %q", err, test.fault)
			case test.fault == "" && err != nil:
				t.Error(err)
			case test.fault == "":
				got, _ := json.Marshal(out.cards)
				want, _ := json.Marshal(test.want)
				if string(got) != string(want) {
					t.Errorf("%s, want %s", got, want)
				}
			}
		})
	}
}

func TestASharedClaimIsAskedForOnce(t *testing.T) {
	f := setupClaims(t, map[string]int{"n1": 1, "n2": 1}, gpuClass, gpus("n1", 1, "NVIDIA H100"), gpus("n2", 1, "NVIDIA H100"),
		claimOf("shared", 1))
	first := f.cycle(f.claiming(1, "shared"))
	c := f.cycle(f.claiming(2, "shared"))
	first.must(first.reserve())
	// While the first pod is being bound nobody knows the place.
	if status := c.choose(); status.IsSuccess() || !strings.Contains(status.Message(), "being allocated") {
		t.Errorf("status %v", status)
	}
	first.must(first.bind())
	c = f.cycle(c.pod)
	f.until("seen", func() bool {
		claim, err := f.plugin.claimer.manager.ResourceClaims().Get("default", "shared")
		return err == nil && claim.Status.Allocation != nil
	})
	asked := len(f.server.Pods())
	c.must(c.prefilter())
	fits := map[string]bool{}
	for name, node := range f.nodes {
		node.Node().Name = name
		fits[name] = f.plugin.Filter(context.Background(), c.state, c.pod, node).IsSuccess()
	}
	at := devices(f.claim("shared"))[0][:2]
	if len(f.server.Pods()) != asked || !fits[at] || fits["n1"] == fits["n2"] {
		t.Errorf("asked %d times more, fits %v, allocated at %s", len(f.server.Pods())-asked, fits, at)
	}
	c.node = at
	c.must(f.plugin.Reserve(context.Background(), c.state, c.pod, at))
	c.must(f.plugin.PreBind(context.Background(), c.state, c.pod, at))
	if got := f.claim("shared"); len(got.Status.ReservedFor) != 2 || len(devices(got)) != 1 {
		t.Errorf("%+v", got.Status)
	}
	if held := f.server.Held(); len(held) != 1 {
		t.Errorf("held %v", held)
	}
}

func TestABindThatFailsGivesTheClaimBack(t *testing.T) {
	f := setupClaims(t, map[string]int{"n1": 1}, gpuClass, gpus("n1", 1, "NVIDIA H100"), claimOf("a", 1))
	c := f.cycle(f.claiming(1, "a"))
	c.must(c.reserve())
	c.must(f.plugin.PreBind(context.Background(), c.state, c.pod, c.node))
	if got := devices(f.claim("a")); len(got) != 1 {
		t.Fatalf("allocated %v", got)
	}
	c.unreserve()
	if got := f.claim("a"); got.Status.Allocation != nil || len(got.Status.ReservedFor) != 0 {
		t.Errorf("left %+v", got.Status)
	}
	if held := f.server.Held(); len(held) != 0 {
		t.Errorf("held %v", held)
	}
	// And again from the start.
	f.until("seen", func() bool {
		claim, err := f.plugin.claimer.manager.ResourceClaims().Get("default", "a")
		return err == nil && claim.Status.Allocation == nil
	})
	// The allocator's list of devices in use follows the claim by a moment.
	f.until("allocated again", func() bool {
		c = f.cycle(c.pod)
		return c.reserve().IsSuccess()
	})
	c.must(c.bind())
	if got := devices(f.claim("a")); !slices.Equal(got, []string{"n1/gpu-0"}) {
		t.Errorf("allocated %v", got)
	}
}

// A device that somebody else's claim has, and the engine was not told of yet, is never given twice.
func TestADeviceInUseVetoesItsNode(t *testing.T) {
	taken := claimOf("taken", 1)
	taken.Status.Allocation = &resourceapi.AllocationResult{Devices: resourceapi.DeviceAllocationResult{
		Results: []resourceapi.DeviceRequestAllocationResult{{Request: "gpus", Driver: gpuDriver, Pool: "n1", Device: "gpu-0"}}}}
	f := setupClaims(t, map[string]int{"n1": 1, "n2": 1}, gpuClass, gpus("n1", 1, "NVIDIA H100"), gpus("n2", 1, "NVIDIA H100"),
		taken, claimOf("a", 1))
	none := int32(0)
	f.plugin.args.Alternatives = &none
	pod := f.claiming(1, "a")
	c := f.cycle(pod)
	if status := c.choose(); status.IsSuccess() {
		t.Fatal("a device is given twice")
	}
	_, status := f.plugin.PostFilter(context.Background(), c.state, pod, f.refusedBy(Name, "n1", "n2"))
	if status.IsSuccess() {
		t.Error("nobody gives way")
	}
	c = f.cycle(pod)
	c.must(c.reserve())
	c.must(c.bind())
	if got := devices(f.claim("a")); !slices.Equal(got, []string{"n2/gpu-0"}) {
		t.Errorf("allocated %v", got)
	}
}

func TestAClaimThatIsGoneForgivesItsNodes(t *testing.T) {
	f := setupClaims(t, map[string]int{"n1": 1}, gpuClass, gpus("n1", 1, "NVIDIA H100"), claimOf("c", 1))
	if err := f.plugin.startHints(); err != nil {
		t.Fatal(err)
	}
	pod := f.claiming(1, "c")
	f.plugin.books.veto(pod.UID, []string{"n1"})
	if got := f.plugin.books.vetoed(pod.UID); len(got) != 1 {
		t.Fatalf("vetoed %v", got)
	}
	claims := f.plugin.handle.ClientSet().ResourceV1().ResourceClaims("default")
	if err := claims.Delete(context.Background(), "c", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	f.until("forgiven", func() bool { return len(f.plugin.books.vetoed(pod.UID)) == 0 })
}

func channel(name, domain string) *resourceapi.ResourceClaim {
	claim := claimOf(name, 1)
	claim.Spec.Devices.Requests[0].Exactly.DeviceClassName = channelClass
	claim.Spec.Devices.Config = []resourceapi.DeviceClaimConfiguration{{DeviceConfiguration: resourceapi.DeviceConfiguration{
		Opaque: &resourceapi.OpaqueDeviceConfiguration{Driver: domainDriver,
			Parameters: runtime.RawExtension{Raw: []byte(`{"kind":"ComputeDomainChannelConfig","domainID":"` + domain + `"}`)}}}}}
	return claim
}

func channels(node string) *resourceapi.ResourceSlice {
	return &resourceapi.ResourceSlice{ObjectMeta: metav1.ObjectMeta{Name: node + "-" + domainDriver},
		Spec: resourceapi.ResourceSliceSpec{Driver: domainDriver, NodeName: &node,
			Pool:    resourceapi.ResourcePool{Name: node, Generation: 1, ResourceSliceCount: 1},
			Devices: []resourceapi.Device{{Name: "channel-0"}}}}
}

func TestAComputeDomainStaysInOneClique(t *testing.T) {
	f := setupClaims(t, map[string]int{"n1": 1, "n2": 1, "n3": 1, "n4": 1},
		class(channelClass, `device.driver == "compute-domain.nvidia.com"`),
		channels("n1"), channels("n2"), channels("n3"), channels("n4"),
		channel("a", "d1"), channel("b", "d1"), channel("c", "d1"), channel("other", "d2"))
	for node, clique := range map[string]string{"n1": "", "n2": "x.1", "n3": "x.1", "n4": "x.2"} {
		if clique != "" {
			f.nodes[node].Node().Labels[cliqueLabel] = clique
		}
	}
	place := func(number int, claim string) (string, *fwk.Status) {
		pod := f.claiming(number, claim)
		pod.Spec.Containers[0].Resources.Limits = v1.ResourceList{"nvidia.com/gpu": resource.MustParse("1")}
		c := f.cycle(pod)
		if status := c.choose(); !status.IsSuccess() {
			return "", status
		}
		c.must(f.plugin.Reserve(context.Background(), c.state, c.pod, c.node))
		c.must(c.bind())
		f.until("seen", func() bool {
			seen, err := f.plugin.claimer.manager.ResourceClaims().Get("default", claim)
			return err == nil && seen.Status.Allocation != nil
		})
		return c.node, nil
	}
	first, status := place(1, "a")
	if first != "n2" { // n1 is in no clique
		t.Fatalf("first on %q: %v", first, status)
	}
	if second, status := place(2, "b"); second != "n3" {
		t.Errorf("second on %q: %v", second, status)
	}
	if third, status := place(3, "c"); third != "" || status.IsSuccess() {
		t.Errorf("the third has no room in the clique, and is on %q", third)
	}
	if other, status := place(4, "other"); other != "n4" {
		t.Errorf("another domain on %q: %v", other, status)
	}
	if got := devices(f.claim("a")); !slices.Equal(got, []string{"n2/channel-0"}) {
		t.Errorf("channel %v", got)
	}
}

func TestAGangOfAComputeDomainAsksForAClique(t *testing.T) {
	f := setupClaims(t, map[string]int{"n1": 2}, gpuClass, gpus("n1", 2, "NVIDIA H100"),
		class(channelClass, `device.driver == "compute-domain.nvidia.com"`), channels("n1"),
		claimOf("g1", 1), claimOf("g2", 1), channel("c1", "d"), channel("c2", "d"))
	f.nodes["n1"].Node().Labels[cliqueLabel] = "x.1"
	f.groups.minimum["g"] = 2
	first := f.claiming(1, "g1", "c1")
	second := f.claiming(2, "g2")
	for _, pod := range []*v1.Pod{first, second} {
		pod.Labels = map[string]string{GroupLabel: "g"}
	}
	c := f.cycle(first)
	if status := c.reserve(); !status.IsWait() {
		t.Fatalf("%v", status)
	}
	d := f.cycle(second)
	d.must(d.reserve())
	for _, one := range []*cycle{c, d} {
		one.must(one.bind())
	}
	gang := f.server.Gangs()[0]
	if gang.Level.GetRequiredName() != cliqueLabel || len(gang.Tasks) != 1 ||
		gang.Tasks[0].Ask.GetPod().GetClaimed().GetCount() != 1 || len(gang.Tasks[0].Members) != 2 {
		t.Errorf("asked %v", gang)
	}
	got := append(devices(f.claim("g1")), devices(f.claim("g2"))...)
	slices.Sort(got)
	if !slices.Equal(got, []string{"n1/gpu-0", "n1/gpu-1"}) {
		t.Errorf("allocated %v", got)
	}
}

func TestAProfileWithBothPluginsIsRefused(t *testing.T) {
	f := setupClaims(t, map[string]int{"n1": 1}, gpuClass, gpus("n1", 1, "NVIDIA H100"), claimOf("a", 1))
	f.plugin.handle.(*draHandle).enabled = []string{"VolumeBinding", "DynamicResources"}
	c := f.cycle(f.claiming(1, "a"))
	if status := c.choose(); status.IsSuccess() || !strings.Contains(status.Message(), "disable DynamicResources") {
		t.Errorf("status %v", status)
	}
}

// prefilter alone: of pods of which the engine has no say.
func (c *cycle) prefilter() *fwk.Status {
	_, status := c.f.plugin.PreFilter(context.Background(), c.state, c.pod, c.f.infos)
	return status
}

func (f *fixture) until(what string, done func() bool) {
	f.t.Helper()
	for range 3000 {
		if done() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	f.t.Fatalf("not %s in 30 s", what)
}
