"""kill -9 at named places and at random ones, damaged bytes, deleted catalogues: no token is lost, no logit changes.

Each test asks a question whose log-probabilities are compared, character by character, with an undisturbed run."""
import concurrent.futures
import http.client
import json
import os
import random
import shutil
import signal
import subprocess
import time

import pytest

from cluster import PROGRAMS, Cluster, bible, flip_a_bit, wait_for

TEXT = bible("ruth1:1", "ruth4:22", 2600)  # about 700 tokens: one chunk
LONG = bible("gen1:1", "gen9:29", 15400)   # about 4,200 tokens: two chunks
LONGER = bible("gen1:1", "gen12:20", 22000)  # its second chunk takes a while
KILLS = int(os.environ.get("ROTULUS_KILLS", "4"))  # of the random ones, a quarter of them during answers


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, fast_arithmetic):
    """The answers of a cluster of one rank that nothing happened to."""
    with Cluster(tmp_path_factory.mktemp("undisturbed") / "store", ranks=1) as cluster:
        answers = {}
        for name, text in (("short", TEXT), ("long", LONG), ("longer", LONGER)):
            context = cluster.submit(text)
            cluster.wait_completed(context)
            answers[name] = cluster.ask(context)
        return answers


@pytest.mark.parametrize("place", [
    "store.open", "commit.before_blocks", "commit.between_batches", "commit.before_manifest", "commit.after_manifest",
    "catalogue.before_record", "catalogue.before_record@2", "catalogue.after_record", "context.created"])
def test_a_death_at_a_named_place_loses_nothing(place, tmp_path, undisturbed):
    name, _, passage = place.partition("@")
    marks = tmp_path / "marks"
    marks.mkdir()
    environment = {"ROTULUS_FAILPOINTS": f"{name}=kill" + (f"@{passage}" if passage else ""),
                   "ROTULUS_FAILPOINT_MARKS": str(marks)}
    with Cluster(tmp_path / "store", environment=environment) as cluster:
        def submitted():
            try:
                return cluster.submit(TEXT)
            except (OSError, AssertionError, http.client.HTTPException):  # not acknowledged: a client sends it again
                return None
        context = wait_for(submitted, "the document to be accepted")
        cluster.wait_completed(context)
        wait_for(cluster.is_ready, "the service to answer again")
        assert cluster.ask(context) == undisturbed["short"]
        assert (marks / name).exists(), "the failpoint was not met: the test did not bite"


def test_random_kills_during_ingest_answers_and_a_restart(tmp_path, undisturbed):
    seed = random.randrange(1 << 30)
    print("seed", seed)
    draw = random.Random(seed)
    victims = ["rotulus-worker", "rotulus-worker", "mpirun", "rotulus-coordinator"]
    with Cluster(tmp_path / "store") as cluster:
        context = cluster.submit(LONG)
        killed = []
        while len(killed) < KILLS - KILLS // 4:
            time.sleep(0.2 + 1.5 * draw.random())
            view = cluster.context(context)
            if view.get("status") == "completed":
                break
            if view.get("status") == "in_progress" and view["progress"]["processed"] > 0:  # a chunk is in flight
                victim = draw.choice(victims)
                killed += [f"ingest: {victim}"] * cluster.kill(victim)
        cluster.wait_completed(context)
        assert killed, "no kill landed during ingest: the test did not bite"
        while len(killed) < KILLS:
            wait_for(cluster.is_ready, "the service to be ready")
            victim = draw.choice(victims)
            answer = ask_while(cluster, context, lambda: cluster.kill(victim), 0.3 * draw.random())
            killed.append(f"answer: {victim}")
            if answer is None:  # the connection goes with the coordinator, and only with it
                assert victim == "rotulus-coordinator", f"after {killed}"
                answer = wait_for(lambda: answer_or_none(cluster, context), "the service to answer again")
            assert answer == undisturbed["long"], f"after {killed}"
        print(len(killed), "kills:", ", ".join(killed))
        cluster.stop()
        cluster.start()
        assert cluster.context(context)["status"] == "completed"
        assert cluster.ask(context) == undisturbed["long"]
        assert cluster.metric("rotulus_recomputed_tokens_total") == 0


def ask_while(cluster, context, strike, delay_s):
    """An answer, or None, to a question during which `strike` is called."""
    with concurrent.futures.ThreadPoolExecutor(1) as asker:
        answer = asker.submit(answer_or_none, cluster, context)
        time.sleep(delay_s)
        assert strike(), "nothing to kill: the test did not bite"
        return answer.result()


def answer_or_none(cluster, context):
    """An answer; None where the service is away."""
    try:
        return cluster.ask(context) if cluster.is_ready() else None
    except (OSError, http.client.HTTPException):
        return None


def test_the_supervisor_dies_and_leaves_nothing_behind(tmp_path, undisturbed):
    cluster = Cluster(tmp_path / "store").start()
    context = cluster.submit(TEXT)
    cluster.wait_completed(context)
    children = cluster.pids("rotulus-worker") + cluster.pids("rotulus-coordinator") + cluster.pids("mpirun")
    assert len(children) == 4
    os.kill(cluster.process.pid, signal.SIGKILL)
    cluster.process.wait()

    def alive(pid):
        try:
            with open(f"/proc/{pid}/stat") as stat:
                return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
        except OSError:
            return False
    wait_for(lambda: not any(map(alive, children)), "its children to die with it")
    with cluster:  # the same port, the same store
        assert cluster.ask(context) == undisturbed["short"]
        assert cluster.metric("rotulus_recomputed_tokens_total") == 0


def test_a_stream_goes_on_with_the_same_bytes_when_a_worker_dies(tmp_path):
    with Cluster(tmp_path / "store") as cluster:
        context = cluster.submit(TEXT)
        cluster.wait_completed(context)
        want = cluster.ask(context, tokens=80)[0]["text"]
        connection = http.client.HTTPConnection("127.0.0.1", cluster.port, timeout=60)
        connection.request("POST", "/v1/completions", json.dumps({
            "context_id": context, "prompt": "\nIn short,", "max_tokens": 80, "temperature": 0, "ignore_eos": True,
            "stream": True}), {"Content-Type": "application/json"})
        got, events, killed = "", 0, False
        for line in connection.getresponse():
            if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
                continue
            event = json.loads(line[6:])
            assert "error" not in event, event
            got += "".join(choice["text"] for choice in event["choices"])
            events += 1
            if events == 10:
                killed = cluster.kill("rotulus-worker")
        assert killed and got == want


def test_a_store_opens_with_other_numbers_of_ranks(tmp_path, undisturbed):
    with Cluster(tmp_path / "store", ranks=2) as cluster:
        context = cluster.submit(LONG)
        cluster.wait_completed(context)
    for ranks in (1, 3):
        with Cluster(tmp_path / "store", ranks=ranks) as cluster:
            assert cluster.ask(context) == undisturbed["long"]
            assert cluster.metric("rotulus_recomputed_tokens_total") == 0


def test_a_context_of_four_times_the_host_budget_answers_exactly(tmp_path, undisturbed):
    budget = 22 << 20
    with Cluster(tmp_path / "store", ranks=1, flags=("--tier-ram-size", str(budget))) as cluster:
        context = cluster.submit(LONG)
        view = cluster.wait_completed(context)
        assert view["usage"]["bytes"]["disk"] >= 4 * budget, "the budget is not tight: the test did not bite"
        assert cluster.ask(context) == undisturbed["long"]


def test_a_flipped_bit_is_never_served_and_its_chunk_is_computed_again(tmp_path, undisturbed):
    store = tmp_path / "store"
    with Cluster(store) as cluster:
        context = cluster.submit(LONG)
        cluster.wait_completed(context)
    with Cluster(store):  # a second life writes what was in the log into tables
        pass
    flip_a_bit(store)
    with Cluster(store) as cluster:
        assert cluster.ask(context) == undisturbed["long"]
        cluster.wait_completed(context)
        assert cluster.metric("rotulus_recomputed_tokens_total") > 0
        assert cluster.context(context)["chunks"]["repaired"] >= 1


@pytest.mark.parametrize("served", [False, True], ids=["stopped", "serving"])
def test_verify_finds_flipped_bits_and_mends_them(served, tmp_path, undisturbed):
    store = tmp_path / "store"
    with Cluster(store) as cluster:
        context = cluster.submit(LONG)
        cluster.wait_completed(context)
    with Cluster(store):  # a second life writes what was in the log into tables
        pass
    if not served:
        flip_a_bit(store)
    with Cluster(store) as cluster:
        if served:
            assert cluster.ask(context) == undisturbed["long"]  # its blocks are in memory now: the disk is read all the same
            flip_a_bit(store)
        seen = verify(cluster, context)
        assert seen["blocks_damaged"] >= 1 and seen["blocks_verified"] > 0, seen
        assert cluster.context(context)["chunks"]["repaired"] == 1
        assert cluster.metric("rotulus_recomputed_tokens_total") > 0
        clean = verify(cluster, context)
        assert clean["blocks_damaged"] == 0, clean
        assert clean["blocks_verified"] == seen["blocks_verified"] + seen["blocks_damaged"]
        assert cluster.ask(context) == undisturbed["long"]
        done = subprocess.run([PROGRAMS / "rotulus", "verify", "--url", f"http://127.0.0.1:{cluster.port}"],
                              capture_output=True, text=True)
        assert done.returncode == 0 and " 0 damaged" in done.stdout, done


def verify(cluster, context):
    status, answer = cluster.request("POST", f"/v1/contexts/{context}/verify")
    assert status == 202, answer

    def finished():
        seen = cluster.context(context).get("verification")
        return seen if seen and seen["status"] in ("completed", "failed") else None
    seen = wait_for(finished, "the verification to end")
    assert seen["status"] == "completed", seen
    return seen


def test_a_deleted_catalogue_is_rebuilt_from_the_volumes(tmp_path, undisturbed):
    store = tmp_path / "store"
    with Cluster(store) as cluster:
        context = cluster.submit(LONG, display_name="genesis")
        cluster.wait_completed(context)
    shutil.rmtree(store / "catalogue")
    with Cluster(store, flags=("--rebuild-catalogue",)) as cluster:
        view = cluster.wait_completed(context)
        assert view["display_name"] == "genesis"
        assert cluster.ask(context) == undisturbed["long"]
        assert cluster.metric("rotulus_recomputed_tokens_total") == 0


def test_an_absent_volume_is_named_and_its_contexts_come_back_with_it(tmp_path, undisturbed):
    store = tmp_path / "store"
    with Cluster(store) as cluster:
        context = cluster.submit(LONG)
        cluster.wait_completed(context)
    volume = max((store / "volumes").iterdir())
    hidden = tmp_path / "hidden"
    volume.rename(hidden)
    with Cluster(store) as cluster:
        status, answer = cluster.request("POST", "/v1/completions", {"context_id": context, "prompt": "a"})
        assert status == 503 and "volume" in answer["error"]["message"], answer
        assert cluster.context(context)["absent_volumes"]
        other = cluster.submit(TEXT)  # the rest serves
        cluster.wait_completed(other)
        assert cluster.ask(other) == undisturbed["short"]
    if volume.exists():  # the rank that held it has made a new one of the same name
        volume.rename(volume.with_name("9000"))
    hidden.rename(volume)
    with Cluster(store) as cluster:
        assert cluster.ask(context) == undisturbed["long"]
        assert cluster.ask(other) == undisturbed["short"]
        assert cluster.metric("rotulus_recomputed_tokens_total") == 0


def kill_all(cluster):
    os.kill(cluster.process.pid, signal.SIGKILL)
    cluster.process.wait()


def test_a_first_commit_is_retried_without_the_volume_that_has_half_of_it(tmp_path, undisturbed):
    store = tmp_path / "store"
    dying = Cluster(store, environment={"ROTULUS_FAILPOINTS": "commit.after_manifest=kill"}).start()
    first = set(dying.pids("rotulus-worker"))
    context = dying.submit(TEXT)
    wait_for(lambda: len(first & set(dying.pids("rotulus-worker"))) < 2, "a worker to die in its commit")
    kill_all(dying)
    volume = max((store / "volumes").iterdir())
    hidden = tmp_path / "hidden"
    volume.rename(hidden)
    with Cluster(store) as cluster:
        cluster.wait_completed(context)
        assert cluster.ask(context) == undisturbed["short"]
    if volume.exists():
        volume.rename(volume.with_name("9000"))
    hidden.rename(volume)
    with Cluster(store) as cluster:
        assert cluster.ask(context) == undisturbed["short"]
        assert cluster.metric("rotulus_recomputed_tokens_total") == 0


def test_a_chunk_waits_for_the_volume_that_holds_what_is_before_it(tmp_path, undisturbed):
    store = tmp_path / "store"
    dying = Cluster(store).start()
    context = dying.submit(LONGER)
    wait_for(lambda: dying.context(context).get("progress", {}).get("committed"), "the first chunk to be committed")
    kill_all(dying)
    volume = max((store / "volumes").iterdir())
    hidden = tmp_path / "hidden"
    volume.rename(hidden)
    with Cluster(store) as cluster:
        assert cluster.context(context)["absent_volumes"]
        other = cluster.submit(TEXT)
        cluster.wait_completed(other)  # the rest serves
        view = cluster.context(context)
        assert view["status"] not in ("completed", "failed", "cancelled") and view["absent_volumes"], view
    if volume.exists():
        volume.rename(volume.with_name("9000"))
    hidden.rename(volume)
    with Cluster(store) as cluster:
        cluster.wait_completed(context)
        assert cluster.ask(context) == undisturbed["longer"]
        assert cluster.ask(other) == undisturbed["short"]
        assert cluster.metric("rotulus_recomputed_tokens_total") == 0
