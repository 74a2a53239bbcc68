#!/usr/bin/env python3
"""The specification of a forward pass: float64, NumPy, read straight from a GGUF file.

    forward.py MODEL --ids ids.json --out logits.npy                       all logits, float64 [positions, vocabulary]
    forward.py MODEL --ids ids.json --compare OURS.f32 [--kv STORED.bin]   how far another program's logits are

OURS.f32 is float32 [positions, vocabulary]. STORED.bin is what that program stored in its KV cache, as float32
[layers][2: keys, values][positions][kv_heads * head_dim], keys rotated. With it, attention runs over the stored keys
and values in place of our own, and their own distance from ours is told too.

Nothing here is fast or clever but for one thing: attention and the head go through the positions in chunks, so that
thousands of tokens fit in memory beside the weights (8 bytes each).
"""
import argparse
import dataclasses
import json

import gguf
import numpy as np

CHUNK = 256  # positions at a time in the head
ROWS = 128   # … and in attention: what they score stays in cache
ROUNDING = 2.0 ** -24  # of float32, relative
SAMPLES = 6


@dataclasses.dataclass(frozen=True)
class Family:
    """What the papers and the published code of an architecture say, where it is no plain Llama."""
    neighbours: bool = False  # the pairs of RoPE are (2j, 2j + 1), not (j, j + dims/2)
    head_norms: bool = False
    post_norms: bool = False
    fused: bool = False
    gelu: bool = False
    scaled_embeddings: bool = False
    attention_cap: float = 0
    logit_cap: float = 0
    window: int = 0
    full_layer_each: int = 0  # of the sliding layers each n-th attends everything; 0: none does
    sliding_base: float = 0  # of RoPE in sliding layers; 0: the same as in the others
    wide_scale_layers: int = 0  # models of so many layers divide scores by sqrt(embedding / heads)


FAMILIES = {
    "llama": Family(neighbours=True),
    "qwen2": Family(),
    "qwen3": Family(head_norms=True),
    "gemma2": Family(post_norms=True, gelu=True, scaled_embeddings=True, attention_cap=50, logit_cap=30, window=4096,
                     full_layer_each=2, wide_scale_layers=46),
    "gemma3": Family(head_norms=True, post_norms=True, gelu=True, scaled_embeddings=True, full_layer_each=6,
                     sliding_base=10000, wide_scale_layers=62),
    "phi3": Family(fused=True),
}


class Model:
    def __init__(self, path):
        reader = gguf.GGUFReader(path)
        architecture = reader.fields["general.architecture"].contents()
        self.family = FAMILIES[architecture]
        self.tensors = {tensor.name: tensor for tensor in reader.tensors}
        self.weights = {}  # dequantized so far
        field = lambda key, absent=None: (reader.fields[f"{architecture}.{key}"].contents()
                                          if f"{architecture}.{key}" in reader.fields else absent)
        self.layers = field("block_count")
        self.embedding = field("embedding_length")
        self.heads = field("attention.head_count")
        self.kv_heads = field("attention.head_count_kv", self.heads)
        self.head_dim = field("attention.key_length", self.embedding // self.heads)
        self.window = field("attention.sliding_window", self.family.window)
        self.attention_cap = field("attn_logit_softcapping", self.family.attention_cap)
        self.logit_cap = field("final_logit_softcapping", self.family.logit_cap)
        wide = self.layers == self.family.wide_scale_layers
        self.scale = 1 / np.sqrt(self.embedding // self.heads if wide else self.head_dim)
        self.read_rope(field)
        self.epsilon = float(np.float32(field("attention.layer_norm_rms_epsilon")))
        self.head_name = "output.weight" if "output.weight" in self.tensors else "token_embd.weight"
        self.vocabulary = int(self.tensors["token_embd.weight"].shape[1])

    def read_rope(self, field):
        """The turn of each pair per position, in layers that attend everything and in those that slide, and by how
        much what turned is lengthened."""
        dims = self.rope_dims = field("rope.dimension_count", self.head_dim)
        base = float(field("rope.freq_base", 10000.0))
        plain = lambda base: base ** (-np.arange(0, dims, 2) / dims)
        kind = field("rope.scaling.type")
        factor = 1.0 if kind == "none" else field("rope.scaling.factor", 1.0)
        window, first_window = field("context_length"), field("rope.scaling.original_context_length")
        self.lengthening = field("rope.scaling.attn_factor", 1.0)
        self.frequencies = plain(base)
        which = "rope_freqs" if "rope_freqs.weight" in self.tensors else (
            "rope_factors_long" if first_window and window > first_window else "rope_factors_short")
        if f"{which}.weight" in self.tensors:
            self.frequencies = self.frequencies / self.weight(f"{which}.weight")
        if kind == "yarn":
            pair = lambda turns: dims * np.log(first_window / (turns * 2 * np.pi)) / (2 * np.log(base))
            low, high = max(0, np.floor(pair(32))), min(dims - 1, np.ceil(pair(1)))
            divided = np.clip((np.arange(dims // 2) - low) / max(0.001, high - low), 0, 1)
            self.frequencies = self.frequencies * (1 - divided) + self.frequencies / factor * divided
            self.lengthening *= 1 + 0.1 * np.log(factor)
        else:
            self.frequencies = self.frequencies / factor
        own_base = field("rope.freq_base_swa", self.family.sliding_base)
        self.sliding_frequencies = plain(own_base) if own_base else self.frequencies
        self.sliding_lengthening = 1.0 if own_base else self.lengthening

    def slides(self, layer):
        each = self.family.full_layer_each
        return self.window > 0 and (each == 0 or (layer + 1) % each != 0)

    def weight(self, name):
        if name not in self.weights:
            tensor = self.tensors[name]
            self.weights[name] = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float64)
        return self.weights[name]

    def hidden(self, ids, stored=None, touch=lambda x: x):
        """The rows before the head, [positions, embedding], and a StoredDistance if `stored` is given.

        Whatever one verb hands to the next goes through `touch`, which may perturb it."""
        self.touch = touch
        distance = StoredDistance() if stored is not None else None
        embeddings = self.tensors["token_embd.weight"]
        x = gguf.dequantize(embeddings.data[np.asarray(ids)], embeddings.tensor_type).astype(np.float64)
        if self.family.scaled_embeddings:
            x = x * np.sqrt(self.embedding)
        for layer in range(self.layers):
            block = f"blk.{layer}."
            rows = self.norm(x, self.weight(block + "attn_norm.weight"))
            q, k, v = map(self.split, self.queries_keys_values(block, rows))
            if self.family.head_norms:
                q = self.norm(q, self.weight(block + "attn_q_norm.weight"))
                k = self.norm(k, self.weight(block + "attn_k_norm.weight"))
            q, k = touch(self.rotate(q, layer)), touch(self.rotate(k, layer))
            if stored is not None:
                distance.add(k, stored_k := self.split(stored[layer, 0].astype(np.float64)))
                distance.add(v, stored_v := self.split(stored[layer, 1].astype(np.float64)))
                k, v = stored_k, stored_v
            attended = touch(self.attend(*map(self.lengthened(layer), (q, k)), v, layer))
            attended = self.product(block + "attn_output", attended)
            x = touch(x + self.post_norm(block + "post_attention_norm", attended))
            rows = self.norm(x, self.weight(block + "ffn_norm.weight"))
            x = touch(x + self.post_norm(block + "post_ffw_norm", self.feed_forward_net(block, rows)))
        return self.norm(x, self.weight("output_norm.weight")), distance

    def sensitivity(self, ids, stored=None):
        """How far the logits of the last position move when whatever one verb hands to the next is off by up to one
        rounding of float32: relative L2, root of the mean square over SAMPLES draws. An engine that keeps activations
        in float32 can hardly be closer to the truth than this, however exact its verbs are."""
        head = self.weight(self.head_name).T
        true = self.hidden(ids, stored)[0][-1] @ head
        squares = []
        for seed in range(SAMPLES):
            random = np.random.default_rng(seed)
            off = lambda x: x * (1 + random.uniform(-ROUNDING, ROUNDING, x.shape))
            moved = self.hidden(ids, stored, off)[0][-1] @ head
            squares.append(((moved - true) ** 2).sum() / (true ** 2).sum())
        return float(np.sqrt(np.mean(squares)))

    def queries_keys_values(self, block, rows):
        if not self.family.fused:
            return (self.product(block + name, rows) for name in ("attn_q", "attn_k", "attn_v"))
        q_width, kv_width = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return np.split(self.product(block + "attn_qkv", rows), [q_width, q_width + kv_width], axis=1)

    def feed_forward_net(self, block, rows):
        if self.family.fused:
            gate, up = np.split(self.product(block + "ffn_up", rows), 2, axis=1)
        else:
            gate, up = self.product(block + "ffn_gate", rows), self.product(block + "ffn_up", rows)
        if self.family.gelu:
            gate = self.gelu(gate)
        else:
            gate = gate / (1 + np.exp(-gate))
        return self.product(block + "ffn_down", self.touch(gate * up))

    def gelu(self, x):
        return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x ** 3)))

    def logits(self, hidden):
        """Yields (first position, logits of CHUNK positions)."""
        head = self.weight(self.head_name)
        for begin in range(0, len(hidden), CHUNK):
            logits = hidden[begin:begin + CHUNK] @ head.T
            yield begin, self.logit_cap * np.tanh(logits / self.logit_cap) if self.logit_cap else logits

    def product(self, name, rows):
        result = rows @ self.weight(name + ".weight").T
        return self.touch(result + self.weight(name + ".bias") if name + ".bias" in self.tensors else result)

    def norm(self, x, weight):
        return self.touch(x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + self.epsilon) * weight)

    def post_norm(self, name, x):
        return self.norm(x, self.weight(name + ".weight")) if self.family.post_norms else x

    def split(self, rows):
        return rows.reshape(len(rows), -1, self.head_dim)

    def rotate(self, x, layer):
        """Turns each pair of each head by position * its frequency."""
        frequencies = self.sliding_frequencies if self.slides(layer) else self.frequencies
        angles = np.arange(len(x))[:, None] * frequencies
        cos, sin = np.cos(angles)[:, None, :], np.sin(angles)[:, None, :]
        half = self.rope_dims // 2
        first, second = ((slice(0, self.rope_dims, 2), slice(1, self.rope_dims, 2)) if self.family.neighbours else
                         (slice(0, half), slice(half, self.rope_dims)))
        turned = x.copy()
        turned[:, :, first] = x[:, :, first] * cos - x[:, :, second] * sin
        turned[:, :, second] = x[:, :, first] * sin + x[:, :, second] * cos
        return turned

    def lengthened(self, layer):
        """What turned, longer by the factor of YaRN or LongRoPE; keys are stored as they were before."""
        factor = self.sliding_lengthening if self.slides(layer) else self.lengthening
        factors = np.where(np.arange(self.head_dim) < self.rope_dims, factor, 1.0)
        return lambda x: x * factors

    def attend(self, q, k, v, layer):
        """Causal attention; heads h*g ... h*g+g-1 share KV head h."""
        group = self.heads // self.kv_heads
        window = self.window if self.slides(layer) else len(q)
        by_head = np.ascontiguousarray(k.transpose(1, 2, 0)), np.ascontiguousarray(v.transpose(1, 0, 2))
        out = np.empty_like(q)
        for begin in range(0, len(q), ROWS):
            end = min(begin + ROWS, len(q))
            distance = np.arange(begin, end)[:, None] - np.arange(end)[None, :]
            hidden = np.where((distance < 0) | (distance >= window), -np.inf, 0.0)
            for head in range(self.heads):
                keys, values = (of[head // group] for of in by_head)
                scores = (q[begin:end, head] * self.scale) @ keys[:, :end]
                if self.attention_cap:
                    scores = self.attention_cap * np.tanh(scores / self.attention_cap)
                scores += hidden
                scores -= scores.max(axis=1, keepdims=True)
                np.exp(scores, out=scores)
                out[begin:end, head] = scores @ values[:end] / scores.sum(axis=1, keepdims=True)
        return out.reshape(len(q), -1)


class StoredDistance:
    """How far stored f16 keys and values are from true ones, as a share of what is allowed: one ulp of f16, plus 2e-5
    of the norm of the row (one token of one head)."""

    def __init__(self):
        self.largest = 0.0

    def add(self, true, stored):
        ulp = np.spacing(np.abs(true).astype(np.float16)).astype(np.float64)
        allowed = ulp + 2e-5 * np.linalg.norm(true, axis=2, keepdims=True)
        self.largest = max(self.largest, float((np.abs(stored - true) / allowed).max()))


def read_logits(path, positions, vocabulary):
    return np.memmap(path, np.float32, "r", shape=(positions, vocabulary))


def read_stored(model, path, positions):
    return np.memmap(path, np.float32, "r", shape=(model.layers, 2, positions, model.kv_heads * model.head_dim))


def relative_distances(model, hidden, ours):
    """Relative L2 distance of `ours` from the true logits, for each position."""
    distances = []
    for begin, true in model.logits(hidden):
        difference = np.linalg.norm(ours[begin:begin + len(true)] - true, axis=1)
        distances.append(difference / np.linalg.norm(true, axis=1))
    return np.concatenate(distances)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--ids", required=True, help="JSON list of token ids")
    parser.add_argument("--kv", help="keys and values that another program stored")
    parser.add_argument("--out", help="where to write the logits")
    parser.add_argument("--compare", help="logits of another program")
    arguments = parser.parse_args()

    model = Model(arguments.model)
    with open(arguments.ids) as file:
        ids = json.load(file)
    stored = read_stored(model, arguments.kv, len(ids)) if arguments.kv else None
    hidden, distance = model.hidden(ids, stored)
    if distance:
        print(f"stored keys and values: largest distance {distance.largest:.3f} of what is allowed")
    if arguments.out:
        np.save(arguments.out, np.concatenate([logits for _, logits in model.logits(hidden)]))
    if arguments.compare:
        distances = relative_distances(model, hidden, read_logits(arguments.compare, len(ids), model.vocabulary))
        worst = int(distances.argmax())
        print(f"logits: largest relative L2 distance {distances[worst]:.3e}, at position {worst} of {len(ids)}")


if __name__ == "__main__":
    main()
