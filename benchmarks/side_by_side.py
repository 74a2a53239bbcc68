#!/usr/bin/env python3
"""Prefill and decode end to end beside llama.cpp on the same file: interleaved runs, medians, one JSON line a figure.

    benchmarks/side_by_side.py [--runs 3] [--threads 2] [--peer-python .venv-oracles/bin/python]

Ours is a whole service (`rotulus serve`, one rank, store on disk, HTTP): prefill is a context's tokens divided by the
time its computing took, commit included; decode is 64 greedy tokens behind it. The peer is llama-cpp-python
(scripts/oracles.sh installs it) with flash attention, batches of 512. Without a peer only our side is printed."""
import argparse
import json
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/system"))
from cluster import Cluster, model_path  # noqa: E402

COUNTS = (512, 4096)
DECODE_TOKENS = 64

PEER = r"""
import json, sys, time, llama_cpp
path, threads, counts, decode = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3]), int(sys.argv[4])
model = llama_cpp.Llama(path, n_ctx=8192, n_batch=512, n_threads=threads, n_threads_batch=threads, flash_attn=True,
                        verbose=False)
model.eval(list(range(100, 164)))
for count in counts:
    model.reset()
    begin = time.perf_counter(); model.eval([(i * 7919) % 40000 + 100 for i in range(count)])
    prefill = count / (time.perf_counter() - begin)
    begin = time.perf_counter()
    for i in range(decode): model.eval([300 + i])
    print(json.dumps({"count": count, "prefill": prefill, "decode": decode / (time.perf_counter() - begin)}))
"""


def run_peer(python, threads):
    out = subprocess.run([python, "-c", PEER, str(model_path()), str(threads), json.dumps(COUNTS), str(DECODE_TOKENS)],
                         capture_output=True, text=True, check=True).stdout
    return {row["count"]: row for row in map(json.loads, out.splitlines())}


def run_ours(threads):
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        with Cluster(pathlib.Path(folder) / "store", ranks=1, flags=("-t", str(threads))) as cluster:
            cluster.request("POST", "/v1/completions", {"prompt": "warm", "max_tokens": 8})
            for count in COUNTS:
                ids = [(i * 7919) % 40000 + 100 for i in range(count)]
                context = cluster.request("POST", "/v1/contexts", {"input_ids": ids, "frame": "raw"})[1]["id"]
                view = cluster.wait_completed(context)
                answer = cluster.request("POST", "/v1/completions", {
                    "context_id": context, "prompt": "a", "max_tokens": DECODE_TOKENS, "temperature": 0,
                    "ignore_eos": True})[1]
                rows[count] = {"prefill": count / view["progress"]["time_ms"] * 1000,
                               "decode": answer["timings"]["predicted_per_second"]}
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peer-python", default=str(ROOT / ".venv-oracles/bin/python"))
    arguments = parser.parse_args()
    has_peer = pathlib.Path(arguments.peer_python).exists()
    ours, peer = [], []
    for _ in range(arguments.runs):
        ours.append(run_ours(arguments.threads))
        if has_peer:
            peer.append(run_peer(arguments.peer_python, arguments.threads))
    for kind in ("prefill", "decode"):
        for count in COUNTS:
            value = statistics.median(run[count][kind] for run in ours)
            other = statistics.median(run[count][kind] for run in peer) if peer else None
            print(json.dumps({"name": f"end_to_end.{kind}.{count}", "value": round(value, 1), "unit": "tokens/s",
                              "limit": None, "share": None, "peer": other and round(other, 1),
                              "ratio": other and round(value / other, 2), "cpu": platform.processor() or "x86_64"}))


if __name__ == "__main__":
    main()
