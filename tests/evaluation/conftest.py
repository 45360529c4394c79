"""A model whose layers matter, a text, and dictionaries of known worth."""

from __future__ import annotations

import random

import pytest
import torch

from monosema.core import Site
from monosema.data import Document, TextConfig, token_batches
from monosema.dictionaries import Codes, Metadata, Pca, RandomDirections
from monosema.models import random_model

SITE = Site.parse("0.mlp_out")


class Words:
    name = "words"
    digest = "0123456789abcdef"

    def __init__(self, documents: int = 50) -> None:
        self.n = documents

    def documents(self):
        rng = random.Random(0)
        words = ["a", "the", "cat", "dog", "house", "runs", "sleeps", "sees", "old", "red", "green", "and", "not"]
        for number in range(self.n):
            yield Document(number, " ".join(rng.choices(words, k=rng.randint(3, 30))), "words")


class Zero:
    """Gives nothing back."""

    def __init__(self, d: int) -> None:
        self.d_in = self.d_out = d
        self.n_latents = 4
        self.metadata = Metadata()
        self.directions = torch.zeros(4, d)

    def to(self, device: object) -> object:
        return self

    def encode(self, x: torch.Tensor, matmul_dtype: torch.dtype | None = None) -> Codes:
        return Codes(torch.zeros(len(x), 1), torch.zeros(len(x), 1, dtype=torch.int64), 4)

    def decode(self, codes: Codes) -> torch.Tensor:
        return torch.zeros(len(codes), self.d_in)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self.decode(self.encode(x))


@pytest.fixture(scope="session")
def model():
    """A random model that was made to predict its text a little: erasing a site must cost it something."""
    model = random_model(seed=1).requires_grad_(True)
    batches = list(token_batches(Words(), model.tokenizer, TextConfig(window=32, batch=8, split="all")))
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    model.train()
    for step in range(60):
        batch = batches[step % len(batches)]
        logits = model(batch.tokens)[:, :-1]
        losses = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), batch.tokens[:, 1:].flatten(), reduction="none"
        )
        scored = batch.attention_mask[:, 1:].flatten()
        optimiser.zero_grad()
        (losses[scored].mean()).backward()
        optimiser.step()
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def text(model):
    """A function that gives the batches of the text from the first on."""

    def batches(documents=50, **settings):
        return token_batches(Words(documents), model.tokenizer, TextConfig(window=32, batch=8, split="all", **settings))

    return batches


@pytest.fixture(scope="session")
def rows(model, text):
    """All kept activations at the site."""
    return torch.cat([model.activations(batch.tokens, [SITE])[SITE][batch.keep] for batch in text()]).float()


@pytest.fixture(scope="session")
def controls(rows):
    return {"pca": Pca.fit([rows], 8), "random": RandomDirections.fit(rows, 40, 8)}


@pytest.fixture(scope="session")
def zero():
    return Zero(32)


@pytest.fixture(scope="session")
def site():
    return SITE
