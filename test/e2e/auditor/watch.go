package auditor

import (
	"context"
	"fmt"

	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// Watch feeds the auditor from the API server until the context ends. Informers deliver an object's
// latest state after a lost connection: states in between may be missed, never the last one.
func (a *Auditor) Watch(ctx context.Context, client kubernetes.Interface) error {
	factory := informers.NewSharedInformerFactory(client, 0)
	pods, nodes := factory.Core().V1().Pods().Informer(), factory.Core().V1().Nodes().Informer()
	gone := func(object any) any {
		if unknown, ok := object.(cache.DeletedFinalStateUnknown); ok {
			return unknown.Obj
		}
		return object
	}
	_, err := nodes.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { a.Node(object.(*v1.Node)) },
		UpdateFunc: func(_, object any) { a.Node(object.(*v1.Node)) },
		DeleteFunc: func(object any) { a.NodeGone(gone(object).(*v1.Node).Name) },
	})
	if err != nil {
		return err
	}
	_, err = pods.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(object any) { a.PodIs(object.(*v1.Pod)) },
		UpdateFunc: func(before, object any) {
			// A name that was deleted and made again while the connection was lost.
			if old := before.(*v1.Pod); old.UID != object.(*v1.Pod).UID {
				a.PodGone(old.UID)
			}
			a.PodIs(object.(*v1.Pod))
		},
		DeleteFunc: func(object any) { a.PodGone(gone(object).(*v1.Pod).UID) },
	})
	if err != nil {
		return err
	}
	factory.Start(ctx.Done())
	for kind, synced := range factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			return fmt.Errorf("the auditor could not list %v", kind)
		}
	}
	return nil
}
