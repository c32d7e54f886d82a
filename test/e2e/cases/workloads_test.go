package cases

import (
	"fmt"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"basalt.io/e2e/harness"
)

// rayPod is a pod as KubeRay makes it: its labels and owner, the workers' init container that waits for
// the head, and the group as the batch scheduler's integration writes it.
func rayPod(cluster, kind, group string, limits map[string]string, scheduler string) harness.PodSpec {
	name := cluster + "-" + group
	spec := harness.PodSpec{Name: name, Scheduler: scheduler, Limits: limits,
		Labels: map[string]string{"of": name, "ray.io/cluster": cluster, "ray.io/node-type": kind, "ray.io/group": group,
			"ray.io/is-ray-node": "yes", "ray.io/identifier": cluster + "-" + kind,
			"app.kubernetes.io/created-by": "kuberay-operator", "app.kubernetes.io/name": "kuberay"}}
	if scheduler == harness.VolcanoScheduler {
		spec.Annotations = map[string]string{"scheduling.k8s.io/group-name": "ray-" + cluster + "-pg",
			"volcano.sh/task-spec": group}
	} else {
		spec.Labels["scheduling.x-k8s.io/pod-group"] = cluster
	}
	yes := true
	spec.Prepare = func(pod *v1.Pod) {
		pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "ray.io/v1", Kind: "RayCluster", Name: cluster,
			UID: "00000000-0000-4000-8000-00000000ca1f", Controller: &yes, BlockOwnerDeletion: &yes}}
		pod.Spec.Containers[0].Name = "ray-" + kind
		if kind == "worker" {
			little := v1.ResourceList{"cpu": resource.MustParse("50m"), "memory": resource.MustParse("64Mi")}
			pod.Spec.InitContainers = []v1.Container{{Name: "wait-gcs-ready", Image: "none",
				Resources: v1.ResourceRequirements{Limits: little, Requests: little}}}
		}
	}
	return spec
}

// A RayCluster: a head without cards, two groups of workers, one PodGroup of all. The autoscaler adds
// workers later, and KubeRay replaces those that die.
func TestKubeRay(t *testing.T) {
	b := kubeBed(t, harness.Nodes{Name: "n", Count: 2, Cards: 8, Plugin: harness.HAMi})
	const kube = harness.KubeScheduler
	b.Gang("ray", 4)
	b.Pod(rayPod("ray", "head", "headgroup", nil, kube))
	b.PodsOf(2, rayPod("ray", "worker", "small", cards(2), kube))
	noneBound(b, 3*time.Second, "ray.io/cluster=ray")
	b.Pod(rayPod("ray", "worker", "large", cards(4), kube))
	b.UntilRunning(soon, "ray.io/cluster=ray", 4)
	// Two more, as the autoscaler asks; KubeRay raises the minimum.
	b.SetMinimum("ray", 6)
	more := rayPod("ray", "worker", "small", cards(2), kube)
	more.Name = "more"
	b.PodsOf(2, more)
	b.UntilRunning(soon, "ray.io/cluster=ray", 6)
	b.Delete("more-1", "ray-small-0")
	more.Name = "again"
	b.PodsOf(2, more)
	b.UntilRunning(soon, "ray.io/cluster=ray", 6)
	// 12 of 16 cards are used: a second cluster does not fit, and its head does not start either.
	b.Gang("second", 5)
	b.Pod(rayPod("second", "head", "headgroup", nil, kube))
	b.PodsOf(4, rayPod("second", "worker", "small", cards(2), kube))
	noneBound(b, 5*time.Second, "ray.io/cluster=second")
	b.Delete("more-0", "again-0")
	b.UntilRunning(soon, "ray.io/cluster=second", 5)
	b.GangsWhole(map[string]int{"ray": 4, "second": 5})
	end(b)
}

// The same as KubeRay makes it for Volcano.
func TestVolcanoRay(t *testing.T) {
	b := volcanoBed(t, harness.Nodes{Name: "n", Count: 2, Cards: 8, Plugin: harness.HAMi})
	const volcano = harness.VolcanoScheduler
	b.VolcanoGang("ray-ray-pg", 4, "default", nil)
	b.Pod(rayPod("ray", "head", "headgroup", nil, volcano))
	b.PodsOf(2, rayPod("ray", "worker", "small", cards(2), volcano))
	noneBound(b, 3*time.Second, "ray.io/cluster=ray")
	b.Pod(rayPod("ray", "worker", "large", cards(4), volcano))
	b.UntilRunning(soon, "ray.io/cluster=ray", 4)
	more := rayPod("ray", "worker", "small", cards(2), volcano)
	more.Name = "more"
	b.PodsOf(2, more)
	b.UntilRunning(soon, "ray.io/cluster=ray", 6)
	b.VolcanoGang("ray-second-pg", 5, "default", nil)
	b.Pod(rayPod("second", "head", "headgroup", nil, volcano))
	b.PodsOf(4, rayPod("second", "worker", "small", cards(2), volcano))
	noneBound(b, 5*time.Second, "ray.io/cluster=second")
	b.Delete("more-0", "more-1")
	b.UntilRunning(soon, "ray.io/cluster=second", 5)
	b.GangsWhole(map[string]int{"ray-ray-pg": 4, "ray-second-pg": 5})
	end(b)
}

// The head of a gang may be bound to other nodes than its workers by its own node affinity.
func TestKubeGangOfTwoAffinities(t *testing.T) {
	b := kubeBed(t, harness.Nodes{Name: "gpu", Count: 2, Cards: 4, Plugin: harness.HAMi, Labels: map[string]string{"pool": "gpu"}},
		harness.Nodes{Name: "cpu", Count: 1, Plugin: harness.Bare, Labels: map[string]string{"pool": "cpu"}})
	in := func(pool string) func(*v1.Pod) {
		return func(pod *v1.Pod) {
			pod.Spec.Affinity = &v1.Affinity{NodeAffinity: &v1.NodeAffinity{
				RequiredDuringSchedulingIgnoredDuringExecution: &v1.NodeSelector{NodeSelectorTerms: []v1.NodeSelectorTerm{{
					MatchExpressions: []v1.NodeSelectorRequirement{{Key: "pool", Operator: v1.NodeSelectorOpIn, Values: []string{pool}}}}}}}}
		}
	}
	b.Gang("gang", 3)
	head, worker := kubeMember("head", "gang", nil), kubeMember("worker", "gang", cards(4))
	head.Prepare, worker.Prepare = in("cpu"), in("gpu")
	b.Pod(head)
	b.PodsOf(2, worker)
	b.UntilRunning(soon, "of=head", 1)
	b.UntilRunning(soon, "of=worker", 2)
	if node := b.Get("head").Spec.NodeName; node != "cpu-0" {
		t.Errorf("the head is on %s", node)
	}
	b.GangsWhole(map[string]int{"gang": 3})
	end(b)
}

// virtLauncher is a virtual machine's pod as KubeVirt makes it, with one passthrough card.
func virtLauncher(name, scheduler, device string) harness.PodSpec {
	return harness.PodSpec{Name: "virt-launcher-" + name, Scheduler: scheduler,
		Labels:      map[string]string{"of": name, "kubevirt.io": "virt-launcher", "vm.kubevirt.io/name": name},
		Annotations: map[string]string{"kubevirt.io/domain": name, "kubevirt.io/migrationTransportUnix": "true"},
		Limits: map[string]string{device: "1", "devices.kubevirt.io/kvm": "1", "devices.kubevirt.io/tun": "1",
			"devices.kubevirt.io/vhost-net": "1"},
		Prepare: func(pod *v1.Pod) {
			pod.Spec.Containers[0].Name = "compute"
			pod.Spec.NodeSelector = map[string]string{"kubevirt.io/schedulable": "true"}
			pod.Spec.RestartPolicy = v1.RestartPolicyNever
		}}
}

// Virtual machines with passthrough cards, beside containers that share others: KubeVirt's plugin offers
// the cards of vfio nodes under the PCI device's name.
func TestKubeVirt(t *testing.T) {
	const t4 = "nvidia.com/TU104GL_Tesla_T4"
	b := kubeBed(t, harness.Nodes{Name: "n", Count: 1, Cards: 4, Plugin: harness.HAMi},
		harness.Nodes{Name: "vm", Count: 2, Plugin: harness.Bare, Labels: map[string]string{"kubevirt.io/schedulable": "true"},
			Also: map[string]string{t4: "2", "devices.kubevirt.io/kvm": "1k", "devices.kubevirt.io/tun": "1k",
				"devices.kubevirt.io/vhost-net": "1k"}})
	b.Until(soon, "the server knows four cards of the passthrough pool", func() error {
		return metricIs(b, `basalt_model_cards{cluster="default",model="T4",state="idle"}`, 4)
	})
	b.PodsOf(4, harness.PodSpec{Name: "share", Scheduler: harness.KubeScheduler, Limits: slice(20480, 50), Labels: of("share")})
	b.PodsOf(4, virtLauncher("vm", harness.KubeScheduler, t4))
	b.UntilRunning(soon, "of=vm", 4)
	b.UntilRunning(soon, "of=share", 4)
	if err := metricIs(b, `basalt_model_cards{cluster="default",model="T4",state="full"}`, 4); err != nil {
		t.Error(err)
	}
	// One more waits with a reason; a card of a container is none for it.
	b.Pod(virtLauncher("more", harness.KubeScheduler, t4))
	b.Until(soon, "the fifth waits", func() error {
		if why := b.Why("virt-launcher-more"); !strings.Contains(why, "Basalt") {
			return errorf("it says %q", why)
		}
		return nil
	})
	b.Delete("virt-launcher-vm-2")
	b.UntilRunning(soon, "of=more", 1)
	end(b)
}

// Names of one model, on nodes that all offer the same names, with no label or selector: the engine
// knows which cards they mean.
func TestKubeModelNames(t *testing.T) {
	named := map[string]string{"nvidia.com/gpu-a100": "40"}
	l20 := map[string]string{"nvidia.com/gpu-a100": "40", "volcano.sh/vgpu-number-l20": "40", "volcano.sh/vgpu-memory-l20": "400000"}
	b := kubeBed(t, harness.Nodes{Name: "a", Count: 2, Cards: 4, Plugin: harness.HAMi, Also: named},
		harness.Nodes{Name: "t", Count: 2, Cards: 4, Plugin: harness.HAMi, Model: "Tesla T4", Memory: 16384, Also: named},
		harness.Nodes{Name: "l", Count: 1, Cards: 4, Plugin: harness.Volcano, Model: "NVIDIA L20", Memory: 46068, Also: l20})
	b.PodsOf(4, harness.PodSpec{Name: "whole", Scheduler: harness.KubeScheduler, Labels: of("whole"),
		Limits: map[string]string{"nvidia.com/gpu-a100": "1"}})
	b.PodsOf(6, harness.PodSpec{Name: "part", Scheduler: harness.KubeScheduler, Labels: of("part"),
		Limits: map[string]string{"nvidia.com/gpu-a100": "1", "nvidia.com/gpumem-a100": "30000"}})
	b.PodsOf(4, harness.PodSpec{Name: "l20", Scheduler: harness.KubeScheduler, Labels: of("l20"),
		Limits: map[string]string{"volcano.sh/vgpu-number-l20": "1", "volcano.sh/vgpu-memory-l20": "20000"}})
	b.UntilRunning(soon, "of=whole", 4)
	b.UntilRunning(soon, "of=part", 6)
	b.UntilRunning(soon, "of=l20", 4)
	for label, nodes := range map[string]map[string]bool{"of=whole": {"a-0": true, "a-1": true},
		"of=part": {"a-0": true, "a-1": true}, "of=l20": {"l-0": true}} {
		if err := allIn(nodesOf(b, label), nodes); err != nil {
			t.Errorf("%s: %v", label, err)
		}
	}
	end(b)
}

// A native ResourceQuota: the API server makes no more pods than it allows, so a gang that it cuts short
// never starts, and one that it lets through does.
func TestResourceQuota(t *testing.T) {
	for _, host := range []string{"kube", "volcano"} {
		t.Run(host, func(t *testing.T) {
			nodes := harness.Nodes{Name: "n", Count: 2, Cards: 4, Plugin: harness.HAMi}
			var b *harness.Bed
			var member harness.PodSpec
			if host == "kube" {
				b, member = kubeBed(t, nodes), kubeMember("member", "gang", cards(1))
				b.Gang("gang", 4)
			} else {
				b, member = volcanoBed(t, nodes), volcanoMember("member", "gang", cards(1))
				b.VolcanoGang("gang", 4, "default", nil)
			}
			b.ResourceQuota("team", map[string]string{"requests.nvidia.com/gpu": "3"})
			b.PodsOf(3, member)
			fourth := member
			fourth.Name = "member-3"
			if err := b.TryPod(fourth); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "exceeded quota") {
				t.Fatalf("the fourth pod is not refused by the quota: %v", err)
			}
			noneBound(b, 4*time.Second, "of=member")
			b.SetQuota("team", "requests.nvidia.com/gpu", "4")
			b.Pod(fourth)
			b.UntilRunning(soon, "of=member", 4)
			// What has ended counts no more.
			b.Finish("member-0")
			single := harness.PodSpec{Name: "single", Scheduler: member.Scheduler, Limits: cards(1), Labels: of("single")}
			if host == "volcano" {
				b.VolcanoGang("single", 1, "default", nil)
				single = volcanoMember("single", "single", cards(1))
			}
			b.Until(soon, "the quota has room again", func() error { return b.TryPod(single) })
			b.UntilRunning(soon, "of=single", 1)
			b.GangsWhole(map[string]int{"gang": 4})
			end(b)
		})
	}
}

// HAMi's plugins of three versions in one cluster, with the containers that slots are counted by: an
// init container without cards, a container without, two with.
func TestHAMiVersions(t *testing.T) {
	for _, host := range []string{"kube", "volcano"} {
		t.Run(host, func(t *testing.T) {
			var kinds []harness.Nodes
			for _, version := range []string{"2.7", "2.8", "2.10"} {
				name := "v" + strings.ReplaceAll(version, ".", "-")
				kinds = append(kinds, harness.Nodes{Name: name, Count: 1, Cards: 2, Plugin: harness.HAMi, Version: version,
					Labels: map[string]string{"hami": version}})
			}
			var b *harness.Bed
			if host == "kube" {
				b = kubeBed(t, kinds...)
			} else {
				b = volcanoBed(t, kinds...)
			}
			for _, nodes := range kinds {
				name := nodes.Name
				spec := harness.PodSpec{Name: name, Scheduler: harness.KubeScheduler, Limits: slice(10000, 10), Labels: of(name)}
				if host == "volcano" {
					b.VolcanoGang(name, 4, "default", nil)
					spec = volcanoMember(name, name, slice(10000, 10))
				}
				spec.Prepare = func(pod *v1.Pod) {
					pod.Spec.NodeSelector = map[string]string{"hami": nodes.Version}
					first := pod.Spec.Containers[0]
					plain := v1.Container{Name: "plain", Image: "none"}
					pair := *first.DeepCopy()
					pair.Name = "pair"
					pair.Resources.Limits["nvidia.com/gpu"] = resource.MustParse("2")
					pair.Resources.Requests["nvidia.com/gpu"] = resource.MustParse("2")
					pod.Spec.InitContainers = []v1.Container{{Name: "init", Image: "none"}}
					pod.Spec.Containers = []v1.Container{plain, first, {Name: "other", Image: "none"}, pair}
				}
				b.PodsOf(4, spec)
			}
			for _, nodes := range kinds {
				b.UntilRunning(soon, "of="+nodes.Name, 4)
				if grants := b.Auditor.Grants("of", nodes.Name); grants != 4*3 {
					t.Errorf("HAMi %s: %d cards were granted to containers, 12 are asked", nodes.Version, grants)
				}
			}
			end(b)
		})
	}
}

// volcano-vgpu-device-plugin through kube-scheduler: pods of one container each, and with one without.
func TestKubeVolcanoPlugin(t *testing.T) {
	b := kubeBed(t, harness.Nodes{Name: "n", Count: 2, Cards: 2, Plugin: harness.Volcano})
	for i := range 3 {
		name := fmt.Sprintf("part-%d", i)
		spec := harness.PodSpec{Name: name, Scheduler: harness.KubeScheduler, Limits: volcanoSlice(20480, 30), Labels: of(name)}
		if i == 1 {
			spec.Limits["volcano.sh/vgpu-number"] = "2"
		}
		if i == 2 {
			spec.Prepare = func(pod *v1.Pod) {
				pod.Spec.Containers = append([]v1.Container{{Name: "plain", Image: "none"}}, pod.Spec.Containers...)
			}
		}
		b.PodsOf(3, spec)
	}
	for i := range 3 {
		name := fmt.Sprintf("part-%d", i)
		b.UntilRunning(soon, "of="+name, 3)
	}
	if grants := b.Auditor.Grants("", ""); grants != 12 {
		t.Errorf("%d cards were granted, 12 are asked", grants)
	}
	end(b)
}
