"""The result of a method: one score for each player, and what it took."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Attribution:
    """An answer divided among players.

    Attributes:
        method: its name in `METHODS`.
        names: the players.
        scores: one for each, in nats where scores sum to the total; above 0 speaks for the answer.
        errors: standard errors of scores that are estimated from draws; None where they are not.
        value: F with all players.
        total: F with all players less F with none.
        gap: `total` less the sum of the scores, where the method says that they sum to it; else None.
        notes: further figures by name.
        rows: rows that were run forward, with gradients counted as three.
        seconds: time that it took.
    """

    method: str
    names: tuple[str, ...]
    scores: Float[Tensor, " n"]
    errors: Float[Tensor, " n"] | None = None
    value: float
    total: float
    gap: float | None
    notes: dict[str, float]
    rows: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "method": self.method,
            "names": list(self.names),
            "scores": self.scores.tolist(),
            "errors": None if self.errors is None else self.errors.tolist(),
            "value": self.value,
            "total": self.total,
            "gap": self.gap,
            "notes": self.notes,
            "rows": self.rows,
            "seconds": self.seconds,
        }
