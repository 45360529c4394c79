"""Lenses: the last layer is the model, an affine lens is its formula, files give back what was written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from families import KINDS, family_model

from monosema.attribution.lenses import Lens, load_lens, prediction_steps, read_lens, save_lens, stream_sites
from monosema.core import DamagedFileError, FormatError, InputError
from monosema.models import Transformer, random_model


@pytest.fixture(scope="module")
def model() -> Transformer:
    return random_model()


@pytest.fixture(scope="module")
def affine(model: Transformer) -> Lens:
    generator = torch.Generator().manual_seed(0)
    shape = (model.n_layers, model.d_model)
    weights = torch.randn(*shape, model.d_model, generator=generator) * 0.1
    return Lens("tuned", weights, torch.randn(shape, generator=generator), {"model": model.name})


def test_each_layer_is_read_by_its_formula(model: Transformer, affine: Lens) -> None:
    ids = model.tokenizer.encode("a cat sat")
    found = read_lens(model, affine, ids, positions=(1, -1), target=98, k=3)
    tokens, sites = torch.tensor([ids]), stream_sites(model)
    streams = model.activations(tokens, sites)
    assert affine.weights is not None
    assert affine.biases is not None
    for layer in range(model.n_layers):
        x = streams[sites[layer]][0, -1] @ affine.weights[layer].T + affine.biases[layer]
        p = model.logits(model.ln_final(x)).softmax(-1)
        torch.testing.assert_close(found.probabilities[layer, 1], p.topk(3).values)
        assert float(found.followed[layer, 1]) == pytest.approx(float(p[98]), rel=1e-4)
        assert int(found.ranks[layer, 1]) == 1 + int((p > p[98]).sum())
    own = model(tokens)[0, -1].softmax(-1)
    torch.testing.assert_close(found.probabilities[-1, 1], own.topk(3).values)
    assert float(found.divergence[-1].max()) == 0
    assert float(found.divergence[0].min()) > 0


def test_a_direction_is_the_gradient_of_its_logit(affine: Lens) -> None:
    model = family_model("gpt2")
    lens = Lens("tuned", torch.randn(2, 16, 16), None, {})
    x = torch.randn(16, requires_grad=True)
    moved = lens.stream(x, 1)
    centred = moved - moved.mean()
    logit = model.unembed_weight[9] @ (centred * model.ln_final.gain())  # at a scale of 1
    logit.backward()
    torch.testing.assert_close(lens.direction(model, 1, 9), x.grad, atol=1e-5, rtol=1e-4)
    with pytest.raises(InputError, match="fit one for it"):
        affine.require_fit(model)


@pytest.mark.parametrize("kind", KINDS)
def test_the_steps_end_in_the_models_own_logits(kind: str) -> None:
    steps = {step.name: step for step in prediction_steps(family_model(kind), [3, 1, 4], temperature=0.5)}
    assert steps["logits"].values["largest difference from the model"] < 1e-4
    assert ("positions" in steps) == (kind == "gpt2")
    likeliest, *others = steps["softmax"].values["probabilities"].values()
    assert likeliest >= max(others)


def test_a_file_gives_back_the_lens(affine: Lens, tmp_path: Path) -> None:
    again = load_lens(save_lens(tmp_path / "one.safetensors", affine))
    assert (again.kind, again.about) == (affine.kind, affine.about)
    torch.testing.assert_close(again.weights, affine.weights)
    torch.testing.assert_close(again.biases, affine.biases)
    with pytest.raises(InputError):
        save_lens(tmp_path / "two.safetensors", Lens())
    with pytest.raises(FormatError, match=r"\.safetensors"):
        save_lens(tmp_path / "two.pt", affine)


def test_a_checkpoint_of_tuned_lens_is_its_translators_added_to_the_stream(tmp_path: Path) -> None:
    weight, bias, x = torch.randn(2, 8, 8), torch.randn(2, 8), torch.randn(5, 8)
    (tmp_path / "config.json").write_text(
        json.dumps({"base_model_name_or_path": "gpt2", "d_model": 8, "num_hidden_layers": 2, "bias": True})
    )
    state = {f"{layer}.{name}": part[layer] for layer in (0, 1) for name, part in (("weight", weight), ("bias", bias))}
    torch.save(state, tmp_path / "params.pt")
    lens = load_lens(tmp_path)
    torch.testing.assert_close(lens.stream(x, 1), x + x @ weight[1].T + bias[1])
    del state["1.weight"]
    torch.save(state, tmp_path / "params.pt")
    with pytest.raises(FormatError, match="layer 1"):
        load_lens(tmp_path)
    (tmp_path / "params.pt").write_bytes(b"no")
    with pytest.raises(DamagedFileError):
        load_lens(tmp_path)
    with pytest.raises(FormatError, match="--fit"):
        load_lens(tmp_path / "none")
