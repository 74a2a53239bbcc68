#!/usr/bin/env bash
# Runs clang-tidy (see .clang-tidy) over sources that the release build knows.
#
#   scripts/tidy.sh              every source
#   scripts/tidy.sh --changed    those that differ from the branch main
#   scripts/tidy.sh FILE…        these
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

case "${1:-}" in
  --changed) mapfile -t wanted < <(git diff --name-only --diff-filter=d "$(git merge-base main HEAD)" -- '*.cpp') ;;
  *) wanted=("$@") ;;
esac
if [ $# -gt 0 ] && [ ${#wanted[@]} -eq 0 ]; then
  say "no source has changed"
  exit
fi

configure_preset release
# Sources that include generated headers need those.
cmake --build build/release --target rotulus_protocol >&2

mapfile -t files < <(python3 - "${wanted[@]}" <<'PYTHON'
import json, os, sys
known = {os.path.relpath(entry["file"]) for entry in json.load(open("build/release/compile_commands.json"))}
wanted = {os.path.relpath(name) for name in sys.argv[1:]} or known
for name in sorted(wanted & known):
    if not name.startswith("build/"):
        print(name)
PYTHON
)
say "${#files[@]} sources"
# clang 14 reads libstdc++'s coroutines, but does not say so with the macro that the library asks for.
printf '%s\0' "${files[@]}" | xargs -0 -r -n 1 -P "$(nproc)" \
  clang-tidy-14 --quiet -p build/release --extra-arg=-D__cpp_impl_coroutine=201902L \
  --extra-arg=-Wno-unknown-warning-option
say "clean"
