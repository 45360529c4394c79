"""A latent taken out of passages, and what the model's predictions lose by it.

    x ← x − c d    wherever the latent fires,    x ← x − c r    the control: r random, ‖r‖ = ‖d‖, the same c and places

The model reads each passage by itself; the dictionary's error stays, and all that comes after runs free. Figures are
means over the tokens on which the latent fires, with intervals over passages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from monosema.core import Estimate, Site, bootstrap_ratio, torch_generator
from monosema.dictionaries import Dictionary, sites_read, written_at
from monosema.models import Fork, LanguageModel, unembed_of
from monosema.models.context import padded

TOKENS = 8
"""Tokens whose probability changes most that are given."""
_CELLS = 2**25
"""Logits of one forward pass at most."""


@dataclass(frozen=True, kw_only=True)
class Ablated:
    """Figures of a latent that was taken out.

    Attributes:
        figures: loss, by which the next token gets less likely, and kl, KL(with ‖ without), in nats a token;
            random_loss and random_kl of the random direction. No losses where it fires on last tokens only.
        raised, lowered: ids of the tokens whose probability the latent raises, or lowers, most, and by how much.
        tokens, passages: number of tokens on which it fires, and of the passages that they are in.
    """

    figures: Mapping[str, Estimate]
    raised: tuple[tuple[int, float], ...]
    lowered: tuple[tuple[int, float], ...]
    tokens: int
    passages: int


class LatentAblation:
    """A model and a dictionary whose latents are taken out."""

    def __init__(self, model: LanguageModel, dictionary: Dictionary, site: Site) -> None:
        """`site`: the one that the dictionary reads; of a crosscoder, the last."""
        self._model, self._dictionary, self._reads = model, dictionary, sites_read(dictionary, site)
        self._writer, self._site = written_at(dictionary, self._reads[-1])

    @torch.inference_mode()
    def of(self, latent: int, passages: Sequence[Sequence[int]]) -> Ablated | None:
        """Take a latent out of passages, given as token ids; None where it fires on none of them."""
        tokens, there = self._read(passages)
        fork = Fork(self._model, self._site, tokens, there)
        strength = self._strength(latent, fork, tokens, there)
        fires = strength != 0
        if not bool(fires.any()):
            return None
        direction = self._writer.directions[latent].detach().float()
        draw = torch.randn(direction.shape, generator=torch_generator(latent, "direction beside causes")).to(direction)
        vectors = (direction, draw * direction.norm() / draw.norm())
        following = there.roll(-1, 1)
        following[:, -1] = False
        sums = dict[str, list[Tensor]]()
        changed = torch.zeros(self._model.vocab, dtype=torch.float64)
        for some in torch.arange(len(tokens)).split(max(1, _CELLS // (self._model.vocab * tokens.shape[1]))):
            parts = [strength[some, :, None] * vector for vector in vectors]
            untouched, *without = self._after(fork, some, fires[some], parts)
            probability = untouched.exp()
            ids, known = tokens[some].roll(-1, 1)[fires[some]], following[some][fires[some]]
            for name, logs in zip(("", "random_"), without, strict=True):
                gap = untouched - logs
                lost = {"loss": gap.gather(1, ids[:, None])[:, 0] * known, "kl": (probability * gap).sum(1)}
                for figure, values in lost.items():
                    sums.setdefault(name + figure, []).append(values.double().cpu())
            changed += (probability - without[0].exp()).double().sum(0).cpu()
        owner = fires.nonzero()[:, 0].cpu()
        counts = {"loss": following[fires].double().cpu(), "kl": torch.ones(len(owner), dtype=torch.float64)}
        figures = dict[str, Estimate]()
        for name, found in sums.items():
            count = counts[name.removeprefix("random_")]
            if bool(count.any()):
                figures[name] = _mean(torch.cat(found), count, owner)
        changed /= len(owner)
        return Ablated(
            figures=figures,
            raised=_largest(changed),
            lowered=tuple((id, -value) for id, value in _largest(-changed)),
            tokens=len(owner),
            passages=len(owner.unique()),
        )

    def _read(self, passages: Sequence[Sequence[int]]) -> tuple[Int[Tensor, "n pos"], Bool[Tensor, "n pos"]]:
        """Return passages behind the token that begins a text, padded, and where there are tokens."""
        bos = self._model.tokenizer.bos_id
        before = [[] if bos is None or row[0] == bos else [bos] for row in passages]
        rows = [[*first, *row][: self._model.context] for first, row in zip(before, passages, strict=True)]
        tokens = padded(rows, self._model.tokenizer.pad_id or 0).to(self._model.device)
        return tokens, padded([[1] * len(row) for row in rows], 0).bool().to(self._model.device)

    def _strength(
        self, latent: int, fork: Fork, tokens: Int[Tensor, "n pos"], there: Bool[Tensor, "n pos"]
    ) -> Float[Tensor, "n pos"]:
        """Return what d is multiplied with on each token: the activation, in the units of its row; 0 on special tokens,
        and on the first of a row, which the atlas does not look at either."""
        if self._reads == (self._site,):
            rows = fork.activation.flatten(2)
        else:
            got = self._model.activations(tokens, self._reads, there)
            rows = torch.cat([got[site].flatten(2) for site in self._reads], dim=2)
        codes = self._dictionary.encode(rows.flatten(0, 1).float()).padded()
        values = (codes.values * (codes.indices == latent)).sum(1)
        values = values if codes.scale is None else values * codes.scale[:, 0]
        special = torch.tensor(sorted(self._model.tokenizer.special_ids), device=tokens.device)
        text = there & ~torch.isin(tokens, special)
        text[:, 0] = False
        return values.view(tokens.shape).float() * text

    def _after(
        self, fork: Fork, some: Int[Tensor, " rows"], fires: Bool[Tensor, "rows pos"], parts: Sequence[Tensor]
    ) -> list[Float[Tensor, "firing vocab"]]:
        """Return the logarithms of the next token's distribution where the latent fires: untouched, and without each
        of the parts."""
        x = fork.activation[some]
        without = [(x.flatten(2).float() - part).view(x.shape).to(x) for part in parts]
        unembed = unembed_of(self._model, self._site)
        rows = [out[fires] for out in fork.run([None, *without], some)]
        return [(one if unembed is None else unembed(one)).float().log_softmax(-1) for one in rows]


def _mean(values: Float[Tensor, " n"], count: Float[Tensor, " n"], owner: Int[Tensor, " n"]) -> Estimate:
    """Return the mean over tokens that count, with an interval over the passages that own them."""
    size = int(owner.max()) + 1
    sums = [torch.zeros(size, dtype=torch.float64).index_add_(0, owner, one) for one in (values, count)]
    seen = sums[1] > 0
    return bootstrap_ratio(sums[0][seen].numpy(), sums[1][seen].numpy())


def _largest(changed: Float[Tensor, " vocab"]) -> tuple[tuple[int, float], ...]:
    best = changed.topk(min(TOKENS, len(changed)))
    pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return tuple((id, value) for id, value in pairs if value > 0)
