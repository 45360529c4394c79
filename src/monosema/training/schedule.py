"""Learning rates: the peak by a scaling rule, its course over the run, and the ε that bounds Adam's steps."""

from __future__ import annotations

__all__ = ["adam_epsilon", "learning_rate", "schedule"]


SIGN_FACTOR = 5e-3
"""Peak rate of sign_sgd at 2¹⁴ latents: that of sparsify, whose rule has the same root."""
LARGEST_GAIN = 1 / 3
"""How far a parameter goes in a step at most, as a multiple of its mean gradient and of the number of latents."""
SMALLEST_EPSILON = 1e-12
"""ε that only keeps 0 from being divided by."""


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


def adam_epsilon(n_latents: int, peak: float, optimiser: str = "adam") -> float:
    """Adam's ε for dictionaries whose loss is a share of the variance: 3 · peak / n_latents.

    A step is γ m / (√v + ε), so none is longer than γ / ε = n_latents / 3 times the mean gradient m. Gradients of such
    a loss are of the order of 1 / n_latents in each latent, and for most √v is above ε. What ε holds back are latents
    that fire rarely: their v is near 0, so each of their few gradients would be worth several full steps, and throw
    them to where they never fire again. Measured by `benchmarks/step_size.py`; figures are in docs/frontier.md. Losses
    in units of activations have larger gradients, and ε changes nothing there. Muon leaves only vectors to Adam; they
    keep an ε that is next to nothing.
    """
    if optimiser == "muon":
        return SMALLEST_EPSILON
    return peak / (LARGEST_GAIN * n_latents)


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
