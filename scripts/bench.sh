#!/usr/bin/env bash
# Prints one JSON line per figure on standard output; everything else goes to standard error.
#
#   scripts/bench.sh [NAME…] [--list] [--peer PATH]
#
#   NAME         figures whose name starts with it (all, where none is given)
#   --list       the names of the figures, without measuring
#   --peer PATH  a llama-bench binary to run beside ours; its figure is `peer`, ours divided by it `ratio`
#
# A line: {"name","value","unit","limit","share","peer","ratio","cpu"}; what does not apply is null.
# The figures come from the programs build/release/bin/rotulus-bench-* and from benchmarks/bench_end_to_end.py, which
# take these same arguments.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

case " $* " in
  *" -h "* | *" --help "*) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit ;;
esac

scripts/build.sh release programs benchmarks/all

status=0
for program in build/release/bin/rotulus-bench-* benchmarks/bench_end_to_end.py; do
  [ -x "$program" ] || { say "no benchmark program in build/release/bin"; exit 1; }
  "$program" "$@" </dev/null || { say "$program failed"; status=1; }
done
exit $status
