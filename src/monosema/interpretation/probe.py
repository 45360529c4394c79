"""Activations of latents on made-up texts, and likely tokens at each position: many short texts at once."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray

from monosema.atlas.layout import mix
from monosema.core import Site
from monosema.dictionaries import Dictionary, sites_read
from monosema.models import LanguageModel

READ_TOKENS = 8192
"""Tokens in one forward pass."""
CELLS = 33_554_432
"""Logits held at once."""


@dataclass
class LatentProbe:
    """A model with a dictionary at a site.

    Every text is put behind the token that begins a text, where the model has one, as in training. Equal texts go
    through the model once.

    Attributes:
        tokens: tokens that went through the model so far.
    """

    model: LanguageModel
    dictionary: Dictionary
    site: Site
    tokens: int = field(default=0)

    @torch.inference_mode()
    def last(self, texts: Int[np.ndarray, "n length"], latents: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Return the activation of a latent on the last token of each text; all texts have one length."""
        out = np.zeros(len(texts), np.float32)
        distinct, group = _distinct(texts)
        order = np.argsort(group, kind="stable")
        step, sites = max(1, READ_TOKENS // (texts.shape[1] + 1)), sites_read(self.dictionary, self.site)
        for low in range(0, len(distinct), step):
            rows = self._rows(texts[distinct[low : low + step]])
            got = self.model.activations(rows, sites)
            x = torch.cat([got[site].flatten(2)[:, -1] for site in sites], dim=1).float()
            codes = self.dictionary.encode(x)
            asked = order[slice(*np.searchsorted(group[order], [low, low + len(rows)]))]
            row = torch.from_numpy(group[asked] - low).to(x.device)
            wanted = torch.from_numpy(latents[asked].astype(np.int64)).to(x.device)
            value = torch.where(codes.indices[row] == wanted[:, None], codes.values[row], 0).sum(dim=1)
            out[asked] = value.clamp_min(0).float().cpu().numpy()
        return out

    @torch.inference_mode()
    def proposals(self, texts: Int[np.ndarray, "n length"], k: int) -> Int[np.ndarray, "n length k"]:
        """Return the k likeliest tokens at each position of each text, given the tokens before it.

        −1 where nothing is before it (the first position, of a model without a token that begins a text), and for
        encoders, which give no logits.
        """
        k = min(k, self.model.vocab)
        found = np.full((*texts.shape, k), -1, np.int64)
        if not getattr(self.model, "gives_logits", True):
            return found
        distinct, group = _distinct(texts)
        best = np.full((len(distinct), texts.shape[1], k), -1, np.int64)
        bos = int(self.model.tokenizer.bos_id is not None)
        step = max(1, min(READ_TOKENS // (texts.shape[1] + 1), CELLS // ((texts.shape[1] + 1) * self.model.vocab)))
        for low in range(0, len(distinct), step):
            logits = self.model(self._rows(texts[distinct[low : low + step]]))[:, :-1]
            best[low : low + step, 1 - bos :] = logits.topk(k, dim=2).indices.cpu().numpy()
        found[:] = best[group]
        return found

    def _rows(self, texts: NDArray[np.integer]) -> torch.Tensor:
        bos = self.model.tokenizer.bos_id
        rows = torch.from_numpy(texts.astype(np.int64))
        if bos is not None:
            rows = torch.cat([torch.full((len(rows), 1), bos), rows], dim=1)
        self.tokens += rows.numel()
        return rows.to(self.model.device)


def _distinct(texts: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the index of the first of each group of equal texts, and the group of each text."""
    state = np.zeros(len(texts), np.uint64)
    for column in texts.T.astype(np.uint64):
        state = mix(state * np.uint64(0x9E3779B97F4A7C15) + column + np.uint64(1))
    _, first, group = np.unique(state, return_index=True, return_inverse=True)
    return first, group.reshape(-1)
