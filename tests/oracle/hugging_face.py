"""Hugging Face `tokenizers` from the vocabulary and the merges of a GGUF whose pre-tokenizer is "smollm": single
digits, then GPT-2's pattern, as in SmolLM2's tokenizer.json.
"""
import hashlib
import struct

import gguf
import tokenizers
from tokenizers import AddedToken, models, pre_tokenizers

CONTROL = 3


def read_vocabulary(path):
    fields = gguf.GGUFReader(path).fields
    tokens, types, merges, pre = (fields[f"tokenizer.ggml.{key}"].contents()
                                  for key in ("tokens", "token_type", "merges", "pre"))
    assert pre == "smollm", pre
    return tokens, types, merges


def hugging_face_tokenizer(tokens, types, merges, parse_special):
    """A function from text to ids."""
    vocabulary = {token: index for index, token in enumerate(tokens)}
    tokenizer = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=[tuple(merge.split(" ")) for merge in merges]))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True),
         pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    if parse_special:
        tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False)
                                      for token, kind in zip(tokens, types) if kind == CONTROL])
    return lambda text: tokenizer.encode(text, add_special_tokens=False).ids


def ids_digest(ids):
    return hashlib.sha256(struct.pack(f"<{len(ids)}I", *ids)).hexdigest()
