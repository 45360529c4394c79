"""The equation x ← x + s · Σ (g(c) − c) d, row by row, against a slow twin; and what is left behind."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from monosema.core import InputError, Site, SiteError
from monosema.dictionaries import Dictionary, Metadata, make_coder
from monosema.models import Role, Transformer, random_model
from monosema.steering import (
    Add,
    Clamp,
    Coordinate,
    Direction,
    Edit,
    Head,
    Latent,
    Scale,
    SteeredBatch,
    SteeredRow,
    Steering,
    Where,
    steered,
)

SITE = "0.resid_post"
TEXTS = ["hello", "a longer one", "xy"]


@pytest.fixture(scope="module")
def model() -> Transformer:
    return random_model()


def dictionary(architecture: str = "jumprelu", **fields: object) -> Dictionary:
    about = Metadata(site=Site.parse(SITE))
    coder = make_coder(architecture, 32, 64, metadata=about, seed=3, **fields)
    sample = torch.randn(200, 32, generator=torch.Generator().manual_seed(5))
    coder.start(sample, 0)
    return coder


def vector(seed: int, width: int = 32) -> Tensor:
    return torch.randn(width, generator=torch.Generator().manual_seed(seed))


def slow_value(coordinate: Coordinate, x: Tensor) -> Tensor:
    """The coordinate of rows, read the long way."""
    if isinstance(coordinate, Latent):
        return coordinate.dictionary.encode(x).dense()[:, coordinate.index]
    d = coordinate.row(tuple(x.shape[1:]))
    return (x.flatten(1) @ d) / (d @ d)


def slow_move(edit: Edit, c: float, norm: float) -> float:
    """The edit's g(c), by the words of its docstring."""
    unit = {"raw": 1.0, "max": edit.coordinate.maximum, "norm": norm}[edit.unit]
    assert unit is not None
    if isinstance(edit.move, Add):
        return c + edit.move.amount * unit
    if isinstance(edit.move, Scale):
        return c * edit.move.factor
    if edit.move.only_active and c <= 0:
        return c
    return min(max(c, edit.move.low * unit), edit.move.high * unit)


def slow_edit(x: Tensor, steering: Steering) -> Tensor:
    """Rows edited one edit at a time, all coordinates read from the rows as they came."""
    out = x.flatten(1).clone()
    for edit in steering.edits:
        d = edit.coordinate.row(tuple(x.shape[1:]))
        for row, c in enumerate(slow_value(edit.coordinate, x).tolist()):
            norm = float(x[row].flatten().norm() / d.norm())
            out[row] += steering.strength * (slow_move(edit, c, norm) - c) * d
    return out.view(x.shape)


MOVES = {
    "add": Add(2.5),
    "scale": Scale(-2.0),
    "ablate": Clamp(0.0, 0.0),
    "set": Clamp(1.5, 1.5),
    "cap": Clamp(high=0.2),
    "floor": Clamp(low=0.3),
    "cap where active": Clamp(high=0.1, only_active=True),
    "set where active": Clamp(2.0, 2.0, only_active=True),
}


@pytest.mark.parametrize("architecture", ["jumprelu", "topk", "batch_topk", "gated", "l1"])
def test_edited_activations_are_those_of_the_equation(model: Transformer, architecture: str) -> None:
    coder = dictionary(architecture)
    tokens = torch.tensor([[ord(char) for char in "abcdefgh"]])
    x = model.activations(tokens, [SITE])[SITE][0]
    busiest = coder.encode(x).counts().topk(3).indices.tolist()
    for move in MOVES.values():
        edits = [
            Edit(Latent(coder, busiest[0]), move),
            Edit(Latent(coder, busiest[1], maximum=0.7), move, unit="raw" if isinstance(move, Scale) else "max"),
            Edit(Latent(coder, busiest[0]), Scale(0.5)),
            Edit(Direction(SITE, vector(1)), move),
            Edit(Direction(SITE, vector(2)), move, unit="norm"),
        ]
        steering = Steering(edits, strength=0.8)
        with steered(model, steering), model.capture(SITE) as got:
            model(tokens)
        torch.testing.assert_close(got[SITE][0], slow_edit(x, steering), rtol=1e-5, atol=1e-5)


def test_a_head_is_edited_alone(model: Transformer) -> None:
    tokens = torch.tensor([[1, 2, 3, 4]])
    before = model.activations(tokens, ["1.z"])["1.z"][0]
    steering = Steering(Edit(Head(1, 2, vector(4, 8)), Clamp(0.5, 0.5)))
    with steered(model, steering), model.capture("1.z") as got:
        model(tokens)
    after = got["1.z"][0]
    torch.testing.assert_close(after, slow_edit(before, steering), rtol=1e-5, atol=1e-5)
    others = [0, 1, 3]
    assert torch.equal(after[:, others], before[:, others])
    torch.testing.assert_close(after[:, 2] @ vector(4, 8) / vector(4, 8).square().sum(), torch.full((4,), 0.5))


def test_a_steering_without_edits_changes_no_bit(model: Transformer) -> None:
    tokens = torch.randint(0, 256, (2, 9), generator=torch.Generator().manual_seed(0))
    before = model(tokens)
    with steered(model, Steering()):
        assert torch.equal(model(tokens), before)
        assert not len(model.hooks)
    with steered(model, [None, Steering()]):
        assert torch.equal(model(tokens), before)
    push = Steering(Edit(Direction(SITE, vector(1)), Add(4.0)))
    with steered(model, [None, push]):
        logits = model(tokens)
    assert torch.equal(logits[0], before[0])
    assert not torch.allclose(logits[1], before[1])


def several(coder: Dictionary) -> list[Steering | None]:
    """One steering for each of three rows, of other coordinates, moves and places."""
    return [
        Steering([Edit(Direction(SITE, vector(1)), Add(1.5)), Edit(Latent(coder, 3), Clamp(0.0, 0.0))]),
        None,
        Steering(
            [
                Edit(Latent(coder, 5), Clamp(4.0, 4.0), Where(prompt=None, generated=(1, 3))),
                Edit(Head(1, 0, vector(2, 8)), Scale(5.0), Where(prompt="last", generated=None)),
                Edit(Direction("1.resid_post", vector(3)), Add(0.4), Where(prompt=None), unit="norm"),
            ]
        ),
    ]


def test_rows_of_a_batch_cached_or_not_streamed_or_alone_are_the_same(model: Transformer) -> None:
    rows = several(dictionary("topk"))
    with steered(model, rows) as cached:
        texts = model.generate(TEXTS, max_new_tokens=6)
    with steered(model, rows) as uncached:
        again = model.generate(TEXTS, max_new_tokens=6, use_cache=False)
    assert [text.tokens for text in texts] == [text.tokens for text in again]
    for one, other in zip(cached, uncached, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert (one.prompt, one.generated) == (other.prompt, other.generated)
    for prompt, steering, text in zip(TEXTS, rows, texts, strict=True):
        with steered(model, [steering]):
            assert model.generate(prompt, max_new_tokens=6).tokens == text.tokens
    with steered(model, rows):
        pieces = list(model.stream(TEXTS, max_new_tokens=6))
    for row, text in enumerate(texts):
        assert tuple(piece.token for piece in pieces if piece.row == row) == text.tokens
    assert texts[1].tokens == model.generate(TEXTS[1], max_new_tokens=6).tokens
    assert [text.tokens for text in texts] != [text.tokens for text in model.generate(TEXTS, max_new_tokens=6)]


def test_the_rows_say_which_tokens_were_edited(model: Transformer) -> None:
    rows = several(dictionary("topk"))
    with steered(model, rows) as touched:
        model.generate(TEXTS, max_new_tokens=6)
    first, second, third = touched
    assert first is not None
    assert second is None
    assert third is not None
    # Position 0 is the special token that begins a text; what is drawn last is never read.
    assert first.prompt == {1, 2, 3, 4, 5}
    assert first.generated == third.generated == {0, 1, 2, 3, 4}
    assert third.prompt == {2}


def test_a_batch_goes_on_while_rows_join_and_leave(model: Transformer) -> None:
    push = Steering(Edit(Direction(SITE, vector(1)), Add(4.0)))
    tokens = torch.tensor([[1, 2, 3]])
    plain = model(tokens)[0]
    with steered(model, push):
        pushed = model(tokens)[0]
    with SteeredBatch(model) as batch:
        assert torch.equal(model(tokens)[0], plain)
        assert batch.edited is None
        batch.rows = [None, SteeredRow(push)]
        both = model(tokens.repeat(2, 1))
        torch.testing.assert_close(both, torch.stack([plain, pushed]))
        assert batch.edited is not None
        assert batch.edited.tolist() == [[False] * 3, [True] * 3]
        with pytest.raises(InputError, match=r"2 steerings.*3 rows"):
            model(tokens.repeat(3, 1))
        batch.rows = batch.rows[1:]
        torch.testing.assert_close(model(tokens)[0], pushed)
        batch.rows = [None]
        assert not len(model.hooks)
        batch.rows = [SteeredRow(Steering(Edit(Head(1, 0, vector(2, 8)), Add(1.0))))]
    assert not len(model.hooks)
    batch.rows = [SteeredRow(push)]
    assert torch.equal(model(tokens)[0], plain)
    with batch:
        torch.testing.assert_close(model(tokens)[0], pushed)


def test_nothing_stays_attached_after_an_error_or_a_cancelled_stream(model: Transformer) -> None:
    before = model.generate(TEXTS[0], max_new_tokens=4)
    with pytest.raises(RuntimeError, match="stop"), steered(model, several(dictionary())):
        raise RuntimeError("stop")
    assert not len(model.hooks)
    with steered(model, several(dictionary())):
        stream = model.stream(TEXTS, max_new_tokens=8)
        for _ in range(9):
            next(stream)
        stream.close()
    assert not len(model.hooks)
    assert model.generate(TEXTS[0], max_new_tokens=4) == before


def test_a_clause_that_selects_nothing_is_an_error(model: Transformer) -> None:
    late = Edit(Direction(SITE, vector(1)), Add(1.0), Where(prompt=(50, None), generated=None))
    with (
        pytest.raises(InputError, match=r"\[50:\].* selects no token at 0.resid_post.*prompts have at most 13 tokens"),
        steered(model, Steering(late)),
    ):
        model.generate(TEXTS, max_new_tokens=2)
    with pytest.raises(SiteError, match="no forward pass"), steered(model, Steering(late)):
        pass
    # What holds in one of the rows that have it is no error.
    early = Edit(Direction(SITE, vector(1)), Add(1.0), Where(prompt=(4, None), generated=None))
    with steered(model, Steering(early)) as rows:
        model.generate(TEXTS, max_new_tokens=2)
    assert [bool(row and row.unmatched) for row in rows] == [False, False, True]


def test_padding_special_and_template_tokens_are_left_alone(model: Transformer) -> None:
    tokens = torch.tensor([[258, 258, 256, 10, 11, 12], [256, 20, 21, 22, 23, 24]])
    roles = torch.full_like(tokens, Role.PROMPT)
    roles[0, :2], roles[1, 1:3] = Role.PADDING, Role.TEMPLATE
    before = model.activations(tokens, [SITE], roles != Role.PADDING)[SITE]
    push = Edit(Direction(SITE, vector(1)), Add(4.0))
    for where, changed in (
        (Where(), [[3, 4, 5], [3, 4, 5]]),
        (Where(special=True), [[2, 3, 4, 5], [0, 3, 4, 5]]),
        (Where(template=True), [[3, 4, 5], [1, 2, 3, 4, 5]]),
        (Where(prompt="last"), [[5], [5]]),
        (Where(prompt=(1, 3)), [[3, 4], []]),
        (Where(prompt=(-2, None)), [[4, 5], [4, 5]]),
        (Where(prompt=(0, -3), special=True, template=True), [[2], [0, 1, 2]]),
    ):
        steering = Steering(Edit(push.coordinate, push.move, where))
        with steered(model, steering), model.capture(SITE) as got:
            model(tokens, roles=roles)
        moved = (got[SITE] != before).any(dim=-1)
        assert [row.nonzero()[:, 0].tolist() for row in moved] == changed, where
