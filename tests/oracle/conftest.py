"""What the oracle tests need: the model, what other engines recorded about it, the program that dumps our logits."""
import json
import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def model_path():
    if os.environ.get("ROTULUS_MODEL"):
        return pathlib.Path(os.environ["ROTULUS_MODEL"])
    found = sorted((ROOT / "models").glob("SmolLM2*.gguf"))
    assert found, "no model in models/: run scripts/setup.sh, or set ROTULUS_MODEL to a GGUF file"
    return found[0]


@pytest.fixture(scope="session")
def gemma_path():
    path = ROOT / "models/gemma-3-270m-q4_k_m.gguf"
    assert path.exists(), f"{path} is missing: run scripts/setup.sh"
    return path


@pytest.fixture(scope="session")
def recorded():
    """By text: {"ids": [...], "top": {position: [[token, log-probability], ...]}}."""
    return json.loads((ROOT / "tests/oracle/recorded/logprobs.json").read_text())["texts"]


@pytest.fixture
def our_logits(tmp_path):
    """our_logits(model, ids, kv_type) runs our program; gives the path of the logits. stored: where to write keys and values
    as they were stored, of a model whose layers do not slide: those that do drop some."""
    program = ROOT / "build/release/bin/rotulus-logits"
    assert program.exists(), f"{program} is missing: run scripts/build.sh release all"

    def run(model, ids, kv_type, *options, stored=None):
        (tmp_path / "ids.json").write_text(json.dumps(ids))
        logits = tmp_path / "logits.f32"
        subprocess.run([program, "-m", model, "--ids", tmp_path / "ids.json", "--kv-type", kv_type, "--logits", logits,
                        *(["--kv", stored] if stored else []), *options], check=True, timeout=600)
        return logits

    return run
