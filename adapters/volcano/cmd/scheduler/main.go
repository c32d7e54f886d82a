// Volcano's scheduler with Basalt's plugin and action in it. All of Volcano's own are there, too.
package main

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/pflag"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	_ "k8s.io/client-go/plugin/pkg/client/auth"
	cliflag "k8s.io/component-base/cli/flag"
	componentbaseoptions "k8s.io/component-base/config/options"
	"k8s.io/klog/v2"

	"volcano.sh/volcano/cmd/scheduler/app"
	"volcano.sh/volcano/cmd/scheduler/app/options"
	_ "volcano.sh/volcano/pkg/scheduler/actions"
	_ "volcano.sh/volcano/pkg/scheduler/plugins"
	_ "volcano.sh/volcano/pkg/scheduler/util/assert"
	commonutil "volcano.sh/volcano/pkg/util"
	"volcano.sh/volcano/pkg/version"

	"basalt.io/volcano/basalt"
)

var logFlushFreq = pflag.Duration("log-flush-frequency", 5*time.Second,
	"Maximum number of seconds between log flushes")

func main() {
	klog.InitFlags(nil)
	flags := pflag.CommandLine
	server := options.NewServerOption()
	server.AddFlags(flags)
	utilfeature.DefaultMutableFeatureGate.AddFlag(flags)
	commonutil.LeaderElectionDefault(&server.LeaderElection)
	server.LeaderElection.ResourceName = commonutil.GenerateComponentName(server.SchedulerNames)
	componentbaseoptions.BindLeaderElectionFlags(&server.LeaderElection, flags)
	server.RegisterOptions()
	cliflag.InitFlags()
	if server.PrintVersion {
		version.PrintVersionAndExit()
	}
	if err := server.CheckOptionOrDie(); err != nil {
		fail(err)
	}
	if server.CaCertFile != "" && server.CertFile != "" && server.KeyFile != "" {
		if err := server.ParseCAFiles(nil); err != nil {
			fail(fmt.Errorf("CA file: %w", err))
		}
	}
	basalt.Register()
	klog.StartFlushDaemon(*logFlushFreq)
	defer klog.Flush()
	if err := app.Run(server); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	klog.Flush()
	os.Exit(1)
}
