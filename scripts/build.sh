#!/usr/bin/env bash
# Builds everything with one preset (default: release); the programs are then in build/PRESET/bin.
#   scripts/build.sh [release|dev|tsan|fuzz] [TARGET…]
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

preset=${1:-release}
build_preset "$preset" "${@:2}"
say "programs are in $PWD/build/$preset/bin"
