"""The service as an evaluation sees it: the OpenAI client for answers, plain HTTP for contexts."""
import json
import os
import time
import urllib.request

import openai

TOKENIZED_AT_ONCE = 256 << 10  # characters
LISTED = 20  # likeliest first tokens of an answer, with their log-probabilities


class Service:
    def __init__(self, url):
        self.url = url.rstrip("/")
        self.key = os.environ.get("ROTULUS_API_KEY", "none")
        self.client = openai.OpenAI(base_url=f"{self.url}/v1", api_key=self.key, timeout=3600, max_retries=0)
        self.model = self.client.models.list().data[0].id

    def request(self, method, path, body=None):
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.key}"}
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(f"{self.url}{path}", data=data, method=method, headers=headers)
        with urllib.request.urlopen(asked, timeout=600) as answer:
            return json.loads(answer.read() or b"null")

    def count(self, text):
        """Tokens of a text; a long one is counted piece by piece, which may tell a few more."""
        pieces = (text[at:at + TOKENIZED_AT_ONCE] for at in range(0, len(text), TOKENIZED_AT_ONCE))
        return sum(self.request("POST", "/tokenize", {"content": piece})["count"] for piece in pieces)

    def submit(self, text, **fields):
        return self.request("POST", "/v1/contexts", {"text": text, **fields})["id"]

    def submit_ids(self, ids, **fields):
        return self.request("POST", "/v1/contexts", {"input_ids": ids, **fields})["id"]

    def wait(self, context):
        """Seconds that it took, and tokens. Fails with the service's words if the context does."""
        began = time.monotonic()
        while True:
            view = self.request("GET", f"/v1/contexts/{context}")
            if view["status"] == "completed":
                return time.monotonic() - began, view["progress"]["total"]
            if view["status"] in ("failed", "cancelled"):
                raise RuntimeError(f"context {context} {view['status']}: {view.get('last_error')}")
            time.sleep(0.5)

    def complete(self, context, prompt, max_tokens, attention):
        answer = self.client.completions.create(
            model=self.model, prompt=prompt, max_tokens=max_tokens, temperature=0, logprobs=LISTED,
            extra_body={"context_id": context, "attention": {**attention, "report": True}, "return_provenance": True})
        listed = answer.choices[0].logprobs.top_logprobs
        return {"text": answer.choices[0].text, "first": listed[0] if listed else {},
                "attention": getattr(answer, "attention", None),
                "provenance": getattr(answer, "provenance", None) or []}

    def score(self, context, ids, attention):
        """Log-probabilities of all ids but the first, which nothing of the echo predicts; and how it attended."""
        answer = self.client.completions.create(
            model=self.model, prompt=ids, max_tokens=0, echo=True, logprobs=0, temperature=0,
            extra_body={"context_id": context, "attention": {**attention, "report": True}})
        return answer.choices[0].logprobs.token_logprobs[1:], answer.attention

    def delete(self, context):
        self.request("DELETE", f"/v1/contexts/{context}")
