"""What a dictionary keeps of what the model knows: its loss when it runs on the reconstructions.

    loss recovered = (CE_zero − CE_spliced) / (CE_zero − CE_clean)

CE is the mean cross-entropy of the next token in nats: clean, with the reconstructions in place (spliced), with the
activations set to zero, and with all of them set to their mean over the same text. KL is the mean of KL(clean ‖
spliced) over next-token distributions. Scored are kept tokens that have a successor; tokens that are not kept (BOS and
other attention sinks, padding) are neither scored nor edited: all versions have the model's own activations there.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monosema.core import Estimate
from monosema.data import TokenBatch
from monosema.evaluation.units import UnitSums

__all__ = ["NextToken", "cross_entropy_and_kl"]

_BLOCK = 512


class NextToken:
    """Sums of losses, filled batch by batch."""

    def __init__(self, sums: UnitSums) -> None:
        self._sums = sums

    def add(self, batch: TokenBatch, logits: dict[str, Float[Tensor, "batch pos vocab"]]) -> None:
        """Take the logits of all versions of the batch that was announced to the sums; "clean" among them."""
        keep = batch.keep
        scored = torch.zeros_like(keep)
        scored[:, :-1] = keep[:, :-1] & batch.attention_mask[:, 1:]
        targets = torch.zeros_like(batch.tokens)
        targets[:, :-1] = batch.tokens[:, 1:]
        device = logits["clean"].device
        where, wanted = scored.to(device), targets[scored].to(device)
        self._sums.add("scored", scored[keep].float())
        for name, values in logits.items():
            clean = None if name == "clean" else logits["clean"][where]
            loss, divergence = cross_entropy_and_kl(values[where], clean, wanted)
            for figure, tokens in (("ce", loss), ("kl", divergence)):
                spread = torch.zeros(keep.shape, dtype=torch.float32)
                spread[scored] = tokens.float().cpu()
                self._sums.add(f"{name}.{figure}", spread[keep])

    def figures(self, name: str) -> tuple[dict[str, Estimate], dict[str, str]]:
        """Figures of the version of this name, and those that are absent with the reason."""
        sums = self._sums
        scored = sums["scored"]
        names = ("ce_clean", "ce_spliced", "ce_zero", "ce_mean", "kl", "loss_recovered")
        if not scored.sum():
            return {}, dict.fromkeys(names, "no kept token of the text has a successor")
        clean, spliced, zero = (sums[f"{version}.ce"] for version in ("clean", name, "zero"))
        figures = {
            "ce_clean": sums.ratio(clean, scored),
            "ce_spliced": sums.ratio(spliced, scored),
            "ce_zero": sums.ratio(zero, scored),
            "ce_mean": sums.ratio(sums["mean.ce"], scored),
            "kl": sums.ratio(sums[f"{name}.kl"], scored),
        }
        if not (zero - clean).sum() > 0:
            return figures, {"loss_recovered": "setting the activations to zero does not raise the loss"}
        figures["loss_recovered"] = sums.ratio(zero - spliced, zero - clean)
        return figures, {}


def cross_entropy_and_kl(
    logits: Float[Tensor, "n vocab"], clean: Float[Tensor, "n vocab"] | None, targets: Int[Tensor, " n"]
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Cross-entropy of the targets, and KL(clean ‖ logits), in fp32 and blocks of rows that stay in the cache.

    Without `clean` the divergence is 0: the logits are the clean ones.
    """
    losses, divergences = [], []
    for start in range(0, len(logits), _BLOCK):
        rows = slice(start, start + _BLOCK)
        ours = logits[rows].float()
        norm = ours.logsumexp(dim=1)
        losses.append(norm - ours.gather(1, targets[rows, None])[:, 0])
        if clean is None:
            divergences.append(torch.zeros_like(norm))
            continue
        theirs = clean[rows].float()
        their_norm = theirs.logsumexp(dim=1)
        weights = (theirs - their_norm[:, None]).exp_()
        divergence = (weights * theirs.sub_(ours)).sum(dim=1) - their_norm + norm
        divergences.append(divergence.clamp_min(0))
    empty = logits.new_zeros(0, dtype=torch.float32)
    return torch.cat([empty, *losses]), torch.cat([empty, *divergences])
