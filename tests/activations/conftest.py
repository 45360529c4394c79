"""A small world: a random model that counts its forward passes, a text, and a captured store."""

from __future__ import annotations

import random

import pytest

from monosema.activations import CaptureConfig, capture_to_store
from monosema.data import Document, TextConfig, token_batches
from monosema.models import random_model

SITES = ["0.resid_post", "1.mlp.post"]
TEXT = TextConfig(window=24, batch=8, split="all")
CAPTURE = CaptureConfig(shard_rows=700)


class Words:
    """A corpus of random sentences."""

    name = "words"
    digest = "0123456789abcdef"

    def documents(self):
        rng = random.Random(0)
        words = ["a", "the", "cat", "dog", "house", "runs", "sleeps", "sees", "old", "red", "green", "and", "not"]
        for number in range(50):
            yield Document(number, " ".join(rng.choices(words, k=rng.randint(3, 30))), "words")


@pytest.fixture(scope="session")
def model():
    return random_model()


@pytest.fixture
def passes(model, monkeypatch):
    """List with an entry for each forward pass."""
    calls: list[int] = []
    inner = model.activations

    def counted(tokens, sites, attention_mask=None):
        calls.append(len(tokens))
        return inner(tokens, sites, attention_mask)

    monkeypatch.setattr(model, "activations", counted)
    return calls


@pytest.fixture
def batches(model):
    """A function that gives the token batches from the first on."""
    return lambda config=TEXT: token_batches(Words(), model.tokenizer, config)


@pytest.fixture
def capture(model, batches, tmp_path):
    """A function that captures into the same folder each time."""

    def run(sites=SITES, config=CAPTURE, path=tmp_path / "store", text=TEXT, **more):
        return capture_to_store(model, batches(text), sites, path, config, **more)

    return run


@pytest.fixture
def store(capture):
    return capture()
