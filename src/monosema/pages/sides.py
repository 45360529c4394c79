"""What the latents of a crosscoder are divided between: two sites, or two models."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from monosema.atlas import Atlas
from monosema.core import Site


def sides_of(atlas: Atlas) -> tuple[tuple[str, str] | None, Float[np.ndarray, " n_latents"] | None]:
    """The two sides, and the second one's share of each latent's decoder norms; None and None where there are not two.

    Over two models the sides are their sites; over one model, its two sites.
    """
    rows = atlas.sql("select place, any_value(site) as site from sites group by place order by place")
    sites = [Site.parse(row["site"]) for row in rows]
    second = [site.other for site in sites]
    if not any(second):
        second = [False, True] if len(sites) == 2 else []
    if len(set(second)) < 2:
        return None, None
    names = tuple(
        " and ".join(site.short for site, at in zip(sites, second, strict=True) if at is side) for side in (False, True)
    )
    places = [place for place, at in enumerate(second) if at]
    query = "select sum(share) as share from sites where list_contains(?, place) group by latent order by latent"
    shares = np.array([row["share"] for row in atlas.sql(query, [places])], np.float32)
    return (names[0], names[1]), shares
