"""What the demo says to the server, with the OpenAI client and nothing of our own."""

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

import openai

PASS_KEY = "48261"
PLANTED = f"The pass key is {PASS_KEY}. Remember it. {PASS_KEY} is the pass key."
QUESTIONS = [
    "What is the pass key in the text above? Answer with the number.",
    "Whom did Ruth marry?",
    "How long was Jonah in the belly of the fish?",
]
LONG_QUESTION = "Tell the story of Jonah."


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


def get_json(url: str):
    return json.loads(get(url))


def fail(why: str):
    sys.exit(f"demo: {why}")


def wait_until_ready(args):
    began = time.monotonic()
    while time.monotonic() - began < 120:
        try:
            get(f"{args.url}/readyz")
            print(f"ready after {time.monotonic() - began:.1f} s")
            return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            pass
        try:
            os.kill(args.server, 0)
        except ProcessLookupError:
            fail("the server ended; its log is in build/demo/serve.log")
        time.sleep(0.1)
    fail("the server was not ready in 120 s")


def document(args):
    """The text on standard output, and on standard error where the sentence stands in it."""
    lines = []
    for passage in ("ruth1:1-ruth4:22", "jonah1:1-jonah4:11"):
        printed = subprocess.run(["bible", "-f", passage], check=True, capture_output=True, text=True)
        lines += printed.stdout.splitlines()
    place = random.Random(args.seed).randrange(len(lines))
    lines.insert(place, PLANTED)
    print(f'"{PLANTED}"\nis line {place + 1} of {len(lines)} (seed {args.seed})', file=sys.stderr)
    print("\n".join(lines))


def find_context(url: str, name: str) -> str:
    for context in get_json(f"{url}/v1/contexts?limit=100")["data"]:
        if context["display_name"] == name:
            return context["id"]
    fail(f"there is no context {name}")


class Asker:
    """Streams greedy answers about one context."""

    def __init__(self, url: str, name: str):
        self.client = openai.OpenAI(base_url=f"{url}/v1", api_key=os.environ.get("ROTULUS_API_KEY", "none"))
        self.model = self.client.models.list().data[0].id
        self.context = find_context(url, name)

    def ask(self, question: str, max_tokens: int = 40, on_piece=lambda count: None) -> str:
        began = time.monotonic()
        first = None
        answer, pieces = "", 0
        stream = self.client.chat.completions.create(
            model=self.model, messages=[{"role": "user", "content": question}], max_tokens=max_tokens, temperature=0,
            stream=True, stream_options={"include_usage": True}, extra_body={"context_id": self.context})
        for chunk in stream:
            if chunk.usage:
                usage = chunk.usage
            text = chunk.choices[0].delta.content if chunk.choices else None
            if not text:
                continue
            first = first or time.monotonic()
            pieces += 1
            answer += text
            print(text, end="", flush=True)
            on_piece(pieces)
        seconds = time.monotonic() - (first or began)
        print(f"\n    [{usage.prompt_tokens} tokens of prompt, {usage.prompt_tokens_details.cached_tokens} of them in "
              f"memory; first token after {(first or began) - began:.2f} s, "
              f"then {(usage.completion_tokens - 1) / seconds:.1f} tokens/s]")
        return answer


def questions(args):
    asker = Asker(args.url, args.context)
    answers = {}
    for question in QUESTIONS:
        print(f"\n> {question}")
        answers[question] = asker.ask(question)
    if PASS_KEY not in answers[QUESTIONS[0]]:
        fail(f"the pass key is {PASS_KEY}, not {answers[QUESTIONS[0]]!r}")
    if args.answers:
        with open(args.answers, "w") as file:
            json.dump(answers, file)
    if args.same_as:
        with open(args.same_as) as file:
            before = json.load(file)
        if answers != before:
            fail(f"the answers were different before: {before}")
        again = recomputed_tokens(args.url)
        print(f"\nthe same answers as before, {again:.0f} tokens recomputed")
        if again:
            fail("a restart must recompute nothing")


def recomputed_tokens(url: str) -> float:
    metrics = get(f"{url}/metrics")
    return sum(map(float, re.findall(r"^rotulus_recomputed_tokens_total(?:\{[^}]*\})? (\S+)$", metrics, re.MULTILINE)))


def kill_a_worker(args):
    """The same question twice: undisturbed, and with a worker killed after a few words."""
    asker = Asker(args.url, args.context)
    print(f"\n> {LONG_QUESTION}")
    undisturbed = asker.ask(LONG_QUESTION, max_tokens=64)

    def kill_after_some(pieces: int):
        if pieces == 12:
            worker = get_json(f"{args.url}/v1/cluster")["ranks"][-1]
            os.kill(worker["pid"], signal.SIGKILL)
            print(f" <<kill -9 {worker['pid']}, rank {worker['rank']}>>", end="", flush=True)

    print(f"\n> {LONG_QUESTION}")
    disturbed = asker.ask(LONG_QUESTION, max_tokens=64, on_piece=kill_after_some)
    if disturbed != undisturbed:
        fail("the answer is not the same as without the kill")
    print("the same answer, to the byte")


def where(args):
    cluster = get_json(f"{args.url}/v1/cluster")
    print(f"store {args.store}, numerics {cluster['numerics_id']}, epoch {cluster['epoch']}")
    for rank in cluster["ranks"]:
        lanes, used = rank["lanes"], rank["bytes"]
        print(f"rank {rank['rank']} on {rank['host']}, process {rank['pid']}: lanes {lanes['begin']} to "
              f"{lanes['end'] - 1}; {used['host_used'] / 2**20:.1f} MiB in memory, "
              f"{used['disk_used'] / 2**20:.1f} MiB on disk")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    steps = parser.add_subparsers(required=True)

    def add(name, function):
        step = steps.add_parser(name)
        step.set_defaults(run=function)
        return step

    add("wait-until-ready", wait_until_ready).add_argument("--server", type=int, required=True)
    add("document", document).add_argument("--seed", type=int, required=True)
    step = add("questions", questions)
    step.add_argument("context")
    step.add_argument("--answers")
    step.add_argument("--same-as")
    add("kill-a-worker", kill_a_worker).add_argument("context")
    add("where", where).add_argument("store")
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
