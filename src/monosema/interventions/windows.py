"""A model on windows of tokens with rows put in place at one site, as end-to-end training needs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from monosema.activations import Windows
from monosema.core import Site
from monosema.interventions.splice import put_rows
from monosema.models import LanguageModel, require_logits


@dataclass(frozen=True)
class ModelPass:
    """Result of one forward pass.

    Attributes:
        x: activations at the site, a row a position.
        logits: of the next token after each position.
        later: activations at later sites.
    """

    x: Float[Tensor, "batch pos d"]
    logits: Float[Tensor, "batch pos vocab"]
    later: tuple[Float[Tensor, "batch pos _"], ...]


class SplicedModel:
    """A language model, one of its sites, and sites after it."""

    def __init__(self, model: LanguageModel, site: Site | str, later: Sequence[Site | str] = ()) -> None:
        """Raises SiteError where the model has no such site, UnsupportedModelError where it gives no logits."""
        require_logits(model)
        self.model = model
        self.site = Site.parse(site)
        self.later = tuple(Site.parse(one) for one in later)
        model.site_width(self.site)

    @classmethod
    def with_later_residuals(cls, model: LanguageModel, site: Site | str) -> SplicedModel:
        """The site, and the residual stream after each block that comes later."""
        sites = model.sites()
        after = sites[sites.index(Site.parse(site)) + 1 :]
        return cls(model, site, [one for one in after if one.component == "resid_post"])

    def activations(self, windows: Windows) -> Float[Tensor, "batch pos d"]:
        """Read the site's activations, without gradient, from a pass that stops there."""
        device = self.model.device
        with torch.no_grad():
            got = self.model.activations(windows.tokens.to(device), [self.site], self._mask(windows))
        return got[self.site].flatten(2).float()

    def clean(self, windows: Windows) -> ModelPass:
        """The model as it is, without gradient."""
        with torch.no_grad(), self.model.capture(self.site, *self.later) as got:
            logits = self._run(windows)
        return ModelPass(got[self.site].flatten(2).float(), logits, tuple(got[one].flatten(2) for one in self.later))

    def spliced(self, windows: Windows, where: Bool[Tensor, "batch pos"], rows: Float[Tensor, "n d"]) -> ModelPass:
        """The model with these rows in place at the positions `where`; gradients reach the rows."""

        def put(x: Shaped[Tensor, "batch pos ..."]) -> Shaped[Tensor, "batch pos ..."]:
            # What comes before the site has no part in the gradient: nothing is kept of it.
            torch.set_grad_enabled(True)
            return put_rows(x, where, rows)

        with torch.no_grad(), self.model.edit(self.site, put), self.model.capture(self.site, *self.later) as got:
            logits = self._run(windows)
        return ModelPass(got[self.site].flatten(2), logits, tuple(got[one].flatten(2) for one in self.later))

    def _run(self, windows: Windows) -> Float[Tensor, "batch pos vocab"]:
        return self.model(windows.tokens.to(self.model.device), self._mask(windows))

    def _mask(self, windows: Windows) -> Bool[Tensor, "batch pos"] | None:
        return None if bool(windows.present.all()) else windows.present.to(self.model.device)
