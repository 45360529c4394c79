"""A small world for atlases: a random model, a repetitive text, dictionaries, and the codes of the text in full."""

from __future__ import annotations

import random
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from monosema.atlas import AtlasConfig, Explanation, Score, build_atlas, open_atlas, record
from monosema.atlas.encode import encode_batch
from monosema.atlas.layout import lay_out
from monosema.core import Estimate, Site
from monosema.data import Document, TextConfig, token_batches
from monosema.dictionaries import Codes, Metadata, RandomDirections
from monosema.models import random_model

SITE = Site.parse("0.resid_post")


class Words:
    """A corpus of random sentences, some of which occur many times."""

    name = "words"
    digest = "0123456789abcdef"

    def __init__(self, documents: int = 60) -> None:
        self.n = documents

    def documents(self):
        rng = random.Random(0)
        words = ["a", "the", "cat", "dog", "house", "runs", "sleeps", "sees", "old", "red", "green", "and", "not"]
        for number in range(self.n):
            if number % 3 == 0:
                yield Document(number, "the same old red cat sees the same old red dog again and again.", "words")
            else:
                yield Document(number, " ".join(rng.choices(words, k=rng.randint(3, 30))), "words")


class Planted:
    """Latent j is active, with value 1 + j, exactly on the j-th of some tokens; the last latent never is."""

    def __init__(self, embedding: torch.Tensor, tokens: list[int]) -> None:
        self.d_in = self.d_out = embedding.shape[1]
        self.n_latents = len(tokens) + 1
        self.metadata = Metadata()
        self._planted = embedding[tokens]
        self.directions = torch.cat([self._planted, torch.zeros(1, self.d_in)])

    def to(self, device: object) -> object:
        return self

    def encode(self, x: torch.Tensor, matmul_dtype: torch.dtype | None = None) -> Codes:
        near = torch.cdist(x, self._planted) < 1e-3
        values = near * torch.arange(1.0, len(self._planted) + 1)
        return Codes.from_dense(torch.cat([values, torch.zeros(len(x), 1)], dim=1))

    def decode(self, codes: Codes) -> torch.Tensor:
        return codes.dense() @ self.directions

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self.decode(self.encode(x))


@pytest.fixture(scope="session")
def model():
    return random_model()


@pytest.fixture(scope="session")
def text(model):
    """A function that gives the batches of the text from the first on."""

    def batches(documents=60, **settings):
        return token_batches(Words(documents), model.tokenizer, TextConfig(window=48, batch=4, split="all", **settings))

    return batches


@pytest.fixture(scope="session")
def dictionary(model, text):
    rows = torch.cat([model.activations(batch.tokens, [SITE])[SITE][batch.keep] for batch in text()])
    return RandomDirections.fit(rows.detach(), 40, 5)


@pytest.fixture(scope="session")
def config():
    return AtlasConfig(passage=32, before=9, after=4, top=6, per_quantile=2, neighbours=4, effects=3)


@pytest.fixture(scope="session")
def planted(model):
    """A dictionary of known features of the embeddings, and their tokens."""
    words = [model.tokenizer.id(piece) for piece in ("e", "t", "g", " ")]
    return Planted(model.embed.weight.detach(), words)


@pytest.fixture(scope="session")
def plain_atlas(model, dictionary, text, config, tmp_path_factory):
    """An atlas of the whole text as it is built, to be read only."""
    return build_atlas(model, dictionary, SITE, text(), tmp_path_factory.mktemp("atlas") / "words", config)


@pytest.fixture(scope="session")
def atlas(plain_atlas, tmp_path_factory):
    """The same with an explanation and its score for each latent that is alive; to be read only."""
    made = open_atlas(shutil.copytree(plain_atlas.path, tmp_path_factory.mktemp("atlas") / "explained"))
    explanations, scores = {}, {}
    for row in made.features(limit=None):
        explanation = Explanation("monosema", "token lookup", None, None, row["label"])
        explanations[row["latent"]] = [explanation]
        estimate = Estimate(0.5 + row["latent"] / 100, 0.4, 0.95, 30, "clustered Wilson")
        scores[row["latent"]] = [Score(*explanation.identity, "balanced accuracy", estimate, 0.5, 100)]
    record(made.path, explanations, scores)
    return made


@pytest.fixture(scope="session")
def codes(model, dictionary, text, config):
    """The text in full: layout, and the codes as one dense matrix [positions, latents] (zero where not kept)."""
    batches = list(text())
    layout = lay_out(batches, config.passage)
    dense = np.zeros((len(layout), dictionary.n_latents), np.float32)
    with torch.inference_mode():
        parts = [encode_batch(model, dictionary, SITE, batch).dense() for batch in batches]
    dense[layout.keep] = torch.cat(parts).numpy()
    return SimpleNamespace(layout=layout, dense=dense, batches=batches)


@pytest.fixture(scope="session")
def site():
    return SITE
