//go:build tools

// Package cp pins the control plane of the test bed: go.mod names the versions, build.sh builds
// these commands.
package cp

import (
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kube-scheduler"
	_ "volcano.sh/volcano/cmd/controller-manager"
	_ "volcano.sh/volcano/cmd/scheduler"
)
