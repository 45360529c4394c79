"""Rotary position embedding (Su et al. 2021, arXiv 2104.09864), as Llama, GPT-NeoX and their kin arrange it."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monosema.models.config import RotaryConfig


def frequencies(config: RotaryConfig, device: torch.device) -> Float[Tensor, " half"]:
    """Angle a position for each pair of dimensions, in float32: ``base^(-2i/dims)``, stretched as `scaling` says.

    llama3 (Llama 3.1's own code): with r = original_context / wavelength, a frequency is divided by `factor` where
    r ≤ low_frequency_factor, kept where r ≥ high_frequency_factor, and blended linearly in r between them.
    yarn (Peng et al. 2023, arXiv 2309.00071): the same with a blend that is linear in the index of the pair, between
    whole indices. longrope (Ding et al. 2024, arXiv 2402.13753) and by_pair: each frequency has a factor of its own.
    dynamic: within the trained context nothing is stretched.
    """
    steps = torch.arange(0, config.dims, 2, dtype=torch.float32, device=device)
    angles = 1.0 / (config.base ** (steps / config.dims))
    if config.scaling == "linear":
        return angles / config.factor
    if config.scaling in ("longrope", "by_pair"):
        return angles / torch.tensor(config.factors, device=device)
    if config.scaling == "llama3":
        turns = config.original_context * angles / (2 * math.pi)
        span = config.high_frequency_factor - config.low_frequency_factor
        kept = ((turns - config.low_frequency_factor) / span).clamp(0, 1)
        return kept * angles + (1 - kept) * angles / config.factor
    if config.scaling == "yarn":
        first = max(math.floor(_pair_of(config, config.high_frequency_factor)), 0)
        last = min(math.ceil(_pair_of(config, config.low_frequency_factor)), config.dims - 1)
        index = torch.arange(len(steps), dtype=torch.float32, device=device)
        stretched = ((index - first) / max(last - first, 1e-3)).clamp(0, 1)
        return (1 - stretched) * angles + stretched * angles / config.factor
    return angles


def _pair_of(config: RotaryConfig, turns: float) -> float:
    """Index of the pair that turns so often within the original context."""
    return config.dims * math.log(config.original_context / (2 * math.pi * turns)) / (2 * math.log(config.base))


def rotation(
    config: RotaryConfig, positions: Int[Tensor, "rows pos"], dtype: torch.dtype
) -> tuple[Float[Tensor, "rows pos 1 dims"], Float[Tensor, "rows pos 1 dims"]]:
    """Cosine of each position's angles, and their signed sine (see `rotate`), for all heads alike."""
    angles = positions[:, :, None, None].float() * frequencies(config, positions.device)
    cos, sin = angles.cos() * config.magnitude, angles.sin() * config.magnitude
    return torch.cat((cos, cos), dim=-1).to(dtype), torch.cat((-sin, sin), dim=-1).to(dtype)


def rotate(
    x: Float[Tensor, "batch pos head d_head"], cos_sin: tuple[Tensor, Tensor]
) -> Float[Tensor, "batch pos head d_head"]:
    """Turn the pairs (i, i + dims/2) of the first `dims` dimensions of each head; the rest stays."""
    cos, sin = cos_sin
    half = cos.shape[-1] // 2
    first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    turned = torch.addcmul(x[..., : 2 * half] * cos, torch.cat((second, first), dim=-1), sin)
    return torch.cat((turned, rest), dim=-1) if rest.shape[-1] else turned
