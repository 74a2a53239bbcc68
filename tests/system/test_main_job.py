"""The main job as a user does it: documents, questions, refusals, cancelling, bytes given back, memory that stays flat."""
import http.client
import json
import os
import pathlib
import subprocess
import time

import pytest

from cluster import PROGRAMS, Cluster, bible, wait_for

KEY = "The pass key is 48261. Remember it. 48261 is the pass key."


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with Cluster(tmp_path_factory.mktemp("main") / "store") as running:
        yield running


def test_finds_a_planted_sentence_through_chat(cluster):
    verses = bible("ruth1:1", "ruth4:22", 6000).splitlines()
    verses.insert(len(verses) // 3, KEY)
    context = cluster.submit("\n".join(verses), frame="chat")
    view = cluster.wait_completed(context)
    status, answer = cluster.request("POST", "/v1/chat/completions", {
        "context_id": context, "max_tokens": 24, "temperature": 0,
        "messages": [{"role": "user", "content": "What is the pass key in the text above? Answer with the number."}]})
    assert status == 200, answer
    assert "48261" in answer["choices"][0]["message"]["content"]
    assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == view["usage"]["total_tokens"]


def test_an_answer_flows_while_a_document_is_read_and_cancelling_frees_the_compute(cluster):
    reading = cluster.submit(bible("gen1:1", "gen9:29", 24000))
    wait_for(lambda: cluster.context(reading).get("progress", {}).get("processed"), "the document to be computed")
    status, answer = cluster.request("POST", "/v1/completions", {"prompt": "Once", "max_tokens": 8, "ignore_eos": True})
    assert status == 200 and answer["usage"]["completion_tokens"] == 8, answer
    assert cluster.context(reading)["status"] == "in_progress", "the document was read before the answer came"
    status, view = cluster.request("POST", f"/v1/contexts/{reading}/cancel", {})
    assert status == 200 and view["status"] == "cancelled"
    time.sleep(1)  # what was promised; then nothing may move any more
    processed = cluster.context(reading)["progress"]["processed"]
    time.sleep(1)
    assert cluster.context(reading)["progress"]["processed"] == processed


def test_deleting_gives_the_bytes_back(cluster):
    folder = cluster.store / "volumes"
    context = cluster.submit(bible("gen1:1", "gen9:29", 14000))
    kv_bytes = cluster.wait_completed(context)["usage"]["bytes"]["disk"]

    def on_disk():
        return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())
    before = on_disk()
    assert cluster.request("DELETE", f"/v1/contexts/{context}")[0] in (200, 204)
    assert cluster.request("GET", f"/v1/contexts/{context}")[0] == 404
    wait_for(lambda: on_disk() < before - kv_bytes // 2, "the volumes to shrink")


def test_what_does_not_fit_is_refused_with_the_numbers(cluster):
    long_prompt = {"prompt": "word " * 9000, "max_tokens": 4}  # exact: nothing says otherwise
    for request in (long_prompt, {**long_prompt, "attention": {"mode": "retrieval"}, "max_tokens": 8000}):
        status, answer = cluster.request("POST", "/v1/completions", request)
        assert status == 400 and answer["error"]["code"] == "context_length_exceeded", answer
        assert "8192" in answer["error"]["message"].replace(",", "")
        assert answer["error"]["n_ctx"] == 8192 and 8900 < answer["error"]["n_prompt_tokens"] < 9100
    status, answer = cluster.request("POST", "/v1/chat/completions", {
        "messages": [{"role": "user", "content": "a"}], "context_ids": ["ctx_0000000000000001"]})
    assert status == 400 and "context_ids" in answer["error"]["message"]


def test_a_window_is_what_it_is_set_to(tmp_path):
    with Cluster(tmp_path / "store", flags=("-c", "600")) as narrow:
        status, answer = narrow.request("POST", "/v1/completions", {"prompt": "word " * 700, "max_tokens": 4})
        assert status == 400 and answer["error"]["n_ctx"] == 600, answer
        model = narrow.request("GET", "/v1/cluster")[1]["model"]
        assert model["context_length"] == 600 and model["trained_length"] == 8192


def test_the_machine_tells_its_rates(cluster):
    for rank in cluster.request("GET", "/v1/cluster")[1]["ranks"]:
        rates = {(rate["name"], rate["threads"]): rate["per_second"] for rate in rank["rates"]}
        assert rates["fma_f32", 1] > 0 and rates["read", 1] > 0
    assert cluster.metric("rotulus_machine_operations_per_second") > 0
    assert cluster.metric("rotulus_machine_read_bytes_per_second") > 0


def resident_bytes(cluster):
    total = 0
    for name in ("rotulus", "rotulus-coordinator", "rotulus-worker", "mpirun"):
        for pid in cluster.pids(name):
            for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmRSS"):
                    total += int(line.split()[1]) * 1024
    return total


def test_a_document_of_a_gibibyte_is_never_held_in_memory(cluster):
    piece = (bible("gen1:1", "gen50:26", 1 << 20) * 8).encode()[: 1 << 20]
    before = most = resident_bytes(cluster)
    connection = http.client.HTTPConnection("127.0.0.1", cluster.port, timeout=300)
    connection.putrequest("POST", "/v1/contexts?frame=raw")
    connection.putheader("Content-Type", "text/plain")
    connection.putheader("Content-Length", str(1 << 30))
    connection.endheaders()
    for i in range(1024):
        connection.send(piece)
        if i % 64 == 0:
            most = max(most, resident_bytes(cluster))
    answer = connection.getresponse()
    accepted = json.loads(answer.read())
    assert answer.status == 202, accepted

    def failed():
        nonlocal most
        most = max(most, resident_bytes(cluster))
        view = cluster.context(accepted["id"])
        return view if view.get("status") == "failed" else None
    # As soon as its tokens are more than the disk holds, of which a few GiB are enough to hold a book, not this.
    error = wait_for(failed, "the document to be refused")["last_error"]
    assert error["code"] == "storage_full" and "bytes free" in error["message"], error
    assert most - before <= 64 << 20, f"resident memory grew by {(most - before) >> 20} MiB"


def test_the_command_line_says_what_the_api_says(cluster, tmp_path):
    def rotulus(*arguments):
        return subprocess.run([PROGRAMS / "rotulus", "--url", f"http://127.0.0.1:{cluster.port}", *arguments],
                              capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL,
                              env={**os.environ, "HOME": str(tmp_path)})
    document = tmp_path / "ruth.txt"
    document.write_text(bible("ruth1:1", "ruth2:1", 1500))
    submitted = rotulus("submit", str(document), "--wait")
    assert submitted.returncode == 0, submitted.stderr
    context = submitted.stdout.split()[-1]
    assert context in rotulus("ps").stdout
    answer = rotulus("ask", context, "Who was Naomi?", "--max-tokens", "8")
    assert answer.returncode == 0 and answer.stdout.strip(), answer.stderr
    assert rotulus("rm", context).returncode == 0
    missing = rotulus("show", context)
    assert missing.returncode == 1 and context in missing.stderr
    assert rotulus("show").returncode == 2
