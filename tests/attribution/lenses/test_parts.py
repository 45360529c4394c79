"""The parts of a logit sum to it, in every kind of decoder and for every kind of part."""

from __future__ import annotations

import pytest
import torch
from families import KINDS, family_model

from monosema.attribution.lenses import By, logit_parts
from monosema.core import InputError, Site
from monosema.dictionaries import make_coder
from monosema.models import Transformer, load_model

IDS = [3, 1, 4, 1, 5]


@pytest.fixture(scope="module")
def specimen() -> Transformer:
    model = load_model("specimen", dtype="float32")
    assert isinstance(model, Transformer)
    return model


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("by", ["layer", "head", "neuron"])
def test_parts_sum_to_the_logit(kind: str, by: By) -> None:
    model = family_model(kind)
    for foil in (None, 7):
        found = logit_parts(model, IDS, 9, foil, by=by, position=-2)
        assert len(found.names) == len(found.scores)
        if model.config.logit_softcap is None:
            logits = model(torch.tensor([IDS]))[0, -2]
            expected = float(logits[9] - (0 if foil is None else logits[7]))
            assert found.value == pytest.approx(expected, abs=1e-4)
        assert abs(found.gap) < 1e-4


def test_parts_are_what_their_removal_from_the_stream_takes_from_the_logit(specimen: Transformer) -> None:
    ids = specimen.tokenizer.encode("The day after Monday is")
    target = specimen.tokenizer.id(" Tuesday")
    parts = logit_parts(specimen, ids, target)
    found = dict(zip(parts.names, parts.scores.tolist(), strict=True))
    tokens = torch.tensor([ids])
    added, scale = Site(3, "mlp_out"), Site(None, "ln_final.scale")
    kept = specimen.activations(tokens, [added, scale])
    last = Site(specimen.n_layers - 1, "resid_post")
    with (
        specimen.edit(last, lambda x: x - kept[added]),
        specimen.edit(scale, lambda _: kept[scale]),
    ):
        without = specimen(tokens)[0, -1, target]
    assert found["MLP 3"] == pytest.approx(float(specimen(tokens)[0, -1, target] - without), abs=1e-3)


@pytest.mark.parametrize("site", ["3.resid_post", "2.mlp_out"])
def test_latents_error_and_the_rest_sum_to_the_logit(specimen: Transformer, site: str) -> None:
    ids = specimen.tokenizer.encode("When Mary and John went to the store, John gave a drink to")
    coder = make_coder("topk", specimen.d_model, 64, k=5, seed=0)
    target, foil = specimen.tokenizer.id(" Mary"), specimen.tokenizer.id(" John")
    found = logit_parts(specimen, ids, target, foil, by="latent", dictionary=coder, site=Site.parse(site))
    assert abs(found.gap) < 1e-3
    assert any(name.startswith("latent ") for name in found.names)
    with pytest.raises(InputError, match="--run"):
        logit_parts(specimen, ids, target, by="latent")
