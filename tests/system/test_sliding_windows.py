"""A model of which most layers see a window only: what its documents take, found again over the windows, through kills.

Gemma-3-270m has 18 layers of 1 KiB a token, of which 15 see the last 512 tokens: what lies further back is read by the
other three, and of the fifteen only the end of each chunk of 4,096 tokens is kept."""
import os
import signal

import pytest

from cluster import ROOT, Cluster, bible, flip_a_bit

MODEL = ROOT / "models/gemma-3-270m-q4_k_m.gguf"
KEY = "48261"
HIDDEN = f"The number of the lighthouse is {KEY}."
QUESTION = "\n\nQuestion: What is the number of the lighthouse?\nAnswer: The number of the lighthouse is"
KIB = 1024


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("sliding") / "store"


@pytest.fixture(scope="module")
def said(store):
    """The context, and what was said of it, by a group of two that then died without a word."""
    lines = bible("gen1:1", "gen9:29", 17000).splitlines()
    lines.insert(len(lines) // 3, HIDDEN)
    with Cluster(store, ranks=2, model=MODEL) as cluster:
        context = cluster.submit("\n".join(lines) + "\n")
        view = cluster.wait_completed(context, deadline_s=600)
        answers = cluster.ask(context, QUESTION, tokens=8)
        on_disk = sum(path.stat().st_size for path in (store / "volumes").rglob("*.sst"))
        os.killpg(cluster.process.pid, signal.SIGKILL)
        cluster.process.wait()
        yield {"context": context, "view": view, "answers": answers, "on_disk": on_disk}


def test_finds_a_sentence_over_many_windows(said):
    assert said["view"]["attention"]["mode"] == "exact"
    assert said["view"]["usage"]["total_tokens"] > 4096 + 128, "not two chunks"
    assert KEY in said["answers"][0]["text"]


def test_says_what_the_windows_save_and_keeps_no_more(said):
    tokens = said["view"]["usage"]["total_tokens"]
    of_last_chunk = min(tokens - 4096, 511 + (tokens - 511) % 128)  # from where a block begins
    kept = 3 * KIB * tokens + 15 * KIB * (512 + of_last_chunk)
    usage = said["view"]["usage"]["bytes"]
    assert usage["disk"] == kept
    assert usage["disk"] + usage["saved_by_windows"] == 18 * KIB * tokens
    assert said["on_disk"] < kept + usage["saved_by_windows"] / 2


@pytest.mark.parametrize("ranks", [1, 3])
def test_another_number_of_ranks_says_the_same_after_a_kill(said, store, ranks):
    with Cluster(store, ranks=ranks, model=MODEL, flags=("--tier-ram-size", "96M")) as cluster:
        assert cluster.ask(said["context"], QUESTION, tokens=8) == said["answers"]
        assert cluster.metric("rotulus_recomputed_tokens_total") == 0


def test_a_damaged_chunk_is_computed_again_from_the_windows_before_it(said, store):
    flip_a_bit(store, 1 / 8)  # where a chunk begins, only layers that see everything have blocks, and all are read
    with Cluster(store, ranks=2, model=MODEL) as cluster:
        assert cluster.ask(said["context"], QUESTION, tokens=8) == said["answers"]
        assert cluster.wait_completed(said["context"])["chunks"]["repaired"] == 1
        questions = 2 * 64  # before the damage was met, and again
        assert 0 < cluster.metric("rotulus_recomputed_tokens_total") <= 4096 + questions
