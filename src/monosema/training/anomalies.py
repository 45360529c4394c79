"""What a run that goes wrong looks like."""

from __future__ import annotations

import math

from monosema.dictionaries import Losses, Trainable

__all__ = ["anomaly"]

EXPLODED = 1e3
"""Unexplained share of variance beyond which a run is taken to have exploded; 1 is what the mean alone reaches."""
LARGEST_NORM = 1e4
"""Root mean square norm of a matrix's rows beyond which a run is taken to have exploded; they start at about 1."""


def anomaly(losses: Losses, dictionary: Trainable) -> str | None:
    """Why training should stop; None where all is well."""
    fvu, total = float(losses.fvu), float(losses.total.detach())
    if not (math.isfinite(fvu) and math.isfinite(total)):
        return "the loss is not a number (NaN or infinite)"
    if fvu > EXPLODED:
        return f"the loss exploded: {fvu:.3g} times the variance of the batch is left unexplained"
    if not bool((losses.codes.values > 0).any()):
        return "all latents are dead: none is active on any vector of the batch"
    for parameter in dictionary.parameters():
        norm = float(parameter.detach().norm()) / max(1, len(parameter)) ** 0.5
        if parameter.dim() == 2 and not norm <= LARGEST_NORM:
            return f"a norm exploded: the rows of a matrix have a norm of {norm:.3g}"
    return None
