"""Faithfulness: whether the players that a method ranks first are those that the answer changes with.

Players are taken out, or put in alone, by the order of their scores, and F is measured at the same counts k for all
methods. With p the probability of the answer (`Target.probability`), means are over counts:

    deletion            p without the first k                      smaller is better (Petsiuk et al. 2018)
    insertion           p with only the first k                    larger is better
    comprehensiveness   p(all) − p without the first k, k ≤ n/2    larger is better (DeYoung et al. 2020, ERASER)
    sufficiency         p(all) − p with only the first k, k ≤ n/2  smaller is better
    aopc                F(all) − F without the first k, nats       larger is better (Samek et al. 2017)

A figure means little alone: it depends on the removal and on the prompt. So each is less the mean over random orders of
the same players, with its sign turned where smaller is better: above 0 is better than chance. The reversed order, which
should be worse than chance, is the second control. Counts lie evenly about one half, so that the sets of an order and
of its reverse are complements, and random orders are drawn with their reverses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monosema.attribution.game import Game
from monosema.core import InputError, torch_generator

MEASURES = ("deletion", "insertion", "comprehensiveness", "sufficiency", "aopc")
_SMALLER = ("deletion", "sufficiency")
_SHARES = (0.1, 0.25, 0.5, 0.75, 0.9)
RANDOM = 50
"""Random orders that each figure is held against."""


@dataclass(frozen=True, eq=False)
class Faithfulness:
    """The figures of several orders of one prompt's players, better than chance where above 0.

    Attributes:
        counts: players that were taken out.
        orders: the measures of each order, less those of random ones.
        reverses: the same of each order backwards.
        chance: mean of the measures over random orders, as they are, not turned.
    """

    counts: tuple[int, ...]
    orders: Float[Tensor, "orders measures"]
    reverses: Float[Tensor, "orders measures"]
    chance: Float[Tensor, " measures"]


def faithfulness(
    game: Game, scores: Sequence[Float[Tensor, " n"]], *, random: int = RANDOM, seed: int = 0
) -> Faithfulness:
    """Test the orders of several methods' scores in one game.

    Equal scores are put in a random order, the same for all methods: the order of a text is no evidence.

    Raises InputError for fewer than two players, or an odd number of random orders.
    """
    n = len(game)
    if n < 2:
        raise InputError("There is one player, so there is nothing to rank: take smaller players, such as tokens.")
    if random < 2 or random % 2:
        raise InputError(f"random = {random} is not valid: give an even number of random orders, 2 or more.")
    shuffled = torch.randperm(n, generator=torch_generator(seed, "ties"))
    given = [shuffled[one[shuffled].argsort(descending=True, stable=True)] for one in scores]
    generator = torch_generator(seed, "random orders")
    drawn = [torch.randperm(n, generator=generator) for _ in range(random // 2)]
    forward = torch.stack([*given, *drawn])
    counts = counts_of(n)
    found = _measures(game, torch.cat([forward, forward.flip(1)]), counts)
    ahead, back = found.chunk(2)
    m = len(given)
    chance = torch.cat([ahead[m:], back[m:]]).mean(0)
    sign = torch.tensor([-1.0 if name in _SMALLER else 1.0 for name in MEASURES])
    return Faithfulness(counts, sign * (ahead[:m] - chance), sign * (back[:m] - chance), chance)


def counts_of(n: int) -> tuple[int, ...]:
    """Return the numbers of players that are taken out of n: k where n − k is one too, none of them 0 or n."""
    half = {min(max(round(share * n), 1), n - 1) for share in _SHARES if share <= 0.5}
    return tuple(sorted(half | {n - k for k in half}))


def _measures(game: Game, orders: Int[Tensor, "orders n"], counts: Sequence[int]) -> Float[Tensor, "orders measures"]:
    first = orders.argsort(1)[:, None, :] < torch.tensor(counts)[None, :, None]  # orders × counts × players
    values = game(torch.cat([~first, first]).flatten(0, 1)).unflatten(0, (2, len(orders), len(counts)))
    without, only = values
    p = game.question.target.probability
    whole = p(torch.tensor(game.full))
    half = torch.tensor([2 * k <= len(game) for k in counts])
    figures = (
        p(without).mean(1),
        p(only).mean(1),
        (whole - p(without)[:, half]).mean(1),
        (whole - p(only)[:, half]).mean(1),
        (game.full - without).mean(1),
    )
    return torch.stack(figures, dim=1)
