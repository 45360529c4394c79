"""A model with a large vocabulary goes through every stage in less memory than the logits of one batch take."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from monosema.recipes import demo
from monosema.runs import SHORT_KEYS, apply_overrides

VOCAB = 50_000
MORE_MB = 900
PROGRAM = Path(__file__).parent / "walk_in_little_memory.py"


@pytest.fixture(scope="module")
def wordy_directory(tiny_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with tokens that no text has, up to 50,000."""
    folder = tmp_path_factory.mktemp("wordy")
    config = json.loads((tiny_directory / "config.json").read_text())
    tokenizer = json.loads((tiny_directory / "tokenizer.json").read_text())
    known = tokenizer["model"]["vocab"]
    known |= {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    known |= {f"unseen{id}": id for id in range(config["vocab_size"], VOCAB)}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": VOCAB}))
    weights = load_file(tiny_directory / "model.safetensors")
    there = weights["model.embed_tokens.weight"]
    more = torch.randn(VOCAB - len(there), there.shape[1], generator=torch.Generator().manual_seed(1)) * 0.1
    weights["model.embed_tokens.weight"] = torch.cat([there, more])
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit is Linux's")
def test_every_stage_keeps_to_its_memory(wordy_directory: Path, small_keys: dict[str, str], tmp_path: Path) -> None:
    keys = small_keys | {"model": str(wordy_directory), "text.batch": "32", "evaluation.memory_mb": "128"}
    recipe = apply_overrides(demo(), keys, SHORT_KEYS)
    batch_mb = 6 * recipe.text.batch * recipe.text.window * VOCAB * 4 / 1e6
    assert batch_mb > 2 * MORE_MB
    recipe.write(tmp_path / "recipe.toml")
    words = [sys.executable, str(PROGRAM), str(tmp_path / "recipe.toml"), str(tmp_path / "run"), str(MORE_MB)]
    # A heap for each thread, and Arrow's own, reserve address space that nobody uses.
    environment = os.environ | {"MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    assert set(json.loads(done.stdout.splitlines()[-1]).values()) == {"done"}
