package client_test

import (
	"context"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"basalt.io/adapters/client"
	"basalt.io/adapters/fake"
	placementv1 "basalt.io/adapters/placement/v1"
)

const uid = "0f5b1c4e-0000-4000-8000-000000000001"

func reserve() *placementv1.ReserveRequest {
	return &placementv1.ReserveRequest{Of: &placementv1.ReserveRequest_Pod{
		Pod: &placementv1.PodRequest{Pod: &placementv1.PodKey{Uid: uid},
			Ask: &placementv1.Ask{Of: &placementv1.Ask_Spec{Spec: &placementv1.RequestSpec{Gpus: 1}}}}}}
}

func dial(t *testing.T, server *fake.Server, change func(*client.Options)) *client.Client {
	t.Helper()
	options := server.Options()
	options.ProposeTimeout = 2 * time.Second
	options.ProbeEach = 5 * time.Millisecond
	if change != nil {
		change(&options)
	}
	c, err := client.Dial(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never: " + what)
		}
	}
}

func TestATryThatFailsIsSaidAgainUnderTheSameRequestId(t *testing.T) {
	server := fake.New(map[string]int{"n": 8})
	var tries atomic.Int32
	server.Before = func(method string) error {
		if method == "Reserve" && tries.Add(1) < 4 {
			return fake.Unavailable()
		}
		return nil
	}
	server.Start()
	defer server.Stop()
	c := dial(t, server, nil)
	request := reserve()
	got, err := c.Reserve(context.Background(), request)
	if err != nil || got.GetLease() == nil || tries.Load() != 4 {
		t.Fatalf("after %d tries: %v, %v", tries.Load(), got, err)
	}
	if request.Header.RequestId == "" || request.Header.Scheduler != c.Run() {
		t.Errorf("header: %v", request.Header)
	}
	again, err := c.Reserve(context.Background(), reserve())
	if err != nil || again.GetLease().GetEpoch() != got.GetLease().GetEpoch() {
		t.Errorf("the same pod again: %v, %v", again, err)
	}
	if len(server.Held()) != 1 {
		t.Errorf("held: %v", server.Held())
	}
}

func TestARefusalIsNotSaidAgain(t *testing.T) {
	for _, code := range []codes.Code{codes.InvalidArgument, codes.PermissionDenied,
		codes.ResourceExhausted, codes.DataLoss} {
		server := fake.New(map[string]int{"n": 8})
		var tries atomic.Int32
		server.Before = func(method string) error {
			if method != "Reserve" {
				return nil
			}
			tries.Add(1)
			return status.Error(code, "no")
		}
		server.Start()
		c := dial(t, server, nil)
		_, err := c.Reserve(context.Background(), reserve())
		if status.Code(err) != code || tries.Load() != 1 || client.Down(err) {
			t.Errorf("%v: %v after %d tries", code, err, tries.Load())
		}
		server.Stop()
	}
}

func TestADeadlineEndsTheTries(t *testing.T) {
	server := fake.New(map[string]int{"n": 8}) // never started
	c := dial(t, server, func(o *client.Options) { o.ProposeTimeout = 30 * time.Millisecond })
	began := time.Now()
	_, err := c.Reserve(context.Background(), reserve())
	if !client.Down(err) || time.Since(began) > 5*time.Second {
		t.Errorf("%v after %v", err, time.Since(began))
	}
	slow := fake.New(map[string]int{"n": 8})
	slow.Before = func(method string) error {
		if method == "Confirm" {
			time.Sleep(300 * time.Millisecond)
		}
		return nil
	}
	slow.Start()
	defer slow.Stop()
	s := dial(t, slow, func(o *client.Options) { o.ProposeTimeout = 30 * time.Millisecond })
	until(t, "ready", s.Ready)
	if _, err := s.Confirm(context.Background(), &placementv1.Lease{Uid: uid, Epoch: 1}); !client.Down(err) {
		t.Errorf("got %v", err)
	}
}

func TestGate(t *testing.T) {
	server := fake.New(map[string]int{"n": 8})
	server.Keys = []string{"nvidia.com/use-gputype"}
	server.SetReady(false)
	server.Start()
	closed := dial(t, server, func(o *client.Options) { o.DownAfter = 30 * time.Millisecond })
	open := dial(t, server, func(o *client.Options) {
		o.DownAfter = 30 * time.Millisecond
		o.OnDown = client.Fallback
	})
	until(t, "a server that is not synced for long is away", open.FallBack)
	server.SetReady(true)
	until(t, "ready", open.Ready)
	if open.FallBack() || closed.FallBack() {
		t.Error("a server that decides is asked")
	}
	if keys := open.AnnotationKeys(); len(keys) != 1 || open.ServerEpoch() != 1 {
		t.Errorf("keys %v, epoch %d", keys, open.ServerEpoch())
	}
	var restarted atomic.Uint64
	open.OnRestart(restarted.Store)
	server.Restart(true)
	until(t, "told of the restart", func() bool { return restarted.Load() == 2 })
	server.Stop()
	until(t, "gone", open.FallBack)
	if closed.FallBack() {
		t.Error("closed stays closed")
	}
	server.Start()
	until(t, "back", func() bool { return open.Ready() && !open.FallBack() })
	server.Stop()
}

func TestOptionsThatAreWrongAreSaid(t *testing.T) {
	for name, options := range map[string]client.Options{
		"no target":     {},
		"unknown word":  {Target: "x:1", OnDown: "open"},
		"no key":        {Target: "x:1", CAFile: "a", CertFile: "b"},
		"no CA file":    {Target: "x:1", CAFile: filepath.Join(t.TempDir(), "none")},
		"negative time": {Target: "x:1", GangTimeout: -1},
	} {
		if c, err := client.Dial(options); err == nil {
			_ = c.Close()
			t.Errorf("%s is taken", name)
		}
	}
	if got := client.Address("unix:/run/x"); got != "unix:///run/x" {
		t.Errorf("got %q", got)
	}
}
