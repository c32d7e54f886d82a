package plugin

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"basalt.io/adapters/client"
)

// Args are the plugin's arguments in KubeSchedulerConfiguration. Only target is required.
type Args struct {
	Target     string `json:"target"`
	Cluster    string `json:"cluster,omitempty"`
	CAFile     string `json:"caFile,omitempty"`
	CertFile   string `json:"certFile,omitempty"`
	KeyFile    string `json:"keyFile,omitempty"`
	ServerName string `json:"serverName,omitempty"`

	ProposeTimeout metav1.Duration `json:"proposeTimeout,omitempty"` // 200ms
	GangTimeout    metav1.Duration `json:"gangTimeout,omitempty"`    // 1s
	// What happens while the server does not decide: "closed" (nothing with cards is placed) or
	// "fallback" (kube-scheduler places by counts alone).
	OnDown client.OnDown `json:"onDown,omitempty"`

	// Further nodes that are offered beside the best one, so that another plugin's veto costs no new
	// question: 0..16.
	Alternatives *int32 `json:"alternatives,omitempty"` // 8
	// How long members of a gang wait for one another.
	GangWait metav1.Duration `json:"gangWait,omitempty"` // 60s
	// How long a lease lives that is not confirmed.
	LeaseTTL metav1.Duration `json:"leaseTTL,omitempty"` // 60s
	// How long a bind waits for the server to confirm: a restart should fit in.
	ConfirmWait metav1.Duration `json:"confirmWait,omitempty"` // 15s
	// Ask the engine who gives way when a pod does not fit.
	Preempt *bool `json:"preempt,omitempty"` // true
	// Tell the server nodes, pods and queues from this process; false when basalt-sync does.
	Sync *bool `json:"sync,omitempty"` // true
	// Take HAMi's node lock before a pod is bound whose cards HAMi's plugin will allocate.
	NodeLock *bool `json:"nodeLock,omitempty"` // true
}

func flag(value *bool) bool { return value == nil || *value }

func decodeArgs(object runtime.Object) (*Args, error) {
	args := &Args{}
	if object != nil {
		unknown, ok := object.(*runtime.Unknown)
		if !ok {
			return nil, fmt.Errorf("basalt: arguments of type %T", object)
		}
		// JSON is YAML. Unknown keys are errors: a misspelled one must not be a default in disguise.
		if err := yaml.UnmarshalStrict(unknown.Raw, args); err != nil {
			return nil, fmt.Errorf("basalt: arguments: %w", err)
		}
	}
	if args.Alternatives == nil {
		eight := int32(8)
		args.Alternatives = &eight
	}
	if *args.Alternatives < 0 || *args.Alternatives > 16 {
		return nil, fmt.Errorf("basalt: alternatives is %d; write 0 to 16", *args.Alternatives)
	}
	for _, one := range []struct {
		name  string
		value *metav1.Duration
		usual time.Duration
	}{
		{"gangWait", &args.GangWait, time.Minute},
		{"leaseTTL", &args.LeaseTTL, time.Minute},
		{"confirmWait", &args.ConfirmWait, 15 * time.Second},
	} {
		if one.value.Duration < 0 {
			return nil, fmt.Errorf("basalt: %s is negative", one.name)
		}
		if one.value.Duration == 0 {
			one.value.Duration = one.usual
		}
	}
	return args, nil
}

func (a *Args) options() client.Options {
	return client.Options{Target: client.Address(a.Target), Cluster: a.Cluster, Scheduler: "kube-scheduler",
		CAFile: a.CAFile, CertFile: a.CertFile, KeyFile: a.KeyFile, ServerName: a.ServerName,
		ProposeTimeout: a.ProposeTimeout.Duration, GangTimeout: a.GangTimeout.Duration, OnDown: a.OnDown}
}
