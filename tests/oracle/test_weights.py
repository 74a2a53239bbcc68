"""Every weight type, element by element, against the dequantization of the `gguf` package."""
import pathlib
import subprocess

import gguf
import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROWS, COLUMNS = 37, 512
TYPES = ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL",
         "IQ4_XS", "MXFP4"]
# Where a block holds float16: any byte of the others is a code or an integer scale. MXFP4 has an exponent of 8 bits.
HALVES = {"Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q2_K": [80, 82], "Q3_K": [108],
          "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0], "MXFP4": []}


def random_weight(name, generator):
    """Bytes [ROWS, row bytes]: every code and every finite scale, subnormal ones and zero included."""
    if name == "F32":
        return generator.standard_normal((ROWS, COLUMNS), dtype=np.float32).view(np.uint8)
    block_columns, block_bytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
    blocks = generator.integers(0, 256, (ROWS * COLUMNS // block_columns, block_bytes), dtype=np.uint8)
    for offset in HALVES.get(name, [0]):
        halves = generator.integers(0, 1 << 16, len(blocks), dtype=np.uint16)
        halves[halves & 0x7C00 == 0x7C00] &= 0xBFFF  # infinities and NaN
        halves[:2] = [0x0001, 0x8000]
        blocks[:, offset:offset + 2] = halves.view(np.uint8).reshape(-1, 2)
    if name == "BF16":
        blocks[:, 1] &= 0xBF
    if name == "MXFP4":
        blocks[:256, 0] = np.arange(256)
        blocks[blocks[:, 0] > 250, 0] = 250  # 12 * 2^123 is the last finite one
    return blocks.reshape(ROWS, -1)


@pytest.mark.parametrize("name", TYPES)
def test_weights_equal_those_of_gguf(name):
    program = ROOT / "build/release/bin/rotulus-dequantize"
    assert program.exists(), f"{program} is missing: run scripts/build.sh release all"
    weight = random_weight(name, np.random.default_rng(sum(map(ord, name))))
    expected = gguf.dequantize(weight, gguf.GGMLQuantizationType[name])
    out = subprocess.run([program, name, str(ROWS), str(COLUMNS)], input=weight.tobytes(), capture_output=True, check=True,
                         timeout=60).stdout
    embedded, multiplied = np.frombuffer(out, np.float32).reshape(2, ROWS, COLUMNS)
    assert np.isfinite(expected).all() and np.unique(expected).size > 100
    np.testing.assert_array_equal(embedded, expected)
    np.testing.assert_array_equal(multiplied, expected)
