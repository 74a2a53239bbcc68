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
    lines = bible("gen1:1", "gen50:26", 35000).splitlines()
    lines.insert(len(lines) // 3, HIDDEN)
    return "\n".join(lines) + "\n"


def ask(cluster, context, **attention):
    """An answer, behind the passages read again unless something else is said, and how it came."""
    status, answer = cluster.request("POST", "/v1/completions", {
        "context_id": context, "prompt": QUESTION, "max_tokens": 8, "temperature": 0, "attention": attention})
    assert status == 200, answer
    return {"choices": answer["choices"], "attention": answer["attention"], "usage": answer["usage"]}


def score(cluster, context):
    """How likely the question and its answer are behind the document."""
    status, answer = cluster.request("POST", "/v1/completions", {
        "context_id": context, "prompt": f"{QUESTION} {KEY}", "max_tokens": 0, "echo": True, "logprobs": 1})
    assert status == 200, answer
    return answer["choices"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("retrieval") / "store"


@pytest.fixture(scope="module")
def said(store):
    """The context, and what was said of it, by one rank that then died without a word."""
    with Cluster(store, ranks=1) as cluster:
        context = cluster.submit(document())
        view = cluster.wait_completed(context, deadline_s=600)
        answer, of_stored_keys = ask(cluster, context), ask(cluster, context, reread=False)
        found = cluster.request("POST", f"/v1/contexts/{context}/search", {"query": QUESTION})[1]
        refused = cluster.request("POST", "/v1/completions", {
            "context_id": context, "prompt": QUESTION, "max_tokens": 8, "attention": {"mode": "exact"}})
        scored = score(cluster, context)
        os.killpg(cluster.process.pid, signal.SIGKILL)
        cluster.process.wait()
        yield {"context": context, "view": view, "answer": answer, "of_stored_keys": of_stored_keys, "found": found,
               "refused": refused, "scored": scored}


def test_finds_a_sentence_beyond_the_window(said):
    assert said["view"]["progress"]["total"] > 8192 + 512
    assert said["view"]["attention"]["mode"] == "retrieval"
    assert KEY in said["answer"]["choices"][0]["text"]


def test_searching_gives_the_passage_with_its_place(said):
    passages = said["found"]["data"]
    held = [rank for rank, passage in enumerate(passages) if KEY in passage["content"][0]["text"]]
    assert held and held[0] < 3, [passage["content"][0]["text"] for passage in passages]


def test_reads_the_passage_again_and_answers_from_it(said):
    answer, attention = said["answer"], said["answer"]["attention"]
    ranges = attention["reread"]["token_ranges"]
    assert ranges[0][0] == 0 and ranges[-1][1] == attention["context_tokens"]
    assert attention["reread"]["computed_tokens"] == sum(end - begin for begin, end in ranges) < 2048
    assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == attention["context_tokens"]


def test_attends_to_the_keys_as_they_are_stored_where_that_is_asked_for(said):
    attention = said["of_stored_keys"]["attention"]
    assert attention["mode"] == "retrieval" and attention["second_pass"] and "reread" not in attention
    assert KEY in said["of_stored_keys"]["choices"][0]["text"]


def test_an_echo_says_how_likely_each_token_was(said):
    choice = said["scored"][0]
    logprobs = choice["logprobs"]
    assert choice["text"] == f"{QUESTION} {KEY}" == "".join(logprobs["tokens"])
    assert logprobs["token_logprobs"][0] is None and max(logprobs["token_logprobs"][1:]) <= 0
    assert min(logprobs["token_logprobs"][-5:]) > -3, "the key's digits, which it has just found"


def test_exact_attention_beyond_the_window_is_refused_with_the_numbers(said):
    status, answer = said["refused"]
    assert status == 400 and "8192" in answer["error"]["message"], answer


@pytest.mark.parametrize("ranks", [2, 3])
def test_another_number_of_ranks_says_the_same_after_a_kill(said, store, ranks):
    with Cluster(store, ranks=ranks, flags=("--tier-ram-size", "96M")) as cluster:
        assert ask(cluster, said["context"]) == said["answer"]
        assert cluster.request("POST", f"/v1/contexts/{said['context']}/search", {"query": QUESTION})[1] == said["found"]
        assert cluster.metric("rotulus_recomputed_tokens_total") == 0
        assert ask(cluster, said["context"], reread=False) == said["of_stored_keys"]
        assert score(cluster, said["context"]) == said["scored"]
