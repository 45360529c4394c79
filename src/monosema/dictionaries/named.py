"""The activations of a few latents alone, without encoding the whole dictionary where that gives the same.

What one latent's activation depends on is said by the activation function (`Activation.depends_on`): of ReLU and its
kin, JumpReLU, gated and BatchTopK outside training, on its own pre-activation, so that its rows of the encoder suffice.
Of TopK, on whether fewer than k others are larger. That is decided, exactly, by as few of them as possible: none where
it is not above 0 itself; then its rivals, latents that were large on rows before, of which k larger ones suffice to
silence it; and all latents on rows that are still open.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.dictionaries.coder import SparseCoder
from monosema.dictionaries.normalisation import normalise
from monosema.dictionaries.protocol import Dictionary

_RIVALS = 4
"""Latents that are asked first: so many times k, or one of so many of all, where that is more."""
_AT_ONCE, _MARGIN = 256, 1e-4


class NamedLatents:
    """Some latents of a dictionary.

    Attributes:
        latents: their indices.
    """

    def __init__(self, dictionary: Dictionary, latents: Sequence[int]) -> None:
        self.latents = tuple(latents)
        self._dictionary = dictionary
        self._part: SparseCoder | None = None
        self._rivals: tuple[Tensor, Tensor] | None = None
        self._looked_at: tuple[Tensor | float, int, int] = (0.0, 0, 0)
        if isinstance(dictionary, SparseCoder) and dictionary.activation.depends_on != "all":
            self._coder, self._part = dictionary, _of_latents(dictionary, self.latents)
            self._index = torch.tensor(self.latents, device=dictionary.W_enc.device)

    def encode(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n k"]:
        """Compute their activations, those that `dictionary.encode` gives them."""
        part = self._part
        if part is None:
            return self._of_all(x)
        rows = normalise(x.to(part.W_enc.dtype), part.normalisation)[0]
        if part.activation.depends_on == "itself":
            return part.activation.encode(part, rows).dense().to(x.dtype)
        return self._of_largest(part, rows).to(x.dtype)

    def _of_largest(self, part: SparseCoder, rows: Float[Tensor, "n d_in"]) -> Float[Tensor, "n k"]:
        """Pre-activations that are above 0 and among a row's k largest; 0 for others."""
        coder = self._coder
        k = coder.activation.kept
        rows = rows if part.centre is None else rows - part.centre
        own = torch.addmm(part.b_enc, rows, part.W_enc.T)
        out, row, latent = torch.zeros_like(own), *(own > 0).nonzero().unbind(1)
        if self._rivals is not None and len(row):
            theirs = torch.addmm(self._rivals[1], rows, self._rivals[0].T)
            # A margin for rounding, as products of other shapes round otherwise.
            left = (theirs[row] > (own[row, latent] * (1 + _MARGIN))[:, None]).sum(dim=1) < k
            row, latent = row[left], latent[left]
        for some, which in zip(row.split(_AT_ONCE), latent.split(_AT_ONCE), strict=True):
            if len(some):
                used, place = some.unique(return_inverse=True)
                every = torch.addmm(coder.b_enc.detach(), rows[used], coder.W_enc.detach().T)
                self._choose_rivals(every, k)
                value = every[place, self._index[which]]
                rank = (every[place] > value[:, None]).sum(dim=1)
                out[some, which] = torch.where(rank < k, value.relu(), 0)
        return out

    def _choose_rivals(self, every: Float[Tensor, "n n_latents"], k: int) -> None:
        """Choose the latents that were largest on average, anew whenever twice as many rows have been seen."""
        total, rows, then = self._looked_at
        self._looked_at = (every.detach().sum(dim=0) + total, rows + len(every), then)
        if rows + len(every) >= 2 * then:
            number = min(self._coder.n_latents, max(_RIVALS * k, self._coder.n_latents // _RIVALS))
            often = self._looked_at[0].topk(number).indices
            self._rivals = self._coder.W_enc.detach()[often], self._coder.b_enc.detach()[often]
            self._looked_at = (self._looked_at[0], rows + len(every), rows + len(every))

    def scale(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n 1"] | None:
        """Compute what a latent's direction is multiplied with on each row: that which undoes the rows' normalisation;
        None for 1."""
        return normalise(x, self._dictionary.normalisation)[1] if isinstance(self._dictionary, SparseCoder) else None

    def _of_all(self, x: Tensor) -> Tensor:
        codes = self._dictionary.encode(x).padded()
        named = torch.tensor(self.latents, device=x.device)
        # Padding has the value 0, whatever latent it names.
        return (codes.values[:, :, None] * (codes.indices[:, :, None] == named)).sum(dim=1).to(x.dtype)


def _of_latents(coder: SparseCoder, latents: Sequence[int]) -> SparseCoder:
    """A coder with these latents alone, without gradients; its activation function sees none of the others."""
    part, named = copy.copy(coder), torch.tensor(latents, device=coder.W_enc.device)
    part._parameters, part._buffers, part.n_latents = {}, {}, len(latents)
    for name, tensor in (*coder.named_parameters(remove_duplicate=False), *coder.named_buffers()):
        whole = name in ("b_dec", "skip") or tensor.ndim == 0 or len(tensor) != coder.n_latents
        part.register_buffer(name, tensor.detach() if whole else tensor.detach()[named])
    return part
