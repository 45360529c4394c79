"""Resampling of dead latents (Bricken et al. 2023, "Towards Monosemanticity", appendix on autoencoder training).

At a few points of the run, each latent that has been silent since half way from the point before is given a new start:
a row x of the batch is drawn with probability ∝ L(x)², L its loss; the decoder row becomes (x − b_dec) / ‖x − b_dec‖,
the encoder row the same times 0.2 of the mean norm of living encoder rows, the bias 0. The optimiser forgets these
latents.

Departures. Rows come from the batch at hand and not from 819,200 others, and L is their squared error; they are
centred, as the encoder sees them. The points are shares of the run and not step numbers: those of the paper's
run of 200,000.
"""

from __future__ import annotations

import itertools

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monosema.core import torch_generator
from monosema.dictionaries.autoencoder import Autoencoder
from monosema.dictionaries.initialisation import unit_rows_
from monosema.dictionaries.protocol import Moment

__all__ = ["RESAMPLE_AT", "resample"]

RESAMPLE_AT = (0.125, 0.25, 0.375, 0.5)
"""Steps 25,000, 50,000, 75,000 and 100,000 of the paper's 200,000, as shares of the run."""
ENCODER_SHARE = 0.2
"""Norm of new encoder rows, as a share of the mean norm of living ones (Bricken et al. 2023)."""


def resample(
    dictionary: Autoencoder, x: Float[Tensor, "n d"], moment: Moment, points: tuple[float, ...]
) -> Int[Tensor, " latents"]:
    """Give silent latents a new start if the run has just reached one of the points; which ones."""
    done = moment.step + 1
    none = dictionary.silent_tokens.new_empty(0)
    before = [0.0, *points]
    for previous, point in itertools.pairwise(before):
        if done == max(1, round(point * moment.steps)) and len(x):
            silent = max(1, round((point - previous) / 2 * moment.vectors))
            latents = (dictionary.silent_tokens >= silent).nonzero().squeeze(1)
            return _restart(dictionary, x, latents, done) if len(latents) else none
    return none


@torch.no_grad()
def _restart(
    dictionary: Autoencoder, x: Float[Tensor, "n d"], latents: Int[Tensor, " latents"], step: int
) -> Int[Tensor, " latents"]:
    losses = (x - dictionary(x)).square().sum(dim=1).cpu().double()
    weights = (losses / losses.max().clamp_min(torch.finfo(losses.dtype).tiny)).square() + 1e-12
    drawn = torch.multinomial(weights, len(latents), True, generator=torch_generator(step, "resampling"))
    rows = unit_rows_(x[drawn.to(x.device)] - dictionary.decoder_bias)
    living = torch.ones(dictionary.n_latents, dtype=torch.bool, device=x.device)
    living[latents] = False
    norms = torch.linalg.vector_norm(dictionary.encoder, dim=1)
    norm = norms[living].mean() if living.any() else norms.mean()
    dictionary.decoder[latents] = rows
    dictionary.encoder[latents] = rows * (ENCODER_SHARE * norm)
    dictionary.encoder_bias[latents] = 0
    dictionary.silent_tokens[latents] = 0
    return latents
