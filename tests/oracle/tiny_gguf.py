#!/usr/bin/env python3
"""Writes tiny random models: every architecture, RoPE, weight type and grouping of heads.

    tiny_gguf.py OUT.gguf [--architecture gemma3] [--rope yarn] [--type Q4_1] [--heads 6] [--kv-heads 2]
                 [--head-dim 64] [--rope-dims 48] [--window 64] [--tied] [--biased] [--seed 1]

The vocabulary is that of a byte-level tokenizer with one merge, of two spaces, and the ChatML tokens, so that every
program of the project, and llama.cpp, can open the file.
"""
import argparse
import dataclasses

import gguf
import numpy as np

EMBEDDING = 256
FEED_FORWARD = 512
WINDOW = 2048
LAYERS = {"gemma3": 7}  # of which the sixth attends everything
LAYERS_OF_OTHERS = 3
SPACE = "Ġ"  # as byte-level BPE writes it
ROPES = ["plain", "linear", "factors", "yarn", "longrope", "longrope-short"]


@dataclasses.dataclass(frozen=True)
class Shape:
    type: str = "F32"
    heads: int = 4
    kv_heads: int = 4
    head_dim: int = 64
    tied: bool = False
    architecture: str = "llama"
    rope: str = "plain"
    rope_dims: int = 0  # 0: the whole head
    window: int = 0     # 0: as the architecture has it
    biased: bool = False

    def __str__(self):
        parts = [self.architecture, self.rope, self.type, f"{self.heads}:{self.kv_heads}", str(self.head_dim)]
        parts += [f"turning{self.rope_dims}"] * bool(self.rope_dims) + [f"window{self.window}"] * bool(self.window)
        return "-".join(parts + ["biased"] * self.biased + ["tied"] * self.tied)


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

# A model of each architecture, as its family is built; windows are crossed within a hundred tokens.
FAMILIES = [
    Shape(heads=6, kv_heads=2),
    Shape(heads=6, kv_heads=2, window=48),                                        # Mistral
    Shape(heads=4, kv_heads=2, biased=True),
    Shape(heads=4, kv_heads=2, architecture="qwen2", tied=True),
    Shape(heads=4, kv_heads=2, head_dim=128, architecture="qwen3"),
    Shape(heads=4, kv_heads=2, head_dim=128, architecture="gemma2", window=64, tied=True),
    Shape(heads=4, kv_heads=1, head_dim=256, architecture="gemma3", window=80, tied=True),
    Shape(heads=4, kv_heads=4, architecture="phi3"),
    Shape(heads=4, kv_heads=2, rope_dims=48, architecture="phi3", tied=True),     # Phi-4-mini
]
ROPE_SHAPES = [dataclasses.replace(family, rope=rope) for family in FAMILIES for rope in ROPES[1:]]

# What gguf cannot quantize to is made of random codes. Where a block holds a float16, and how many times the scale of
# its weights that is, so that they are about as often negative as positive.
CODES = {"Q2_K": {80: 1, 82: 1.5}, "Q3_K": {108: 1}, "Q4_K": {0: 1, 2: 7.5}, "Q5_K": {0: 1, 2: 15.5}, "Q6_K": {208: 1},
         "IQ4_NL": {0: 1}, "IQ4_XS": {0: 1}, "MXFP4": {}}
TYPES = ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", *CODES]
# Every weight type in every architecture, the ropes in turn.
TYPE_SHAPES = [
    dataclasses.replace(family, type=TYPES[i], rope=ROPES[(i + first) % len(ROPES)])
    for first, family in enumerate([Shape(heads=8, kv_heads=2, biased=True), *FAMILIES[3:8]])
    for i in range(1, len(TYPES))]


def byte_characters():
    """The 256 characters by which byte-level BPE writes bytes: printable ones stand for themselves."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return [chr(byte) for byte in plain] + [chr(256 + i) for i in range(len(others))]


def vocabulary():
    control = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<unk>", "<s>", "</s>"]  # llama.cpp asks phi3 for these
    tokens = control + byte_characters() + [2 * SPACE]
    types = [gguf.TokenType.CONTROL] * len(control) + [gguf.TokenType.NORMAL] * 257
    return tokens, types


class Writer:
    """A GGUF file of random tensors."""

    def __init__(self, path, shape, seed):
        self.file = gguf.GGUFWriter(path, shape.architecture)
        self.shape = shape
        self.random = np.random.default_rng(seed)
        self.type = gguf.GGMLQuantizationType[shape.type]

    def matrix(self, name, rows, columns, scale=1.0):
        spread = scale / np.sqrt(columns)
        if self.shape.type in CODES:
            quantized = self.codes(rows, columns, spread)
        else:
            values = (self.random.standard_normal((rows, columns)) * spread).astype(np.float32)
            quantized = gguf.quantize(values, self.type)
        self.file.add_tensor(name, quantized, raw_dtype=self.type)

    def codes(self, rows, columns, spread):
        """Blocks of random codes whose weights have about this standard deviation."""
        block_columns, block_bytes = gguf.GGML_QUANT_SIZES[self.type]
        blocks = self.random.integers(0, 256, (rows * columns // block_columns, block_bytes), dtype=np.uint8)

        def scaled(scale):
            for offset, share in CODES[self.shape.type].items():
                blocks[:, offset:offset + 2] = np.array([share * scale], np.float16).view(np.uint8)
            if self.shape.type == "MXFP4":
                blocks[:, 0] = 128 + round(np.log2(scale))
            return blocks.reshape(rows, -1)

        return scaled(spread / gguf.dequantize(scaled(1.0), self.type).std())

    def vector(self, name, size, middle=1.0, spread=0.1):
        self.file.add_tensor(name, (middle + spread * self.random.standard_normal(size)).astype(np.float32))

    def product(self, name, rows, columns, biased=False, scale=1.0):
        self.matrix(f"{name}.weight", rows, columns, scale)
        if biased:
            self.vector(f"{name}.bias", rows, middle=0.0, spread=0.3)


def write_metadata(file, shape):
    tokens, types = vocabulary()
    file.add_name(f"tiny {shape}")
    file.add_block_count(LAYERS.get(shape.architecture, LAYERS_OF_OTHERS))
    file.add_context_length(WINDOW)
    file.add_embedding_length(EMBEDDING)
    file.add_feed_forward_length(FEED_FORWARD)
    file.add_head_count(shape.heads)
    file.add_head_count_kv(shape.kv_heads)
    file.add_key_length(shape.head_dim)
    file.add_value_length(shape.head_dim)
    file.add_rope_dimension_count(shape.rope_dims or shape.head_dim)
    file.add_rope_freq_base(10000.0)
    file.add_layer_norm_rms_eps(1e-5)
    if shape.window:
        file.add_sliding_window(shape.window)
    file.add_vocab_size(len(tokens))
    file.add_tokenizer_model("gpt2")
    file.add_tokenizer_pre("smollm")
    file.add_token_list(tokens)
    file.add_token_types(types)
    file.add_token_merges([f"{SPACE} {SPACE}"])
    file.add_bos_token_id(1)
    file.add_eos_token_id(2)
    file.add_add_bos_token(False)


def write_rope(writer):
    file, rope = writer.file, writer.shape.rope
    pairs = (writer.shape.rope_dims or writer.shape.head_dim) // 2
    factors = lambda most: np.linspace(1.0, most, pairs, dtype=np.float32)
    if rope == "linear":
        file.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        file.add_rope_scaling_factor(8.0)
    elif rope == "yarn":
        file.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        file.add_rope_scaling_factor(4.0)
        file.add_rope_scaling_orig_ctx_len(WINDOW // 4)
    elif rope == "factors":
        file.add_tensor("rope_freqs.weight", factors(8.0))
    elif rope.startswith("longrope"):
        file.add_rope_scaling_type(gguf.RopeScalingType.LONGROPE)
        file.add_rope_scaling_orig_ctx_len(WINDOW if rope == "longrope-short" else WINDOW // 4)
        file.add_rope_scaling_attn_factors(1.19)
        file.add_tensor("rope_factors_long.weight", factors(30.0))
        file.add_tensor("rope_factors_short.weight", factors(1.5))


def write_layer(writer, block):
    shape = writer.shape
    is_gemma = shape.architecture.startswith("gemma")
    query, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    qkv_biased = shape.biased or shape.architecture == "qwen2"
    writer.vector(block + "attn_norm.weight", EMBEDDING)
    if shape.architecture == "phi3":
        writer.product(block + "attn_qkv", query + 2 * kv, EMBEDDING, scale=2.0)
    else:
        writer.product(block + "attn_q", query, EMBEDDING, qkv_biased, scale=2.0)
        writer.product(block + "attn_k", kv, EMBEDDING, qkv_biased, scale=2.0)
        writer.product(block + "attn_v", kv, EMBEDDING, qkv_biased)
    if shape.architecture in ("qwen3", "gemma3"):
        writer.vector(block + "attn_q_norm.weight", shape.head_dim, middle=1.5)
        writer.vector(block + "attn_k_norm.weight", shape.head_dim, middle=1.5)
    writer.product(block + "attn_output", EMBEDDING, query, shape.biased)
    if is_gemma:
        writer.vector(block + "post_attention_norm.weight", EMBEDDING)
    writer.vector(block + "ffn_norm.weight", EMBEDDING)
    if shape.architecture == "phi3":
        writer.product(block + "ffn_up", 2 * FEED_FORWARD, EMBEDDING)
    else:
        writer.product(block + "ffn_gate", FEED_FORWARD, EMBEDDING, shape.biased)
        writer.product(block + "ffn_up", FEED_FORWARD, EMBEDDING, shape.biased)
    writer.product(block + "ffn_down", EMBEDDING, FEED_FORWARD, shape.biased)
    if is_gemma:
        writer.vector(block + "post_ffw_norm.weight", EMBEDDING)


def write(path, shape, seed=1):
    writer = Writer(path, shape, seed)
    write_metadata(writer.file, shape)
    tokens = len(vocabulary()[0])
    # Gemma multiplies its embeddings by sqrt(EMBEDDING) itself.
    is_gemma = shape.architecture.startswith("gemma")
    writer.matrix("token_embd.weight", tokens, EMBEDDING, scale=1.0 if is_gemma else np.sqrt(EMBEDDING))
    for layer in range(LAYERS.get(shape.architecture, LAYERS_OF_OTHERS)):
        write_layer(writer, f"blk.{layer}.")
    writer.vector("output_norm.weight", EMBEDDING)
    if not shape.tied:
        writer.matrix("output.weight", tokens, EMBEDDING)
    write_rope(writer)
    writer.file.write_header_to_file()
    writer.file.write_kv_data_to_file()
    writer.file.write_tensors_to_file()
    writer.file.close()


def ids(count, salt=0):
    return [(7 * i * i + 3 * i + salt) % len(vocabulary()[0]) for i in range(count)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--architecture", default="llama",
                        choices=["llama", "qwen2", "qwen3", "gemma2", "gemma3", "phi3"])
    parser.add_argument("--rope", default="plain", choices=ROPES)
    parser.add_argument("--type", default="F32", choices=TYPES)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--kv-heads", type=int, default=4)
    parser.add_argument("--head-dim", type=int, default=64)
    parser.add_argument("--rope-dims", type=int, default=0)
    parser.add_argument("--window", type=int, default=0)
    parser.add_argument("--tied", action="store_true")
    parser.add_argument("--biased", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    arguments = vars(parser.parse_args())
    path, seed = arguments.pop("out"), arguments.pop("seed")
    write(path, Shape(**arguments), seed)


if __name__ == "__main__":
    main()
