"""A document longer than the model's window: read, asked, searched, killed and moved, with real processes.

The window of the small model is 8,192 tokens. What an answer reads of the document is chosen by landmarks that lie on
disk beside the keys, so an answer after `kill -9`, and with another number of ranks, has the same characters."""
import os
import signal

import pytest

from cluster import Cluster, bible

KEY = "48261"
HIDDEN = f"The number of the lighthouse is {KEY}."
QUESTION = "\n\nQuestion: What is the number of the lighthouse?\nAnswer: The number of the lighthouse is"


def document():
    lines = bible("gen1:1", "gen50:26", 38000).splitlines()
    lines.insert(len(lines) // 3, HIDDEN)
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("retrieval") / "store"


@pytest.fixture(scope="module")
def said(store):
    """The context, and what was said of it, by one rank that then died without a word."""
    with Cluster(store, ranks=1) as cluster:
        context = cluster.submit(document())
        view = cluster.wait_completed(context, deadline_s=600)
        answers = cluster.ask(context, QUESTION, tokens=8)
        found = cluster.request("POST", f"/v1/contexts/{context}/search", {"query": QUESTION})[1]
        refused = cluster.request("POST", "/v1/completions", {
            "context_id": context, "prompt": QUESTION, "max_tokens": 8, "attention": {"mode": "exact"}})
        os.killpg(cluster.process.pid, signal.SIGKILL)
        cluster.process.wait()
        yield {"context": context, "view": view, "answers": answers, "found": found, "refused": refused}


def test_finds_a_sentence_beyond_the_window(said):
    assert said["view"]["progress"]["total"] > 8192 + 512
    assert said["view"]["attention"]["mode"] == "retrieval"
    assert KEY in said["answers"][0]["text"]


def test_searching_gives_the_passage_with_its_place(said):
    passages = said["found"]["data"]
    held = [rank for rank, passage in enumerate(passages) if KEY in passage["content"][0]["text"]]
    assert held and held[0] < 3, [passage["content"][0]["text"] for passage in passages]


def test_exact_attention_beyond_the_window_is_refused_with_the_numbers(said):
    status, answer = said["refused"]
    assert status == 400 and "8192" in answer["error"]["message"], answer


@pytest.mark.parametrize("ranks", [2, 3])
def test_another_number_of_ranks_says_the_same_after_a_kill(said, store, ranks):
    with Cluster(store, ranks=ranks, flags=("--tier-ram-size", "96M")) as cluster:
        assert cluster.ask(said["context"], QUESTION, tokens=8) == said["answers"]
        assert cluster.request("POST", f"/v1/contexts/{said['context']}/search", {"query": QUESTION})[1] == said["found"]
        assert cluster.metric("rotulus_recomputed_tokens_total") == 0
