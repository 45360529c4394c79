"""Measured neurons and latents are edits by hand; estimates are their first order; wrong sites are errors."""

from __future__ import annotations

import pytest
import torch
from families import family_model
from letters import METRIC, letters
from torch import Tensor

from monosema.circuits import Contrast, Contrasts
from monosema.circuits.ablations import Resample
from monosema.circuits.metrics import last_logits
from monosema.circuits.units import rank_latents, rank_neurons
from monosema.core import InputError, Site
from monosema.dictionaries import SparseCoder, at_sites, dictionary_config, make_coder
from monosema.interventions import Part, intervene, patch, splice, within
from monosema.models import Transformer

SITES = {"0.resid_post": None, "0.resid_mid": "0.mlp_out"}


class Little(Resample):
    """A thousandth of the way to the corrupted prompt."""

    def values(self, clean: Tensor, corrupt: Tensor, contrast: Contrast) -> Tensor:
        return clean + 1e-3 * (corrupt - clean)


@pytest.fixture(scope="module", params=["llama", "gemma2"])
def model(request: pytest.FixtureRequest) -> Transformer:
    return family_model(str(request.param))


@pytest.fixture(scope="module")
def prompts(model: Transformer) -> Contrasts:
    return letters(model)


def coder(model: Transformer, site: str) -> SparseCoder:
    if SITES[site] is None:
        return make_coder("topk", model.d_model, 64, k=6, seed=0)
    made = dictionary_config("transcoder", n_latents=64, k=6).make([model.d_model, model.d_model])
    made.metadata = at_sites(made.metadata, [Site.parse(site), Site.parse(SITES[site] or "")], transcodes=True)
    return made


@pytest.mark.parametrize("noising", [True, False])
def test_measured_neurons_are_edits_by_hand(model: Transformer, prompts: Contrasts, noising: bool) -> None:
    ranked = rank_neurons(model, prompts, METRIC, n=3, direction="noising" if noising else "denoising")
    assert (ranked.largest, ranked.drawn, ranked.units) == (3, 3, 64)
    for row in (0, 4):
        layer, neuron = map(int, ranked.table.rows[row].removeprefix("m").split("."))
        site, found = Site(layer, "mlp.post"), []
        for group in prompts:
            base, other = (group.clean, group.corrupt) if noising else (group.corrupt, group.clean)
            before = METRIC(last_logits(model, base), group)
            with intervene(model, site, patch(model.activations(other, [site])[site]), Part(columns=[neuron])):
                after = METRIC(last_logits(model, base), group)
            found.append(before - after if noising else after - before)
        torch.testing.assert_close(ranked.table.moved[row, 0], torch.cat(found), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("noising", [True, False])
def test_measured_latents_are_edits_with_the_error_kept(
    model: Transformer, prompts: Contrasts, site: str, noising: bool
) -> None:
    one, place = coder(model, site), Site.parse(site)
    direction = "noising" if noising else "denoising"
    ranked = rank_latents(model, prompts, METRIC, one, place, n=3, direction=direction)
    assert ranked.table.rows[-2:] == ("all latents", "error")
    cases = {0: Part(columns=[int(ranked.table.rows[0])]), 6: Part()}
    for row, part in cases.items():
        found = []
        for group in prompts:
            base, other = (group.clean, group.corrupt) if noising else (group.corrupt, group.clean)
            codes = one.encode(model.activations(other, [place])[place]).dense()
            before = METRIC(last_logits(model, base), group)
            change = {place: within(place, part, patch(codes))}
            with torch.no_grad(), splice(model, {place: one}, error="keep", latents=change):
                after = METRIC(last_logits(model, base), group)
            found.append(before - after if noising else after - before)
        torch.testing.assert_close(ranked.table.moved[row, 0], torch.cat(found), atol=1e-4, rtol=1e-3)


def test_estimates_are_the_first_order_of_what_is_measured(model: Transformer, prompts: Contrasts) -> None:
    ranked = [rank_neurons(model, prompts, METRIC, n=8, ablation=Little())]
    ranked += [rank_latents(model, prompts, METRIC, coder(model, s), Site.parse(s), ablation=Little()) for s in SITES]
    for one in ranked:
        measured, estimated = one.table.moved.unbind(1)
        assert float((measured - estimated).abs().max()) < 0.03 * float(measured.abs().max()) + 2e-5
        assert one.agreement is not None
        assert one.agreement.pearson > 0.97
        assert one.to_dict()["agreement"]["n"] == one.largest + one.drawn


def test_latents_of_sites_that_add_nothing_are_refused(model: Transformer, prompts: Contrasts) -> None:
    with pytest.raises(InputError, match=r"Latents at 0\.q are not ranked"):
        rank_latents(model, prompts, METRIC, make_coder("topk", 16, 32, k=4, seed=0), Site(0, "q"))
