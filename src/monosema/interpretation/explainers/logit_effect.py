"""Logit effect: the tokens that a latent's direction makes more likely, as a text.

It is about the latent's effect on the output and not about where the latent is active, so it has no rule: for the
latents of early layers the two have little to do with each other.
"""

from __future__ import annotations

from monosema.atlas import Atlas, Explanation
from monosema.interpretation.protocol import AUTHOR
from monosema.interpretation.samples import Samples
from monosema.models import quoted


class LogitEffectExplainer:
    """Explains latents by the tokens that they promote, as an atlas has them; at most `named` of them."""

    def __init__(self, atlas: Atlas, named: int = 5) -> None:
        self._atlas = atlas
        self._named = named

    def explain(self, samples: Samples) -> dict[int, Explanation]:
        """Name the promoted tokens of each latent with a known effect on the logits."""
        rows = self._atlas.sql(
            "select latent, promoted from features where list_contains(?, latent) order by latent",
            [samples.latents.tolist()],
        )
        texts = {row["latent"]: ", ".join(map(quoted, row["promoted"][: self._named])) for row in rows}
        return {
            latent: Explanation(AUTHOR, "logit effect", None, None, f"promotes {text}")
            for latent, text in texts.items()
            if text
        }
