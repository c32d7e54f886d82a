package harness

import (
	"fmt"
	"os"
	"path/filepath"

	"basalt.io/e2e/kubelet"
)

// StartKwok starts kwok for the nodes with Kwok: it makes them ready, keeps their leases, runs their
// pods and ends those that are deleted.
func (b *Bed) StartKwok() *Process {
	b.T.Helper()
	if _, err := os.Stat(filepath.Join(b.bin, "kwok")); err != nil {
		b.T.Fatalf("%v; run test/e2e/build.sh kwok", err)
	}
	stages, err := filepath.Glob(filepath.Join(b.bin, "kwok-stages", "*.yaml"))
	b.must(err)
	if len(stages) == 0 {
		b.T.Fatal("kwok has no stages; run test/e2e/build.sh kwok")
	}
	port, err := freePort()
	b.must(err)
	arguments := []string{"--kubeconfig=" + b.Kubeconfig, "--manage-all-nodes=false",
		"--manage-nodes-with-annotation-selector=" + kubelet.KwokAnnotation + "=fake",
		fmt.Sprintf("--server-address=127.0.0.1:%d", port), "--node-lease-duration-seconds=40"}
	for _, stage := range stages {
		arguments = append(arguments, "--config="+stage)
	}
	return b.Run("kwok", "kwok", arguments...)
}
