"""A context that leaves a cluster as a file and comes to others: other numbers of ranks, the same answers, nothing
computed. Answers are compared with their log-probabilities, character by character."""
import os
import signal
import subprocess

import pytest

from cluster import PROGRAMS, Cluster, bible, wait_for

LONG = bible("gen1:1", "gen9:29", 15400)  # about 4,200 tokens: two chunks
WINDOW = ["-c", "1024"]  # far less: kept with landmarks, and answered by retrieval
QUESTION = "\nAnd God said,"


def rotulus(cluster, *arguments):
    return subprocess.run([PROGRAMS / "rotulus", "--url", f"http://127.0.0.1:{cluster.port}", *map(str, arguments)],
                          capture_output=True, text=True, check=False)


def stored_bytes(store):
    return sum(path.stat().st_size for path in (store / "volumes").rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def exported(tmp_path_factory, fast_arithmetic):
    """The file of a context of two ranks, and what it says there."""
    folder = tmp_path_factory.mktemp("exported")
    file = folder / "genesis.rotulus"
    with Cluster(folder / "store", ranks=2, flags=WINDOW) as cluster:
        context = cluster.submit(LONG, display_name="genesis")
        tokens = cluster.wait_completed(context)["usage"]["total_tokens"]
        assert tokens > 4096
        said = cluster.ask(context, QUESTION)
        done = rotulus(cluster, "export", "genesis", "-o", file)
        assert done.returncode == 0, done.stderr
    return file, tokens, said


@pytest.mark.parametrize("ranks", [1, 3])
def test_a_context_says_the_same_on_another_number_of_ranks_and_after_a_kill(tmp_path, exported, ranks):
    file, tokens, said = exported
    with Cluster(tmp_path / "store", ranks=ranks, flags=WINDOW) as cluster:
        done = rotulus(cluster, "import", file)
        assert done.returncode == 0, done.stderr
        context = done.stdout.strip()
        view = cluster.context(context)
        assert (view["status"], view["display_name"]) == ("completed", "genesis")
        assert view["usage"]["total_tokens"] == tokens
        assert cluster.ask(context, QUESTION) == said
        assert cluster.metric("rotulus_recomputed_tokens_total") == 0
        assert cluster.metric("rotulus_prefilled_tokens_total") < tokens / 2, "only a question and what it read again"

        os.killpg(cluster.process.pid, signal.SIGKILL)
        cluster.process.wait()
        cluster.start()
        assert cluster.ask(context, QUESTION) == said
        assert cluster.metric("rotulus_recomputed_tokens_total") == 0
        again = tmp_path / "again.rotulus"
        assert rotulus(cluster, "export", context, "-o", again).returncode == 0
        assert again.stat().st_size == file.stat().st_size


def test_an_import_that_is_killed_leaves_nothing_and_damage_is_named(tmp_path, exported):
    file, _, said = exported
    with Cluster(tmp_path / "store", ranks=2, flags=WINDOW) as cluster:
        empty = stored_bytes(tmp_path / "store")
        uploading = subprocess.Popen(
            [PROGRAMS / "rotulus", "--url", f"http://127.0.0.1:{cluster.port}", "import", "-"],
            stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
        data = file.read_bytes()
        uploading.stdin.write(data[:len(data) * 3 // 4])
        uploading.stdin.flush()
        wait_for(lambda: stored_bytes(tmp_path / "store") > empty + len(data) // 3, "most of it to be written")
        os.killpg(cluster.process.pid, signal.SIGKILL)
        cluster.process.wait()
        uploading.kill()
        uploading.wait()
        cluster.start()
        assert cluster.request("GET", "/v1/contexts")[1]["data"] == []
        wait_for(lambda: stored_bytes(tmp_path / "store") < empty + len(data) // 10, "its bytes to be given back")

        damaged = bytearray(data)
        damaged[len(data) // 2] ^= 0x10
        (tmp_path / "damaged").write_bytes(damaged)
        done = rotulus(cluster, "import", tmp_path / "damaged")
        assert done.returncode == 1 and "at byte" in done.stderr, done.stderr
        assert cluster.request("GET", "/v1/contexts")[1]["data"] == []

        done = rotulus(cluster, "import", file)
        assert done.returncode == 0, done.stderr
        assert cluster.ask(done.stdout.strip(), QUESTION) == said


def test_what_was_computed_otherwise_is_refused_by_name(tmp_path, exported):
    with Cluster(tmp_path / "store", ranks=1, flags=[*WINDOW, "--kv-type", "int8"]) as cluster:
        done = rotulus(cluster, "import", exported[0])
        assert done.returncode == 1 and "kv_type" in done.stderr, done.stderr
