"""The oracle itself: it agrees with an engine that it shares no line with, and it tells of what it is meant to tell."""
import hashlib
import json
import pathlib

import numpy as np
import pytest

import forward
import tiny_gguf


def log_softmax(logits):
    logits = logits - logits.max()
    return logits - np.log(np.exp(logits).sum())


def test_agrees_with_llama_cpp_in_float32(model_path, recorded):
    model = forward.Model(model_path)
    worst = 0.0
    for text in recorded.values():
        hidden, _ = model.hidden(text["ids"])
        positions = list(map(int, text["top"]))
        _, logits = next(model.logits(hidden[positions]))
        for row, top in zip(logits, text["top"].values()):
            true = log_softmax(row)
            worst = max(worst, max(abs(true[token] - value) for token, value in top))
    print(f"largest difference of a log-probability: {worst:.2e}")
    assert worst <= 1e-3


@pytest.fixture(scope="module")
def recorded_families():
    return json.loads((pathlib.Path(__file__).parent / "recorded/families.json").read_text())["models"]


def gelu_of_llama_cpp(model, x, gelu=forward.Model.gelu):
    """From a table of float16, of an argument in float16."""
    rounded = lambda x: x.astype(np.float32).astype(np.float16).astype(np.float64)
    return np.where(x <= -10, 0.0, np.where(x >= 10, x, rounded(gelu(model, rounded(x)))))


@pytest.mark.parametrize("shape", tiny_gguf.FAMILIES + tiny_gguf.ROPE_SHAPES, ids=str)
def test_agrees_with_llama_cpp_in_every_architecture_and_rope(tmp_path, monkeypatch, recorded_families, shape):
    if str(shape) not in recorded_families:
        pytest.skip("llama.cpp does not read such a file, or not all of it")
    entry = recorded_families[str(shape)]
    path = tmp_path / "tiny.gguf"
    tiny_gguf.write(path, shape)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == entry["sha256"], "not the model that was recorded"
    monkeypatch.setattr(forward.Model, "gelu", gelu_of_llama_cpp)
    model = forward.Model(path)
    hidden, _ = model.hidden(tiny_gguf.ids(300))
    _, logits = next(model.logits(hidden[list(map(int, entry["top"]))]))
    differences = [abs(log_softmax(row)[token] - value)
                   for row, top in zip(logits, entry["top"].values()) for token, value in top]
    print(f"largest difference of a log-probability: {max(differences):.2e}")
    assert max(differences) <= 1e-3


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    path = tmp_path_factory.mktemp("tiny") / "tiny.gguf"
    tiny_gguf.write(path, tiny_gguf.Shape("Q4_1", 6, 2, 64))
    return forward.Model(path)


IDS = [(7 * i * i + 3) % 259 for i in range(70)]


def test_does_not_depend_on_its_chunks(tiny, monkeypatch):
    whole, _ = tiny.hidden(IDS)
    monkeypatch.setattr(forward, "CHUNK", 16)
    np.testing.assert_allclose(tiny.hidden(IDS)[0], whole, rtol=1e-12, atol=1e-12)


def test_attends_over_nothing_but_the_past(tiny):
    whole, _ = tiny.hidden(IDS)
    np.testing.assert_allclose(tiny.hidden(IDS[:33])[0], whole[:33], rtol=1e-12, atol=1e-12)


def keys_and_values(model, monkeypatch, store):
    """What attention ran over, [layers, 2, positions, kv_heads * head_dim], if each is first put through `store`."""
    kept = []

    def attend(self, q, k, v, layer, attend=forward.Model.attend):
        kept.append([store(k), store(v)])
        return attend(self, q, *kept[-1], layer)

    monkeypatch.setattr(forward.Model, "attend", attend)
    model.hidden(IDS)
    monkeypatch.undo()
    return np.array(kept).reshape(model.layers, 2, len(IDS), -1)


def test_tells_how_far_stored_keys_are_from_its_own(tiny, monkeypatch):
    whole, _ = tiny.hidden(IDS)
    exact = keys_and_values(tiny, monkeypatch, store=lambda x: x)
    hidden, distance = tiny.hidden(IDS, exact)
    np.testing.assert_allclose(hidden, whole, rtol=1e-12, atol=1e-12)
    assert distance.largest < 1e-6

    rounded = keys_and_values(tiny, monkeypatch, store=lambda x: x.astype(np.float16).astype(np.float64))
    right, distance = tiny.hidden(IDS, rounded)
    assert 0.1 < distance.largest <= 1

    wrong = rounded.copy()
    wrong[2, 1, 40, 100] += 3e-2  # one value of the last layer
    hidden, distance = tiny.hidden(IDS, wrong)
    assert distance.largest > 1
    np.testing.assert_array_equal(hidden[:40], right[:40])
    assert np.abs(hidden[40:] - right[40:]).max() > 1e-5
