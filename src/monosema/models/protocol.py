"""The seam that every package above uses: a language model whose sites can be read and changed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from monosema.core import Site, UnsupportedModelError
from monosema.models.context import KVCache
from monosema.models.hooks import Action, Captured
from monosema.models.row import Piece
from monosema.models.tokenizer import Tokenizer


@runtime_checkable
class LanguageModel(Protocol):
    """A model of text whose sites can be read and changed: a `Transformer`, or an `AdaptedModel`."""

    name: str

    @property
    def digest(self) -> str:
        """Hash of configuration, tokenizer and weights."""
        ...

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        ...

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        ...

    @property
    def n_heads(self) -> int:
        """Number of attention heads in a block."""
        ...

    @property
    def vocab(self) -> int:
        """Number of token ids that the model knows."""
        ...

    @property
    def context(self) -> int:
        """Longest sequence that the model is made for, in tokens."""
        ...

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the weights and of what is computed."""
        ...

    @property
    def tokenizer(self) -> Tokenizer:
        """Text to ids and back."""
        ...

    def sites(self) -> list[Site]:
        """All sites, in the order in which the model comes to them."""
        ...

    def site_width(self, site: Site | str) -> int:
        """Size of the last dimension there."""
        ...

    def __call__(
        self,
        tokens: Int[Tensor, "batch pos"],
        attention_mask: Bool[Tensor, "batch pos"] | None = None,
        cache: KVCache | None = None,
        roles: Int[Tensor, "batch pos"] | None = None,
    ) -> Float[Tensor, "batch pos vocab"]:
        """Return the logits of the token after each position; `roles` are those of `Role`."""
        ...

    def attach(self, site: Site | str, action: Action) -> contextlib.AbstractContextManager[None]:
        """Run ``action(activation, forward_context)`` at a site in every forward pass in the block."""
        ...

    def capture(self, *sites: Site | str, gradients: bool = False) -> contextlib.AbstractContextManager[Captured]:
        """Keep the activations at these sites of every pass in the block; `gradients`: as nodes of the graph."""
        ...

    def edit(self, site: Site | str, fn: Callable[[Tensor], Tensor]) -> contextlib.AbstractContextManager[None]:
        """Replace the activation at a site by ``fn(activation)`` in every forward pass in the block."""
        ...

    def activations(
        self, inputs: Any, sites: Sequence[Site | str] | None = None, attention_mask: Tensor | None = None
    ) -> Captured:
        """Return the activations at the sites, without gradient, from a forward pass that stops after the last of them.

        The inputs are token ids, a text or several; None reads all but those that hold the stream once for every head.
        """
        ...

    def unembed(self, directions: Float[Tensor, "n d_model"]) -> Float[Tensor, "n vocab"]:
        """Change of the logits along directions of the final residual stream, up to the norm's scale."""
        ...

    def generate(self, prompts: Any, **settings: Any) -> Any:
        """Continue a text (a `Generation`) or several (a list of them); settings are `GenerationConfig`'s fields."""
        ...

    def stream(self, prompts: Any, **settings: Any) -> Generator[Piece]:
        """Continue texts as `generate` does, and give each token as soon as it is drawn."""
        ...


def require_logits(model: LanguageModel) -> None:
    """Raise UnsupportedModelError for a model, such as an encoder, whose output is no logits of next tokens."""
    if not getattr(model, "gives_logits", True):
        raise UnsupportedModelError(
            f"{model.name!r} gives hidden states and no logits: this needs a model that continues text."
        )


@torch.inference_mode()
def vector_width(model: LanguageModel, site: Site | str) -> int:
    """Return the number of values at one position of a site; of a site with heads, those of all its heads together.

    Raises:
        SiteError: the model has no such site, or one whose size depends on the text.
    """
    model.site_width(site)
    token = torch.zeros((1, 1), dtype=torch.int64, device=model.device)
    return model.activations(token, [site])[Site.parse(site)].numel()
