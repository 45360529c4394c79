"""Learning rates: the peak by a scaling rule, and its course over the run."""

from __future__ import annotations

SIGN_FACTOR = 5e-3
"""Peak rate of sign_sgd at 2¹⁴ latents: that of sparsify, whose rule has the same root."""
LARGEST_TURN = 0.15
"""Largest turn of a decoder row in a step."""
AGREEING = 1.0
"""Largest move of the reconstruction in a step, in units of its norm, where all active latents agree."""
FEW_LATENTS = 1536
"""Latents up to which the bound on those that agree does not depend on their number."""
WARM_UP = 0.1
"""Share of the run over which the learning rate rises."""


def learning_rate(n_latents: int, steps: int, optimiser: str = "adam", *, width: int = 1, active: float = 1.0) -> float:
    """Return the peak learning rate of a run of `steps` steps.

    Gao et al. 2024 (arXiv:2406.04093, figure 3): ∝ 1 / √(m / 2¹⁴) in the number of latents m. Their factor,
    2e-4, is for runs of 10⁵ steps and more of Adam; short runs gain from larger steps. Muon's steps have the size of
    Adam's, so it takes the same. The steps of signs are all of full size, and their average needs no fall.

    Adam's rate γ is bounded besides, ours: a decoder row of norm 1 turns by γ √d in a step, 0.15 at most; and where the
    k active latents of a row agree, as on a direction of much variance, the reconstruction moves by γ √(k d) in units
    of its norm, 1 at most. Of more than 1,536 latents it may be √(1536 / m) at most: so it was measured, not why.

    Args:
        width: values in a row, d.
        active: latents that a row activates, k.
    """
    by_width = (n_latents / 2**14) ** -0.5
    if optimiser == "sign_sgd":
        return min(1e-2, SIGN_FACTOR * by_width)
    agreeing = AGREEING * min(1.0, (FEW_LATENTS / n_latents) ** 0.5)
    bound = min(LARGEST_TURN, agreeing / active**0.5) / width**0.5
    return min(4.5e-3 * by_width, bound) * min(1.0, (200 / max(steps, 1)) ** 0.5)


def warm_up_steps(steps: int) -> int:
    """Return the steps of the rise, a tenth of the run's.

    Adam's first steps have full size in every entry, and where latents agree on a direction, as about what most of the
    variance lies in, those that a row activates add up: at the full rate at once a short run begins with an error
    above the start's, and spends much of itself on the way back. Metrics are in benchmarks/results/frontier.md.
    """
    return round(WARM_UP * steps)


def schedule(step: int, steps: int, warmup: int, decay: float) -> float:
    """Return the factor on the peak rate at a step, counted from 0: a linear rise, a plateau, a linear fall to near 0.

    Args:
        warmup: steps of the rise.
        decay: share of the run that the fall takes.
    """
    rise = min(1.0, (step + 1) / (warmup + 1))
    falling = decay * steps
    fall = min(1.0, (steps - step) / falling) if falling > 0 else 1.0
    return min(rise, fall)
