package plugin

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	ktesting "k8s.io/client-go/testing"
	fwk "k8s.io/kube-scheduler/framework"
	fw "k8s.io/kubernetes/pkg/scheduler/framework"

	"basalt.io/adapters/client"
	"basalt.io/adapters/fake"
	placementv1 "basalt.io/adapters/placement/v1"
	"basalt.io/adapters/podres"
)

func TestAPodIsReservedConfirmedAndBoundWithItsCards(t *testing.T) {
	f := setup(t, map[string]int{"a": 1, "b": 4, "c": 4}, nil)
	c := f.cycle(f.pod(1, 2, ""))
	c.must(c.choose())
	if c.node != "b" {
		t.Fatalf("the engine's first choice is b, kube-scheduler took %s", c.node)
	}
	if d := read(c.state); len(d.ranks) != 2 || d.ranks["c"] != 1 {
		t.Errorf("alternatives: %v", d.ranks)
	}
	if hold := f.server.Held()[string(c.pod.UID)]; hold.Node != "b" || hold.Confirmed {
		t.Errorf("after PreFilter: %+v", hold)
	}
	c.must(f.plugin.Reserve(context.Background(), c.state, c.pod, c.node))
	c.must(c.bind())
	if calls := f.server.Calls(); !slices.Equal(calls, []string{"Reserve", "Confirm"}) {
		t.Errorf("a pod costs two calls, made were %v", calls)
	}
	if hold := f.server.Held()[string(c.pod.UID)]; !hold.Confirmed {
		t.Errorf("bound without a confirmed lease: %+v", hold)
	}
	binding := f.bindings()["p1"]
	if binding == nil || binding.Target.Name != "b" || binding.UID != c.pod.UID {
		t.Fatalf("binding: %v", binding)
	}
	if binding.Annotations[podres.CardsAnnotation] != "b/0,b/1" || binding.Annotations["fake/assigned"] == "" {
		t.Errorf("the binding does not carry the assignment: %v", binding.Annotations)
	}
}

func TestAnAlternativeMayBeTaken(t *testing.T) {
	f := setup(t, map[string]int{"a": 2, "b": 2}, nil)
	c := f.cycle(f.pod(1, 1, ""))
	c.must(c.choose())
	c.node = "b"
	c.must(f.plugin.Reserve(context.Background(), c.state, c.pod, c.node))
	if hold := f.server.Held()[string(c.pod.UID)]; hold.Node != "b" {
		t.Errorf("reserved %+v, kube-scheduler chose b", hold)
	}
	c.must(c.bind())
	if binding := f.bindings()["p1"]; binding == nil || binding.Target.Name != "b" ||
		!strings.HasPrefix(binding.Annotations[podres.CardsAnnotation], "b/") {
		t.Errorf("binding: %v", binding)
	}
}

func TestAnAlternativeMayBeTakenByOthers(t *testing.T) {
	f := setup(t, map[string]int{"a": 2, "b": 2}, nil)
	c := f.cycle(f.pod(1, 1, ""))
	c.must(c.choose())
	f.server.Hold(string(uid(2)), "b", 0, 1)
	if status := f.plugin.Reserve(context.Background(), c.state, c.pod, "b"); status.Code() != fwk.Unschedulable {
		t.Errorf("Reserve: %v", status)
	}
	c.unreserve()
	if held := f.server.Held(); len(held) != 1 {
		t.Errorf("still held: %v", held)
	}
	if waiting, _ := f.plugin.books.take(); waiting["default/p1"] == nil {
		t.Error("the pod is not woken")
	}
}

func TestPodsWithoutDevicesAreLeftAlone(t *testing.T) {
	f := setup(t, map[string]int{"a": 1}, nil)
	c := f.cycle(f.pod(1, 0, ""))
	if _, status := f.plugin.PreFilter(context.Background(), c.state, c.pod, f.infos); !status.IsSkip() {
		t.Errorf("PreFilter: %v", status)
	}
	c.must(f.plugin.Reserve(context.Background(), c.state, c.pod, "a"))
	if status := f.plugin.PreBindPreFlight(context.Background(), c.state, c.pod, "a"); !status.IsSkip() {
		t.Errorf("PreBindPreFlight: %v", status)
	}
	if status := f.plugin.Bind(context.Background(), c.state, c.pod, "a"); !status.IsSkip() {
		t.Errorf("Bind: %v; the default binder is to do it", status)
	}
	if calls := f.server.Calls(); len(calls) != 0 {
		t.Errorf("the server was asked: %v", calls)
	}
}

func TestUnreserveGivesBackOnce(t *testing.T) {
	f := setup(t, map[string]int{"a": 1}, nil)
	c := f.cycle(f.pod(1, 1, ""))
	c.unreserve() // before PreFilter: nothing to give back
	c.must(c.choose())
	c.must(f.plugin.Reserve(context.Background(), c.state, c.pod, c.node))
	c.unreserve() // while it is being confirmed, or after
	c.unreserve()
	if len(f.server.Held()) != 0 || f.server.Count("Release") != 1 {
		t.Errorf("held %v after %d releases", f.server.Held(), f.server.Count("Release"))
	}
	early := f.cycle(f.pod(2, 1, ""))
	early.must(early.choose())
	early.unreserve() // another plugin's Reserve refused it before ours was called
	if len(f.server.Held()) != 0 {
		t.Errorf("held %v", f.server.Held())
	}
}

func TestVetoesAreFedBackAndEnd(t *testing.T) {
	f := setup(t, map[string]int{"a": 1, "b": 1, "c": 1}, func(args *Args, _ *client.Options) { *args.Alternatives = 0 })
	pod := f.pod(1, 1, "")
	for _, node := range []string{"a", "b", "c"} {
		c := f.cycle(pod)
		c.must(c.choose())
		if c.node != node {
			t.Fatalf("offered %s, want %s after the vetoes", c.node, node)
		}
		if _, status := f.plugin.PostFilter(context.Background(), c.state, pod, f.refusedBy("TaintToleration", node)); status.IsSuccess() {
			t.Error("a veto is no success")
		}
		if held := f.server.Held(); len(held) != 0 {
			t.Fatalf("held in spite of the veto: %v", held)
		}
	}
	status := f.cycle(pod).choose()
	if status.Code() != fwk.UnschedulableAndUnresolvable {
		t.Errorf("with all nodes vetoed: %v", status)
	}
	if excluded := f.server.Pods()[3].GetConstraints().GetExcludedNodes(); !slices.Equal(excluded, []string{"a", "b", "c"}) {
		t.Errorf("excluded: %v", excluded)
	}
	if waiting, _ := f.plugin.books.take(); waiting["default/p1"] == nil {
		t.Error("the pod is not woken")
	}
}

func TestAVetoIsForgottenWhenAPodOfTheNodeEnds(t *testing.T) {
	f := setup(t, map[string]int{"a": 4}, nil)
	if err := f.plugin.startHints(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	other := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "other", Namespace: "default", UID: uid(77)},
		Spec: v1.PodSpec{NodeName: "a"}}
	pods := f.handle.client.CoreV1().Pods("default")
	if _, err := pods.Create(ctx, other, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	f.handle.factory.Start(ctx.Done())
	f.handle.factory.WaitForCacheSync(ctx.Done())
	pod := f.pod(1, 1, "")
	f.plugin.books.veto(pod.UID, []string{"a"})
	if got := f.plugin.books.vetoed(pod.UID); !slices.Equal(got, []string{"a"}) {
		t.Fatalf("vetoed: %v", got)
	}
	if err := pods.Delete(ctx, "other", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); len(f.plugin.books.vetoed(pod.UID)) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the veto stays")
		}
	}
}

func TestAVetoedPlaceThatIsHeldIsGivenBack(t *testing.T) {
	f := setup(t, map[string]int{"a": 1, "b": 1}, nil)
	pod := f.pod(1, 1, "")
	c := f.cycle(pod)
	c.must(c.choose())
	c.must(f.plugin.Reserve(context.Background(), c.state, pod, "a")) // and then this process ended
	again := f.cycle(pod)
	again.must(again.choose())
	if d := read(again.state); !d.held || len(d.ranks) != 1 {
		t.Fatalf("what is held is the only offer: %+v", d)
	}
	f.plugin.PostFilter(context.Background(), again.state, pod, f.refusedBy("NodeUnschedulable", "a"))
	if len(f.server.Held()) != 0 {
		t.Errorf("still held: %v", f.server.Held())
	}
	last := f.cycle(pod)
	last.must(last.choose())
	if last.node != "b" {
		t.Errorf("offered %s", last.node)
	}
}

func TestRequiredNodeAffinityIsTold(t *testing.T) {
	f := setup(t, map[string]int{"a": 1, "b": 1}, nil)
	pod := f.pod(1, 1, "")
	in := func(zone string) {
		pod.Spec.Affinity = &v1.Affinity{NodeAffinity: &v1.NodeAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: &v1.NodeSelector{NodeSelectorTerms: []v1.NodeSelectorTerm{{
				MatchExpressions: []v1.NodeSelectorRequirement{{Key: "zone", Operator: v1.NodeSelectorOpIn, Values: []string{zone}}}}}}}}
	}
	in("b")
	c := f.cycle(pod)
	c.must(c.choose())
	if c.node != "b" {
		t.Errorf("placed on %s", c.node)
	}
	in("nowhere")
	if status := f.cycle(pod).choose(); status.Code() != fwk.UnschedulableAndUnresolvable {
		t.Errorf("no node matches: %v", status)
	}
}

func TestDownMeansClosed(t *testing.T) {
	f := setup(t, map[string]int{"a": 1}, nil)
	c := f.cycle(f.pod(1, 1, ""))
	c.must(c.choose())
	f.server.Stop()
	if status := f.cycle(c.pod).choose(); status.Code() != fwk.Error {
		t.Errorf("while the server is down: %v; an Error is tried again soon", status)
	}
	c.must(f.plugin.Reserve(context.Background(), c.state, c.pod, "a"))
	if status := c.bind(); status.IsSuccess() || len(f.bindings()) != 0 {
		t.Errorf("bound without an answer: %v", status)
	}
	f.server.Start()
	f.server.SetReady(false)
	// The connection comes back in its own time; until then there is no answer.
	f.until("answered", func() bool {
		status := f.cycle(c.pod).choose()
		if status.Code() != fwk.Error {
			t.Fatalf("while the server is not synced: %v", status)
		}
		return strings.Contains(status.Message(), "synced")
	})
}

func TestDownMeansFallback(t *testing.T) {
	f := setup(t, map[string]int{"a": 1}, func(_ *Args, options *client.Options) {
		options.OnDown, options.DownAfter, options.ProbeEach = client.Fallback, 20*time.Millisecond, 10*time.Millisecond
	})
	f.server.Stop()
	pod := f.pod(1, 1, "")
	deadline := time.Now().Add(5 * time.Second)
	for {
		_, status := f.plugin.PreFilter(context.Background(), fw.NewCycleState(), pod, f.infos)
		if status.IsSkip() {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no fallback: %v", status)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestConfirmIsAskedUntilThereIsAnAnswer(t *testing.T) {
	f := setup(t, map[string]int{"a": 1}, nil)
	lost := 0
	f.server.Before = func(method string) error {
		if method == "Confirm" && lost < 3 {
			lost++
			return fake.Unavailable()
		}
		return nil
	}
	c := f.cycle(f.pod(1, 1, ""))
	c.must(c.reserve())
	c.must(c.bind())
	if lost != 3 || len(f.bindings()) != 1 {
		t.Errorf("%d answers lost, %d binds", lost, len(f.bindings()))
	}
}

func TestAnExpiredLeaseBindsNothing(t *testing.T) {
	f := setup(t, map[string]int{"a": 1}, nil)
	c := f.cycle(f.pod(1, 1, ""))
	c.must(c.choose())
	f.server.Expire(string(c.pod.UID))
	c.must(f.plugin.Reserve(context.Background(), c.state, c.pod, c.node))
	if status := c.bind(); status.Code() != fwk.Unschedulable {
		t.Errorf("PreBind: %v", status)
	}
	if len(f.bindings()) != 0 {
		t.Error("bound without a lease")
	}
}

func TestARestartThatLostTheLeaseFencesIt(t *testing.T) {
	f := setup(t, map[string]int{"a": 1}, nil)
	c := f.cycle(f.pod(1, 1, ""))
	c.must(c.choose())
	f.server.Restart(false)
	c.must(f.plugin.Reserve(context.Background(), c.state, c.pod, c.node))
	if status := c.bind(); status.IsSuccess() || len(f.bindings()) != 0 {
		t.Errorf("PreBind: %v", status)
	}
	d := f.cycle(c.pod)
	d.must(d.reserve())
	f.server.Restart(true)
	d.must(d.bind())
}

func TestABindWithoutAnAnswerCounts(t *testing.T) {
	for name, bound := range map[string]bool{"the pod has its node": true, "it has not": false} {
		t.Run(name, func(t *testing.T) {
			f := setup(t, map[string]int{"a": 1}, nil)
			c := f.cycle(f.pod(1, 1, ""))
			c.must(c.reserve())
			f.handle.client.PrependReactor("create", "pods", func(action ktesting.Action) (bool, runtime.Object, error) {
				if action.GetSubresource() != "binding" {
					return false, nil, nil
				}
				if bound {
					now := c.pod.DeepCopy()
					now.Spec.NodeName = c.node
					if err := f.handle.client.Tracker().Update(v1.SchemeGroupVersion.WithResource("pods"), now, "default"); err != nil {
						t.Error(err)
					}
				}
				return true, nil, errors.New("the connection was lost")
			})
			status := c.bind()
			if status.IsSuccess() != bound {
				t.Fatalf("Bind: %v", status)
			}
			if bound {
				return
			}
			// The bind may still arrive: the lease stays, and the next cycle is on the same node.
			c.unreserve()
			if !f.server.Held()[string(c.pod.UID)].Confirmed {
				t.Fatal("the lease was given back while the bind is in doubt")
			}
			again := f.cycle(c.pod)
			again.must(again.choose())
			if again.node != "a" || !read(again.state).held {
				t.Errorf("the next cycle: %+v", read(again.state))
			}
		})
	}
}

func TestALeaseEndsOnlyAfterABindThatWasRefused(t *testing.T) {
	pods := v1.Resource("pods")
	for name, c := range map[string]struct {
		err   error
		keeps bool
	}{
		"refused":       {apierrors.NewForbidden(pods, "p1", errors.New("quota")), false},
		"timed out":     {apierrors.NewTimeoutError("etcd", 1), true},
		"not now":       {apierrors.NewTooManyRequests("busy", 1), true},
		"broken":        {apierrors.NewInternalError(errors.New("etcd")), true},
		"without words": {errors.New("the connection was lost"), true},
	} {
		t.Run(name, func(t *testing.T) {
			f := setup(t, map[string]int{"a": 1}, nil)
			pod := f.cycle(f.pod(1, 1, ""))
			pod.must(pod.reserve())
			f.handle.client.PrependReactor("create", "pods", func(action ktesting.Action) (bool, runtime.Object, error) {
				return action.GetSubresource() == "binding", nil, c.err
			})
			if status := pod.bind(); status.IsSuccess() {
				t.Fatal("bound")
			}
			pod.unreserve()
			if kept := len(f.server.Held()) == 1; kept != c.keeps {
				t.Errorf("kept: %v", kept)
			}
		})
	}
}

func TestADeletedPodsLeaseEndsAfterAFailedBind(t *testing.T) {
	f := setup(t, map[string]int{"a": 1}, nil)
	c := f.cycle(f.pod(1, 1, ""))
	c.must(c.reserve())
	f.handle.client.PrependReactor("create", "pods", func(action ktesting.Action) (bool, runtime.Object, error) {
		return action.GetSubresource() == "binding", nil, errors.New("not found")
	})
	if err := f.handle.client.CoreV1().Pods("default").Delete(context.Background(), "p1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if status := c.bind(); status.IsSuccess() {
		t.Fatal("a pod that is gone was bound")
	}
	c.unreserve()
	if len(f.server.Held()) != 0 {
		t.Errorf("still held: %v", f.server.Held())
	}
}

func TestVictimsAreTheEngines(t *testing.T) {
	f := setup(t, map[string]int{"a": 1}, nil)
	victim := f.cycle(f.pod(1, 1, ""))
	victim.must(victim.reserve())
	victim.must(victim.bind())
	f.server.Victims = func(request *placementv1.EvictRequest) *placementv1.EvictResponse {
		if request.GetDryRun() || request.GetPod().GetPod().GetName() != "p2" {
			t.Errorf("asked: %v", request)
		}
		return &placementv1.EvictResponse{Found: true, Victims: []*placementv1.Victim{{Pod: podres.Key(victim.pod, 0), Node: "a"}},
			Pod:   &placementv1.Decision{Placement: &placementv1.Place{Node: "a"}},
			Lease: &placementv1.Lease{Uid: string(uid(2)), Epoch: 7}}
	}
	c := f.cycle(f.pod(2, 1, ""))
	if status := c.choose(); status.Code() != fwk.UnschedulableAndUnresolvable {
		t.Fatalf("a full cluster: %v", status)
	}
	result, status := f.plugin.PostFilter(context.Background(), c.state, c.pod, fw.NewDefaultNodeToStatus())
	if !status.IsSuccess() || result.NominatedNodeName != "a" {
		t.Fatalf("PostFilter: %v, %v", result, status)
	}
	if _, err := f.handle.client.CoreV1().Pods("default").Get(context.Background(), "p1", metav1.GetOptions{}); err == nil {
		t.Error("the victim is still there")
	}
	// Until it has left, other plugins refuse the node: that is no veto.
	waiting := f.cycle(c.pod)
	waiting.state.Write(stateKey, &decision{ranks: map[string]int{"a": 0}, held: true})
	f.plugin.PostFilter(context.Background(), waiting.state, c.pod, f.refusedBy("NodeResourcesFit", "a"))
	if vetoes := f.plugin.books.vetoed(c.pod.UID); len(vetoes) != 0 {
		t.Errorf("vetoed: %v", vetoes)
	}
}

func TestPreemptNeverIsHonoured(t *testing.T) {
	f := setup(t, map[string]int{"a": 0}, nil)
	c := f.cycle(f.pod(1, 1, ""))
	never := v1.PreemptNever
	c.pod.Spec.PreemptionPolicy = &never
	c.choose()
	f.plugin.PostFilter(context.Background(), c.state, c.pod, fw.NewDefaultNodeToStatus())
	if f.server.Count("Evict") != 0 {
		t.Error("victims were asked for")
	}
}

func TestDryRunsOfKubeSchedulerFindNoNode(t *testing.T) {
	f := setup(t, map[string]int{"a": 1}, nil)
	c := f.cycle(f.pod(1, 1, ""))
	c.must(c.choose())
	copied := c.state.Clone()
	c.must(f.plugin.PreFilterExtensions().AddPod(context.Background(), copied, c.pod, nil, f.nodes["a"]))
	c.must(f.plugin.Filter(context.Background(), copied, c.pod, f.nodes["a"])) // a nominated pod is no dry run
	c.must(f.plugin.PreFilterExtensions().RemovePod(context.Background(), copied, c.pod, nil, f.nodes["a"]))
	if status := f.plugin.Filter(context.Background(), copied, c.pod, f.nodes["a"]); status.IsSuccess() {
		t.Error("kube-scheduler may choose victims by itself")
	}
	c.must(f.plugin.Filter(context.Background(), c.state, c.pod, f.nodes["a"]))
}

func TestArguments(t *testing.T) {
	raw := func(text string) runtime.Object { return &runtime.Unknown{Raw: []byte(text)} }
	args, err := decodeArgs(raw(`{"target":"unix:/x","leaseTTL":"30s","alternatives":0,"sync":false}`))
	if err != nil || args.LeaseTTL.Duration != 30*time.Second || *args.Alternatives != 0 || flag(args.Sync) ||
		!flag(args.Preempt) || args.GangWait.Duration != time.Minute || args.options().Target != "unix:///x" {
		t.Errorf("%+v, %v", args, err)
	}
	for _, text := range []string{`{"target":"x","leaseTtl":"30s","laseTTL":"1s"}`, `{"alternatives":17}`, `{"gangWait":"-1s"}`, `{"sync":"perhaps"}`} {
		if _, err := decodeArgs(raw(text)); err == nil {
			t.Errorf("%s was taken", text)
		}
	}
}
