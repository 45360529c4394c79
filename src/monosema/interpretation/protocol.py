"""Seams of interpretation: explainers, predictors, and the latents that they are about.

    samples (train split) ─► Explainer ─► Explanation ─► Predictor ─► predictions on the test split ─► Scorer ─► score

An explanation is a text, and sometimes a rule beside it. A predictor says from the explanation alone what the latent
does on passages that the explainer has not seen: a rule does so by itself, a text needs a language model. Scorers
(`monosema.interpretation.scoring`) compare predictions with what the latent does and know nothing of their origin; so
all explanations are on one scale.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from monosema.atlas import Atlas, Explanation
from monosema.core import Site
from monosema.dictionaries import Dictionary
from monosema.interpretation.probe import LatentProbe
from monosema.interpretation.rules import TokenLookup
from monosema.interpretation.samples import Samples
from monosema.models import LanguageModel

AUTHOR = "monosema"
"""Author of explanations that no language model and no person gave."""
BASELINE = Explanation(AUTHOR, "nothing activates", None, None, "", TokenLookup({}).to_json())
"""The empty answer, for every latent: a control that is scored beside explanations, and is never in an atlas."""


@dataclass(frozen=True)
class Subject:
    """The latents that are interpreted.

    Attributes:
        model: language model whose activations the dictionary reads.
        dictionary: on the model's device.
        atlas: statistics and examples of the latents.
        output_site: site that the dictionary writes, where a latent's direction belongs; None for the atlas's site.
    """

    model: LanguageModel
    dictionary: Dictionary
    atlas: Atlas
    output_site: Site | None = None

    @functools.cached_property
    def probe(self) -> LatentProbe:
        """Measures latents on made-up texts; counts the tokens that it needs."""
        return LatentProbe(self.model, self.dictionary, self.atlas.site)

    @property
    def direction_site(self) -> Site:
        """Site where a latent's direction belongs."""
        return self.output_site or self.atlas.site


@runtime_checkable
class Explainer(Protocol):
    """Says what latents mean, from the train split of their samples."""

    def explain(self, samples: Samples) -> dict[int, Explanation]:
        """Explain latents; those it can say nothing about are left out."""
        ...


@runtime_checkable
class Predictor(Protocol):
    """Predicts latents from their explanations alone. Unanswered predictions are NaN, never 0."""

    def activations(
        self, explanations: Mapping[int, Explanation], samples: Samples, entries: Int[np.ndarray, " n"]
    ) -> Float[NDArray[np.float32], "n width"]:
        """Predict the activation on each token, in any unit that grows with the latent's activation.

        Args:
            explanations: by latent; every entry's latent has one.
            entries: indices of the samples' entries to predict.
        """
        ...

    def active(
        self, explanations: Mapping[int, Explanation], samples: Samples, entries: Int[np.ndarray, " n"]
    ) -> Float[NDArray[np.float32], " n"]:
        """Predict the probability that the latent is active anywhere in each passage; above ½ is a yes."""
        ...

    def highlighted(
        self,
        explanations: Mapping[int, Explanation],
        samples: Samples,
        entries: Int[np.ndarray, " n"],
        marks: Bool[np.ndarray, "n width"],
    ) -> Float[NDArray[np.float32], " n"]:
        """Predict the probability that the marked tokens of each passage activate the latent; above ½ is a yes."""
        ...
