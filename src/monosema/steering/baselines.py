"""Baselines: what a latent must beat to be worth its name. An open list, as `CHOICES` is.

prompt             the concept's own words before the prompt; no strength
mean difference    mean activation of texts for the concept less that of texts against it (Marks & Tegmark 2023,
                   arXiv 2310.06824)
probe              weights of a logistic regression that tells the texts' mean activations apart
random latent      latents that fire on the concept's texts or others, drawn at random
random direction   normal vectors
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from monosema.core import ConfigError, InputError, Site, derive_seed, numpy_generator
from monosema.dictionaries import written_at
from monosema.models import LanguageModel
from monosema.steering.candidates import Candidate
from monosema.steering.choice import Evidence
from monosema.steering.coordinates import Coordinate, Direction
from monosema.steering.directions import mean_activations, mean_difference, random_direction
from monosema.steering.edits import Edit, Steering
from monosema.steering.moves import Add

DRAWS = 8
"""Random latents, and random directions, that stand for all."""


@dataclass(frozen=True)
class Baseline:
    """Something that is not chosen from the dictionary.

    Attributes:
        name: key of `BASELINES`.
        about: one line for people.
        candidates: returns its candidates by a seed: one, or several draws; none where the concept does not have it.
    """

    name: str
    about: str
    candidates: Callable[[Evidence, int], Sequence[Candidate]]


BASELINES: dict[str, Baseline] = {}
"""All baselines, by name."""


def register_baseline(baseline: Baseline) -> None:
    """Add a baseline. Raises ConfigError where its name is taken."""
    if baseline.name in BASELINES:
        raise ConfigError(f"There is a baseline {baseline.name!r} already.")
    BASELINES[baseline.name] = baseline


def push(coordinate: Coordinate) -> Steering:
    """Return the steering that adds 1 to a coordinate at all tokens that may be edited."""
    return Steering(Edit(coordinate, Add(1.0)))


def probe_direction(
    model: LanguageModel, site: Site | str, positive: Sequence[str], negative: Sequence[str], seed: int = 0
) -> Direction:
    """Return the weights of a logistic regression on texts' mean activations; special tokens are left out.

    Activations are divided by one number, their root mean square, so that the penalty on weights means the same at any
    site. Raises InputError where one of the lists is empty.
    """
    from sklearn.linear_model import LogisticRegression

    if not positive or not negative:
        raise InputError("A probe needs texts that show the concept, and texts that don't.")
    rows = mean_activations(model, site, [*positive, *negative]).numpy()
    rows = rows / max(float(np.sqrt((rows**2).mean())), 1e-12)
    labels = [1] * len(positive) + [0] * len(negative)
    fitted = LogisticRegression(max_iter=2000, class_weight="balanced", random_state=seed).fit(rows, labels)
    return Direction(site, torch.from_numpy(fitted.coef_[0]).float(), "probe")


def random_latents(evidence: Evidence, n: int = DRAWS, seed: int = 0) -> list[int]:
    """Draw latents among those that fire on the concept's texts, for or against."""
    alive = np.flatnonzero(evidence.maxima > 0)
    return [int(one) for one in numpy_generator(seed, "random latents").permutation(alive)[:n]]


def _site(evidence: Evidence) -> Site:
    """Where latents are added; directions are added there too."""
    return written_at(evidence.dictionary, evidence.site)[1]


def _prompt(evidence: Evidence, _: int) -> Sequence[Candidate]:
    prefix = evidence.concept.baseline(evidence.chat)
    return [] if prefix is None else [prefix]


def _mean_difference(evidence: Evidence, _: int) -> Sequence[Candidate]:
    return [push(mean_difference(evidence.model, _site(evidence), *evidence.concept.fitting))]


def _probe(evidence: Evidence, seed: int) -> Sequence[Candidate]:
    return [push(probe_direction(evidence.model, _site(evidence), *evidence.concept.fitting, seed))]


def _random_latent(evidence: Evidence, seed: int) -> Sequence[Candidate]:
    return [push(evidence.latent(index)) for index in random_latents(evidence, seed=seed)]


def _random_direction(evidence: Evidence, seed: int) -> Sequence[Candidate]:
    seeds = [derive_seed(seed, "random directions", number) for number in range(DRAWS)]
    return [push(random_direction(evidence.model, _site(evidence), one)) for one in seeds]


for _baseline in (
    Baseline("prompt", "words before the prompt that ask for the concept", _prompt),
    Baseline("mean difference", "texts of the concept less others, on average", _mean_difference),
    Baseline("probe", "weights of a classifier of activations", _probe),
    Baseline("random latent", "latents drawn at random", _random_latent),
    Baseline("random direction", "vectors drawn at random", _random_direction),
):
    register_baseline(_baseline)
