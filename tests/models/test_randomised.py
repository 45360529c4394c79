"""The randomised model: the same architecture and the same spread of every weight, and nothing of what was learnt."""

from __future__ import annotations

import pytest
import torch
from worlds import CopyModel, word_tokenizer

from monosema.core import InputError
from monosema.models import AdaptedModel, byte_tokenizer, random_model
from monosema.models.randomised import randomised


def test_every_weight_keeps_its_mean_and_spread_and_nothing_else() -> None:
    model = random_model()
    with torch.no_grad():
        model.embed.weight += 3.0
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    made = randomised(model, seed=1)
    for name, parameter in made.named_parameters():
        weight = parameter.detach()
        was = before[name].float()
        assert torch.equal(model.get_parameter(name), before[name]), "the model itself was changed"
        if was.std() == 0:
            assert torch.equal(weight, before[name])
            continue
        error = was.std() / was.numel() ** 0.5
        assert abs(weight.mean() - was.mean()) < 5 * error
        assert weight.std() == pytest.approx(float(was.std()), rel=5 / was.numel() ** 0.5)
        assert abs(torch.corrcoef(torch.stack([weight.flatten(), was.flatten()]))[0, 1]) < 5 / was.numel() ** 0.5


def test_it_is_another_model_of_the_same_sites() -> None:
    model = random_model()
    tokens = torch.arange(6)[None]
    made, again, other = randomised(model), randomised(model), randomised(model, seed=1)
    assert made.sites() == model.sites()
    assert made(tokens).isfinite().all()
    assert not torch.allclose(made(tokens), model(tokens), atol=1e-3)
    assert torch.equal(made(tokens), again(tokens))
    assert len({model.digest, made.digest, other.digest}) == 3
    assert made.digest == again.digest


def test_adapted_modules_are_drawn_anew_too() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(n_layer=1, n_embd=8, n_head=1, vocab_size=16, n_positions=8)
    model = AdaptedModel(GPT2LMHeadModel(config), "mine", byte_tokenizer())
    made = randomised(model)
    assert isinstance(made, AdaptedModel)
    tokens = torch.arange(6)[None]
    with torch.no_grad():
        assert not torch.allclose(made(tokens), model(tokens), atol=1e-3)


def test_what_is_no_torch_module_is_refused() -> None:
    with pytest.raises(InputError, match="no torch module"):
        randomised(CopyModel(word_tokenizer()))
