"""Contexts that share what they begin with, that are appended to and forked: computed once, stored once, and every one
of them whole whatever becomes of the others.

Answers are compared with their log-probabilities, character by character, with those of a store of its own."""
import os
import shutil
import signal

import pytest

from cluster import Cluster, bible, wait_for

LONG = bible("gen1:1", "gen9:29", 15400)  # about 4,200 tokens: two chunks
REST = bible("gen10:1", "gen12:20", 3000)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, fast_arithmetic):
    """What a cluster of one rank says to each text, computed alone."""
    said = {}
    with Cluster(tmp_path_factory.mktemp("undisturbed") / "store", ranks=1) as cluster:
        for name, text in (("long", LONG), ("longer", LONG + REST)):
            context = cluster.submit(text)
            cluster.wait_completed(context)
            said[name] = cluster.ask(context)
            assert cluster.request("DELETE", f"/v1/contexts/{context}")[0] == 200
        assert cluster.metric("rotulus_context_tokens_shared_total") == 0
    return said


def stored_bytes(store):
    return sum(path.stat().st_size for path in (store / "volumes").rglob("*") if path.is_file())


def kill_all(cluster):
    os.killpg(cluster.process.pid, signal.SIGKILL)
    cluster.process.wait()


def test_a_document_submitted_twice_outlives_its_first_copy_a_kill_and_its_catalogue(tmp_path, undisturbed):
    store = tmp_path / "store"
    with Cluster(store) as cluster:
        first = cluster.submit(LONG)
        tokens = cluster.wait_completed(first)["usage"]["total_tokens"]
        assert cluster.ask(first) == undisturbed["long"]
        once = stored_bytes(store)
        second = cluster.submit(LONG)
        usage = cluster.wait_completed(second)["usage"]
        assert usage["shared_tokens"] == usage["total_tokens"] == tokens
        assert cluster.metric("rotulus_context_tokens_committed_total") == tokens
        assert stored_bytes(store) < 1.05 * once
        assert cluster.ask(second) == undisturbed["long"]
        kill_all(cluster)

        cluster.start()
        assert cluster.request("DELETE", f"/v1/contexts/{first}")[0] == 200
        assert cluster.ask(second) == undisturbed["long"]
        cluster.stop()

        shutil.rmtree(store / "catalogue")
        cluster.flags.append("--rebuild-catalogue")
        cluster.start()
        assert cluster.context(first) == {}, "a deleted document came back"
        assert cluster.ask(second) == undisturbed["long"]
        assert cluster.metric("rotulus_prefilled_tokens_total") < 100, "only questions"
        assert cluster.request("DELETE", f"/v1/contexts/{second}")[0] == 200
        wait_for(lambda: stored_bytes(store) < 0.1 * once, "the bytes to be given back")


def test_an_append_says_what_the_whole_text_would_and_survives_a_kill(tmp_path, undisturbed):
    with Cluster(tmp_path / "store") as cluster:
        context = cluster.submit(LONG)
        cluster.wait_completed(context)
        status, other = cluster.request("POST", f"/v1/contexts/{context}/fork", {})
        assert status == 202
        assert cluster.wait_completed(other["id"])["usage"]["shared_tokens"] > 4096
        status, view = cluster.request("POST", f"/v1/contexts/{context}/append", {"text": REST})
        assert (status, view["id"], view["status"]) == (202, context, "in_progress")
        assert cluster.request("POST", f"/v1/contexts/{context}/append", {"text": REST})[0] == 409
        kill_all(cluster)
        cluster.start()
        view = cluster.wait_completed(context)
        assert view["usage"]["shared_tokens"] == 4096
        assert cluster.ask(context) == undisturbed["longer"]
        assert cluster.ask(other["id"]) == undisturbed["long"]
