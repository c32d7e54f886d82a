//go:build tools

// Package kwok pins the node simulator of the benchmarks. It needs a later Kubernetes than the
// control plane, hence a module of its own.
package kwok

import _ "sigs.k8s.io/kwok/cmd/kwok"
