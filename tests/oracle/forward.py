#!/usr/bin/env python3
"""The specification of a Llama forward pass: float64, NumPy, read straight from a GGUF file.

    forward.py MODEL --ids ids.json --out logits.npy                       all logits, float64 [positions, vocabulary]
    forward.py MODEL --ids ids.json --compare OURS.f32 [--kv STORED.bin]   how far another program's logits are

OURS.f32 is float32 [positions, vocabulary]. STORED.bin is what that program stored in its KV cache, as float32
[layers][2: keys, values][positions][kv_heads * head_dim], keys rotated. With it, attention runs over the stored keys
and values in place of our own, and their own distance from ours is told too.

Nothing here is fast or clever but for one thing: attention and the head go through the positions in chunks, so that
thousands of tokens fit in memory beside the weights (8 bytes each).
"""
import argparse
import json

import gguf
import numpy as np

CHUNK = 256  # positions at a time, in attention and in the head
ROUNDING = 2.0 ** -24  # of float32, relative
SAMPLES = 6


class Llama:
    def __init__(self, path):
        reader = gguf.GGUFReader(path)
        self.tensors = {tensor.name: tensor for tensor in reader.tensors}
        self.weights = {}  # dequantized so far
        field = lambda key, absent=None: (
            reader.fields["llama." + key].contents() if "llama." + key in reader.fields else absent)
        self.layers = field("block_count")
        self.embedding = field("embedding_length")
        self.heads = field("attention.head_count")
        self.kv_heads = field("attention.head_count_kv", self.heads)
        self.head_dim = field("attention.key_length", self.embedding // self.heads)
        self.rope_dims = field("rope.dimension_count", self.head_dim)
        self.rope_base = float(field("rope.freq_base", 10000.0))
        self.epsilon = float(np.float32(field("attention.layer_norm_rms_epsilon")))
        self.head_name = "output.weight" if "output.weight" in self.tensors else "token_embd.weight"
        self.vocabulary = int(self.tensors["token_embd.weight"].shape[1])

    def weight(self, name):
        if name not in self.weights:
            tensor = self.tensors[name]
            self.weights[name] = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float64)
        return self.weights[name]

    def hidden(self, ids, stored=None, touch=lambda x: x):
        """The rows before the head, [positions, embedding], and a StoredDistance if `stored` is given.

        Whatever one verb hands to the next goes through `touch`, which may perturb it."""
        distance = StoredDistance() if stored is not None else None
        embeddings = self.tensors["token_embd.weight"]
        x = gguf.dequantize(embeddings.data[np.asarray(ids)], embeddings.tensor_type).astype(np.float64)
        for layer in range(self.layers):
            weight = lambda name: self.weight(f"blk.{layer}.{name}.weight")
            rows = touch(self.norm(x, weight("attn_norm")))
            q = touch(self.rotate(self.split(touch(rows @ weight("attn_q").T))))
            k = touch(self.rotate(self.split(touch(rows @ weight("attn_k").T))))
            v = touch(self.split(rows @ weight("attn_v").T))
            if stored is not None:
                distance.add(k, stored_k := self.split(stored[layer, 0].astype(np.float64)))
                distance.add(v, stored_v := self.split(stored[layer, 1].astype(np.float64)))
                k, v = stored_k, stored_v
            x = touch(x + touch(touch(self.attend(q, k, v)) @ weight("attn_output").T))
            rows = touch(self.norm(x, weight("ffn_norm")))
            gate = touch(rows @ weight("ffn_gate").T)
            gated = touch(gate / (1 + np.exp(-gate)) * touch(rows @ weight("ffn_up").T))
            x = touch(x + touch(gated @ weight("ffn_down").T))
        return touch(self.norm(x, self.weight("output_norm.weight"))), distance

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

    def logits(self, hidden):
        """Yields (first position, logits of CHUNK positions)."""
        head = self.weight(self.head_name)
        for begin in range(0, len(hidden), CHUNK):
            yield begin, hidden[begin:begin + CHUNK] @ head.T

    def norm(self, x, weight):
        return x / np.sqrt((x * x).mean(axis=1, keepdims=True) + self.epsilon) * weight

    def split(self, rows):
        return rows.reshape(len(rows), -1, self.head_dim)

    def rotate(self, x):
        """Turns the pair (2j, 2j + 1) of each head by position * base^(-2j / dims)."""
        angles = np.arange(len(x))[:, None] * self.rope_base ** (-np.arange(0, self.rope_dims, 2) / self.rope_dims)
        cos, sin = np.cos(angles)[:, None, :], np.sin(angles)[:, None, :]
        even, odd = x[:, :, 0:self.rope_dims:2], x[:, :, 1:self.rope_dims:2]
        turned = x.copy()
        turned[:, :, 0:self.rope_dims:2] = even * cos - odd * sin
        turned[:, :, 1:self.rope_dims:2] = even * sin + odd * cos
        return turned

    def attend(self, q, k, v):
        """Causal attention; heads h*g ... h*g+g-1 share KV head h."""
        group = self.heads // self.kv_heads
        out = np.empty_like(q)
        for begin in range(0, len(q), CHUNK):
            end = min(begin + CHUNK, len(q))
            is_future = np.arange(begin, end)[None, :] > np.arange(begin, end)[:, None]
            for head in range(self.heads):
                scores = (q[begin:end, head] / np.sqrt(self.head_dim)) @ k[:end, head // group].T
                scores[:, begin:][is_future] = -np.inf
                scores -= scores.max(axis=1, keepdims=True)
                np.exp(scores, out=scores)
                out[begin:end, head] = scores @ v[:end, head // group] / scores.sum(axis=1, keepdims=True)
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

    model = Llama(arguments.model)
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
