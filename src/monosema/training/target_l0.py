"""The weight of a sparsity penalty that is found while training, so that a row has as many active latents as wanted.

    u_t = u_{t−1} + K_p (e_t − e_{t−1}) + K_i e_t,     e_t = log(L0_t / N),     coefficient = exp(u_t)

L0_t is the mean of a batch. This is the velocity form of a proportional-integral controller (Åström and Hägglund 1995,
"PID Controllers"), on logarithms of both sides, since L0 falls about as a power of the coefficient. It begins after the
first twentieth of the run, over which penalties rise. Errors beyond a factor e count as that, and the coefficient stays
within a factor of a hundred of its first value: where an L0 can't be reached, it must find back soon.
"""

from __future__ import annotations

import math

from monosema.core import ConfigError
from monosema.dictionaries import Trainable

PROPORTIONAL = 1.0
"""K_p: measured on residual streams of the embedded model (docs/dictionaries.md), where 3 overshoots at the start."""
INTEGRAL = 30.0
"""K_i, over the run's steps: a constant error of a tenth moves the coefficient by e³ over a run."""
FIRST = 0.05
"""Share of the run after which the coefficient follows."""
LARGEST = 1.0
"""Largest error that counts."""
RANGE = math.log(100.0)
"""Largest distance from the first value, in logarithms."""

MISSED = 0.1
"""Share of a target beyond which it was missed."""


class TargetL0:
    """The controller of one dictionary's coefficient.

    Attributes:
        target: N.
        level: u, the logarithm of the coefficient.
        error: e of the batch before; None before there was one.
    """

    def __init__(self, target: float, first: float, steps: int) -> None:
        """Begin from a coefficient, for a run of so many steps. Raises ConfigError for one that is not above 0."""
        if first <= 0:
            raise ConfigError("--target-l0 adapts the weight of the penalty from its start: give --alpha above 0.")
        self.target, self.steps = target, steps
        self.level = self._first = math.log(first)
        self.error: float | None = None

    @property
    def coefficient(self) -> float:
        """The coefficient now."""
        return math.exp(self.level)

    @property
    def bound(self) -> str | None:
        """End of the range that the coefficient stands at, "lower" or "upper"; None where it is within."""
        if abs(self.level - self._first) < RANGE:
            return None
        return "lower" if self.level < self._first else "upper"

    def follow(self, step: int, l0: float) -> None:
        """Move the coefficient by the active latents a row of a step, counted from 0."""
        if step + 1 < FIRST * self.steps:
            return
        error = min(LARGEST, math.log(max(l0 / self.target, math.exp(-LARGEST))))
        moved = INTEGRAL / self.steps * error + PROPORTIONAL * (error - (error if self.error is None else self.error))
        self.level = max(self._first - RANGE, min(self._first + RANGE, self.level + moved))
        self.error = error


def missed_target(target: float | None, l0: float | None, steps: int, control: TargetL0 | None) -> str | None:
    """Say that an L0 is more than a tenth away from its target, and what may help; None where it isn't."""
    if target is None or l0 is None or abs(l0 / target - 1) <= MISSED:
        return None
    said = f"--target-l0 {target:g} was not reached in {steps:,} steps: L0 is {l0:.3g}"
    if control is None:
        return f"{said}, and at most k = {target:g} latents are active on a row."
    if control.bound is not None:
        way = "smaller" if control.bound == "lower" else "larger"
        return (
            f"{said}, and the weight of the penalty is at its {control.bound} bound, {control.coefficient:.3g}. Begin "
            f"with a {way} --alpha, or choose a target nearer to that L0."
        )
    return (
        f"{said}, with a weight of the penalty of {control.coefficient:.3g}. Train longer (more tokens or rows, "
        "--passes, a smaller --batch), or begin nearer to it with --alpha."
    )


def target_of(dictionary: Trainable, target: float | None, steps: int) -> TargetL0 | None:
    """Return what adapts a dictionary's coefficient; None where there is no target, or where k is the target.

    Raises ConfigError where the L0 is fixed at another number.
    """
    if target is None:
        return None
    if dictionary.coefficient is not None:
        return TargetL0(target, dictionary.coefficient, steps)
    if dictionary.expected_l0 != target:
        raise ConfigError(
            f"TrainConfig.target_l0 = {target:g} is not possible: this dictionary declares no coefficient, and its L0 "
            f"is k = {dictionary.expected_l0:g}. Give k the same number, or leave out --target-l0."
        )
    return None
