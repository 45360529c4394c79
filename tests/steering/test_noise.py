"""The same noise for the steered text and the unsteered one: they part only where their predictions do."""

from __future__ import annotations

import pytest
import torch

from monosema.models import GenerationConfig, Transformer, load_model
from monosema.steering import Add, Direction, Edit, Steering, concept_named, steered
from monosema.steering.unsteered import UnsteeredTexts

PROMPTS = concept_named("name").prompts
N, TOKENS = 48, 12


@pytest.fixture(scope="module")
def specimen() -> Transformer:
    model = load_model("specimen", dtype="float32")
    assert isinstance(model, Transformer)
    return model


def test_texts_part_no_earlier_than_total_variation_lets_them(specimen: Transformer) -> None:
    """Gumbel's coupling draws other tokens with a probability of 2 TV / (1 + TV) at most (arXiv 2408.07978, from
    independent draws it would be far above); differences that are seen must not be more than that, but for chance."""
    vector = torch.randn(256, generator=torch.Generator().manual_seed(0))
    push = Steering(Edit(Direction("3.resid_post", vector), Add(1.0)))
    texts = UnsteeredTexts.write(specimen, PROMPTS, GenerationConfig(max_new_tokens=TOKENS, temperature=1.0))
    (strength,) = texts.strengths([push], 0.1)
    assert strength is not None
    push = push.at(strength)
    rows = [PROMPTS[number % len(PROMPTS)] for number in range(N)]
    seeds = tuple(number // len(PROMPTS) for number in range(N))
    plain = specimen.generate(rows, max_new_tokens=TOKENS, temperature=1.0, seed=seeds)
    with steered(specimen, push):
        moved = specimen.generate(rows, max_new_tokens=TOKENS, temperature=1.0, seed=seeds)
        after = [_predictions(specimen, row, one.tokens) for row, one in zip(rows, plain, strict=True)]
    before = [_predictions(specimen, row, one.tokens) for row, one in zip(rows, plain, strict=True)]
    seen, bound, apart = 0, 0.0, 0.0
    for one, other, p, q in zip(plain, moved, before, after, strict=True):
        for at, token in enumerate(one.tokens):
            variation = 0.5 * float((p[at] - q[at]).abs().sum())
            bound += 2 * variation / (1 + variation)
            apart += 1 - float((p[at] * q[at]).sum())
            if other.tokens[at] != token:
                seen += 1
                break
    assert 5 < seen < bound + 3 * bound**0.5
    assert apart > 2 * bound


def _predictions(model: Transformer, prompt: str, written: tuple[int, ...]) -> torch.Tensor:
    ids = model.tokenizer.encode(prompt)
    with torch.no_grad():
        return model(torch.tensor([ids + list(written)]))[0, len(ids) - 1 : -1].softmax(-1)
