#!/usr/bin/env bash
# The main job, end to end, on this machine: sets up, builds, serves the small model from two worker processes, puts
# two books of the Bible with one planted sentence into its memory, asks, kills a worker in the middle of an answer,
# stops and starts everything, asks again, and stops cleanly. Fails if the pass key is ever wrong.
#
#   scripts/demo.sh [--seed N] [--ranks N]
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

seed=7
ranks=2
while [ $# -gt 0 ]; do
  case "$1" in
    --seed) seed=$2; shift 2 ;;
    --ranks) ranks=$2; shift 2 ;;
    *) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit 2 ;;
  esac
done

scripts/setup.sh
scripts/build.sh release

work=$PWD/build/demo
store=$work/store
rm -rf "$work"
mkdir -p "$work"
model=$(find models/ -name 'SmolLM2*.gguf' | sort | head -n 1)
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export ROTULUS_URL=http://127.0.0.1:$port
rotulus=build/release/bin/rotulus
client=(.venv/bin/python scripts/demo_client.py --url "$ROTULUS_URL")
server=

heading() {
  printf '\n=== %s\n' "$*"
}

start_server() {
  "$rotulus" serve -m "$model" -n "$ranks" --store "$store" --port "$port" >>"$work/serve.log" 2>&1 </dev/null &
  server=$!
  "${client[@]}" wait-until-ready --server "$server" || { tail -n 20 "$work/serve.log"; exit 1; }
}

stop_server() {
  kill -TERM "$server"
  wait "$server"
  server=
}

cleanup() {
  [ -z "$server" ] || kill -KILL "$server" 2>/dev/null || true
}
trap cleanup EXIT

heading "A server with $ranks ranks: rotulus serve -m $model -n $ranks"
start_server

heading "A document: the books of Ruth and Jonah, and one sentence that does not belong"
"${client[@]}" document --seed "$seed" >"$work/document.txt"
"$rotulus" submit "$work/document.txt" --name ruth-and-jonah --wait
"$rotulus" ps

heading "Questions, through the OpenAI client"
"${client[@]}" questions ruth-and-jonah --answers "$work/answers.json"

heading "A worker is killed while an answer streams"
"${client[@]}" kill-a-worker ruth-and-jonah

heading "Everything is stopped, and started again"
stop_server
start_server
"$rotulus" ps
"${client[@]}" questions ruth-and-jonah --same-as "$work/answers.json"

heading "Where the memory lies"
"${client[@]}" where "$store"

heading "Stopping"
stop_server
echo "stopped cleanly; the store stays in ${store#"$PWD"/}, the server's log in build/demo/serve.log"
