"""Logit effect: the tokens that a latent's direction makes more likely, as a text.

It says what a latent does to the output and not where it is active, so it has no program: for the latents of early
layers the two have little to do with each other.
"""

from __future__ import annotations

from collections.abc import Sequence

from monosema.atlas import Atlas
from monosema.interpretation.protocol import Explained
from monosema.interpretation.samples import Samples


class LogitEffectExplainer:
    """Explains latents by the tokens that they promote, as an atlas has them.

    Attributes:
        author, method, version: what its explanations are called.
    """

    author, method, version = "monosema", "logit effect", None

    def __init__(self, atlas: Atlas, named: int = 5) -> None:
        """`named` tokens are named, at most."""
        self._atlas = atlas
        self._named = named

    def explain(self, samples: Samples) -> Sequence[Explained]:
        """A text for each latent whose effect on the logits is known."""
        rows = self._atlas.sql(
            "select latent, promoted from features where list_contains(?, latent) order by latent",
            [samples.latents.tolist()],
        )
        texts = {row["latent"]: ", ".join(map(repr, row["promoted"][: self._named])) for row in rows}
        return [Explained(latent, f"promotes {text}") for latent, text in texts.items() if text]
