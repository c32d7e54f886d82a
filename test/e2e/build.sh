#!/usr/bin/env bash
# Builds the test bed's programs from the pinned modules into OUT.
#
#   build.sh [GROUP]...      crds, crash, etcd, cp, kwok, volcano, kube-scheduler, sync, chart; default: all but kwok
#
# OUT        folder of the programs (build/e2e/bin of the repository)
# E2E_JOBS   compile actions at once (2)
#
# The flags are those that adapters are built and tested with: packages that several programs share
# are compiled once.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
out=${OUT:-$root/build/e2e/bin}
jobs=${E2E_JOBS:-2}
kubernetes=v1.34.1
scheduler_plugins=v0.33.5
prometheus_operator=v0.85.0
export CGO_ENABLED=0 GOFLAGS="-mod=readonly -buildvcs=false"
mkdir -p "$out"

version=k8s.io/component-base/version
# Without these the API server calls itself v0.0.0-master+$Format:%H$, which clients cannot parse.
ld="-s -w -X $version.gitVersion=$kubernetes -X $version.gitMajor=1 -X $version.gitMinor=34"

build() {  # MODULE_DIR NAME PACKAGE
  echo "build $2"
  (cd "$1" && nice -n "${E2E_NICE:-0}" go build -p "$jobs" -ldflags "$ld" -o "$out/$2" "$3")
}

module() { (cd / && go mod download -json "$1" | sed -n 's/^\s*"Dir": "\(.*\)",$/\1/p'); }  # its folder

crds() {  # the custom resources' definitions, as their projects publish them
  local volcano plugins operator
  volcano=$(cd "$here/cp" && go list -m -f '{{.Dir}}' volcano.sh/volcano)
  plugins=$(module "sigs.k8s.io/scheduler-plugins@$scheduler_plugins")
  operator=$(module "github.com/prometheus-operator/prometheus-operator@$prometheus_operator")
  rm -rf "$out/crds" "$out/crds-monitoring" && mkdir -p "$out/crds" "$out/crds-monitoring"
  # vc-controller-manager starts nothing before all its kinds are there, the jobflow ones, too.
  install -m 644 "$volcano"/config/crd/volcano/bases/*.yaml "$volcano"/config/crd/jobflow/bases/*.yaml \
    "$plugins"/config/crd/bases/scheduling.x-k8s.io_podgroups.yaml "$out/crds"
  install -m 644 "$operator"/example/prometheus-operator-crd/*_servicemonitors.yaml \
    "$operator"/example/prometheus-operator-crd/*_prometheusrules.yaml "$out/crds-monitoring"
}

kwok() {
  build "$here/kwok" kwok sigs.k8s.io/kwok/cmd/kwok
  local stages
  stages=$(cd "$here/kwok" && go list -m -f '{{.Dir}}' sigs.k8s.io/kwok)/kustomize/stage
  rm -rf "$out/kwok-stages" && mkdir -p "$out/kwok-stages"
  # Without pod-complete: it ends the pods of Jobs at once.
  install -m 644 "$stages"/node/fast/node-initialize.yaml "$stages"/pod/fast/pod-ready.yaml \
    "$stages"/node/heartbeat-with-lease/node-heartbeat-with-lease.yaml "$stages"/pod/fast/pod-delete.yaml \
    "$out/kwok-stages"
}

group() {
  case $1 in
    crds) crds ;;
    crash)
      echo "build crash.so"
      ${CC:-cc} -shared -fPIC -O1 -Wall -Wextra -Werror -o "$out/crash.so" "$here/crash/crash.c" -ldl ;;
    etcd) build "$here/etcd" etcd go.etcd.io/etcd/server/v3 ;;
    cp)
      build "$here/cp" kube-apiserver k8s.io/kubernetes/cmd/kube-apiserver
      build "$here/cp" kube-scheduler k8s.io/kubernetes/cmd/kube-scheduler
      build "$here/cp" vc-scheduler volcano.sh/volcano/cmd/scheduler
      build "$here/cp" vc-controller-manager volcano.sh/volcano/cmd/controller-manager ;;
    kwok) kwok ;;
    volcano) build "$root/adapters/volcano" basalt-vc-scheduler ./cmd/scheduler ;;
    kube-scheduler) build "$root/adapters/kube-scheduler" basalt-kube-scheduler ./cmd/scheduler ;;
    chart) build "$root/test/deploy" helm-render ./render ;;
    sync) build "$root/adapters/go" basalt-sync ./cmd/basalt-sync ;;
    *) echo "build.sh: no group '$1'" >&2; exit 2 ;;
  esac
}

[ $# -gt 0 ] || set -- crds crash etcd cp sync kube-scheduler volcano chart
for name in "$@"; do group "$name"; done
