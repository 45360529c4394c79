"""Two models that read the same tokens, as one: what a crosscoder over two models is trained and measured on.

A site of the second model is written ``3.resid_post@other``. What a pair says, its logits and what it writes, is what
the second model says: it is the one whose difference from the first is looked for.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from monosema.core import ConfigError, FormatError, Site, SiteError, digest
from monosema.models.context import KVCache
from monosema.models.hooks import Action, Captured, keep
from monosema.models.protocol import LanguageModel
from monosema.models.row import Piece
from monosema.models.tokenizer import Tokenizer

_SPLITS = ("normalizer", "pre_tokenizer", "model", "added_tokens")
"""Parts of a tokenizer's JSON that decide which tokens a text is."""


class ModelPair:
    """Two language models side by side, itself a `LanguageModel`.

    Attributes:
        first, second: the models.
        name: both names.
    """

    def __init__(self, first: LanguageModel, second: LanguageModel) -> None:
        """Raises FormatError where the two read the same text as different tokens, ConfigError where they are on
        different devices or of different precisions."""
        if (reason := _why_other_tokens(first, second)) is not None:
            raise FormatError(
                f"{first.name} and {second.name} can't be compared token by token: {reason}. Take two models that "
                "share a tokenizer, such as a model and a fine-tuned copy of it."
            )
        for what, one, other in (("on", first.device, second.device), ("in", first.dtype, second.dtype)):
            if one != other:
                raise ConfigError(
                    f"{first.name} is {what} {one} and {second.name} {what} {other}: load both the same way."
                )
        self.first, self.second = first, second
        self.name = f"{first.name} and {second.name}"

    @functools.cached_property
    def digest(self) -> str:
        """Hash of both models' digests."""
        return digest([self.first.digest, self.second.digest])

    @property
    def d_model(self) -> int:
        """Width of the second model's residual stream."""
        return self.second.d_model

    @property
    def n_layers(self) -> int:
        """Number of the second model's blocks."""
        return self.second.n_layers

    @property
    def n_heads(self) -> int:
        """Number of attention heads in a block of the second model."""
        return self.second.n_heads

    @property
    def vocab(self) -> int:
        """Number of token ids, equal for both."""
        return self.second.vocab

    @property
    def context(self) -> int:
        """Longest sequence that both are made for, in tokens."""
        return min(self.first.context, self.second.context)

    @property
    def device(self) -> torch.device:
        """Device of both models' weights."""
        return self.second.device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of both."""
        return self.second.dtype

    @property
    def tokenizer(self) -> Tokenizer:
        """Text to ids and back, the same for both."""
        return self.second.tokenizer

    def sites(self) -> list[Site]:
        """The sites of the first model, then those of the second."""
        return [*self.first.sites(), *(replace(site, other=True) for site in self.second.sites())]

    def site_width(self, site: Site | str) -> int:
        """Size of the last dimension there."""
        model, own = resolve_site(self, site)
        return model.site_width(own)

    def __call__(
        self,
        tokens: Int[Tensor, "batch pos"],
        attention_mask: Bool[Tensor, "batch pos"] | None = None,
        cache: KVCache | None = None,
        roles: Int[Tensor, "batch pos"] | None = None,
    ) -> Float[Tensor, "batch pos vocab"]:
        """Return the second model's logits."""
        return self.second(tokens, attention_mask, cache, roles)

    @contextlib.contextmanager
    def attach(self, site: Site | str, action: Action) -> Iterator[None]:
        """Run an action at a site of the second model.

        Raises:
            SiteError: a site of the first model, which does not run when the pair does: `activations` reads both.
        """
        with self._second(site) as own, self.second.attach(own, action):
            yield

    @contextlib.contextmanager
    def capture(self, *sites: Site | str, gradients: bool = False) -> Iterator[Captured]:
        """Keep the activations at sites of the second model; raises SiteError as `attach`."""
        captured = Captured()
        with contextlib.ExitStack() as stack:
            for site in map(Site.parse, sites):
                stack.enter_context(self.attach(site, keep(captured, site, gradients)))
            yield captured

    @contextlib.contextmanager
    def edit(self, site: Site | str, fn: Callable[[Tensor], Tensor]) -> Iterator[None]:
        """Replace the activation at a site of the second model; raises SiteError as `attach`."""
        with self._second(site) as own, self.second.edit(own, fn):
            yield

    @contextlib.contextmanager
    def _second(self, site: Site | str) -> Iterator[Site]:
        """The name of a site in the second model."""
        model, own = resolve_site(self, site)
        model.site_width(own)
        if model is not self.second:
            raise SiteError(
                f"What the pair says does not depend on {own.short} of its first model, {model.name}. Name a site "
                f"of the second, {own.short}@other, or use the first model alone."
            )
        yield own

    def activations(
        self, inputs: Any, sites: Sequence[Site | str] | None = None, attention_mask: Tensor | None = None
    ) -> Captured:
        """Activations at the sites, from a forward pass of each model that has any of them; None reads both models'."""
        wanted = None if sites is None else [Site.parse(site) for site in sites]
        found: dict[Site, Tensor] = {}
        for model, other in ((self.first, False), (self.second, True)):
            own = [replace(site, other=False) for site in wanted or () if site.other is other]
            if own or wanted is None:
                got = model.activations(inputs, own or None, attention_mask)
                found |= {replace(site, other=other): values for site, values in got.items()}
        return Captured(found if wanted is None else {site: found[site] for site in wanted})

    def __repr__(self) -> str:
        return f"ModelPair({self.first!r}, {self.second!r})"

    def unembed(self, directions: Float[Tensor, "n d_model"]) -> Float[Tensor, "n vocab"]:
        """Change of the second model's logits along directions."""
        return self.second.unembed(directions)

    def generate(self, prompts: Any, **settings: Any) -> Any:
        """Continue texts with the second model."""
        return self.second.generate(prompts, **settings)

    def stream(self, prompts: Any, **settings: Any) -> Generator[Piece]:
        """Continue texts with the second model, token by token."""
        return self.second.stream(prompts, **settings)


def resolve_site(model: LanguageModel, site: Site | str) -> tuple[LanguageModel, Site]:
    """Return the single model that a site is in, one of a pair or the model itself, and its name there."""
    site = Site.parse(site)
    if not isinstance(model, ModelPair):
        return model, site
    return (model.second if site.other else model.first), replace(site, other=False)


def _why_other_tokens(first: LanguageModel, second: LanguageModel) -> str | None:
    """Why two models don't read the same tokens; None if they do."""
    one, other = first.tokenizer, second.tokenizer
    if first.vocab != second.vocab:
        return f"the first knows {first.vocab:,} token ids and the second {second.vocab:,}"
    if one.bos_id != other.bos_id:
        return f"the first begins a text with token {one.bos_id} and the second with {other.bos_id}"
    if (ours := _vocabulary(one)) != (theirs := _vocabulary(other)):
        id = min(id for id in ours.keys() | theirs.keys() if ours.get(id) != theirs.get(id))
        return f"token {id} is {ours.get(id)!r} to the first and {theirs.get(id)!r} to the second"
    rules, others = (json.loads(tokenizer.raw.to_str()) for tokenizer in (one, other))
    unequal = [part for part in _SPLITS if rules.get(part) != others.get(part)]
    return f"their tokenizers cut text differently ({', '.join(unequal)})" if unequal else None


def _vocabulary(tokenizer: Tokenizer) -> dict[int, str]:
    return {id: piece for piece, id in tokenizer.raw.get_vocab(with_added_tokens=True).items()}
