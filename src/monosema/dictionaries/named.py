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
"""Latents that are asked first, in multiples of k; a sixteenth of all, where that is more."""
_ROWS, _MARGIN = 256, 1e-4


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
        open_ = own > 0
        if self._rivals is not None and bool(open_.any()):
            # A margin for rounding, as products of other shapes round otherwise.
            larger = torch.addmm(self._rivals[1], rows, self._rivals[0].T)[:, :, None] > (own * (1 + _MARGIN))[:, None]
            open_ &= larger.sum(dim=1) < k
        out = torch.zeros_like(own)
        left = open_.any(dim=1).nonzero()[:, 0]
        for chunk in left.split(_ROWS):
            if len(chunk):
                every = torch.addmm(coder.b_enc.detach(), rows[chunk], coder.W_enc.detach().T)
                if self._rivals is None:
                    often = (
                        every.mean(dim=0).topk(min(coder.n_latents, max(_RIVALS * k, coder.n_latents // 16))).indices
                    )
                    self._rivals = coder.W_enc.detach()[often], coder.b_enc.detach()[often]
                values = every[:, self._index]
                ranks = torch.stack([(every > value[:, None]).sum(dim=1) for value in values.unbind(1)], dim=1)
                out[chunk] = torch.where(ranks < k, values.relu(), 0)
        return out

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
