"""Directions that a model's own weights single out at a site: what writes there, what reads there, its basis.

=====================================  ===========================================================================
site                                   directions
=====================================  ===========================================================================
residual stream after a layer          what each neuron of this and earlier MLPs adds (columns of W_out)
``mlp_out``                            the same, of its layer alone
``attn_out``                           what each value of each head adds (columns of W_O)
``resid_mid``, ``mlp_in``              what each neuron reads (rows of W_in and of the gate)
``mlp.post``                           what the output matrix reads (rows of W_out), and each neuron itself
=====================================  ===========================================================================

A dictionary can start from them (2309.08600 asks for better starts on MLP activations). Norms of rows say nothing: the
scales of normalisation layers in between are left out.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.core import Site, SiteError, UnsupportedModelError
from monosema.models.pair import resolve_site
from monosema.models.protocol import LanguageModel
from monosema.models.transformer import Transformer


@torch.no_grad()
def weight_directions(model: LanguageModel, site: Site | str) -> Float[Tensor, "rows width"]:
    """Directions at a site, one a row, on the CPU.

    Raises:
        UnsupportedModelError: a model whose weights monosema does not know by name.
        SiteError: no such site, or none that weights single out directions at.
    """
    model, site = resolve_site(model, site)
    model.site_width(site)
    if not isinstance(model, Transformer):
        raise UnsupportedModelError(
            f"monosema does not know which weights of {model.name} write to {site.short}. Start from data instead."
        )
    layers: list[Any] = list(model.blocks)[: (site.layer or 0) + 1]
    match site.component:
        case "resid_post":
            parts = [block.mlp.out.weight.T for block in layers]
        case "resid_pre" if len(layers) > 1:
            parts = [block.mlp.out.weight.T for block in layers[:-1]]
        case "mlp_out":
            parts = [layers[-1].mlp.out.weight.T]
        case "attn_out":
            parts = [layers[-1].attn.o.weight.T]
        case "resid_mid" | "mlp_in":
            parts = [layers[-1].mlp.inner.weight]
        case "mlp.post":
            rows = layers[-1].mlp.out.weight
            parts = [rows, torch.eye(rows.shape[1], device=rows.device, dtype=rows.dtype)]
        case _:
            raise SiteError(
                f"The model's weights single out no directions at {site.short}. They do at resid_post, mlp_out, "
                "attn_out, resid_mid, mlp_in and mlp.post; elsewhere start from data."
            )
    return torch.cat(parts).float().cpu()
