"""Next-token loss and KL of the model when it runs on a dictionary's reconstructions.

    loss recovered = (CE_zero − CE_spliced) / (CE_zero − CE_clean)

CE is the mean cross-entropy of the next token in nats: clean, with the reconstructions in place (spliced), with the
activations set to zero, and with all of them set to one mean. KL is the mean of KL(clean ‖ spliced) over next-token
distributions. Scored are kept tokens that have a successor; tokens that are not kept (BOS and other attention sinks,
padding) are neither scored nor edited: all versions have the model's own activations there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from monosema.core import Estimate
from monosema.data import TokenBatch
from monosema.evaluation.losses import Losses
from monosema.evaluation.units import UnitSums

_CLEAN = "(clean)"
ABLATIONS = ("(zero)", "(mean)")
"""Names of the versions without the site, such as no dictionary has."""


def scored_tokens(batch: TokenBatch) -> Bool[Tensor, "batch pos"]:
    """Kept tokens that have a successor."""
    scored = torch.zeros_like(batch.keep)
    scored[:, :-1] = batch.keep[:, :-1] & batch.attention_mask[:, 1:]
    return scored


class NextToken:
    """Sums of losses, filled batch by batch."""

    def __init__(self, sums: UnitSums, losses: Losses) -> None:
        self._sums, self._losses = sums, losses

    def add(
        self,
        batch: TokenBatch,
        clean: Float[Tensor, "n _"],
        groups: Iterable[tuple[Sequence[str], Sequence[Float[Tensor, "n _"]]]],
    ) -> None:
        """Take what the model gives for the scored tokens of the batch that was announced to the sums.

        Args:
            clean: of the untouched model.
            groups: names of versions, and what the model gives for them; those of a group are held together.
        """
        scored = scored_tokens(batch)
        targets = batch.tokens[:, 1:][scored[:, :-1]].to(clean.device)
        self._sums.add("scored", scored[batch.keep].float())
        first = True
        for names, versions in groups:
            ce, kl = (found.cpu() for found in self._losses(clean, versions, targets))
            if first:
                self._add(f"{_CLEAN}.ce", ce[0], scored, batch)
            first = False
            for number, name in enumerate(names, start=1):
                self._add(f"{name}.ce", ce[number], scored, batch)
                self._add(f"{name}.kl", kl[number], scored, batch)

    def _add(self, name: str, values: Tensor, scored: Tensor, batch: TokenBatch) -> None:
        spread = torch.zeros(scored.shape, dtype=torch.float32)
        spread[scored] = values
        self._sums.add(name, spread[batch.keep])

    def metrics(self, name: str) -> tuple[dict[str, Estimate], dict[str, str]]:
        """Metrics of the version of this name, and those that are absent with the reason."""
        sums = self._sums
        scored = sums["scored"]
        names = ("ce_clean", "ce_spliced", "ce_zero", "ce_mean", "kl", "loss_recovered")
        if not scored.sum():
            return {}, dict.fromkeys(names, "no kept token of the text has a successor")
        clean, spliced, zero, mean = (sums[f"{version}.ce"] for version in (_CLEAN, name, *ABLATIONS))
        metrics = {
            "ce_clean": sums.ratio(clean, scored),
            "ce_spliced": sums.ratio(spliced, scored),
            "ce_zero": sums.ratio(zero, scored),
            "ce_mean": sums.ratio(mean, scored),
            "kl": sums.ratio(sums[f"{name}.kl"], scored),
        }
        if not (zero - clean).sum() > 0:
            return metrics, {"loss_recovered": "setting the activations to zero does not raise the loss"}
        metrics["loss_recovered"] = sums.ratio(zero - spliced, zero - clean)
        return metrics, {}
