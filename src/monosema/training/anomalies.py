"""Signs of a run that goes wrong, and their cause: the rate of learning, or the vectors."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.dictionaries import Losses, Trainable

EXPLODED = 1e3
"""Unexplained share of variance beyond which a run is taken to have exploded; 1 is what the mean alone reaches."""
LARGEST_NORM = 1e4
"""Root mean square norm of a matrix's rows beyond which a run is taken to have exploded; they start at about 1."""
NARROW = 1e-3
"""Variance of a batch's values below which the batch, not the learning, is to blame; in training units it is near 1."""
OUTLIERS = "A few vectors far from all others set the scale: leave them out, or clip them"


class Anomaly(NamedTuple):
    """A reason to stop training.

    Attributes:
        reason: the fault.
        advice: a remedy for the vectors; None where the rate of learning is as likely to blame.
    """

    reason: str
    advice: str | None = None


def anomaly(losses: Losses, dictionary: Trainable, batch: Float[Tensor, "n row_width"] | None) -> Anomaly | None:
    """Return a reason to stop training; None where all is well.

    `batch`: the vectors that the losses are of, in training units, looked at only where the loss can't be right; None
    where rows are something else.
    """
    fvu, total = float(losses.fvu), float(losses.total.detach())
    if not (math.isfinite(fvu) and math.isfinite(total)):
        return _of_batch(batch) or Anomaly("the loss is not a number (NaN or infinite)")
    if fvu > EXPLODED:
        exploded = f"the loss exploded: {fvu:.3g} times the variance of the batch is left unexplained"
        return _of_batch(batch) or Anomaly(exploded)
    if not bool((losses.codes.values > 0).any()):
        return Anomaly("all latents are dead: none is active on any vector of the batch")
    for parameter in dictionary.parameters():
        norm = float(parameter.detach().norm()) / max(1, len(parameter)) ** 0.5
        if parameter.dim() == 2 and not norm <= LARGEST_NORM:
            return Anomaly(f"a norm exploded: the rows of a matrix have a norm of {norm:.3g}")
    return None


def _of_batch(batch: Float[Tensor, "n row_width"] | None) -> Anomaly | None:
    """Return the fault of a batch whose loss is no measure of learning; None without one."""
    if batch is None:
        return None
    wrong = int((~torch.isfinite(batch)).any(dim=1).sum())
    if wrong:
        return Anomaly(
            f"{wrong:,} of the {len(batch):,} vectors of the batch hold NaN or infinity",
            "Find where they come from (a model in float16 may overflow: take bfloat16 or float32), or leave them out",
        )
    if bool((batch == batch[0]).all()):
        return Anomaly(
            f"all {len(batch):,} vectors of the batch are equal, so there is no variance to measure the error against",
            f"Give a larger --batch, or leave out vectors that repeat. {OUTLIERS}",
        )
    variance = float(batch.double().var(dim=0, unbiased=False).mean())
    if variance < NARROW:
        return Anomaly(
            f"the vectors of the batch differ by {variance:.1e} of what vectors differ by on the whole", OUTLIERS
        )
    return None
