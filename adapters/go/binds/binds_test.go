package binds

import (
	"context"
	"errors"
	"fmt"
	"testing"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kubefake "k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"
)

var pods = schema.GroupResource{Resource: "pods"}

func TestOnlyANoOfTheAPIServerIsARefusal(t *testing.T) {
	why := errors.New("why")
	for _, err := range []error{
		apierrors.NewConflict(pods, "p", why), apierrors.NewForbidden(pods, "p", why), apierrors.NewNotFound(pods, "p"),
		apierrors.NewBadRequest("no"), fmt.Errorf("bind: %w", apierrors.NewNotFound(pods, "p")),
	} {
		if !Refused(err) {
			t.Errorf("in doubt: %v", err)
		}
	}
	for _, err := range []error{
		nil, why, context.DeadlineExceeded, apierrors.NewTimeoutError("etcd", 1), apierrors.NewServerTimeout(pods, "create", 1),
		apierrors.NewTooManyRequests("busy", 1), apierrors.NewInternalError(why), apierrors.NewServiceUnavailable("no"),
		apierrors.NewGenericServerResponse(408, "create", pods, "p", "", 0, true),
		apierrors.NewGenericServerResponse(502, "create", pods, "p", "", 0, true),
	} {
		if Refused(err) {
			t.Errorf("taken for a refusal: %v", err)
		}
	}
}

func TestABindIsOverWhenThePodHasNoNodeAndGetsNone(t *testing.T) {
	pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "1"}}
	with := func(change func(*v1.Pod)) *v1.Pod {
		now := pod.DeepCopy()
		change(now)
		return now
	}
	for _, c := range []struct {
		name            string
		now             *v1.Pod
		err             error
		settled, doubts bool // what Over says
	}{
		{"unbound", pod, nil, true, false},
		{"bound", with(func(p *v1.Pod) { p.Spec.NodeName = "n" }), nil, false, false},
		{"being deleted", with(func(p *v1.Pod) { p.DeletionTimestamp = &metav1.Time{} }), nil, true, true},
		{"made anew", with(func(p *v1.Pod) { p.UID, p.Spec.NodeName = "2", "n" }), nil, true, true},
		{"gone", nil, apierrors.NewNotFound(pods, "p"), true, true},
		{"no answer", nil, errors.New("the connection was lost"), false, false},
	} {
		kube := kubefake.NewClientset()
		kube.PrependReactor("get", "pods", func(ktesting.Action) (bool, runtime.Object, error) { return true, c.now, c.err })
		for settled, want := range map[bool]bool{true: c.settled, false: c.doubts} {
			if over := Over(context.Background(), kube, pod, settled); over != want {
				t.Errorf("%s, settled %v: over %v", c.name, settled, over)
			}
		}
	}
}
