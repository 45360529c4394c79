"""Fuzzing (Paulo et al. 2024, arXiv 2410.13928): are the marked tokens the ones that activate the latent?

All passages activate it. In half of them the tokens that do are marked, in the others as many tokens that do not.
Passages that have fewer inactive tokens than active ones are left out.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Int
from numpy.typing import NDArray
from pydantic import Field

from monosema.atlas.layout import mix
from monosema.core import Config
from monosema.interpretation.protocol import Explained, Reader
from monosema.interpretation.samples import Samples, ranks
from monosema.interpretation.scorers.classification import Answers, Classified, classify
from monosema.interpretation.scorers.picking import FROM_ALL, pick


class FuzzingConfig(Config):
    """How many passages are asked about."""

    passages: int = Field(20, ge=2)
    """Passages a latent, at most."""
    minimum: int = Field(5, ge=1)
    """A latent with fewer passages of either kind has no score."""
    seed: int = 0
    """Decides which passages, and which tokens are marked wrongly."""


def score_fuzzing(
    reader: Reader, explained: Mapping[int, Explained], samples: Samples, config: FuzzingConfig | None = None
) -> Classified:
    """Score explanations by fuzzing."""
    config = config or FuzzingConfig()
    entries, marks, truth = fuzzing_questions(samples, config)
    latent = samples.latents[samples.row[entries]]
    asked = np.isin(latent, list(explained))
    said = reader.highlighted(explained, samples, entries[asked], marks[asked])
    return classify(Answers(latent[asked], truth[asked], said), np.array(sorted(explained), np.int64), config.minimum)


def fuzzing_questions(
    samples: Samples, config: FuzzingConfig
) -> tuple[Int[NDArray[np.int64], " n"], Bool[NDArray[np.bool_], "n width"], Bool[NDArray[np.bool_], " n"]]:
    """Entries, marks, and whether the marks are right."""
    candidates = np.flatnonzero(samples.test & np.isin(samples.kind, FROM_ALL))
    length = (samples.ids[samples.passage[candidates]] >= 0).sum(axis=1)
    possible = np.zeros(len(samples.kind), np.bool_)
    possible[candidates] = 2 * (samples.activations[candidates] > 0).sum(axis=1) <= length
    entries = pick(samples, possible, config.passages, config.seed)
    names = samples.hashes[samples.passage[entries]] ^ mix(np.array([config.seed % 2**64], np.uint64))
    order = np.lexsort((mix(names), samples.row[entries]))
    truth = np.zeros(len(entries), np.bool_)
    truth[order] = ranks(samples.row[entries][order]) % 2 == 0
    active = samples.activations[entries] > 0
    free = (samples.ids[samples.passage[entries]] >= 0) & ~active
    ticket = mix(names[:, None] + np.arange(active.shape[1], dtype=np.uint64)) >> np.uint64(1)
    ticket[~free] = np.iinfo(np.uint64).max
    place = ticket.argsort(axis=1).argsort(axis=1)
    wrong = place < active.sum(axis=1)[:, None]
    return entries, np.where(truth[:, None], active, wrong), truth
