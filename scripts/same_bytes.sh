#!/usr/bin/env bash
# The promise of docs/architecture.md, "the bits do not depend on the number of workers", over the full product of its
# factors: for each prompt, the hash of the logits of all 64 steps must be one and the same, however it was run.
# An hour or two on 2 cores (PROMPTS="1 127" runs a part); CI runs the cover in tests/worker/same_bytes_test.cpp.
# Prints a line per run and a summary; exits 1 where a hash differs.
set -euo pipefail
cd "$(dirname "$0")/.."
program=build/release/bin/rotulus-same-bytes
model=${ROTULUS_MODEL:-$(ls models/SmolLM2*.gguf | head -n 1)}
store=$(mktemp -d)
trap 'rm -rf "$store"' EXIT
[ -x "$program" ] || { echo "no $program: run scripts/build.sh release all" >&2; exit 2; }

runs=0
wrong=0
for prompt in ${PROMPTS:-1 127 128 129 513 4000}; do
  want=
  for ranks in 1 2 3 4; do for threads in 1 2; do for batch in 1 8; do for budget in "" --quarter; do
    for step in 0 100 512; do for restart in "" --restart; do
      line=$("$program" -m "$model" --store "$store" --prompt "$prompt" --ranks "$ranks" -t "$threads" \
             --batch "$batch" --step "$step" $budget $restart)
      echo "$line"
      hash=${line%% *}
      want=${want:-$hash}
      runs=$((runs + 1))
      [ "$hash" = "$want" ] || { wrong=$((wrong + 1)); echo "DIFFERS from $want: $line" >&2; }
    done; done
  done; done; done; done
done
echo "$((runs - wrong)) of $runs runs gave the hash of their prompt"
[ "$wrong" = 0 ]
