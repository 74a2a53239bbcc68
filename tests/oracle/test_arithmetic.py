"""What the faster arithmetic costs: our own logits in int8 and bf16 beside those in float32, on recorded text.

The bar is on the mean divergence (Kullback-Leibler) of what is predicted for each next token. The same definition in
NumPy gives 0.006 for int8 (inputs rounded in groups of 32, weights exact) on this text, and 0.0005 for bf16; groups of
128 inputs would give 0.015, one scale for a row 0.063. The perplexity is printed with its standard error: it moves by less than that.
"""
import pathlib

import numpy as np
import pytest

TOKENS = 1024
LARGEST_DIVERGENCE = {"int8": 0.01, "bf16": 0.001}


@pytest.fixture(scope="module")
def text(recorded):
    ids = [token for text in recorded.values() for token in text["ids"]]
    return ids[:TOKENS]


def log_probabilities(path, ids):
    logits = np.fromfile(path, np.float32).reshape(len(ids), -1)
    logits -= logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits, dtype=np.float64).sum(axis=1, keepdims=True))


@pytest.mark.parametrize("faster", LARGEST_DIVERGENCE)
def test_faster_arithmetic_predicts_what_float32_predicts(model_path, text, our_logits, faster):
    if faster == "bf16" and "avx512_bf16" not in pathlib.Path("/proc/cpuinfo").read_text():
        pytest.skip("this machine has no dot products of bf16")
    exact, fast = (log_probabilities(our_logits(model_path, text, "f16", "--arithmetic", arithmetic), text)
                   for arithmetic in ("f32", faster))
    divergence = (np.exp(exact) * (exact - fast)).sum(axis=1).mean()
    nexts = np.arange(len(text) - 1), np.asarray(text[1:])
    costs = exact[nexts] - fast[nexts]
    print(f"{faster}, {len(text)} tokens: divergence {divergence:.4f}, perplexity {np.exp(-exact[nexts].mean()):.3f} -> "
          f"{np.exp(-fast[nexts].mean()):.3f} ({np.expm1(costs.mean()):+.2%}, standard error "
          f"{costs.std() / np.sqrt(len(costs)):.2%})")
    assert 0 < divergence < LARGEST_DIVERGENCE[faster]
