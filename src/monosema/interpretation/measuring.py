"""What latents do on made-up texts, and which tokens the model would put where: many short texts at once."""

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
"""Tokens that are read at once."""
CELLS = 33_554_432
"""Logits that are held at once."""


@dataclass
class Laboratory:
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
        """The activation of a latent on the last token of each text; all texts are of one length."""
        out = np.zeros(len(texts), np.float32)
        distinct, place = _distinct(texts)
        order = np.argsort(place, kind="stable")
        step, sites = max(1, READ_TOKENS // (texts.shape[1] + 1)), sites_read(self.dictionary, self.site)
        for low in range(0, len(distinct), step):
            rows = self._rows(texts[distinct[low : low + step]])
            got = self.model.activations(rows, sites)
            x = torch.cat([got[site].flatten(2)[:, -1] for site in sites], dim=1).float()
            codes = self.dictionary.encode(x)
            asked = order[slice(*np.searchsorted(place[order], [low, low + len(rows)]))]
            row = torch.from_numpy(place[asked] - low).to(x.device)
            wanted = torch.from_numpy(latents[asked].astype(np.int64)).to(x.device)
            value = torch.where(codes.indices[row] == wanted[:, None], codes.values[row], 0).sum(dim=1)
            out[asked] = value.clamp_min(0).float().cpu().numpy()
        return out

    @torch.inference_mode()
    def proposals(self, texts: Int[np.ndarray, "n length"], k: int) -> Int[np.ndarray, "n length k"]:
        """The k tokens that the model holds most likely at each place of each text, given what is before it. A place
        with nothing before it (the first, of a model without a token that begins a text) proposes nothing: −1; nor does
        any place of an encoder, which gives no logits."""
        k = min(k, self.model.vocab)
        found = np.full((*texts.shape, k), -1, np.int64)
        if not getattr(self.model, "gives_logits", True):
            return found
        distinct, place = _distinct(texts)
        best = np.full((len(distinct), texts.shape[1], k), -1, np.int64)
        bos = int(self.model.tokenizer.bos_id is not None)
        step = max(1, min(READ_TOKENS // (texts.shape[1] + 1), CELLS // ((texts.shape[1] + 1) * self.model.vocab)))
        for low in range(0, len(distinct), step):
            logits = self.model(self._rows(texts[distinct[low : low + step]]))[:, :-1]
            best[low : low + step, 1 - bos :] = logits.topk(k, dim=2).indices.cpu().numpy()
        found[:] = best[place]
        return found

    def _rows(self, texts: NDArray[np.integer]) -> torch.Tensor:
        bos = self.model.tokenizer.bos_id
        rows = torch.from_numpy(texts.astype(np.int64))
        if bos is not None:
            rows = torch.cat([torch.full((len(rows), 1), bos), rows], dim=1)
        self.tokens += rows.numel()
        return rows.to(self.model.device)


def _distinct(texts: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Index of the first of each group of equal texts, and the group of each text."""
    state = np.zeros(len(texts), np.uint64)
    for column in texts.T.astype(np.uint64):
        state = mix(state * np.uint64(0x9E3779B97F4A7C15) + column + np.uint64(1))
    _, first, place = np.unique(state, return_index=True, return_inverse=True)
    return first, place.reshape(-1)
