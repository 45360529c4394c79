"""What all tests share: annotated shapes are checked at run time, bars are silent, nothing reaches a network."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

os.environ["MONOSEMA_LANGUAGE"] = "en"
os.environ.setdefault("MONOSEMA_QUIET", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Measured once a process, the choice could differ between two processes whose results a test compares.
os.environ.setdefault("MONOSEMA_BF16", "0")
os.environ.setdefault("MONOSEMA_INT8", "0")

from shape_checks import check_shapes

check_shapes("monosema")

if TYPE_CHECKING:
    from monosema.runs import Run

from hypothesis import settings

settings.register_profile("steady", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("steady")


@pytest.fixture(autouse=True)
def steady_numbers() -> None:
    """Seed PyTorch's own generator before each test, for random numbers that are drawn without one."""
    import torch

    torch.manual_seed(0)


@pytest.fixture(scope="session")
def tiny_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face directory of a random Llama-like model, 2 layers of width 32, and a tokenizer of bytes."""
    import torch
    from safetensors.torch import save_file

    from monosema.models import byte_tokenizer

    folder = tmp_path_factory.mktemp("models") / "tiny"
    folder.mkdir()
    tokenizer = byte_tokenizer()
    tokenizer.raw.save(str(folder / "tokenizer.json"))
    config = {
        "model_type": "llama",
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 64,
        "vocab_size": tokenizer.vocab_size,
        "max_position_embeddings": 128,
        "tie_word_embeddings": True,
        "bos_token_id": tokenizer.bos_id,
        "eos_token_id": tokenizer.eos_id,
        "pad_token_id": tokenizer.pad_id,
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    shapes = {"model.embed_tokens.weight": (tokenizer.vocab_size, 32), "model.norm.weight": (32,)}
    for layer in range(2):
        rows = {"self_attn.q_proj": (32, 32), "self_attn.k_proj": (16, 32), "self_attn.v_proj": (16, 32)}
        rows |= {
            "self_attn.o_proj": (32, 32),
            "mlp.gate_proj": (64, 32),
            "mlp.up_proj": (64, 32),
            "mlp.down_proj": (32, 64),
        }
        rows |= {"input_layernorm": (32,), "post_attention_layernorm": (32,)}
        shapes |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in rows.items()}
    generator = torch.Generator().manual_seed(0)
    weights = {
        name: torch.ones(shape) if len(shape) == 1 else torch.randn(shape, generator=generator) * shape[1] ** -0.5
        for name, shape in shapes.items()
    }
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A window of Chromium."""
    from chromium import window

    yield from window(tmp_path_factory.mktemp("profile"))


@pytest.fixture(scope="session")
def small_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A JSONL corpus of 300 short documents."""
    import random

    words = ["the", "a", "cat", "dog", "sat", "ran", "on", "under", "mat", "tree", "and", "then", "she", "he", "went"]
    draw = random.Random(0)
    path = tmp_path_factory.mktemp("text") / "small.jsonl"
    lines = [json.dumps({"text": f"{number}: " + " ".join(draw.choices(words, k=40)) + "."}) for number in range(300)]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def small_keys(tiny_directory: Path, small_text: Path) -> dict[str, str]:
    """Keys of a recipe that takes the whole walk in a second or two."""
    return {
        "model": str(tiny_directory),
        "model.dtype": "float32",
        "corpus": str(small_text),
        "site": "1.resid_post",
        "tokens": "8000",
        "window": "64",
        "text.batch": "8",
        "heldout_share": "0.3",
        "latents": "64",
        "k": "4",
        "batch": "512",
        "product": "float32",
        "start_rows": "1024",
        "capture.shard_rows": "1000",
        "evaluation_tokens": "2000",
        "atlas_tokens": "4000",
        "samples.tokens": "3000",
        "explain.block": "24",
        "explain.most": "40",
        "score.simulation.minimum": "5",
        "score.random_latents": "8",
        "score.random_tokens": "1000",
    }


@pytest.fixture(scope="session")
def finished(small_keys: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run of the small recipe; not to be changed."""
    from monosema.recipes import demo
    from monosema.runs import SHORT_KEYS, apply_overrides, run

    return run(apply_overrides(demo(), small_keys, SHORT_KEYS), tmp_path_factory.mktemp("finished") / "run")
