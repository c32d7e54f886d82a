package client

import (
	"context"
	"slices"
	"sync"
	"time"

	placementv1 "basalt.io/adapters/placement/v1"
)

// gate knows whether the server decides about our cluster, as the last probe saw it.
type gate struct {
	mutex  sync.Mutex
	began  time.Time
	ready  bool
	served time.Time // when a probe last found it ready
	epoch  uint64
	hello  *placementv1.HelloResponse // the last
	seen   bool
	watch  []func(epoch uint64)
}

func (c *Client) probe(ctx context.Context) {
	defer c.stopped.Done()
	for {
		c.Probe(ctx)
		select {
		case <-ctx.Done():
			return
		case <-time.After(c.options.ProbeEach):
		}
	}
}

// Probe asks the server now how it is. It is done each Options.ProbeEach without being asked to.
func (c *Client) Probe(ctx context.Context) bool {
	limit, cancel := context.WithTimeout(ctx, max(c.options.ProbeEach, c.options.ProposeTimeout))
	defer cancel()
	hello, err := c.raw.Hello(limit, &placementv1.HelloRequest{Header: c.Header()})
	g := &c.gate
	g.mutex.Lock()
	if err != nil {
		g.ready = false
		g.mutex.Unlock()
		return false
	}
	ready := slices.ContainsFunc(hello.GetClusters(), func(s *placementv1.ClusterStatus) bool {
		return s.GetCluster() == c.options.Cluster && s.GetReady()
	})
	g.ready = ready
	if ready {
		g.served = time.Now()
	}
	changed := g.seen && g.epoch != hello.GetServerEpoch()
	g.seen = true
	g.epoch = hello.GetServerEpoch()
	g.hello = hello
	watchers := slices.Clone(g.watch)
	epoch := g.epoch
	g.mutex.Unlock()
	if changed {
		for _, watcher := range watchers {
			watcher(epoch)
		}
	}
	return ready
}

// Ready says whether the last probe found the server deciding about our cluster.
func (c *Client) Ready() bool {
	c.gate.mutex.Lock()
	defer c.gate.mutex.Unlock()
	return c.gate.ready
}

// FallBack says whether the host is to place by its own means now: OnDown is Fallback, and no probe
// has found the server ready for Options.DownAfter.
func (c *Client) FallBack() bool {
	if c.options.OnDown != Fallback {
		return false
	}
	c.gate.mutex.Lock()
	defer c.gate.mutex.Unlock()
	last := c.gate.served
	if last.IsZero() {
		last = c.gate.began
	}
	return !c.gate.ready && time.Since(last) >= c.options.DownAfter
}

// ServerEpoch is the number of the server's present run; 0: not known yet.
func (c *Client) ServerEpoch() uint64 {
	c.gate.mutex.Lock()
	defer c.gate.mutex.Unlock()
	return c.gate.epoch
}

// AnnotationKeys are the pod annotations that a PodResources must carry; nil: not known yet.
func (c *Client) AnnotationKeys() []string { return c.hello().GetPodAnnotationKeys() }

// NodeAnnotationKeys are those of nodes, for NodeResources; nil: not known yet.
func (c *Client) NodeAnnotationKeys() []string { return c.hello().GetNodeAnnotationKeys() }

// GrantAnnotationKeys are those of pods that tell their cards, for PodState; nil: not known yet.
func (c *Client) GrantAnnotationKeys() []string { return c.hello().GetGrantAnnotationKeys() }

// UsageMetricNames are what the server reads of exporters' metrics, for ReportUsage; nil: not known
// yet.
func (c *Client) UsageMetricNames() []string { return c.hello().GetUsageMetricNames() }

// CardDrivers are the DRA drivers whose devices are cards; nil: not known yet.
func (c *Client) CardDrivers() []string { return c.hello().GetCardDrivers() }

// Limits of the server; nil: not known yet.
func (c *Client) Limits() *placementv1.Limits { return c.hello().GetLimits() }

func (c *Client) hello() *placementv1.HelloResponse {
	c.gate.mutex.Lock()
	defer c.gate.mutex.Unlock()
	return c.gate.hello
}

// OnRestart calls back when a probe finds another run of the server than the one before.
func (c *Client) OnRestart(watcher func(epoch uint64)) {
	c.gate.mutex.Lock()
	defer c.gate.mutex.Unlock()
	c.gate.watch = append(c.gate.watch, watcher)
}
