#!/bin/sh
# ctest entry: render_test.sh [--shots DIR] (--self | REPORT.html...). Exit 77 (SKIP_RETURN_CODE) without node.
if ! command -v node >/dev/null 2>&1; then
  echo "skipped: no node"
  exit 77
fi
exec node "$(dirname "$0")/render_test.mjs" "$@"
