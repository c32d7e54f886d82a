#!/usr/bin/env bash
# Our C++ files, tracked or new, one a line.
cd "$(dirname "$0")/.." || exit 1
git ls-files --cached --others --exclude-standard -- '*.h' '*.cc' | while read -r f; do
  [ -f "$f" ] && echo "$f"
done
