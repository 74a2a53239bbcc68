"""The OpenAI Python client, unchanged, against the HTTP face over fakes: python -m pytest, with ROTULUS_BIN naming the
folder of the built programs."""
import os
import pathlib
import subprocess
import urllib.request

import openai
import pytest

PROGRAM = pathlib.Path(os.environ.get("ROTULUS_BIN", pathlib.Path(__file__).parents[3] / "build/release/bin")) / "fake_http_server"
QUESTION = [{"role": "user", "content": "hello"}]
WORDS = "In the beginning was the word, and café."


@pytest.fixture(scope="module")
def server():
    with subprocess.Popen([PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        process.stdin.close()


@pytest.fixture
def client(server):
    return openai.OpenAI(base_url=server + "/v1", api_key="none", max_retries=0)


def test_lists_the_model(client):
    model = client.models.list().data[0]
    assert model.id == "toy-model" and model.max_model_len == 8192


def test_reads_a_whole_answer(client):
    answer = client.chat.completions.create(model="any", messages=QUESTION, temperature=0, logprobs=True, top_logprobs=2)
    assert answer.object == "chat.completion"
    assert answer.choices[0].message.content == WORDS
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == 40 and answer.usage.prompt_tokens_details.cached_tokens == 20
    first = answer.choices[0].logprobs.content[0]
    assert bytes(first.bytes).decode() == first.token == "In" and len(first.top_logprobs) == 2


def test_reads_a_stream(client):
    text, usage = "", None
    for chunk in client.chat.completions.create(model="any", messages=QUESTION, stream=True,
                                                stream_options={"include_usage": True}):
        if chunk.choices:
            text += chunk.choices[0].delta.content or ""
        usage = chunk.usage or usage
    assert text == WORDS and usage.completion_tokens == 10


def test_reads_a_text_completion(client):
    answer = client.completions.create(model="any", prompt="p", max_tokens=3, logprobs=2)
    assert answer.choices[0].text == "In the beginning" and answer.choices[0].finish_reason == "length"
    assert answer.choices[0].logprobs.text_offset == [0, 2, 6]
    streamed = client.completions.create(model="any", prompt="p", max_tokens=3, stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed) == "In the beginning"


@pytest.mark.parametrize("error, arguments", [
    (openai.NotFoundError, {"extra_body": {"context_id": "ctx_nope"}}),
    (openai.NotFoundError, {"extra_body": {"context_id": "ctx_00000000000000ff"}}),
    (openai.BadRequestError, {"temperature": -1}),
    (openai.BadRequestError, {"max_tokens": "many"}),
    (openai.BadRequestError, {"extra_body": {"contextid": "ctx_00000000000000ff"}}),
    (openai.BadRequestError, {"top_p": 7}),
    (openai.BadRequestError, {"messages": [{"role": "user", "content": "fail context_length_exceeded"}]}),
    (openai.ConflictError, {"messages": [{"role": "user", "content": "fail conflict"}]}),
    (openai.InternalServerError, {"messages": [{"role": "user", "content": "fail unavailable"}]}),
])
def test_raises_errors_by_class(client, error, arguments):
    with pytest.raises(error) as raised:
        client.chat.completions.create(**{"model": "any", "messages": QUESTION, **arguments})
    assert raised.value.body["message"] and raised.value.request_id


def test_names_the_error_of_a_prompt_too_long(client):
    with pytest.raises(openai.BadRequestError) as raised:
        client.completions.create(model="any", prompt="fail context_length_exceeded")
    assert raised.value.code == "context_length_exceeded"


def test_raises_an_error_that_comes_in_the_middle_of_a_stream(client):
    seen = ""
    with pytest.raises(openai.APIError, match="No worker group came back"):
        for chunk in client.chat.completions.create(model="any", messages=[{"role": "user", "content": "fail later"}],
                                                    stream=True):
            seen += chunk.choices[0].delta.content or ""
    assert seen == "In the beginning"


def test_asks_about_a_context(client, server):
    request = urllib.request.Request(server + "/v1/contexts?frame=raw", data=b"a document", headers={"Content-Type": "text/plain"})
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 202
    answer = client.chat.completions.create(model="any", messages=QUESTION, extra_body={"context_id": "ctx_0000000000000001"})
    assert answer.choices[0].message.content == WORDS
