"""The activation of a position as one vector."""

from __future__ import annotations

import torch

from monosema.core import Site
from monosema.models.protocol import LanguageModel


@torch.inference_mode()
def vector_width(model: LanguageModel, site: Site | str) -> int:
    """Values at one position of a site; of a site with heads, those of all its heads together.

    Raises:
        SiteError: the model has no such site, or one whose size depends on the text.
    """
    model.site_width(site)
    token = torch.zeros((1, 1), dtype=torch.int64, device=model.device)
    return model.activations(token, [site])[Site.parse(site)].numel()
