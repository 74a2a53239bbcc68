#!/usr/bin/env python3
"""Records what llama.cpp, computing in float32 on the dequantized weights, thinks comes next.

    python tests/oracle/record_logprobs.py MODEL.gguf > tests/oracle/recorded/logprobs.json

For each text: its token ids, and the five most likely next tokens with their log-probabilities at a few positions.
Needs gguf and llama-cpp-python, which scripts/oracles.sh installs, and the Debian package bible-kjv.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import llama_cpp
import numpy as np

import to_f32

TOP = 5
WINDOW = 2048

CODE = '''def binary_search(values, wanted):
    low, high = 0, len(values)
    while low < high:
        middle = (low + high) // 2
        if values[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return low if low < len(values) and values[low] == wanted else None


assert binary_search([1, 3, 5, 7], 5) == '''


def bible(begin, end):
    return subprocess.run(["bible", "-f", f"{begin}-{end}"], check=True, capture_output=True, text=True).stdout


def texts():
    return {
        "one word": "The",
        "english": "A parchment roll was carried from abbey to abbey, and each house added its own lines "
                   "before it sent",
        "numbers": "2, 4, 8, 16, 32, 64, 128, 256, 512,",
        "code": CODE,
        "mixed scripts": "Ψηφιακή τεχνολογία, цифровая память, 数字の記憶, ذاكرة رقمية, डिजिटल स्मृति, "
                         "naïve café 🙂 – and in English:",
        "chat": "<|im_start|>user\nName three rivers of Europe.<|im_end|>\n<|im_start|>assistant\n",
        "psalm": bible("ps23:1", "ps23:6"),
        "sermon": bible("matt5:1", "matt5:48"),
    }


def log_softmax(logits):
    logits = logits.astype(np.float64)
    logits -= logits.max()
    return logits - np.log(np.exp(logits).sum())


def record(engine, text):
    ids = engine.tokenize(text.encode(), add_bos=False, special=True)
    engine.reset()
    engine.eval(ids)
    last = len(ids) - 1
    positions = {}
    for position in sorted({last // 4, last // 2, last * 3 // 4, last}):
        log_probabilities = log_softmax(engine.scores[position])
        best = np.argsort(-log_probabilities)[:TOP]
        positions[position] = [[int(token), round(float(log_probabilities[token]), 6)] for token in best]
    return {"ids": ids, "top": positions}


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    model = pathlib.Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        path = str(pathlib.Path(folder) / "f32.gguf")
        to_f32.rewrite(model, path)
        engine = llama_cpp.Llama(path, n_ctx=WINDOW, n_batch=512, logits_all=True, verbose=False, flash_attn=False,
                                 type_k=llama_cpp.GGML_TYPE_F32, type_v=llama_cpp.GGML_TYPE_F32)
        recorded = {name: record(engine, text) for name, text in texts().items()}
    header = {
        "what": "top log-probabilities (natural log) of the next token, by position; float32 on dequantized weights",
        "command": f"python tests/oracle/record_logprobs.py models/{model.name} > tests/oracle/recorded/logprobs.json",
        "engine": f"llama-cpp-python {llama_cpp.__version__}",
        "model": model.name,
    }
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(entry)}" for name, entry in recorded.items())
    print(json.dumps(header, indent=1)[:-2] + f',\n "texts": {{\n{lines}\n }}\n}}')


if __name__ == "__main__":
    main()
