"""Learning rates: the peak by a scaling rule, and its course over the run."""

from __future__ import annotations

__all__ = ["learning_rate", "schedule"]


SIGN_FACTOR = 5e-3
"""Peak rate of sign_sgd at 2¹⁴ latents: that of sparsify, whose rule has the same root."""


def learning_rate(n_latents: int, steps: int, optimiser: str = "adam") -> float:
    """Peak learning rate for a run of so many steps.

    Gao et al. 2024 (arXiv:2406.04093, figure 3): ∝ 1 / √(m / 2¹⁴) in the number of latents m. Their factor,
    2e-4, is for runs of 10⁵ steps and more of Adam; short runs gain from larger steps. Muon's steps have the size of
    Adam's, so it takes the same. The steps of signs are all of full size, and their average needs no fall.
    """
    by_width = (n_latents / 2**14) ** -0.5
    if optimiser == "sign_sgd":
        return min(1e-2, SIGN_FACTOR * by_width)
    return min(1e-2, 4.5e-3 * by_width) * min(1.0, (200 / max(steps, 1)) ** 0.5)


def schedule(step: int, steps: int, warmup: int, decay: float) -> float:
    """Factor on the peak rate at a step, counted from 0: a linear rise, a plateau, a linear fall to near 0.

    Args:
        warmup: steps of the rise.
        decay: share of the run that the fall takes.
    """
    rise = min(1.0, (step + 1) / (warmup + 1))
    falling = decay * steps
    fall = min(1.0, (steps - step) / falling) if falling > 0 else 1.0
    return min(rise, fall)
