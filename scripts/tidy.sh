#!/usr/bin/env bash
# clang-tidy over our sources with the compile commands of a preset. tidy.sh PRESET [FILES...]
set -euo pipefail
cd "$(dirname "$0")/.."
preset=${1:-release}
shift || true
if [ $# -eq 0 ]; then
  mapfile -t files < <(scripts/sources.sh | grep -E '^(scheduler-core|policies|topology|traces|sim|report|cli)/.*\.cc$')
else
  files=("$@")
fi
printf '%s\n' "${files[@]}" |
  xargs -P "$(nproc)" -n 1 clang-tidy-19 -p "build/$preset" --quiet
