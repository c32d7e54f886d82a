package harness

import (
	"context"
	"fmt"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The DRA driver of nodes whose plugin is DRA. Its card i is the device gpu-i of the pool NODE.
const Driver = "gpu.nvidia.com"

// slice of a node, as NVIDIA's driver publishes it.
func (n Nodes) slice(i int) *resourceapi.ResourceSlice {
	name := n.NodeName(i)
	text := func(value string) resourceapi.DeviceAttribute {
		return resourceapi.DeviceAttribute{StringValue: &value}
	}
	out := &resourceapi.ResourceSlice{ObjectMeta: metav1.ObjectMeta{Name: name + "-" + Driver},
		Spec: resourceapi.ResourceSliceSpec{Driver: Driver, NodeName: &name,
			Pool: resourceapi.ResourcePool{Name: name, Generation: 1, ResourceSliceCount: 1}}}
	for c := range n.Cards {
		out.Spec.Devices = append(out.Spec.Devices, resourceapi.Device{Name: fmt.Sprintf("gpu-%d", c),
			Attributes: map[resourceapi.QualifiedName]resourceapi.DeviceAttribute{"type": text("gpu"),
				"uuid": text(UUID(name, c)), "productName": text(CardModel)},
			Capacity: map[resourceapi.QualifiedName]resourceapi.DeviceCapacity{"memory": {Value: resource.MustParse("80Gi")}}})
	}
	return out
}

func claimSpec(count int64) resourceapi.ResourceClaimSpec {
	return resourceapi.ResourceClaimSpec{Devices: resourceapi.DeviceClaim{Requests: []resourceapi.DeviceRequest{{
		Name: "gpus", Exactly: &resourceapi.ExactDeviceRequest{DeviceClassName: Driver, Count: count,
			AllocationMode: resourceapi.DeviceAllocationModeExactCount}}}}}
}

// StartClaims makes the driver's device class and plays the part of the controller manager that makes
// claims from templates and takes them back, until the test ends.
func (b *Bed) StartClaims() {
	b.T.Helper()
	_, err := b.Client.ResourceV1().DeviceClasses().Create(b.ctx, &resourceapi.DeviceClass{
		ObjectMeta: metav1.ObjectMeta{Name: Driver}, Spec: resourceapi.DeviceClassSpec{
			Selectors: []resourceapi.DeviceSelector{{CEL: &resourceapi.CELDeviceSelector{
				Expression: `device.driver == "` + Driver + `" && device.attributes["` + Driver + `"].type == "gpu"`}}}}},
		metav1.CreateOptions{})
	b.must(err)
	go func() {
		for b.ctx.Err() == nil {
			_ = b.serveClaims(b.ctx) // what failed is tried again
			select {
			case <-b.ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
}

// Template for claims of so many cards; Claim is one of its own.
func (b *Bed) Template(name string, count int64) {
	b.T.Helper()
	_, err := b.Client.ResourceV1().ResourceClaimTemplates("default").Create(b.ctx, &resourceapi.ResourceClaimTemplate{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: resourceapi.ResourceClaimTemplateSpec{Spec: claimSpec(count)}},
		metav1.CreateOptions{})
	b.must(err)
}

// Claim of so many cards, for pods to share.
func (b *Bed) Claim(name string, count int64) {
	b.T.Helper()
	_, err := b.Client.ResourceV1().ResourceClaims("default").Create(b.ctx, &resourceapi.ResourceClaim{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: claimSpec(count)}, metav1.CreateOptions{})
	b.must(err)
}

// Claims in the cluster.
func (b *Bed) Claims() []resourceapi.ResourceClaim {
	b.T.Helper()
	list, err := b.Client.ResourceV1().ResourceClaims("default").List(b.ctx, metav1.ListOptions{})
	b.must(err)
	return list.Items
}

// DevicesOf a claim, as UUID gives their names.
func DevicesOf(claim *resourceapi.ResourceClaim) []string {
	var out []string
	if claim.Status.Allocation != nil {
		for _, result := range claim.Status.Allocation.Devices.Results {
			var card int
			if _, err := fmt.Sscanf(result.Device, "gpu-%d", &card); err != nil || result.Driver != Driver {
				return []string{"not a card: " + result.Device}
			}
			out = append(out, UUID(result.Pool, card))
		}
	}
	slices.Sort(out)
	return out
}

// DevicesOnce demands that no device is allocated to two claims, and says how many are allocated.
func (b *Bed) DevicesOnce() int {
	b.T.Helper()
	of := map[string]string{}
	for _, claim := range b.Claims() {
		for _, uuid := range DevicesOf(&claim) {
			if of[uuid] != "" {
				b.T.Errorf("%s is allocated to %s and to %s", uuid, of[uuid], claim.Name)
			}
			of[uuid] = claim.Name
		}
	}
	return len(of)
}

func (b *Bed) serveClaims(ctx context.Context) error {
	list, err := b.Client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	live := map[string]bool{}
	for i := range list.Items {
		pod := &list.Items[i]
		if pod.Status.Phase == v1.PodSucceeded || pod.Status.Phase == v1.PodFailed {
			continue
		}
		live[string(pod.UID)] = true
		if err := b.generate(ctx, pod); err != nil {
			return err
		}
	}
	claims, err := b.Client.ResourceV1().ResourceClaims("default").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for i := range claims.Items {
		if err := b.takeBack(ctx, &claims.Items[i], live); err != nil {
			return err
		}
	}
	return nil
}

func (b *Bed) generate(ctx context.Context, pod *v1.Pod) error {
	for _, one := range pod.Spec.ResourceClaims {
		if one.ResourceClaimTemplateName == nil || len(pod.Status.ResourceClaimStatuses) > 0 {
			continue
		}
		template, err := b.Client.ResourceV1().ResourceClaimTemplates("default").Get(ctx, *one.ResourceClaimTemplateName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		yes := true
		claim, err := b.Client.ResourceV1().ResourceClaims("default").Create(ctx, &resourceapi.ResourceClaim{
			ObjectMeta: metav1.ObjectMeta{GenerateName: pod.Name + "-", OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID, Controller: &yes}}},
			Spec: template.Spec.Spec}, metav1.CreateOptions{})
		if err != nil {
			return err
		}
		pod.Status.ResourceClaimStatuses = []v1.PodResourceClaimStatus{{Name: one.Name, ResourceClaimName: &claim.Name}}
		if _, err := b.Client.CoreV1().Pods("default").UpdateStatus(ctx, pod, metav1.UpdateOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// takeBack what pods that are gone had.
func (b *Bed) takeBack(ctx context.Context, claim *resourceapi.ResourceClaim, live map[string]bool) error {
	api := b.Client.ResourceV1().ResourceClaims("default")
	left := slices.DeleteFunc(slices.Clone(claim.Status.ReservedFor),
		func(r resourceapi.ResourceClaimConsumerReference) bool { return !live[string(r.UID)] })
	if len(left) < len(claim.Status.ReservedFor) {
		if claim.Status.ReservedFor = left; len(left) == 0 {
			claim.Status.Allocation, claim.Status.ReservedFor = nil, nil
		}
		updated, err := api.UpdateStatus(ctx, claim, metav1.UpdateOptions{})
		if err != nil {
			return err
		}
		*claim = *updated
	}
	if owner := metav1.GetControllerOf(claim); owner == nil || live[string(owner.UID)] || claim.Status.Allocation != nil {
		return nil
	}
	if len(claim.Finalizers) > 0 {
		claim.Finalizers = nil
		if _, err := api.Update(ctx, claim, metav1.UpdateOptions{}); err != nil {
			return err
		}
	}
	return api.Delete(ctx, claim.Name, metav1.DeleteOptions{})
}
