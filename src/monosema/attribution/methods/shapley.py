"""Shapley values: the mean rise of F when a player joins, over all orders in which players can join (Shapley 1953).

    φ_i = Σ_S |S|! (n − |S| − 1)! / n! · (F(S ∪ i) − F(S))

They alone sum to F(all) − F(none), treat equal players equally, give nothing to one without effect, and are linear in
F. So players that are the same when they are absent, as are words that the counterfactual twin shares, get 0 and are
always present. `shapley` computes the sum, up to `exact` of the others, and draws orders beyond: each with its reverse,
so that errors cancel where effects of joining early and late balance (Mitchell et al. 2022, arXiv:2104.12199). Every
order's rises sum to F(all) − F(none), so their mean does as well. `kernel_shap` fits a linear model to F of drawn sets
(Lundberg & Lee 2017, arXiv:1705.07874), with sets drawn in pairs of complements and the sum as a constraint (Covert &
Lee 2021, arXiv:2012.01536).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from monosema.attribution.game import Game
from monosema.attribution.methods.method import BLACK_BOX, Scores, register_method
from monosema.core import InputError, torch_generator

SETS = 256
"""Sets of players that are tried, where nothing else is said."""


@dataclass(frozen=True)
class Shapley:
    """Shapley values.

    Attributes:
        name, about, family, default: see `Method`.
        exact: players that may change F, up to which all 2ⁿ sets of them are tried.
        sets: sets that are tried at most beyond; at least one order and its reverse.
    """

    name: str = "shapley"
    about: str = "mean rise of the answer when a player joins"
    family: str = BLACK_BOX
    default: bool = True
    exact: int = 10
    sets: int = SETS

    def __call__(self, game: Game, seed: int = 0) -> Scores:
        """Score all players, exactly where few may change F; else with standard errors over pairs of orders."""
        n = len(game.moving)
        if n <= self.exact:
            return Scores(_placed(game, exact_values(game(_with_idle(game, all_sets(n))))), complete=True)
        pairs = max(self.sets // (2 * (n - 1)), 1)
        orders = _orders(n, pairs, seed)
        rises = _rises(game, orders).unflatten(0, (pairs, 2)).mean(1)
        errors = _placed(game, rises.std(0) / math.sqrt(pairs)) if pairs > 1 else None
        return Scores(_placed(game, rises.mean(0)), complete=True, errors=errors)


@dataclass(frozen=True)
class KernelShap:
    """Shapley values by weighted least squares.

    Attributes:
        name, about, family, default: see `Method`.
        sets: sets that are tried.
    """

    name: str = "kernel_shap"
    about: str = "Shapley values by a linear fit to drawn sets of players"
    family: str = BLACK_BOX
    default: bool = False
    sets: int = SETS

    def __call__(self, game: Game, seed: int = 0) -> Scores:
        """Score all players; exact where the 2ⁿ sets of those that may change F are no more than those allowed."""
        n = len(game.moving)
        total = game.full - game.empty
        if n <= 1:
            return Scores(_placed(game, torch.full((n,), total)), complete=True)
        if 2**n <= self.sets:
            present, weights = _all_weighted(n)
        else:
            present, weights = _drawn_pairs(n, self.sets, seed)
        values = game(_with_idle(game, present)).double() - game.empty
        fitted = _constrained_fit(present.double(), values, weights, total).float()
        return Scores(_placed(game, fitted), complete=True)


def all_sets(n: int) -> Bool[Tensor, "sets n"]:
    """Return all sets of n players; set s holds player i where bit i of s is 1. Raises InputError above 20 players."""
    if n > 20:
        raise InputError(f"{n} players form {2**n:,} sets, too many to try: draw orders of players.")
    return (torch.arange(2**n)[:, None] >> torch.arange(n)) & 1 > 0


def exact_values(values: Float[Tensor, " sets"]) -> Float[Tensor, " n"]:
    """Return Shapley values from F of all sets, in the order of `all_sets`."""
    n = len(values).bit_length() - 1
    sizes = all_sets(n).sum(1)
    weights = torch.tensor([1 / (n * math.comb(n - 1, size)) for size in range(n)], dtype=torch.float64)
    found, index = [], torch.arange(2**n)
    for player in range(n):
        without = index[(index >> player) & 1 == 0]
        rises = (values[without + (1 << player)] - values[without]).double()
        found.append((rises * weights[sizes[without]]).sum())
    return torch.stack(found).float() if found else values.new_zeros(0)


def _with_idle(game: Game, present: Bool[Tensor, "m moving"]) -> Bool[Tensor, "m n"]:
    """Return sets of those that may change F as sets of all players, the others present."""
    whole = present.new_ones(len(present), len(game))
    whole[:, game.moving] = present
    return whole


def _placed(game: Game, values: Float[Tensor, " moving"]) -> Float[Tensor, " n"]:
    """Return values of those that may change F as values of all players, 0 for the others."""
    return values.new_zeros(len(game)).index_copy(0, game.moving, values)


def _orders(n: int, pairs: int, seed: int) -> Int[Tensor, "orders n"]:
    """Draw orders, each followed by its reverse."""
    generator = torch_generator(seed, "shapley")
    drawn = [torch.randperm(n, generator=generator) for _ in range(pairs)]
    return torch.stack([order for one in drawn for order in (one, one.flip(0))])


def _rises(game: Game, orders: Int[Tensor, "orders n"]) -> Float[Tensor, "orders n"]:
    """Return the rise of F when each player joins, along each order."""
    n = orders.shape[1]
    ranks = orders.argsort(1)
    # Set t of an order holds those of rank below t; of none and of all F is known.
    present = ranks[:, None, :] < torch.arange(1, n)[None, :, None]
    inner = game(_with_idle(game, present.flatten(0, 1))).unflatten(0, (len(orders), n - 1)).double()
    ends = inner.new_ones(len(orders), 1)
    curve = torch.cat([game.empty * ends, inner, game.full * ends], dim=1)
    return curve.diff(dim=1).gather(1, ranks).float()


def _all_weighted(n: int) -> tuple[Bool[Tensor, "sets n"], Float[Tensor, " sets"]]:
    present = all_sets(n)[1:-1]
    sizes = present.sum(1).tolist()
    weights = [(n - 1) / (math.comb(n, size) * size * (n - size)) for size in sizes]
    return present, torch.tensor(weights, dtype=torch.float64)


def _drawn_pairs(n: int, sets: int, seed: int) -> tuple[Bool[Tensor, "sets n"], Float[Tensor, " sets"]]:
    """Draw sets by the Shapley kernel, each with its complement; all weigh the same."""
    generator = torch_generator(seed, "kernel shap")
    sizes = torch.arange(1, n)
    drawn = torch.multinomial(1 / (sizes * (n - sizes)), max(sets // 2, 1), replacement=True, generator=generator) + 1
    ranks = torch.rand(len(drawn), n, generator=generator).argsort(1).argsort(1)
    half = ranks < drawn[:, None]
    return torch.cat([half, ~half]), torch.ones(2 * len(drawn), dtype=torch.float64)


def _constrained_fit(
    present: Float[Tensor, "sets n"], values: Float[Tensor, " sets"], weights: Float[Tensor, " sets"], total: float
) -> Float[Tensor, " n"]:
    """Minimise Σ w (F(S) − F(none) − Σ_S φ)² over φ that sum to `total`; the smallest φ where several do."""
    gram = present.T @ (weights[:, None] * present)
    aim = present.T @ (weights * values)
    n = len(gram)
    system = torch.cat([torch.cat([gram, gram.new_ones(n, 1)], 1), gram.new_ones(1, n + 1)], 0)
    system[n, n] = 0
    aims = torch.cat([aim, aim.new_tensor([total])])
    return torch.linalg.lstsq(system, aims[:, None], driver="gelsd").solution[:n, 0]


register_method(Shapley())
register_method(KernelShap())
