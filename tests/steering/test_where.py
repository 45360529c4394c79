"""Ten thousand random texts and clauses select what a reading in plain Python does, whole or behind a cache."""

from __future__ import annotations

import random

import pytest
import torch

from monosema.core import ConfigError
from monosema.models import Role
from monosema.steering import Where
from monosema.steering.where import Tokens

TEXTS, CLAUSES, PROMPT, WRITTEN = 100, 100, 9, 6


def random_text(draw: random.Random) -> list[int]:
    """Roles of a row: padding on the left, a prompt of any roles, what is written with special tokens, then its end."""
    begin = draw.randrange(PROMPT)
    prompt = draw.choices([Role.SPECIAL, Role.TEMPLATE, Role.PROMPT], [1, 2, 4], k=PROMPT - begin)
    written = draw.choices([Role.GENERATED, Role.SPECIAL], [5, 1], k=draw.randrange(WRITTEN + 1))
    if written:
        written[0] = Role.GENERATED
    roles = [Role.PADDING] * begin + prompt + written + [Role.PADDING] * (WRITTEN - len(written))
    return [int(role) for role in roles]


def random_clause(draw: random.Random) -> Where:
    """Any clause but those that are refused."""
    while True:
        window = (draw.randrange(-10, 10), draw.choice([None, draw.randrange(-9, 12)]))
        later = (draw.randrange(7), draw.choice([None, draw.randrange(9)]))
        try:
            return Where(
                draw.choice(["all", "last", window, None]),
                draw.choice(["all", later, None]),
                draw.random() < 0.5,
                draw.random() < 0.5,
            )
        except ConfigError:
            continue


def selected(roles: list[int], where: Where) -> set[int]:
    """The columns that a clause selects, by the words of its docstring and Python's own slices."""
    begin = roles.index(Role.GENERATED) if Role.GENERATED in roles else len(roles)
    given = [at for at, role in enumerate(roles) if role != Role.PADDING and at < begin]
    written = [at for at, role in enumerate(roles) if role != Role.PADDING and at >= begin]
    kinds = {Role.PROMPT, Role.GENERATED} | ({Role.SPECIAL} if where.special else set())
    kinds |= {Role.TEMPLATE} if where.template else set()
    allowed = {at for at, role in enumerate(roles) if role in kinds}
    found: set[int] = set()
    if where.prompt == "last":
        found |= set([at for at in given if at in allowed][-1:])
    elif where.prompt is not None:
        found |= set(given if where.prompt == "all" else given[slice(*where.prompt)])
    if where.generated is not None:
        found |= set(written if where.generated == "all" else written[slice(*where.generated)])
    return found & allowed


def test_ten_thousand_clauses_select_what_they_say() -> None:
    draw = random.Random(0)
    texts = [random_text(draw) for _ in range(TEXTS)]
    roles, numbers, filled = torch.tensor(texts), torch.arange(PROMPT + WRITTEN), 0
    for _ in range(CLAUSES):
        where = random_clause(draw)
        mask = where.select(Tokens(roles))
        for text, row in zip(texts, mask, strict=True):
            assert set(numbers[row].tolist()) == selected(text, where), (text, where)
            filled += bool(row.any())
        # The prompt in one pass, then one token after the other behind a cache.
        parts = [where.select(Tokens(roles[:, :PROMPT]))]
        parts += [where.select(Tokens(roles[:, at : at + 1], roles[:, :at])) for at in range(PROMPT, PROMPT + WRITTEN)]
        assert torch.equal(torch.cat(parts, dim=1), mask), where
    assert 0.2 < filled / (TEXTS * CLAUSES) < 0.98


def test_positions_leave_padding_out() -> None:
    roles = torch.tensor([[0, 0, 1, 3, 3, 4], [1, 3, 2, 2, 4, 0]])
    assert Tokens(roles).positions[0, 2:].tolist() == [0, 1, 2, 3]
    assert Tokens(roles).written.tolist() == [[-1, -1, -1, -1, -1, 0], [-1, -1, -1, -1, 0, -1]]
    assert Tokens(roles[:, 5:], roles[:, :5]).positions.tolist() == [[3], [4]]


@pytest.mark.parametrize("where", [{"prompt": None, "generated": None}, {"prompt": (3, 3)}, {"generated": (-2, None)}])
def test_clauses_that_can_select_nothing_are_refused(where: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"prompt|generated"):
        Where(**where)  # type: ignore[arg-type]
