#!/usr/bin/env python3
"""Writes tiny random Llama models: every weight type, every grouping of heads, both head dimensions, tied or not.

    tiny_gguf.py OUT.gguf [--type Q4_1] [--heads 6] [--kv-heads 2] [--head-dim 64] [--tied] [--seed 1]

The vocabulary is that of a byte-level tokenizer without merges, with the ChatML tokens, so that every program of the
project can open the file.
"""
import argparse
import dataclasses

import gguf
import numpy as np

LAYERS = 3
EMBEDDING = 256
FEED_FORWARD = 512
WINDOW = 2048


@dataclasses.dataclass(frozen=True)
class Shape:
    type: str = "F32"
    heads: int = 4
    kv_heads: int = 4
    head_dim: int = 64
    tied: bool = False

    def __str__(self):
        return f"{self.type}-{self.heads}:{self.kv_heads}-{self.head_dim}{'-tied' if self.tied else ''}"


# Each weight type, grouping, head dimension and kind of head occurs, and each with more than one of the others.
SHAPES = [
    Shape("F32", 4, 4, 64),
    Shape("F32", 16, 1, 64, tied=True),
    Shape("F16", 6, 2, 64, tied=True),
    Shape("F16", 4, 4, 128),
    Shape("BF16", 16, 1, 128),
    Shape("BF16", 6, 2, 64),
    Shape("Q8_0", 4, 4, 64, tied=True),
    Shape("Q8_0", 6, 2, 128),
    Shape("Q4_0", 16, 1, 64),
    Shape("Q4_0", 6, 2, 128, tied=True),
    Shape("Q4_1", 6, 2, 64),
    Shape("Q4_1", 4, 4, 128, tied=True),
]


def byte_characters():
    """The 256 characters by which byte-level BPE writes bytes: printable ones stand for themselves."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return [chr(byte) for byte in plain] + [chr(256 + i) for i in range(len(others))]


def vocabulary():
    control = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokens = control + byte_characters()
    types = [gguf.TokenType.CONTROL] * len(control) + [gguf.TokenType.NORMAL] * 256
    return tokens, types


def write(path, shape, seed=1):
    random = np.random.default_rng(seed)
    tokens, types = vocabulary()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(f"tiny {shape}")
    writer.add_block_count(LAYERS)
    writer.add_context_length(WINDOW)
    writer.add_embedding_length(EMBEDDING)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)
    weight_type = gguf.GGMLQuantizationType[shape.type]

    def matrix(name, rows, columns, scale=1.0):
        values = (random.standard_normal((rows, columns)) * scale / np.sqrt(columns)).astype(np.float32)
        writer.add_tensor(name, gguf.quantize(values, weight_type), raw_dtype=weight_type)

    def norm(name):
        writer.add_tensor(name, (1 + 0.1 * random.standard_normal(EMBEDDING)).astype(np.float32))

    matrix("token_embd.weight", len(tokens), EMBEDDING, scale=np.sqrt(EMBEDDING))
    for layer in range(LAYERS):
        norm(f"blk.{layer}.attn_norm.weight")
        matrix(f"blk.{layer}.attn_q.weight", shape.heads * shape.head_dim, EMBEDDING, scale=2.0)
        matrix(f"blk.{layer}.attn_k.weight", shape.kv_heads * shape.head_dim, EMBEDDING, scale=2.0)
        matrix(f"blk.{layer}.attn_v.weight", shape.kv_heads * shape.head_dim, EMBEDDING)
        matrix(f"blk.{layer}.attn_output.weight", EMBEDDING, shape.heads * shape.head_dim)
        norm(f"blk.{layer}.ffn_norm.weight")
        matrix(f"blk.{layer}.ffn_gate.weight", FEED_FORWARD, EMBEDDING)
        matrix(f"blk.{layer}.ffn_up.weight", FEED_FORWARD, EMBEDDING)
        matrix(f"blk.{layer}.ffn_down.weight", EMBEDDING, FEED_FORWARD)
    norm("output_norm.weight")
    if not shape.tied:
        matrix("output.weight", len(tokens), EMBEDDING)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--type", default="F32", choices=["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1"])
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--kv-heads", type=int, default=4)
    parser.add_argument("--head-dim", type=int, default=64)
    parser.add_argument("--tied", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    shape = Shape(arguments.type, arguments.heads, arguments.kv_heads, arguments.head_dim, arguments.tied)
    write(arguments.out, shape, arguments.seed)


if __name__ == "__main__":
    main()
