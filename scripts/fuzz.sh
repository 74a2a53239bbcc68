#!/usr/bin/env bash
# Builds every fuzz target of tests/fuzz and runs each for some seconds (default 30). What it finds beyond the seeds
# stays in build/fuzz/corpus for the next run; an input that fails is kept in build/fuzz/failures and named.
#
#   scripts/fuzz.sh [SECONDS]
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-30}

cmake --preset fuzz > /dev/null
cmake --build --preset fuzz --target fuzz_targets -j "$(nproc)"
mkdir -p build/fuzz/failures
for target in build/fuzz/bin/*_fuzz; do
  name=$(basename "$target" _fuzz)
  mkdir -p "build/fuzz/corpus/$name"
  corpus=("build/fuzz/corpus/$name")
  if [ -d "tests/fuzz/seeds/$name" ]; then corpus+=("tests/fuzz/seeds/$name"); fi
  echo "== $name: $seconds seconds"
  if ! "$target" -max_total_time="$seconds" -timeout=10 -malloc_limit_mb=64 -rss_limit_mb=1024 -print_final_stats=1 \
      -artifact_prefix="build/fuzz/failures/$name-" "${corpus[@]}" > "build/fuzz/$name.log" 2>&1; then
    tail -50 "build/fuzz/$name.log"
    echo "fuzz.sh: $name failed; its input is in build/fuzz/failures" >&2
    exit 1
  fi
  grep '^stat::' "build/fuzz/$name.log"
done
