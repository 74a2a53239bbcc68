"""Records the token ids that llama.cpp and Hugging Face `tokenizers` give the 1,000 texts of token_texts.py.

    scripts/oracles.sh tokens      writes tests/oracle/recorded/tokens.json
"""
import json
import pathlib
import sys

import tokenizers

import token_texts
from hugging_face import hugging_face_tokenizer, ids_digest, read_vocabulary

MAX_FULL_IDS = 60
FULL_EVERY = 20


def record(name, parts, by_llama_cpp, by_hugging_face, with_ids):
    entry = {"name": name, "parts": parts}
    if by_llama_cpp == by_hugging_face:
        entry["sha256"] = ids_digest(by_llama_cpp)
    else:
        entry["llama.cpp"], entry["tokenizers"] = by_llama_cpp, by_hugging_face
    if with_ids and len(by_hugging_face) <= MAX_FULL_IDS:
        entry["ids"] = by_hugging_face
    return entry


def whole_recorded_texts():
    """The texts as they were when tokens.json was recorded: some are cut out of this repository's own files."""
    record = json.loads((pathlib.Path(__file__).parent / "recorded" / "tokens.json").read_text())
    return [token_texts.whole(entry["parts"]) for entry in record["as_text"]]


def main():
    import llama_cpp
    path = sys.argv[1]
    vocabulary = read_vocabulary(path)
    llama = llama_cpp.Llama(path, vocab_only=True, verbose=False)
    result = {
        "about": "Token ids by llama.cpp and Hugging Face tokenizers; sha256 is over the ids as u32, little-endian.",
        "command": "scripts/oracles.sh tokens",
        "versions": {"llama-cpp-python": llama_cpp.__version__, "tokenizers": tokenizers.__version__},
        "as_text": [], "parsed": [],
    }
    for key, parse_special in (("as_text", False), ("parsed", True)):
        encode = hugging_face_tokenizer(vocabulary, parse_special)
        for index, (name, parts) in enumerate(token_texts.texts()):
            if parse_special and not name.startswith("special"):
                continue
            text = token_texts.whole(parts)
            by_llama_cpp = llama.tokenize(text.encode(), add_bos=False, special=parse_special)
            with_ids = parse_special or index % FULL_EVERY == 0
            result[key].append(record(name, parts, by_llama_cpp, encode(text), with_ids))
    print("{\n" + ",\n".join(f" {json.dumps(key)}: {one_entry_a_line(value)}" for key, value in result.items()) + "\n}")


def one_entry_a_line(value):
    if not isinstance(value, list):
        return json.dumps(value)
    return "[\n  " + ",\n  ".join(json.dumps(entry, ensure_ascii=False) for entry in value) + "]"


if __name__ == "__main__":
    main()
