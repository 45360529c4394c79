"""The seams of interpretation: who explains, who reads an explanation, and who scores.

    samples (train side) ─► Explainer ─► Explained ─► Reader ─► predictions on the test side ─► Scorer ─► score

An explanation is a text, and sometimes a program too. Whoever *reads* it predicts what the latent does on passages
that the explainer has not seen: a program does so by itself, a text needs a language model. Scorers compare predictions
with what the latent does, and know nothing of who made them; so all explainers are on one scale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from monosema.interpretation.samples import Samples


@runtime_checkable
class Program(Protocol):
    """An explanation that can be run."""

    def to_json(self) -> str:
        """The program as JSON; the atlas keeps it beside the text."""
        ...


@dataclass(frozen=True)
class Explained:
    """What an explainer says of one latent.

    Attributes:
        latent: its number.
        text: the explanation, for people.
        program: what predicts activations from tokens; None where the explanation is words alone.
    """

    latent: int
    text: str
    program: Program | None = None


@runtime_checkable
class Explainer(Protocol):
    """Says what latents mean, from the train side of their samples."""

    @property
    def author(self) -> str:
        """Who stands behind it: "monosema" for programs of this package, the model's name for language models."""
        ...

    @property
    def method(self) -> str:
        """How explanations are found, such as "token lookup" or "Neuron2Graph"."""
        ...

    @property
    def version(self) -> str | None:
        """Version of the prompt; None where there is none."""
        ...

    def explain(self, samples: Samples) -> Sequence[Explained]:
        """Explanations, at most one a latent; latents that it can say nothing of are left out."""
        ...


@runtime_checkable
class Reader(Protocol):
    """Reads explanations, and predicts from them alone. What could not be answered is NaN, never 0."""

    def activations(
        self, explained: Mapping[int, Explained], samples: Samples, entries: Int[np.ndarray, " n"]
    ) -> Float[NDArray[np.float32], "n width"]:
        """Predicted activation on each token, in any unit that grows with the latent's activation.

        Args:
            explained: by latent; every entry's latent has one.
            entries: which entries of the samples to predict.
        """
        ...

    def active(
        self, explained: Mapping[int, Explained], samples: Samples, entries: Int[np.ndarray, " n"]
    ) -> Float[NDArray[np.float32], " n"]:
        """How likely it is that the latent is active anywhere in each passage, in [0, 1]; above ½ is a yes."""
        ...

    def highlighted(
        self,
        explained: Mapping[int, Explained],
        samples: Samples,
        entries: Int[np.ndarray, " n"],
        marks: Bool[np.ndarray, "n width"],
    ) -> Float[NDArray[np.float32], " n"]:
        """How likely it is that the marked tokens of each passage are those that activate the latent; above ½ is a
        yes."""
        ...
