#!/usr/bin/env bash
# Builds the programs that users run, or the given targets, with one preset; they are then in build/PRESET/bin.
#   scripts/build.sh [release|dev|tsan|fuzz] [TARGET…]      `all` adds tests and benchmarks
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

preset=${1:-release}
[ $# -gt 1 ] || set -- "$preset" programs
build_preset "$preset" "${@:2}"
say "programs are in $PWD/build/$preset/bin"
