package cases

import (
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"

	"basalt.io/e2e/harness"
)

func errorf(format string, args ...any) error { return fmt.Errorf(format, args...) }

const (
	soon = 60 * time.Second // for what needs some cycles
	leak = 60 * time.Second // after which nothing may be held that nobody has
)

// volcanoConfig has our action in place of allocate. hami: the nodes run HAMi's plugins.
func volcanoConfig(target string, hami bool) string {
	return volcanoActions("enqueue, basalt, backfill", target, hami, "closed")
}

func volcanoActions(actions, target string, hami bool, onDown string) string {
	return `actions: "` + actions + `"
tiers:
- plugins:
  - name: priority
  - name: gang
- plugins:
  - name: basalt
    arguments:
      basalt.target: "` + target + `"
      basalt.preempt: true
      basalt.reclaim: true
      basalt.onDown: ` + onDown + `
      basalt.downAfter: 2s
      basalt.hami: ` + strconv.FormatBool(hami) + `
      basalt.gangTimeout: 5s
  - name: predicates
  - name: proportion
  - name: nodeorder
`
}

// bed with a server that is not synced yet.
func bed(t *testing.T, nodes ...harness.Nodes) *harness.Bed {
	t.Helper()
	b := harness.Start(t)
	for _, one := range nodes {
		b.AddNodes(one)
	}
	b.StartServe()
	return b
}

func kubeBed(t *testing.T, nodes ...harness.Nodes) *harness.Bed {
	t.Helper()
	b := bed(t, nodes...)
	b.StartKubeScheduler(b.Target())
	b.UntilSynced()
	return b
}

func volcanoBed(t *testing.T, nodes ...harness.Nodes) *harness.Bed {
	t.Helper()
	b := bed(t, nodes...)
	b.StartSync(b.Target())
	b.UntilSynced()
	b.StartVolcano("basalt-vc-scheduler", volcanoConfig(b.Target(), nodes[0].Plugin == harness.HAMi))
	return b
}

// end of a case: no promise was broken, nothing is held that nobody has.
func end(b *harness.Bed) {
	b.T.Helper()
	b.NothingLeaked(leak)
	b.Clean()
}

func cards(n int) map[string]string { return map[string]string{"nvidia.com/gpu": fmt.Sprint(n)} }

func slice(memory, cores int) map[string]string {
	return map[string]string{"nvidia.com/gpu": "1", "nvidia.com/gpumem": fmt.Sprint(memory), "nvidia.com/gpucores": fmt.Sprint(cores)}
}

func volcanoSlice(memory, cores int) map[string]string {
	return map[string]string{"volcano.sh/vgpu-number": "1", "volcano.sh/vgpu-memory": fmt.Sprint(memory), "volcano.sh/vgpu-cores": fmt.Sprint(cores)}
}

func of(name string) map[string]string { return map[string]string{"of": name} }

// kubeMember is a pod of a gang of scheduler-plugins.
func kubeMember(name, group string, limits map[string]string) harness.PodSpec {
	return harness.PodSpec{Name: name, Scheduler: harness.KubeScheduler, Limits: limits,
		Labels: map[string]string{"of": name, "scheduling.x-k8s.io/pod-group": group}}
}

// volcanoMember is a pod of a gang of Volcano.
func volcanoMember(name, group string, limits map[string]string) harness.PodSpec {
	return harness.PodSpec{Name: name, Scheduler: harness.VolcanoScheduler, Limits: limits, Labels: of(name),
		Annotations: map[string]string{"scheduling.k8s.io/group-name": group, "volcano.sh/task-spec": name}}
}

// nodesOf the pods with a label.
func nodesOf(b *harness.Bed, selector string) map[string]int {
	out := map[string]int{}
	for _, pod := range b.List(selector) {
		out[pod.Spec.NodeName]++
	}
	return out
}

// cardsOf are the cards that were written to the pod by our bind.
func cardsOf(pod *v1.Pod) string { return pod.Annotations["basalt.io/cards"] }

// noneBound demands that none of the pods with a label is bound for a while.
func noneBound(b *harness.Bed, during time.Duration, selector string) {
	b.T.Helper()
	b.Stays(during, "none of "+selector+" is bound", func() error {
		if n := b.Bound(selector); n > 0 {
			return errorf("%d are", n)
		}
		return nil
	})
}

// racks makes two HyperNodes of tier 1 with half of the nodes each, and one of tier 2 above them.
func racks(b *harness.Bed, nodes harness.Nodes) (low, high map[string]bool) {
	low, high = map[string]bool{}, map[string]bool{}
	var first, second []string
	for i := range nodes.Count {
		if name := nodes.NodeName(i); i < nodes.Count/2 {
			first, low[name] = append(first, name), true
		} else {
			second, high[name] = append(second, name), true
		}
	}
	b.HyperNode("rack-0", 1, first...)
	b.HyperNode("rack-1", 1, second...)
	b.HyperNode("spine-0", 2, "rack-0", "rack-1")
	return low, high
}

// allIn demands that the pods' nodes are all in the set.
func allIn(nodes map[string]int, set map[string]bool) error {
	for node := range nodes {
		if !set[node] {
			return errors.New("a pod is on node " + node)
		}
	}
	return nil
}

// metricIs demands a value of the server's /metrics.
func metricIs(b *harness.Bed, line string, want float64) error {
	value, err := b.Metric(line)
	if err == nil && value != want {
		err = errorf("%s is %v, want %v", line, value, want)
	}
	return err
}
