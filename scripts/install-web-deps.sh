#!/usr/bin/env bash
# What the report's browser test needs beyond Debian's packages. Without npm the test is skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! command -v npm >/dev/null; then
  echo "npm is missing: the report's browser test will be skipped" >&2
  exit 0
fi
if [ test/web/package-lock.json -nt test/web/node_modules/.installed ]; then
  npm ci --prefix test/web --no-audit --no-fund --silent
  touch test/web/node_modules/.installed
fi
