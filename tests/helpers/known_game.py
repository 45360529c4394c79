"""A game whose answers are known: any function of sets of players, in the place of a model."""

from __future__ import annotations

from collections.abc import Callable

import torch

from monosema.attribution import Game


class Known:
    """Players of a known game: names, and nothing of a model."""

    removal = "nothing"

    def __init__(self, n: int) -> None:
        self.names = tuple(map(str, range(n)))

    def absent(self, present: torch.Tensor) -> object:
        raise NotImplementedError

    def mixed(self, at: torch.Tensor) -> object:
        raise NotImplementedError


class KnownGame(Game):
    """F of sets of players is a function of them; counts the sets that it is asked for."""

    def __init__(self, n: int, f: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self.players = Known(n)  # type: ignore[assignment]
        self._f, self.rows = f, 0

    def __call__(self, present: torch.Tensor) -> torch.Tensor:
        self.rows += len(torch.unique(present, dim=0))
        return self._f(present.double()).float()

    def gradient(self, at: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        c = at.double().detach().clone().requires_grad_()
        value = self._f(c)
        (slope,) = torch.autograd.grad(value.sum(), c)
        return value.detach().float(), slope.float()


def curved(n: int) -> KnownGame:
    """A game in which players act in pairs and triples."""
    weights = torch.randn(n, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def f(c: torch.Tensor) -> torch.Tensor:
        return 1.0 + c @ weights + 2 * c[:, 0] * c[:, 1] - 3 * c[:, 0] * c[:, 2] * c[:, n - 1]

    return KnownGame(n, f)


def additive(n: int) -> KnownGame:
    """A game in which player i adds i + 1."""
    return KnownGame(n, lambda c: 1.0 + c @ torch.arange(1.0, n + 1, dtype=torch.float64))
