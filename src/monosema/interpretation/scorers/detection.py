"""Detection (Paulo et al. 2024, arXiv 2410.13928): in which of these passages is the latent active?

Half of the passages activate it: random ones and ones of each tenth of its activations. In the other half it is
inactive on every token: half of these are random passages, a quarter are passages on which the latent that is nearest
by decoder is active, a quarter passages on which those are that often fire together with it. Departure: the paper's
negatives are random, and near ones a variant.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Int
from numpy.typing import NDArray
from pydantic import Field

from monosema.core import Config
from monosema.interpretation.protocol import Explained, Reader
from monosema.interpretation.samples import KINDS, Samples
from monosema.interpretation.scorers.classification import Answers, Classified, classify
from monosema.interpretation.scorers.picking import FROM_ALL, pick


class DetectionConfig(Config):
    """How many passages are asked about."""

    passages: int = Field(40, ge=4)
    """Passages a latent, at most."""
    minimum: int = Field(5, ge=1)
    """A latent with fewer passages of either kind has no score."""
    seed: int = 0
    """Decides which."""


def score_detection(
    reader: Reader, explained: Mapping[int, Explained], samples: Samples, config: DetectionConfig | None = None
) -> Classified:
    """Score explanations by detection."""
    config = config or DetectionConfig()
    entries = detection_entries(samples, config)
    latent = samples.latents[samples.row[entries]]
    entries, latent = entries[np.isin(latent, list(explained))], latent[np.isin(latent, list(explained))]
    said = reader.active(explained, samples, entries)
    answers = Answers(latent, samples.active[entries], said)
    return classify(answers, np.array(sorted(explained), np.int64), config.minimum)


def detection_entries(samples: Samples, config: DetectionConfig) -> Int[NDArray[np.int64], " n"]:
    """The entries that are asked about."""
    half, quarter = config.passages // 2, config.passages // 4
    eighth = max(1, quarter // 2)
    near = [samples.kind == KINDS.index(f"inactive near {kind}") for kind in ("decoder", "firing")]
    parts = [pick(samples, np.isin(samples.kind, FROM_ALL), half, config.seed)]
    parts += [pick(samples, allowed, eighth, config.seed) for allowed in near]
    parts.append(pick(samples, samples.kind == KINDS.index("inactive"), half - 2 * eighth, config.seed))
    return np.sort(np.concatenate(parts))
