#!/usr/bin/env bash
# Runs every fuzzer for FUZZ_SECONDS (default 60) on its corpus. What it finds goes to
# build/fuzz/found/TARGET; `fuzz.sh merge` adds what widens coverage to the committed corpus.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${FUZZ_SECONDS:-60}
cmake --preset fuzz >/dev/null
cmake --build --preset fuzz -j "$(nproc)"
for binary in build/fuzz/bin/fuzz_*; do
  name=${binary##*/fuzz_}
  found=build/fuzz/found/$name
  mkdir -p "$found"
  if [ "${1:-}" = merge ]; then
    "$binary" -merge=1 -max_len=4096 "test/fuzz/corpus/$name" "$found" 2>/dev/null
    continue
  fi
  echo "== $name, $seconds s"
  "$binary" -max_total_time="$seconds" -max_len=65536 -rss_limit_mb=4096 -timeout=25 \
    -print_final_stats=1 -artifact_prefix="build/fuzz/found/$name-" \
    "$found" "test/fuzz/corpus/$name" 2>&1 | grep -E "ERROR|SUMMARY|stat::number_of_executed|DONE|crash|timeout" || true
  if compgen -G "build/fuzz/found/$name-*" >/dev/null; then
    echo "fuzz_$name found something: build/fuzz/found/$name-*" >&2
    exit 1
  fi
done
