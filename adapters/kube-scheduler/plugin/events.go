package plugin

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"time"

	v1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	vcclient "volcano.sh/apis/pkg/client/clientset/versioned"

	"basalt.io/adapters/podres"
	"basalt.io/adapters/syncer"
)

// start what runs beside the scheduling cycles.
func (p *Plugin) start(ctx context.Context) error {
	if err := p.startGroups(ctx); err != nil {
		return err
	}
	p.handle.SharedInformerFactory().Core().V1().Nodes().Informer() // for its lister
	if flag(p.args.Sync) {
		if err := p.startSync(ctx); err != nil {
			return err
		}
	}
	if err := p.startHints(); err != nil {
		return err
	}
	go p.watch(ctx)
	go p.wake(ctx)
	return nil
}

func (p *Plugin) startSync(ctx context.Context) error {
	options := syncer.Options{Client: p.client, Kube: p.handle.ClientSet(), Budgets: true,
		Claims: syncer.ServesClaims(p.handle.ClientSet()), Room: p.books.stir}
	if _, err := p.handle.ClientSet().Discovery().ServerResourcesForGroupVersion("scheduling.volcano.sh/v1beta1"); err == nil {
		config := *p.handle.KubeConfig()
		config.ContentType, config.AcceptContentTypes = "application/json", "application/json" // of custom resources
		if options.Volcano, err = vcclient.NewForConfig(&config); err != nil {
			return err
		}
	}
	// Its own connection to the API server: a listing must not wait behind the scheduler's calls.
	kube, err := kubernetes.NewForConfig(p.handle.KubeConfig())
	if err != nil {
		return err
	}
	options.Kube = kube
	s, err := syncer.New(options)
	if err != nil {
		return err
	}
	go func() {
		if err := s.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			klog.ErrorS(err, "The syncer has ended")
		}
	}()
	return nil
}

// startHints stirs on what makes room without an event that kube-scheduler would pass on to a plugin:
// pods of any scheduler that have ended. A node that has changed, or on which a pod has ended, may be
// taken by pods for which others have vetoed it.
func (p *Plugin) startHints() error {
	gone := func(object any) any {
		if unknown, ok := object.(cache.DeletedFinalStateUnknown); ok {
			return unknown.Obj
		}
		return object
	}
	ended := func(pod *v1.Pod) {
		if pod.Spec.NodeName != "" {
			p.books.forgive(pod.Spec.NodeName)
			p.books.stir()
		}
	}
	_, err := p.handle.SharedInformerFactory().Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		UpdateFunc: func(before, after any) {
			if was, is := before.(*v1.Pod), after.(*v1.Pod); !podres.Ended(was) && podres.Ended(is) {
				ended(is)
			}
		},
		DeleteFunc: func(object any) {
			if pod, ok := gone(object).(*v1.Pod); ok {
				p.books.forget(pod.UID)
				ended(pod)
			}
		},
	})
	if err != nil {
		return err
	}
	_, err = p.handle.SharedInformerFactory().Core().V1().Nodes().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		UpdateFunc: func(before, after any) {
			if was, is := before.(*v1.Node), after.(*v1.Node); changed(was, is) {
				p.books.forgive(is.Name)
				p.books.stir()
			}
		},
	})
	if err != nil || p.claimer == nil {
		return err
	}
	// Its devices are free later than its pod's place is: meanwhile their node may have been vetoed.
	freed := func() {
		p.books.forgiveAll()
		p.books.stir()
	}
	_, err = p.handle.SharedInformerFactory().Resource().V1().ResourceClaims().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		UpdateFunc: func(before, after any) {
			was, is := before.(*resourceapi.ResourceClaim), after.(*resourceapi.ResourceClaim)
			if was.Status.Allocation != nil && is.Status.Allocation == nil {
				freed()
			}
		},
		DeleteFunc: func(any) { freed() },
	})
	return err
}

// changed says that a node may take pods now that it did not; heartbeats are no change.
func changed(was, is *v1.Node) bool {
	return was.Spec.Unschedulable != is.Spec.Unschedulable || !reflect.DeepEqual(was.Spec.Taints, is.Spec.Taints) ||
		!maps.Equal(was.Labels, is.Labels) ||
		!apiequality.Semantic.DeepEqual(was.Status.Allocatable, is.Status.Allocatable)
}

// EventsToRegister names what may make a refused pod fit. What only the engine knows (leases that end,
// quotas) comes by its watch.
func (p *Plugin) EventsToRegister(ctx context.Context) ([]fwk.ClusterEventWithHint, error) {
	events := []fwk.ClusterEventWithHint{
		{Event: fwk.ClusterEvent{Resource: fwk.Pod, ActionType: fwk.Add}, QueueingHintFn: sameGang},
		{Event: fwk.ClusterEvent{Resource: fwk.Pod, ActionType: fwk.Delete}, QueueingHintFn: hadDevices},
		{Event: fwk.ClusterEvent{Resource: fwk.Node, ActionType: fwk.Add | fwk.UpdateNodeAllocatable | fwk.UpdateNodeLabel |
			fwk.UpdateNodeTaint | fwk.UpdateNodeAnnotation}},
	}
	if p.claimer == nil {
		return events, nil
	}
	more, err := p.claimer.inner.EventsToRegister(ctx)
	return append(events, more...), err
}

// sameGang: a gang that was too small may be complete.
func sameGang(_ klog.Logger, pod *v1.Pod, _, added any) (fwk.QueueingHint, error) {
	one, ok := added.(*v1.Pod)
	if ok && groupOf(pod) != "" && groupOf(pod) == groupOf(one) && pod.Namespace == one.Namespace {
		return fwk.Queue, nil
	}
	return fwk.QueueSkip, nil
}

// hadDevices: cards are free again.
func hadDevices(_ klog.Logger, _ *v1.Pod, deleted, _ any) (fwk.QueueingHint, error) {
	if one, ok := deleted.(*v1.Pod); ok && podres.HasDevices(one) {
		return fwk.Queue, nil
	}
	return fwk.QueueSkip, nil
}

// groupGrace is how long a pod without devices waits for the PodGroup that it names.
const groupGrace = 10 * time.Second

// PreEnqueue keeps a gang out of the queue until it has its least number of pods. That holds for its
// pods without devices, too, which may come first: a head waits for its workers.
func (p *Plugin) PreEnqueue(ctx context.Context, pod *v1.Pod) *fwk.Status {
	if p.hasClaims(pod) {
		if status := p.claimer.inner.PreEnqueue(ctx, pod); !status.IsSuccess() {
			return status
		}
	}
	if groupOf(pod) == "" {
		return nil
	}
	if _, _, err := p.members(pod); err != nil {
		if _, group := p.groups.group(pod.Namespace, groupOf(pod)); group != nil && !podres.HasDevices(pod) {
			// Pods and PodGroups come by different watches: a head may be here before its PodGroup.
			late := groupGrace - time.Since(pod.CreationTimestamp.Time)
			if late <= 0 || errors.Is(group, errNoKind) {
				return nil // no gang that is known here, and no devices: none of ours
			}
			time.AfterFunc(late, p.books.stir)
		}
		p.books.gate(pod)
		return fwk.NewStatus(fwk.UnschedulableAndUnresolvable, "Basalt: "+err.Error())
	}
	// kube-scheduler tells plugins only of pods that have been bound: the one that completes a gang
	// wakes those that came before it.
	if p.books.open(pod.Namespace, groupOf(pod)) || p.hasClaims(pod) {
		p.books.stir()
	}
	return nil
}
