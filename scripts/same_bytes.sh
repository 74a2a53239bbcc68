#!/usr/bin/env bash
# The promise of docs/architecture.md, "the bits do not depend on the number of workers", over the full product of its
# factors: for each prompt, the hash of the logits of all 64 steps must be one and the same, however it was run.
# 1,152 runs, as many at a time as there are cores (PROMPTS="1 127" runs a part); CI runs the cover in
# tests/worker/same_bytes_test.cpp. Prints a line per run and a summary; exits 1 where a hash differs or a run fails.
set -euo pipefail
cd "$(dirname "$0")/.."
export program=build/release/bin/rotulus-same-bytes
export model=${ROTULUS_MODEL:-$(ls models/SmolLM2*.gguf | head -n 1)}
export store=$(mktemp -d)
trap 'rm -rf "$store"' EXIT
[ -x "$program" ] || { echo "no $program: run scripts/build.sh release all" >&2; exit 2; }

product() {
  for prompt in ${PROMPTS:-1 127 128 129 513 4000}; do
    for ranks in 1 2 3 4; do for threads in 1 2; do for batch in 1 8; do for budget in "" --quarter; do
      for step in 0 100 512; do for restart in "" --restart; do
        echo "--prompt $prompt --ranks $ranks -t $threads --batch $batch --step $step $budget $restart"
      done; done
    done; done; done; done
  done
}

one() {
  "$program" -m "$model" --store "$store" $1 2>&1 || echo "FAILED $1"
}
export -f one

product | xargs -P "$(nproc)" -d '\n' -n 1 bash -c 'one "$1"' - | tee "$store/lines"
awk -v wanted="$(product | wc -l)" '
  length($1) == 16 && match($0, / prompt=[0-9]+/) {
    prompt = substr($0, RSTART, RLENGTH)
    if (!(prompt in hash)) hash[prompt] = $1
    same += $1 == hash[prompt]
  }
  END { print same + 0 " of " wanted " runs gave the hash of their prompt"; exit same != wanted }
' "$store/lines"
