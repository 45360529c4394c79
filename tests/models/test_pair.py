"""Two models side by side: each at its sites, on equal tokens or not at all."""

from __future__ import annotations

import pytest
import tokenizers
import torch

from monosema.core import ConfigError, FormatError, Site, SiteError
from monosema.models import ModelPair, Tokenizer, byte_tokenizer, random_model, resolve_site, vector_width

TOKENS = torch.randint(0, 256, (2, 7), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def pair() -> ModelPair:
    return ModelPair(random_model(seed=0), random_model(seed=1))


@torch.no_grad()
def test_each_site_is_read_in_its_own_model(pair: ModelPair) -> None:
    found = pair.activations(TOKENS, ["1.z@other", "0.resid_post", "0.resid_post@other"])
    assert [site.short for site in found] == ["1.z@other", "0.resid_post", "0.resid_post@other"]
    for site, values in found.items():
        model = pair.second if site.other else pair.first
        own = Site(site.layer, site.component)
        assert resolve_site(pair, site) == (model, own)
        assert torch.equal(values, model.activations(TOKENS, [own])[own])
    assert vector_width(pair, "1.z@other") == pair.second.n_heads * 8


@torch.no_grad()
def test_what_it_says_is_the_seconds(pair: ModelPair) -> None:
    assert torch.equal(pair(TOKENS), pair.second(TOKENS))
    assert pair.digest != ModelPair(pair.second, pair.first).digest


def test_edits_that_change_nothing_are_errors(pair: ModelPair) -> None:
    with pytest.raises(SiteError, match=r"does not depend on 0\.resid_post"), pair.edit("0.resid_post", torch.neg):
        pass
    with pytest.raises(SiteError, match="one model"):
        pair.first.activations(TOKENS, ["0.resid_post@other"])


def with_tokenizer(raw: tokenizers.Tokenizer, bos: int | None = 256) -> ModelPair:
    second = random_model()
    second._tokenizer = Tokenizer(raw, bos_id=bos)
    return ModelPair(random_model(), second)


def test_models_that_read_other_tokens_are_refused() -> None:
    renamed = byte_tokenizer().raw.to_str().replace("<eos>", "<end>")
    with pytest.raises(FormatError, match=r"token 257 is '<eos>' to the first and '<end>' to the second.*fine-tuned"):
        with_tokenizer(tokenizers.Tokenizer.from_str(renamed))
    with pytest.raises(FormatError, match="begins a text with token 256 and the second with None"):
        with_tokenizer(byte_tokenizer().raw, bos=None)
    raw = byte_tokenizer().raw
    raw.normalizer = tokenizers.normalizers.Lowercase()
    with pytest.raises(FormatError, match=r"cut text differently \(normalizer\)"):
        with_tokenizer(raw)
    small = random_model(random_model().config.replace(vocab=300))
    with pytest.raises(FormatError, match="259 token ids and the second 300"):
        ModelPair(random_model(), small)
    assert with_tokenizer(byte_tokenizer().raw).vocab == 259


def test_models_that_are_loaded_otherwise_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"in torch\.float32 and random-0 in torch\.bfloat16"):
        ModelPair(random_model(), random_model().to(torch.bfloat16))
