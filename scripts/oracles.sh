#!/usr/bin/env bash
# Records anew what other engines say about the model, in tests/oracle/recorded/*.json: each tests/oracle/record_NAME.py
# prints NAME.json. Needed only when a recorder or the model changes; the tests read the recorded files.
#
#   scripts/oracles.sh [NAME…]      all of them where none is named
#
# The engines live in .venv-oracles, apart from what the tests need: llama-cpp-python is compiled for 5 minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

python=.venv-oracles/bin/python
wanted=$(cat scripts/requirements.txt; echo "llama-cpp-python==0.3.36 sentencepiece==0.2.3")
stamp=.venv-oracles/installed-requirements.txt
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
  say "installing the engines into .venv-oracles"
  [ -x "$python" ] || python3 -m venv .venv-oracles
  "$python" -m pip install -q --disable-pip-version-check $(sed 's/#.*//' <<<"$wanted") >&2
  printf '%s\n' "$wanted" >"$stamp"
fi

models=("${ROTULUS_MODEL:-}" models/SmolLM2*.gguf)
[ -n "${models[0]}" ] || models=("${models[@]:1}")
[ -e "${models[0]}" ] || { say "no model in models/: run scripts/setup.sh first"; exit 1; }

if [ $# -eq 0 ]; then
  for recorder in tests/oracle/record_*.py; do
    name=$(basename "$recorder" .py)
    set -- "$@" "${name#record_}"
  done
fi
for name in "$@"; do
  say "recording $name"
  "$python" "tests/oracle/record_$name.py" "${models[0]}" >"tests/oracle/recorded/$name.new"
  mv "tests/oracle/recorded/$name.new" "tests/oracle/recorded/$name.json"
done
