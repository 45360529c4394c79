"""A small dictionary with two planted latents, and the concept that they are of."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from monosema.core import Site
from monosema.dictionaries import Metadata, SparseCoder, make_coder
from monosema.models import Transformer, random_model
from monosema.steering import Concept

READS, WRITES = 5, 9


@pytest.fixture(scope="session")
def byte_model() -> Transformer:
    """A random model that reads bytes."""
    return random_model()


@pytest.fixture(scope="session")
def letter() -> Concept:
    """Texts with the letter z, against the same with y."""
    words = "abcdefgh"
    positive, negative = (tuple(f"{word} {own * 3} {word}" for word in words) for own in "zy")
    return Concept("z", positive, negative, tuple(words), words=("z", "zz", "zzz"))


@pytest.fixture(scope="session")
def planted(byte_model: Transformer, letter: Concept) -> SparseCoder:
    """A dictionary at the last block, where latent 5 reads the letter z, and latent 9 writes it."""
    site = Site.parse("1.resid_post")
    coder = make_coder("relu", 32, 16, metadata=Metadata(site=site), seed=0)
    assert isinstance(coder, SparseCoder)
    coder.start(torch.randn(64, 32, generator=torch.Generator().manual_seed(0)), 0)
    z, y = (_mean(byte_model, site, texts, own) for texts, own in ((letter.positive, "z"), (letter.negative, "y")))
    with torch.no_grad():
        coder.W_enc[READS] = z - y
        coder.b_enc[READS] = -float((z - y) @ (z + y) / 2)
        coder.W_dec[WRITES] = byte_model.unembed(torch.eye(32))[:, byte_model.tokenizer.encode("z", bos=False)[0]]
    return coder


def _mean(model: Transformer, site: Site, texts: tuple[str, ...], own: str) -> Tensor:
    (id,) = model.tokenizer.encode(own, bos=False)
    rows = []
    for text in texts:
        tokens = torch.tensor([model.tokenizer.encode(text)])
        rows.append(model.activations(tokens, [site])[site][tokens == id])
    return torch.cat(rows).mean(0)
