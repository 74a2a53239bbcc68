"""A real cluster for system tests: `rotulus serve` with its processes, spoken to over HTTP as a user would."""
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAMS = pathlib.Path(os.environ.get("ROTULUS_BIN", ROOT / "build/release/bin"))
DEADLINE_S = int(os.environ.get("ROTULUS_DEADLINE_S", "120"))  # of every wait; a test that meets it has failed


def model_path():
    given = os.environ.get("ROTULUS_MODEL")
    found = [pathlib.Path(given)] if given else sorted((ROOT / "models").glob("SmolLM2*.gguf"))
    assert found, "no models/SmolLM2*.gguf: run scripts/setup.sh, or set ROTULUS_MODEL"
    return found[0]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(condition, what, deadline_s=DEADLINE_S):
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.1)
    raise AssertionError(f"waited {deadline_s} s for {what}")


class Cluster:
    """`rotulus serve` on a store folder. Use as a context manager; may be stopped and started again."""

    def __init__(self, store, ranks=2, flags=(), environment=None, model=None):
        self.store, self.ranks, self.flags = pathlib.Path(store), ranks, list(flags)
        self.environment = environment or {}
        self.model = model or model_path()
        self.port = free_port()
        self.process = None
        self.log_path = self.store.parent / f"{self.store.name}-serve.log"

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def start(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [PROGRAMS / "rotulus", "serve", "-m", self.model, "-n", str(self.ranks), "--port", str(self.port),
                 "--store", self.store, *self.flags],
                stdout=log, stderr=log, start_new_session=True, env={**os.environ, **self.environment})
        self.wait_ready()
        return self

    def is_ready(self):
        assert self.process.poll() is None, f"serve ended with {self.process.returncode}:\n{self.log()[-2000:]}"
        try:
            return self.request("GET", "/readyz")[0] == 200
        except OSError:
            return False

    def wait_ready(self):
        wait_for(self.is_ready, "the service to be ready")

    def stop(self):
        """SIGTERM drains: it must end by itself, and well."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            assert self.process.wait(DEADLINE_S) == 0

    def log(self):
        return self.log_path.read_text(errors="replace")

    def pids(self, name):
        """Processes of this cluster, by the name of their program."""
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and os.getsid(int(entry.name)) == self.process.pid:
                    if pathlib.Path((entry / "cmdline").read_bytes().split(b"\0")[0].decode()).name == name:
                        found.append(int(entry.name))
            except OSError:
                pass
        return sorted(found)

    def kill(self, name):
        pids = self.pids(name)
        if pids:
            os.kill(pids[0], signal.SIGKILL)
        return bool(pids)

    def request(self, method, path, body=None, headers=None, timeout=DEADLINE_S):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        if isinstance(body, dict):
            body, headers = json.dumps(body), {"Content-Type": "application/json", **(headers or {})}
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        try:
            return answer.status, json.loads(data)
        except ValueError:
            return answer.status, data.decode(errors="replace")

    def submit(self, text, **more):
        status, answer = self.request("POST", "/v1/contexts", {"text": text, "frame": "raw", **more})
        assert status == 202, answer
        return answer["id"]

    def context(self, context):
        """The context as the API shows it; {} while the service does not answer."""
        try:
            status, view = self.request("GET", f"/v1/contexts/{context}")
        except (OSError, http.client.HTTPException):
            return {}
        return view if status == 200 else {}

    def wait_completed(self, context, deadline_s=DEADLINE_S):
        def completed():
            view = self.context(context)
            assert view.get("status") not in ("failed", "cancelled"), view
            return view if view.get("status") == "completed" else None
        return wait_for(completed, f"{context} to be completed", deadline_s)

    def ask(self, context, prompt="\nIn short,", tokens=24):
        """Text and log-probabilities: whatever changes a logit changes them."""
        status, answer = self.request("POST", "/v1/completions", {
            "context_id": context, "prompt": prompt, "max_tokens": tokens, "temperature": 0, "logprobs": 5,
            "ignore_eos": True})
        assert status == 200, answer
        return answer["choices"]

    def metric(self, name):
        page = self.request("GET", "/metrics")[1]
        values = [line.rsplit(" ", 1)[1] for line in page.splitlines()
                  if line.startswith((name + " ", name + "{"))]
        assert values, f"no metric {name}"
        return sum(map(float, values))


def bible(first, last, characters):
    text = subprocess.run(["bible", "-f", f"{first}-{last}"], capture_output=True, text=True, check=True).stdout
    return text[:characters]


def flip_a_bit(store, share=1 / 2):
    """At a share of the largest table on any volume of a store that nobody serves."""
    largest = max(store.glob("volumes/*/**/*.sst"), key=lambda path: path.stat().st_size)
    with open(largest, "r+b") as table:
        table.seek(int(largest.stat().st_size * share))
        byte = table.read(1)[0]
        table.seek(-1, os.SEEK_CUR)
        table.write(bytes([byte ^ 0x10]))
