"""A reader that runs programs: no language model, no randomness."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from monosema.core import InputError
from monosema.interpretation.programs import Patterns, TokenLookup, predict
from monosema.interpretation.protocol import Explained
from monosema.interpretation.samples import Samples


class ProgramReader:
    """Runs the programs of explanations. Raises InputError for an explanation that has none."""

    def activations(
        self, explained: Mapping[int, Explained], samples: Samples, entries: Int[np.ndarray, " n"]
    ) -> Float[NDArray[np.float32], "n width"]:
        """Predicted activation on each token, in the unit of the latent."""
        return self._run(explained, samples, entries)[0]

    def active(
        self, explained: Mapping[int, Explained], samples: Samples, entries: Int[np.ndarray, " n"]
    ) -> Float[NDArray[np.float32], " n"]:
        """s / (s + θ), with s the largest prediction in the passage and θ the program's threshold."""
        predicted, threshold = self._run(explained, samples, entries)
        strongest = predicted.max(axis=1, initial=0)
        total = strongest + threshold
        return np.divide(strongest, total, out=np.zeros_like(strongest), where=total > 0)

    def highlighted(
        self,
        explained: Mapping[int, Explained],
        samples: Samples,
        entries: Int[np.ndarray, " n"],
        marks: Bool[np.ndarray, "n width"],
    ) -> Float[NDArray[np.float32], " n"]:
        """Share of the predicted activation of the passage that is on marked tokens; 0 where nothing is predicted."""
        predicted, _ = self._run(explained, samples, entries)
        total = predicted.sum(axis=1)
        return np.divide((predicted * marks).sum(axis=1), total, out=np.zeros_like(total), where=total > 0)

    def _run(
        self, explained: Mapping[int, Explained], samples: Samples, entries: NDArray[np.integer]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        latent = samples.latents[samples.row[entries]]
        known, which = np.unique(latent, return_inverse=True)
        programs = [_program(explained[one]) for one in known.tolist()]
        threshold = np.array([one.threshold for one in programs], np.float32)
        return predict(programs, which.reshape(-1), samples.ids[samples.passage[entries]]), threshold[which.reshape(-1)]


def _program(explained: Explained) -> TokenLookup | Patterns:
    if not isinstance(explained.program, (TokenLookup, Patterns)):
        raise InputError(
            f"The explanation of latent {explained.latent} is words alone ({explained.text[:60]!r}): a language model "
            "has to read it."
        )
    return explained.program
