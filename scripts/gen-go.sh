#!/usr/bin/env bash
# Makes the Go stubs of adapters/rpc/placement.proto anew. They are committed, so that the adapters
# build without protoc; with --check it only says whether they are up to date.
set -euo pipefail
cd "$(dirname "$0")/.."

tools=$PWD/build/go-tools
if [ ! -x "$tools/protoc-gen-go" ] || [ ! -x "$tools/protoc-gen-go-grpc" ]; then
  GOBIN=$tools GOFLAGS= go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.6
  GOBIN=$tools GOFLAGS= go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.5.1
fi
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
protoc --plugin=protoc-gen-go="$tools/protoc-gen-go" \
  --plugin=protoc-gen-go-grpc="$tools/protoc-gen-go-grpc" \
  --go_out="$out" --go_opt=module=basalt.io/adapters \
  --go-grpc_out="$out" --go-grpc_opt=module=basalt.io/adapters \
  -I adapters/rpc placement.proto
# The version of protoc is the machine's: a comment that differs is no difference.
for file in placement.pb.go placement_grpc.pb.go; do
  sed -i -E '/^\/\/ (- )?\t?protoc( |-gen-go ?)/d; /^\/\/ - protoc/d' "$out/placement/v1/$file"
done
if [ "${1:-}" = --check ]; then
  diff -r "$out/placement/v1" adapters/go/placement/v1 ||
    { echo "adapters/go/placement/v1 is not what placement.proto says; run scripts/gen-go.sh" >&2; exit 1; }
  exit 0
fi
mkdir -p adapters/go/placement/v1
cp "$out"/placement/v1/*.go adapters/go/placement/v1/
