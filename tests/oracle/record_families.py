#!/usr/bin/env python3
"""Records what llama.cpp thinks comes next in tiny random models of every architecture and RoPE that it reads.

    python tests/oracle/record_families.py > tests/oracle/recorded/families.json

The models are those of tiny_gguf.py, in F32, whose SHA-256 is recorded beside. Needs gguf and llama-cpp-python, which
scripts/oracles.sh installs.
"""
import hashlib
import json
import pathlib
import tempfile

import llama_cpp
import numpy as np

import tiny_gguf
from record_logprobs import TOP, log_softmax

POSITIONS = [0, 47, 100, 199, 299]
IDS = tiny_gguf.ids(300)


def is_read_by_llama_cpp(shape):
    """It ignores the window of a Llama, and refuses factors of pairs where it knows no model that has them."""
    if shape.rope == "factors" or shape.rope.startswith("longrope"):
        return shape.architecture == "llama" and not shape.window or (
            shape.architecture == "phi3" and shape.rope != "factors")
    return shape.architecture != "llama" or not shape.window


def record(path):
    engine = llama_cpp.Llama(str(path), n_ctx=tiny_gguf.WINDOW, n_batch=512, logits_all=True, verbose=False,
                             flash_attn=False, type_k=llama_cpp.GGML_TYPE_F32, type_v=llama_cpp.GGML_TYPE_F32)
    engine.eval(IDS)
    top = {}
    for position in POSITIONS:
        log_probabilities = log_softmax(engine.scores[position])
        best = np.argsort(-log_probabilities)[:TOP]
        top[position] = [[int(token), round(float(log_probabilities[token]), 6)] for token in best]
    engine.close()
    return top


def main():
    models = {}
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "tiny.gguf"
        for shape in filter(is_read_by_llama_cpp, tiny_gguf.FAMILIES + tiny_gguf.ROPE_SHAPES):
            tiny_gguf.write(path, shape)
            models[str(shape)] = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "top": record(path)}
    header = {
        "what": "top log-probabilities (natural log) of the next token, by position, of tiny random models in float32",
        "command": "python tests/oracle/record_families.py > tests/oracle/recorded/families.json",
        "engine": f"llama-cpp-python {llama_cpp.__version__}",
    }
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(entry)}" for name, entry in models.items())
    print(json.dumps(header, indent=1)[:-2] + f',\n "models": {{\n{lines}\n }}\n}}')


if __name__ == "__main__":
    main()
