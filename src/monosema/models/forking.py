"""Forks: several versions of the activations at one site, each run through the rest of the model.

Where the site is on the residual stream of our own decoder, the layers before it are computed once, and versions go on
from there below each other, as one batch. Elsewhere each version is an edit of a whole forward pass. Our own decoder
gives the final residual stream, from which logits are made as they are needed; other models give logits.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from monosema.core import Site
from monosema.models.pair import resolve_site
from monosema.models.protocol import LanguageModel
from monosema.models.transformer import Transformer

_RESIDUAL = ("embed", "resid_pre", "resid_mid", "resid_post")


def can_fork(model: LanguageModel, site: Site | str) -> bool:
    """Return True if the layers before the site can be shared by all versions."""
    model, site = resolve_site(model, site)
    return isinstance(model, Transformer) and site.component in _RESIDUAL


def unembed_of(model: LanguageModel, site: Site | str) -> Callable[..., Tensor] | None:
    """Return the map from the outputs of a fork at this site to logits; None where they are logits."""
    model, _ = resolve_site(model, site)
    return model.logits if isinstance(model, Transformer) else None


class Fork:
    """A forward pass that was stopped at a site, and goes on from there as often as wanted.

    Of two models side by side, the one that has the site runs. What is attached to the model holds in all runs, before
    the site only in the first.

    Attributes:
        activation: what the model came with to the site.
    """

    def __init__(
        self,
        model: LanguageModel,
        site: Site | str,
        tokens: Int[Tensor, "batch pos"],
        attention_mask: Bool[Tensor, "batch pos"] | None = None,
    ) -> None:
        self._shared = can_fork(model, site)
        self._model, self._site = resolve_site(model, site)
        self._tokens = tokens.to(self._model.device)
        self._mask = None if attention_mask is None else attention_mask.to(self._model.device)
        self._clean: Tensor | None = None
        if self._shared:
            self.activation = self._model.activations(self._tokens, [self._site], self._mask)[self._site]
        else:
            with self._model.capture(self._site) as got:
                self._clean = self._whole()
            self.activation = got[self._site]

    def run(
        self,
        versions: Sequence[Shaped[Tensor, "some pos ..."] | None],
        rows: Int[Tensor, " some"] | None = None,
        *,
        last: bool = False,
    ) -> Iterator[Float[Tensor, "some out width"]]:
        """Go on with each version of the activation, None for the untouched one; gradients reach the versions.

        Yields, in order, the final residual stream, or the logits where `unembed_of` is None.

        Args:
            rows: the texts that versions are of; None for all.
            last: give the last position only.
        """
        if rows is not None:
            yield from self._of(rows).run(versions, last=last)
            return
        placed = [self.activation if one is None else one.to(self.activation.dtype) for one in versions]
        if self._shared and isinstance(self._model, Transformer):
            n = len(placed)
            mask = None if self._mask is None else self._mask.repeat(n, 1)
            whole = self._model.resume(self._site, torch.cat(placed), self._tokens.repeat(n, 1), mask, last=last)
            yield from whole.chunk(n)
            return
        for version, value in zip(versions, placed, strict=True):
            out = self._clean if version is None and self._clean is not None else self._edited(value)
            yield out[:, -1:] if last else out

    def _of(self, rows: Int[Tensor, " some"]) -> Fork:
        """Return the fork of some of the texts."""
        some = copy.copy(self)
        some.activation, some._tokens = self.activation[rows], self._tokens[rows]
        some._mask = None if self._mask is None else self._mask[rows]
        some._clean = None if self._clean is None else self._clean[rows]
        return some

    def _edited(self, value: Tensor) -> Tensor:
        if not value.requires_grad:
            with self._model.edit(self._site, lambda _: value):
                return self._whole()

        def put(_: Tensor) -> Tensor:
            # What comes before the site has no part in the gradient: nothing is kept of it.
            torch.set_grad_enabled(True)
            return value

        with torch.no_grad(), self._model.edit(self._site, put):
            return self._whole()

    def _whole(self) -> Tensor:
        run = self._model.final_residual if isinstance(self._model, Transformer) else self._model
        return run(self._tokens, self._mask)
