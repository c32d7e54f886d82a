package harness

import (
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"basalt.io/e2e/auditor"
)

// Gang of a pod: Volcano's or scheduler-plugins'.
func Gang(pod *v1.Pod) string {
	if name := pod.Annotations["scheduling.k8s.io/group-name"]; name != "" {
		return name
	}
	return pod.Labels["scheduling.x-k8s.io/pod-group"]
}

// Bound counts the pods with the label that have a node.
func (b *Bed) Bound(selector string) int {
	b.T.Helper()
	count := 0
	for _, pod := range b.List(selector) {
		if pod.Spec.NodeName != "" {
			count++
		}
	}
	return count
}

// UntilRunning waits until the pods with the label are `count`, all running.
func (b *Bed) UntilRunning(most time.Duration, selector string, count int) {
	b.T.Helper()
	b.Until(most, fmt.Sprintf("%d pods (%s) run", count, selector), func() error {
		running := 0
		why := ""
		for _, pod := range b.List(selector) {
			if pod.Status.Phase == v1.PodRunning {
				running++
			} else if why == "" {
				why = fmt.Sprintf("%s is %s on node %q: %s", pod.Name, pod.Status.Phase, pod.Spec.NodeName, whyPending(&pod))
			}
		}
		if running != count {
			return fmt.Errorf("%d do; %s", running, why)
		}
		return nil
	})
}

func whyPending(pod *v1.Pod) string {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == v1.PodScheduled && condition.Status == v1.ConditionFalse {
			return condition.Reason + ": " + condition.Message
		}
	}
	return pod.Status.Reason + " " + pod.Status.Message
}

// UntilBound waits until at least so many of the pods with the label have a node.
func (b *Bed) UntilBound(most time.Duration, selector string, count int) {
	b.T.Helper()
	b.Until(most, fmt.Sprintf("%d pods (%s) are bound", count, selector), func() error {
		if bound := b.Bound(selector); bound < count {
			return fmt.Errorf("%d are", bound)
		}
		return nil
	})
}

// Why the pod is not scheduled, as its condition says.
func (b *Bed) Why(name string) string { return whyPending(b.Get(name)) }

// Stays demands that the check answers nil all the time.
func (b *Bed) Stays(during time.Duration, what string, check func() error) {
	b.T.Helper()
	for began := time.Now(); time.Since(began) < during; time.Sleep(100 * time.Millisecond) {
		if err := check(); err != nil {
			b.T.Fatalf("%s: %v", what, err)
		}
	}
}

// Clean demands that the auditor has seen no broken promise, and the nodes refused no pod.
func (b *Bed) Clean() {
	b.T.Helper()
	b.UntilAudited()
	for i, violation := range b.Auditor.Violations() {
		if i == 20 {
			b.T.Error("and more")
			break
		}
		b.T.Error(violation)
	}
	for _, failure := range b.Kubelet.Failures() {
		b.T.Errorf("pod %s was refused by its node: %s", failure.Pod, failure.Reason)
	}
	if b.Auditor.Events() == 0 {
		b.T.Error("the auditor has judged nothing")
	}
}

// GangsWhole demands that of each gang none is bound, or at least its minimum.
func (b *Bed) GangsWhole(minimum map[string]int) {
	b.T.Helper()
	for _, violation := range b.Auditor.Gangs(Gang, func(gang string) int { return minimum[gang] }) {
		b.T.Error(violation)
	}
}

// UntilAudited waits until the auditor knows of as many holders as the API server.
func (b *Bed) UntilAudited() {
	b.T.Helper()
	b.Until(10*time.Second, "the auditor has seen all", func() error {
		list, err := b.Client.CoreV1().Pods("").List(b.ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		holders := 0
		for i := range list.Items {
			pod := &list.Items[i]
			if pod.Spec.NodeName != "" && auditor.AsksCards(pod) && pod.Status.Phase != v1.PodSucceeded &&
				pod.Status.Phase != v1.PodFailed {
				holders++
			}
		}
		if seen := len(b.Auditor.Holders()); seen != holders {
			return fmt.Errorf("it knows of %d holders of %d", seen, holders)
		}
		return nil
	})
}
