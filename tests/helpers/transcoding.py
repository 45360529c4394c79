"""Random transcoders of every MLP of a small model."""

from __future__ import annotations

from monosema.core import Site
from monosema.dictionaries import Dictionary, Metadata, SparseCoder, TopK, at_sites
from monosema.models import Transformer


def random_transcoders(model: Transformer, read: str = "mlp_in") -> dict[Site | str, Dictionary]:
    """Transcoders with 24 latents of which 4 are active."""
    found: dict[Site | str, Dictionary] = {}
    for layer in range(model.n_layers):
        sites = [Site(layer, read), Site(layer, "mlp_out")]
        about = at_sites(Metadata(model.name), sites, transcodes=True)
        coder = SparseCoder(model.d_model, 24, TopK(k=4), d_out=model.d_model, metadata=about, seed=layer)
        found[sites[0]] = coder
    return found
