"""Alignment search finds a planted direction, and its controls tell an illusion from a cause."""

from __future__ import annotations

import pytest
import torch

from monosema.circuits import AlignmentConfig, Contrasts, Interchanged, align, contrasts, swapped
from monosema.circuits.alignment import Subspace
from monosema.core import ConfigError, InputError, VectorError
from monosema.data.tasks import Prompt, Span, Task
from monosema.models import Transformer, random_model
from monosema.models.decoder import Block

GOOD, BAD = "abcdefghijklmnopqrstuvwz", "ABCDEFGHIJKLMNOPQRSTUVWZ"
"""Letters that the planted model answers with x, and with y."""


def letters(start: str, train: bool) -> Task:
    """Prompts that end in a letter of one sort, each with sources that end in one of the other."""
    half = slice(0, 18) if train else slice(18, 24)
    prompts = [
        Prompt(
            clean=start + one,
            corrupt=start + other,
            correct=(right,),
            wrong=(wrong,),
            spans=(Span(role="LETTER", start=len(start), end=len(start) + 1),),
            form="only",
        )
        for first, second, right, wrong in ((GOOD, BAD, "x", "y"), (BAD, GOOD, "y", "x"))
        for one in first[half]
        for other in second[half]
    ]
    return Task(name="letters", metric="logit_difference", split="train", prompts=tuple(prompts))


def planted() -> tuple[Transformer, torch.Tensor]:
    """Plant one direction in the letters' embeddings that decides between x and y; nothing else is computed."""
    model = random_model(seed=1)
    direction = torch.randn(model.d_model, generator=torch.Generator().manual_seed(0))
    direction /= direction.norm()
    weight = model.embed.weight
    with torch.no_grad():
        for block in model.blocks:
            assert isinstance(block, Block)
            block.attn.o.weight.zero_()
            block.mlp.out.weight.zero_()
        weight -= torch.outer(weight @ direction, direction)
        for sign, sort in ((1.0, GOOD), (-1.0, BAD)):
            weight[model.tokenizer.encode(sort, bos=False)] += sign * direction
        x, y = model.tokenizer.encode("xy", bos=False)
        weight[x], weight[y] = 2 * direction, -2 * direction
    return model, direction


def recovered(row: Interchanged) -> float:
    assert row.recovered is not None
    return row.recovered.value


@pytest.fixture(scope="module")
def model() -> Transformer:
    return planted()[0]


@pytest.fixture(scope="module")
def sets(model: Transformer) -> tuple[Contrasts, Contrasts]:
    train, test = (swapped(contrasts(letters("q", part), model)) for part in (True, False))
    return train, test


def test_the_planted_direction_is_found_and_carries_the_variable_to_letters_never_seen(
    model: Transformer, sets: tuple[Contrasts, Contrasts]
) -> None:
    found = align(model, *sets, "0.resid_post", config=AlignmentConfig(steps=120, batch=128))
    rows = {row.name: row for row in found.rows}
    assert float((found.subspace.rows @ planted()[1]).abs()) > 0.85
    assert rows["search"].accuracy.value >= 0.99
    assert rows["whole vector"].accuracy.value == 1
    assert recovered(rows["whole vector"]) == pytest.approx(1, abs=1e-4)
    assert rows["random"].accuracy.value < 0.5
    assert found.row_space is None
    assert found.verdict.startswith("Yes")


def test_the_role_of_the_word_is_the_place_where_it_stands(
    model: Transformer, sets: tuple[Contrasts, Contrasts]
) -> None:
    config = AlignmentConfig(steps=3)
    at_end, at_word = (align(model, *sets, "0.resid_post", role, config).rows[0] for role in ("END", "LETTER"))
    assert at_end == at_word
    with pytest.raises(InputError, match=r"no role 'NAME'\. Roles: LETTER, END"):
        align(model, *sets, "0.resid_post", "NAME", config)


def test_what_no_matrix_reads_has_no_effect_by_itself() -> None:
    """Where the MLP's hidden values are wider than its output, a part of them is never read."""
    model = planted()[0]
    block = model.blocks[1]
    assert isinstance(block, Block)
    torch.manual_seed(0)
    with torch.no_grad():
        block.mlp.out.weight.normal_(std=0.3)
    train, test = (swapped(contrasts(letters("q", part), model)) for part in (True, False))
    found = align(model, train, test, "1.mlp.post", config=AlignmentConfig(dims=4, steps=30))
    rows = {row.name: row for row in found.rows}
    assert found.row_space is not None
    assert 0 < found.row_space < 1
    assert recovered(rows["null space"]) == pytest.approx(0, abs=1e-4)


def test_a_featurizer_beside_is_measured_alike(model: Transformer, sets: tuple[Contrasts, Contrasts]) -> None:
    same = Subspace(planted()[1][None])
    found = align(model, *sets, "0.resid_post", config=AlignmentConfig(steps=3), beside={"planted": same})
    row = next(row for row in found.rows if row.name == "planted")
    assert row.accuracy.value == 1
    assert row.share < 0.9


def test_sources_that_change_nothing_are_refused(model: Transformer) -> None:
    unchanged = contrasts(letters("q", True), model)  # Not swapped: the prompt's own answer is expected.
    with pytest.raises(InputError, match="sources that change the answer"):
        align(model, unchanged, unchanged, "0.resid_post")


def test_more_dimensions_than_the_site_has_are_refused(model: Transformer, sets: tuple[Contrasts, Contrasts]) -> None:
    with pytest.raises(VectorError, match="has 32 dimensions"):
        align(model, *sets, "0.resid_post", config=AlignmentConfig(dims=33))
    with pytest.raises(ConfigError, match="dims = 0"):
        AlignmentConfig(dims=0)
