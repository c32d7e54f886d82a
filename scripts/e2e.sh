#!/usr/bin/env bash
# The Go side: adapters, and the end-to-end tests on a control plane of our own (test/e2e/README.md).
#
#   scripts/e2e.sh unit            vet and unit tests of all Go modules
#   scripts/e2e.sh smoke           one case an adapter
#   scripts/e2e.sh all             every case
#   scripts/e2e.sh run REGEX       those whose name matches (TestKwok: test/e2e/build.sh kwok first)
#   scripts/e2e.sh bench [REGEX]   figures beside stock schedulers (TestBinds, TestLatency, TestExtender,
#                                  TestShares); no gate
#
# E2E_BASALT   the program basalt (build/release/bin/basalt)
# E2E_BIN      folder of the bed's programs, built when they are missing (build/e2e/bin)
# E2E_JOBS     compile actions at once (2)
# E2E_SCALE    bench: size of the workload against the documented one (1)
# E2E_ARM_LIMIT  bench: most time for one arm (10m)
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
export E2E_BASALT=${E2E_BASALT:-$root/build/release/bin/basalt}
export E2E_BIN=${E2E_BIN:-$root/build/e2e/bin}
export CGO_ENABLED=0 GOFLAGS="-mod=readonly -buildvcs=false"
jobs=${E2E_JOBS:-2}

command -v go >/dev/null || { echo "e2e: go is not installed; Go 1.24 or later is needed" >&2; exit 2; }

unit() {
  for module in adapters/go adapters/volcano adapters/kube-scheduler test/deploy test/e2e/auditor test/e2e; do
    echo "== $module"
    (cd "$root/$module" && go mod tidy -diff && go vet -p "$jobs" ./...)
    # The cases of test/e2e need a control plane.
    [ "$module" = test/e2e ] || (cd "$root/$module" && go test -p "$jobs" -count=1 ./...)
  done
}

cases() {  # REGEX [PACKAGE [GROUP]...]
  local package=${2:-cases}
  [ -x "$E2E_BASALT" ] || { echo "e2e: $E2E_BASALT is missing; run make build" >&2; exit 2; }
  OUT=$E2E_BIN "$root/test/e2e/build.sh" crds crash etcd cp sync kube-scheduler volcano "${@:3}"
  (cd "$root/test/e2e" && go test -c -p "$jobs" -o "$E2E_BIN/$package.test" "./$package")
  # A test starts processes and stops them; one after the other, so that figures mean something.
  (cd "$root/test/e2e/$package" && "$E2E_BIN/$package.test" -test.v -test.timeout "${E2E_TIMEOUT:-55m}" -test.run "$1")
}

case ${1:-} in
  unit) unit ;;
  smoke) cases '^(TestControlPlane|TestKubeSlices|TestVolcanoGang|TestKubeExtender|TestVolcanoExtender|TestTwoSchedulers)$' ;;
  all) cases . cases kwok chart ;;
  run) cases "${2:?e2e: run which? write a regular expression}" cases chart ;;
  bench) cases "${2:-.}" bench ;;
  *) sed -n '2,16s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
