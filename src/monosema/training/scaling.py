"""Scaling law of FVU in latents n and active latents k (Gao et al. 2024, arXiv:2406.04093, section 3.2).

    L(n, k) = exp(α + β_k log k + β_n log n + γ log k log n) + exp(ζ + η log k)

The second term is the floor that no number of latents removes at that k. Fitted by least squares of log L, with
logarithms taken from the middle of the points, where the six numbers are least entangled. Intervals are the middle 95 %
of fits to resampled points: seeds of the same n and k are drawn anew where there are several, else residuals are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from monosema.core import ConfigError

NAMES = ("alpha", "beta_k", "beta_n", "gamma", "zeta", "eta")
RESAMPLES = 200
LEAST = 3
"""Different widths, and different k, that the fit needs: fewer leave its curvature open."""
TRIALS = 300
"""Evaluations that one fit may take."""
SHARES = (0.9, 0.5, 0.1)
"""Shares of the smallest loss that the irreducible term starts from; the best of these fits is taken."""
Logs = Float[np.ndarray, " points"]


@dataclass(frozen=True)
class ScalingPoint:
    """One dictionary: its latents, its active latents, and the share of variance it leaves unexplained."""

    n: float | int
    k: float | int
    fvu: float


@dataclass(frozen=True)
class Estimate:
    """A number of the fit, with the ends of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ScalingFit:
    """A fitted law.

    Attributes:
        parameters: α, β_k, β_n, γ, ζ, η, by name.
        floor: at each k of the points, exp(ζ + η log k), which no number of latents removes.
        points: the fitted points.
        error: root mean square of log L as fitted minus log L as measured.
        resamples: fits that the intervals are taken from.
    """

    parameters: Mapping[str, Estimate]
    floor: Mapping[str, Estimate]
    points: tuple[ScalingPoint, ...]
    error: float
    resamples: int

    def predict(self, n: float | int, k: float | int) -> float:
        """Return L(n, k)."""
        values = np.array([self.parameters[name].value for name in NAMES])
        return float(np.exp(_log_loss(values, np.log([n]), np.log([k])))[0])

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def fit_scaling(points: Sequence[ScalingPoint], seed: int = 0, resamples: int = RESAMPLES) -> ScalingFit:
    """Fit the joint power law.

    Raises:
        ConfigError: fewer than three widths, three k, or nine points; or a loss that is not above 0.
    """
    widths, actives = {point.n for point in points}, {point.k for point in points}
    if len(widths) < LEAST or len(actives) < LEAST or len(points) < LEAST**2:
        raise ConfigError(
            f"The scaling law needs at least {LEAST} numbers of latents, {LEAST} of active latents, and {LEAST**2} "
            f"dictionaries; there are {len(widths)}, {len(actives)} and {len(points)}. Sweep more values."
        )
    if any(not point.fvu > 0 for point in points):
        raise ConfigError(
            "The scaling law is fitted to the logarithm of FVU, but a dictionary has an FVU of 0 or less."
        )
    n, k, loss = (np.log([getattr(point, name) for point in points]) for name in ("n", "k", "fvu"))
    best = _fit(n, k, loss, None)
    fitted = _log_loss(best, n, k)
    generator = np.random.default_rng(seed)
    draws = [_fit(*_resampled(n, k, loss, fitted, generator), best) for _ in range(resamples)]
    others = np.stack(draws) if draws else best[None]
    levels = np.array(sorted(actives))
    floors = np.exp(others[:, 4:5] + others[:, 5:6] * np.log(levels))
    floor = np.exp(best[4] + best[5] * np.log(levels))
    return ScalingFit(
        parameters={name: _estimate(best[i], others[:, i]) for i, name in enumerate(NAMES)},
        floor={f"{level:g}": _estimate(floor[i], floors[:, i]) for i, level in enumerate(levels)},
        points=tuple(points),
        error=float(np.sqrt(np.mean((fitted - loss) ** 2))),
        resamples=resamples,
    )


def _estimate(value: float, drawn: np.ndarray) -> Estimate:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(float(value), float(low), float(high))


def _log_loss(values: np.ndarray, n: Logs, k: Logs) -> Logs:
    alpha, beta_k, beta_n, gamma, zeta, eta = values
    return np.logaddexp(alpha + beta_k * k + beta_n * n + gamma * k * n, zeta + eta * k)


def _slopes(values: np.ndarray, n: Logs, k: Logs) -> Float[np.ndarray, "points 6"]:
    """Return derivatives of `_log_loss` in the six numbers."""
    alpha, beta_k, beta_n, gamma = values[:4]
    falling = np.exp(alpha + beta_k * k + beta_n * n + gamma * k * n - _log_loss(values, n, k))
    one = np.ones_like(n)
    return np.stack([*(falling * part for part in (one, k, n, k * n)), 1 - falling, (1 - falling) * k], axis=1)


def _fit(n: Logs, k: Logs, loss: Logs, start: np.ndarray | None) -> np.ndarray:
    """Return the six numbers; from a start that is near, or the best fit from several far ones."""
    from scipy.optimize import least_squares

    n0, k0 = float(n.mean()), float(k.mean())
    starts = [_moved(start, -n0, -k0)] if start is not None else [_guess(n - n0, k - k0, loss, s) for s in SHARES]
    fits = [
        least_squares(
            lambda values: _log_loss(values, n - n0, k - k0) - loss,
            first,
            jac=lambda values: _slopes(values, n - n0, k - k0),
            method="lm",
            max_nfev=TRIALS,
        )
        for first in starts
    ]
    return _moved(min(fits, key=lambda fit: fit.cost).x, n0, k0)


def _guess(n: Logs, k: Logs, loss: Logs, share: float) -> np.ndarray:
    """Return a plane through the logarithms of the losses above a floor, a share of the smallest loss."""
    floor = share * np.exp(loss.min())
    rest = np.log(np.exp(loss) - floor)
    plane = np.linalg.lstsq(np.stack([np.ones_like(n), k, n, k * n], axis=1), rest, rcond=None)[0]
    return np.array([*plane, np.log(floor), 0.0])


def _moved(values: np.ndarray, n0: float, k0: float) -> np.ndarray:
    """Return the same law, for logarithms of n and k that are larger by n0 and k0."""
    alpha, beta_k, beta_n, gamma, zeta, eta = values
    return np.array(
        [
            alpha - beta_k * k0 - beta_n * n0 + gamma * k0 * n0,
            beta_k - gamma * n0,
            beta_n - gamma * k0,
            gamma,
            zeta - eta * k0,
            eta,
        ]
    )


def _resampled(
    n: Logs, k: Logs, loss: Logs, fitted: Logs, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the points with losses drawn anew: among seeds of the same n and k, or as fitted plus any residual."""
    cells: dict[tuple[float, float], list[int]] = {}
    for number, cell in enumerate(zip(n, k, strict=True)):
        cells.setdefault(cell, []).append(number)
    if all(len(numbers) > 1 for numbers in cells.values()):
        drawn = loss.copy()
        for numbers in cells.values():
            drawn[numbers] = loss[generator.choice(numbers, len(numbers))]
        return n, k, drawn
    spare = max(1, len(loss) - len(NAMES))
    residuals = (loss - fitted) * np.sqrt(len(loss) / spare)
    return n, k, fitted + generator.choice(residuals, len(loss))
