"""Latent scaling: how much of a latent of one model is in the other, whatever the norms of its decoder rows say.

Minder et al. 2025, "Overcoming Sparsity Artifacts in Crosscoders to Interpret Chat-Tuning", arXiv:2504.02922. With m
the model of the latent's larger decoder norm, m̄ the other, d its direction in m, and f its activations,

    β(y) = argmin_β Σ ‖β f d − y‖² = Σ f ⟨d, y⟩ / Σ f² ‖d‖²
    ν_ε = β(εᵐ̄) / β(εᵐ)      what its direction would still explain of the other model, over what it explains of its own
    ν_r = β(x̂ᵐ̄) / β(x̂ᵐ)      the same for what is reconstructed already

with ε the error of the reconstruction without this latent, and x̂ the reconstruction without its bias, in training
units. Near 0 the latent is really of one model, near 1 it is in both.

Departures: the latent is left out of ε in both models, not in its own only. Comparing directions across models supposes
one basis, as a model and its fine-tuned copies have.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.dictionaries import SparseCoder, share_of_other
from monosema.kernels import value_products


@dataclass(frozen=True)
class LatentScaling:
    """Latent scaling of every latent; NaN where it explains nothing of its own model.

    Attributes:
        error_ratio, reconstruction_ratio: ν_ε and ν_r.
        n: rows on which each is active.
        fvu: of each model.
    """

    error_ratio: Float[Tensor, " n_latents"]
    reconstruction_ratio: Float[Tensor, " n_latents"]
    n: Float[Tensor, " n_latents"]
    fvu: tuple[float, float]


@torch.inference_mode()
def latent_scaling(crosscoder: SparseCoder, rows: Float[Tensor, "n d_in"], block: int = 4096) -> LatentScaling:
    """ν_ε and ν_r of every latent of a crosscoder over two models, in O(rows · k · d).

    Args:
        crosscoder: over as many sites of one model as of the other, as its metadata says.
        rows: sites side by side, in the models' own units.
        block: rows that are worked on at a time.

    Raises:
        ConfigError: the metadata does not name sites of two models, or not as many of each.
    """
    units = crosscoder.site_scales.repeat_interleave(crosscoder.site_width)
    both = _by_model(crosscoder.directions * units)
    every = torch.arange(crosscoder.n_latents, device=both.device)
    own = (share_of_other(crosscoder) > 0.5).long()
    direction = both[every, own]
    error, rebuilt = (both.new_zeros(2, crosscoder.n_latents, dtype=torch.float64) for _ in range(2))
    power, n = (both.new_zeros(crosscoder.n_latents, dtype=torch.float64) for _ in range(2))
    unexplained, variance = (both.new_zeros(2, dtype=torch.float64) for _ in range(2))
    mean = rows.mean(dim=0)
    for x in rows.split(block):
        codes = crosscoder.encode(x).padded()
        f = codes.values.clamp_min(0)
        at, given = codes.indices.flatten(), crosscoder.decode(codes)
        left, there = _by_model((x - given) * units), _by_model((given - crosscoder.b_dec) * units)
        unexplained += left.square().sum(dim=(0, 2))
        variance += _by_model((x - mean) * units).square().sum(dim=(0, 2))
        power.index_add_(0, at, f.square().flatten().double())
        n.index_add_(0, at, (f > 0).flatten().double())
        for sums, y in ((error, left), (rebuilt, there)):
            for model in (0, 1):
                along = f * value_products(y[:, model].contiguous(), codes.indices, direction)
                sums[model].index_add_(0, at, along.flatten().double())
    square = direction.square().sum(dim=1).double()
    # What the latent itself adds to a model belongs to the error without it.
    added = torch.einsum("jd,jmd->mj", direction, both).double() / square
    betas = (error / (power * square) + added, rebuilt / (power * square))
    ratio = [torch.where(beta[own, every] > 0, beta[1 - own, every] / beta[own, every], torch.nan) for beta in betas]
    first, second = (unexplained / variance).tolist()
    return LatentScaling(ratio[0], ratio[1], n, (first, second))


def _by_model(rows: Float[Tensor, "n d_in"]) -> Float[Tensor, "n 2 values"]:
    return rows.view(len(rows), 2, -1)
