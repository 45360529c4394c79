"""The activations of a few latents alone, without encoding the whole dictionary where that gives the same.

What one latent's activation depends on is said by the activation function (`Activation.depends_on`): of ReLU and its
kin, JumpReLU, gated and BatchTopK outside training, on its own pre-activation, so that its own rows of the encoder are
enough. TopK needs all others, but only on rows where one of the latents is above 0 by itself.
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


class NamedLatents:
    """Some latents of a dictionary.

    Attributes:
        latents: their indices.
    """

    def __init__(self, dictionary: Dictionary, latents: Sequence[int]) -> None:
        self.latents = tuple(latents)
        self._dictionary = dictionary
        self._part: SparseCoder | None = None
        if isinstance(dictionary, SparseCoder) and dictionary.activation.depends_on != "all":
            self._part = _of_latents(dictionary, self.latents)

    def encode(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n k"]:
        """Compute their activations, those that `dictionary.encode` gives them."""
        part = self._part
        if part is None:
            return self._of_all(x)
        rows = normalise(x.to(part.W_enc.dtype), part.normalisation)[0]
        if part.activation.depends_on == "itself":
            return part.activation.encode(part, rows).dense().to(x.dtype)
        pre = torch.addmm(part.b_enc, rows if part.centre is None else rows - part.centre, part.W_enc.T)
        ours = (pre > 0).any(dim=1)
        if bool(ours.all()):
            return self._of_all(x)
        out = x.new_zeros(len(x), len(self.latents))
        return out if not bool(ours.any()) else out.index_put((ours,), self._of_all(x[ours]))

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
