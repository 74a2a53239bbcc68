"""Records the token ids that llama.cpp and Hugging Face `tokenizers` give the 1,000 texts of token_texts.py.

    python tests/oracle/record_tokens.py MODEL.gguf > tests/oracle/recorded/tokens.json

Needs gguf, tokenizers and llama-cpp-python; scripts/oracles.sh installs them. `tokenizers` gets the vocabulary and the
merges of the GGUF and the pre-tokenizer of SmolLM2's tokenizer.json: single digits, then GPT-2's pattern.
"""
import hashlib
import json
import struct
import sys

import gguf
import llama_cpp
import tokenizers
from tokenizers import AddedToken, models, pre_tokenizers

import token_texts

CONTROL = 3
MAX_FULL_IDS = 60
FULL_EVERY = 20


def read_vocabulary(path):
    fields = gguf.GGUFReader(path).fields
    read = lambda key: fields[f"tokenizer.ggml.{key}"].contents()
    assert read("pre") == "smollm", read("pre")
    return read("tokens"), read("token_type"), read("merges")


def hugging_face(tokens, types, merges, parse_special):
    vocabulary = {token: index for index, token in enumerate(tokens)}
    tokenizer = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=[tuple(merge.split(" ")) for merge in merges]))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    if parse_special:
        tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False)
                                      for token, kind in zip(tokens, types) if kind == CONTROL])
    return lambda text: tokenizer.encode(text, add_special_tokens=False).ids


def digest(ids):
    return hashlib.sha256(struct.pack(f"<{len(ids)}I", *ids)).hexdigest()


def record(name, parts, by_llama_cpp, by_hugging_face, with_ids):
    entry = {"name": name, "parts": parts}
    if by_llama_cpp == by_hugging_face:
        entry["sha256"] = digest(by_llama_cpp)
    else:
        entry["llama.cpp"], entry["tokenizers"] = by_llama_cpp, by_hugging_face
    if with_ids and len(by_hugging_face) <= MAX_FULL_IDS:
        entry["ids"] = by_hugging_face
    return entry


def main():
    path = sys.argv[1]
    vocabulary = read_vocabulary(path)
    llama = llama_cpp.Llama(path, vocab_only=True, verbose=False)
    result = {
        "about": "Token ids by llama.cpp and Hugging Face tokenizers; sha256 is over the ids as u32, little-endian.",
        "command": "python tests/oracle/record_tokens.py MODEL.gguf > tests/oracle/recorded/tokens.json",
        "versions": {"llama-cpp-python": llama_cpp.__version__, "tokenizers": tokenizers.__version__},
        "as_text": [], "parsed": [],
    }
    for key, parse_special in (("as_text", False), ("parsed", True)):
        encode = hugging_face(*vocabulary, parse_special)
        for index, (name, parts) in enumerate(token_texts.texts()):
            if parse_special and not name.startswith("special"):
                continue
            text = token_texts.whole(parts)
            by_llama_cpp = llama.tokenize(text.encode(), add_bos=False, special=parse_special)
            result[key].append(record(name, parts, by_llama_cpp, encode(text), parse_special or index % FULL_EVERY == 0))
    lines = ",\n".join(f' {json.dumps(key)}: ' + ("[\n  " + ",\n  ".join(json.dumps(entry, ensure_ascii=False) for entry in value) + "]"
                                                if isinstance(value, list) else json.dumps(value)) for key, value in result.items())
    print("{\n" + lines + "\n}")


if __name__ == "__main__":
    main()
