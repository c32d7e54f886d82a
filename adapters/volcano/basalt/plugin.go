// Package basalt puts Basalt into Volcano's scheduler: a plugin and an action, both called "basalt".
//
// The action takes the place of allocate: it asks the engine once a job, lets Volcano's own
// predicates veto, and commits the answer through a Statement after the engine has confirmed it. So
// a gang is bound whole or not at all, and nothing is bound that the engine does not hold. The
// plugin keeps the connection, guards against placements past the engine, and writes the assignment
// with the bind.
package basalt

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	k8sframework "k8s.io/kubernetes/pkg/scheduler/framework"

	"volcano.sh/volcano/pkg/scheduler/api"
	"volcano.sh/volcano/pkg/scheduler/cache"
	"volcano.sh/volcano/pkg/scheduler/framework"

	"basalt.io/adapters/client"
	placementv1 "basalt.io/adapters/placement/v1"
)

// Name of the plugin and of the action.
const Name = "basalt"

// amounts are what HAMi's pods ask of a card beside their number. No node offers them: they are the
// engine's to count, and Volcano would find no room for them.
var amounts = []string{
	"nvidia.com/gpumem", "nvidia.com/gpumem-percentage", "nvidia.com/gpucores",
	"amd.com/gpumem", "amd.com/gpucores", "hygon.com/dcumem", "hygon.com/dcucores",
	"metax-tech.com/vmemory", "metax-tech.com/vcore", "kunlunxin.com/vxpu-memory",
	"enflame.com/gcu-memory", "enflame.com/gcu-core",
}

// Register makes both known to Volcano; call it before app.Run.
func Register() {
	api.IgnoredDevicesList.Append(amounts...)
	framework.RegisterPluginBuilder(Name, New)
	framework.RegisterAction(NewAction())
	cache.RegisterBindMethod(bindMethod{})
}

// settings are the plugin's arguments in the scheduler's configuration.
type settings struct {
	client  client.Options
	preempt bool // lower priorities of the same queue give way
	reclaim bool // queues above their share give way
	hami    bool // nodes run HAMi's device plugins: node lock and bind phase
	queues  bool // the engine knows Volcano's queues
}

func read(arguments framework.Arguments) (settings, error) {
	s := settings{queues: true, client: client.Options{Scheduler: "volcano"}}
	var onDown, propose, gang, after string
	texts := map[string]*string{
		"basalt.target": &s.client.Target, "basalt.cluster": &s.client.Cluster,
		"basalt.caFile": &s.client.CAFile, "basalt.certFile": &s.client.CertFile,
		"basalt.keyFile": &s.client.KeyFile, "basalt.serverName": &s.client.ServerName,
		"basalt.onDown": &onDown, "basalt.downAfter": &after,
		"basalt.proposeTimeout": &propose, "basalt.gangTimeout": &gang,
	}
	switches := map[string]*bool{"basalt.preempt": &s.preempt, "basalt.reclaim": &s.reclaim,
		"basalt.hami": &s.hami, "basalt.queues": &s.queues}
	for key, value := range arguments {
		if target, known := texts[key]; known {
			text, ok := value.(string)
			if !ok {
				return s, fmt.Errorf("%s: %v is no text", key, value)
			}
			*target = text
		} else if target, known := switches[key]; known {
			on, ok := value.(bool)
			if !ok {
				return s, fmt.Errorf("%s: %v is neither true nor false", key, value)
			}
			*target = on
		} else {
			return s, fmt.Errorf("%s is not known", key)
		}
	}
	s.client.Target = client.Address(s.client.Target)
	s.client.OnDown = client.OnDown(onDown)
	for _, d := range []struct {
		key, text string
		target    *time.Duration
	}{{"basalt.downAfter", after, &s.client.DownAfter},
		{"basalt.proposeTimeout", propose, &s.client.ProposeTimeout},
		{"basalt.gangTimeout", gang, &s.client.GangTimeout}} {
		if d.text == "" {
			continue
		}
		value, err := time.ParseDuration(d.text)
		if err != nil {
			return s, fmt.Errorf("%s: %w", d.key, err)
		}
		*d.target = value
	}
	return s, nil
}

// A plugin is made anew for each session; the connection stays.
var connection struct {
	mutex    sync.Mutex
	settings settings
	client   *client.Client
	dial     func(client.Options) (*client.Client, error) // nil: client.Dial
}

func connect(s settings) (*client.Client, error) {
	connection.mutex.Lock()
	defer connection.mutex.Unlock()
	if connection.client != nil && reflect.DeepEqual(connection.settings, s) {
		return connection.client, nil
	}
	dial := connection.dial
	if dial == nil {
		dial = client.Dial
	}
	made, err := dial(s.client)
	if err != nil {
		return nil, err
	}
	if connection.client != nil {
		old := connection.client
		time.AfterFunc(time.Minute, func() { _ = old.Close() }) // binds on their way still use it
	}
	connection.client, connection.settings = made, s
	return made, nil
}

// Plugin of one session.
type Plugin struct {
	settings settings
	client   *client.Client
	fault    error // of the arguments: nothing is placed
	// fallBack is decided once a session, so that no job is placed half by one and half by the other.
	fallBack bool
	deciding atomic.Bool // our own action is asking the predicates
	down     error       // a call of this session that was not answered

	mutex  sync.Mutex
	leases map[api.TaskID]*record // of tasks that this session has committed
}

// record is what a bind must know of its task.
type record struct {
	lease *placementv1.Lease
	locks []string // HAMi's, on the node
	label map[string]string
	// The API server has refused the bind; false: it has not been tried, or nobody knows.
	refused bool
}

var sessions sync.Map // session's UID -> *Plugin

// New plugin for a session.
func New(arguments framework.Arguments) framework.Plugin {
	p := &Plugin{leases: map[api.TaskID]*record{}}
	if p.settings, p.fault = read(arguments); p.fault == nil {
		p.client, p.fault = connect(p.settings)
	}
	if p.fault != nil {
		klog.ErrorS(p.fault, "The arguments of the plugin basalt are wrong: it places nothing")
	}
	return p
}

// Name of the plugin.
func (p *Plugin) Name() string { return Name }

// OnSessionOpen registers the guard and the binder.
func (p *Plugin) OnSessionOpen(ssn *framework.Session) {
	sessions.Store(ssn.UID, p)
	p.fallBack = p.fault == nil && p.client.FallBack()
	ssn.AddPredicateFn(Name, func(task *api.TaskInfo, node *api.NodeInfo) error {
		// backfill may place what asks for nothing; all else is the engine's while it is there.
		if p.fallBack || p.deciding.Load() || task.Resreq.IsEmpty() {
			return nil
		}
		return api.NewFitErrWithStatus(task, node, &api.Status{
			Code: api.UnschedulableAndUnresolvable, Reason: "pods are placed by Basalt",
			Plugin: Name})
	})
	if p.client != nil {
		ssn.RegisterBinder(Name, &binder{client: p.client, kube: ssn.KubeClient(),
			hami: p.settings.hami})
	}
}

// OnSessionClose forgets the session.
func (p *Plugin) OnSessionClose(ssn *framework.Session) { sessions.Delete(ssn.UID) }

func pluginOf(uid types.UID) *Plugin {
	if p, found := sessions.Load(uid); found {
		return p.(*Plugin)
	}
	return nil
}

// SetupBindContextExtension gives the bind of a task its lease.
func (p *Plugin) SetupBindContextExtension(_ *k8sframework.CycleState, bind *cache.BindContext) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if r, found := p.leases[bind.TaskInfo.UID]; found {
		bind.Extensions[Name] = r
		return
	}
	if p.fallBack || bind.TaskInfo.Resreq.IsEmpty() {
		bind.Extensions[Name] = &record{}
	}
}

// until a call is answered: three tries, each with the client's own deadline.
func confirm(ctx context.Context, c *client.Client, lease *placementv1.Lease) (
	placementv1.LeaseAnswer, string, error) {
	for try := 0; ; try++ {
		response, err := c.Confirm(ctx, lease)
		if err == nil {
			return response.GetAnswer(), response.GetReason(), nil
		}
		if try == 2 || !client.Down(err) {
			return placementv1.LeaseAnswer_LEASE_ANSWER_UNSPECIFIED, "", err
		}
	}
}

var errNotOurs = errors.New("it was not placed by Basalt")
