"""Directions of a model's weights: a neuron that fires alone moves its site along its own direction."""

from __future__ import annotations

import pytest
import torch
from transformers import BertConfig, BertModel

from monosema.core import Site, SiteError, UnsupportedModelError
from monosema.models import AdaptedModel, byte_tokenizer, random_model, weight_directions

TOKENS = torch.tensor([[1, 2, 3]])


@pytest.fixture(scope="module")
def model():
    return random_model()


@pytest.mark.parametrize("site", ["0.mlp_out", "1.resid_post"])
def test_a_neuron_moves_the_site_along_its_direction(model, site: str) -> None:
    neuron, layer = 5, Site.parse(site).layer

    def fire(values: torch.Tensor) -> torch.Tensor:
        values = values.clone()
        values[..., neuron] += 3.0
        return values

    before = model.activations(TOKENS, [site])[Site.parse(site)]
    with model.edit(f"{layer}.mlp.post", fire):
        after = model.activations(TOKENS, [site])[Site.parse(site)]
    rows = weight_directions(model, site)
    cosines = torch.nn.functional.cosine_similarity((after - before)[0, 0], rows, dim=1).detach()
    of_layer = model.blocks[layer].mlp.out.weight.shape[1]
    assert int(cosines.argmax()) == len(rows) - of_layer + neuron
    assert float(cosines.max()) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("site", ["0.resid_post", "1.resid_pre", "0.mlp_in", "1.resid_mid", "0.attn_out", "1.mlp.post"])
def test_rows_have_the_width_of_the_site(model, site: str) -> None:
    rows = weight_directions(model, site)
    assert rows.shape[1] == model.activations(TOKENS, [site])[Site.parse(site)].shape[-1]
    assert rows.any(dim=1).all()


def test_where_weights_say_nothing_it_says_so(model) -> None:
    with pytest.raises(SiteError, match="no directions at 0"):
        weight_directions(model, "0.z")
    with pytest.raises(SiteError):
        weight_directions(model, "9.resid_post")


def test_a_foreign_model_is_refused() -> None:
    config = BertConfig(vocab_size=259, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    foreign = AdaptedModel(BertModel(config), "foreign", byte_tokenizer())
    with pytest.raises(UnsupportedModelError, match="foreign"):
        weight_directions(foreign, "encoder.layer.0")
