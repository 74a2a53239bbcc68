#!/usr/bin/env python3
"""Prefill and decode of the whole service beside llama.cpp on the same file: interleaved runs, one JSON line a figure.

    benchmarks/bench_end_to_end.py [NAME…] [--list] [--peer LLAMA_BENCH] [--runs 3] [--threads 2]

Ours is `rotulus serve` (one rank, store on disk, HTTP): prefill.f32.N is a context's N tokens divided by the time its
computing took, commit included; prefill.fast.N the same with --arithmetic auto; decode.N is 64 greedy tokens behind a
context of N tokens (behind a prompt of a few for 0). The peer is a llama-bench binary, or llama-cpp-python where
scripts/oracles.sh installed it, with flash attention. The share of a decode figure is (weights + keys and values) read
per second, of the reading rate of all threads measured beside it. Sizes beyond the window that the model was trained for
are what they cost, not what it would say; the largest are run once."""
import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/system"))
from cluster import PROGRAMS, Cluster, model_path  # noqa: E402

PREFILL = {f"prefill.f32.{count}": count for count in (512, 2048, 8192, 32768)}
FAST = {f"prefill.fast.{count}": count for count in (512, 8192, 32768)}
DECODE = {f"decode.{count}": count for count in (0, 4096, 16384)}
DECODE_TOKENS = 64
RUN_ONCE = 16384  # tokens, from here on
KV_BYTES = 30 * 2 * 3 * 64 * 2  # of a token of SmolLM2-135M in f16

LLAMA_PYTHON = r"""
import json, sys, time, llama_cpp
path, threads, prefills, depths, decode = sys.argv[1], int(sys.argv[2]), *map(json.loads, sys.argv[3:])
model = llama_cpp.Llama(path, n_ctx=max(prefills + depths) + 128, n_batch=512, n_threads=threads, n_threads_batch=threads, flash_attn=True,
                        verbose=False)
model.eval(list(range(100, 164)))
def fill(count):
    model.reset()
    if count: model.eval([(i * 7919) % 40000 + 100 for i in range(count)])
for count in prefills:
    begin = time.perf_counter(); fill(count)
    print(json.dumps([f"prefill.f32.{count}", count / (time.perf_counter() - begin)]))
for count in depths:
    fill(count)
    begin = time.perf_counter()
    for i in range(decode): model.eval([300 + i])
    print(json.dumps([f"decode.{count}", decode / (time.perf_counter() - begin)]))
"""


def ids(count):
    return [(i * 7919) % 40000 + 100 for i in range(count)]


def run_llama_python(python, threads, prefills, depths):
    out = subprocess.run([python, "-c", LLAMA_PYTHON, str(model_path()), str(threads), json.dumps(prefills),
                          json.dumps(depths), str(DECODE_TOKENS)], capture_output=True, text=True, check=True).stdout
    return dict(map(json.loads, out.splitlines()))


def run_llama_bench(program, threads, prefills, depths):
    def rows(*flags):
        out = subprocess.run([program, "-m", model_path(), "-t", str(threads), "-fa", "1", "-r", "1", "-o", "json", *flags],
                             capture_output=True, text=True, check=True).stdout
        return json.loads(out)[0]["avg_ts"]

    rates = {f"prefill.f32.{count}": rows("-p", str(count), "-n", "0") for count in prefills}
    for count in depths:
        rates[f"decode.{count}"] = rows("-p", "0", "-n", str(DECODE_TOKENS), "-d", str(count))
    return rates


def run_ours(threads, prefills, depths, kind="f32", arithmetic="f32"):
    rates = {}
    with tempfile.TemporaryDirectory() as folder:
        with Cluster(pathlib.Path(folder) / "store", ranks=1,
                     flags=("-t", str(threads), "--arithmetic", arithmetic, "-c", "40960")) as cluster:
            cluster.request("POST", "/v1/completions", {"prompt": "warm", "max_tokens": 8})
            for count in sorted({*prefills, *depths}):
                question = {"prompt": "a", "max_tokens": DECODE_TOKENS, "temperature": 0, "ignore_eos": True}
                if count > 0:
                    body = {"input_ids": ids(count), "frame": "raw"}
                    question["context_id"] = cluster.request("POST", "/v1/contexts", body)[1]["id"]
                    view = cluster.wait_completed(question["context_id"], deadline_s=1800)
                    rates[f"prefill.{kind}.{count}"] = count / view["progress"]["time_ms"] * 1000
                if count in depths:
                    answer = cluster.request("POST", "/v1/completions", question)[1]
                    rates[f"decode.{count}"] = answer["timings"]["predicted_per_second"]
    return rates


def read_limit():
    out = subprocess.run([PROGRAMS / "rotulus-bench-dense", "machine.read.threads"], capture_output=True, text=True,
                         check=True).stdout
    return json.loads(out)["value"]


def print_figure(name, ours, peers, limits):
    runs = [(run, limit) for run, limit in zip(ours, limits) if name in run]
    value = statistics.median(run[name] for run, _ in runs)
    share = None
    if name in DECODE:
        gigabytes = (model_path().stat().st_size + DECODE[name] * KV_BYTES) / 1e9
        share = round(statistics.median(run[name] * gigabytes / limit for run, limit in runs), 3)
    same = name.replace("fast", "f32")  # the peer has one way
    pairs = [(run[name], other[same]) for run, other in zip(ours, peers) if name in run]
    peer = statistics.median(other for _, other in pairs) if pairs else None
    ratio = statistics.median(run / other for run, other in pairs) if pairs else None
    print(json.dumps({"name": name, "value": round(value, 1), "unit": "tokens/s", "limit": None, "share": share,
                      "peer": peer and round(peer, 1), "ratio": ratio and round(ratio, 2),
                      "cpu": platform.processor() or "x86_64"}), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--peer")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    prefixes = tuple(arguments.names) or ""
    names = [name for name in (*PREFILL, *FAST, *DECODE) if name.startswith(prefixes)]
    if arguments.list:
        print(*names, sep="\n")
    if arguments.list or not names:
        return
    exact, fast, depths = ([table[name] for name in names if name in table] for table in (PREFILL, FAST, DECODE))
    python = ROOT / ".venv-oracles/bin/python"
    ours, peers, limits = [], [], []
    for run in range(arguments.runs):
        if run > 0:
            exact, fast, depths = ([size for size in sizes if size < RUN_ONCE] for sizes in (exact, fast, depths))
        peer_sizes = sorted({*exact, *fast}), depths
        limits.append(read_limit())
        ours.append(run_ours(arguments.threads, exact, depths) if exact or depths else {})
        if fast:
            ours[-1] |= run_ours(arguments.threads, fast, [], "fast", "auto")
        if arguments.peer:
            peers.append(run_llama_bench(arguments.peer, arguments.threads, *peer_sizes))
        elif python.exists():
            peers.append(run_llama_python(python, arguments.threads, *peer_sizes) if any(peer_sizes) else {})
    for name in names:
        print_figure(name, ours, peers, limits)


if __name__ == "__main__":
    main()
