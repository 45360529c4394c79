"""Sites that a dictionary reads and writes, as its metadata says; and one of its sites alone.

`hook_name_out` is the site that a transcoder writes (SAELens' name for it), `sites` are those of a crosscoder, in the
order in which they stand in a row; those of a second model end in ``@other``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.core import ConfigError, Site
from monosema.dictionaries.coder import SparseCoder
from monosema.dictionaries.codes import Codes
from monosema.dictionaries.protocol import Dictionary, Metadata


class AtSite:
    """One site's part of what a dictionary over several sites writes; it reads all of them. A `Dictionary`."""

    def __init__(self, dictionary: Dictionary, part: slice) -> None:
        """`part`: the site's values in a row."""
        self.dictionary, self.part = dictionary, part
        self.metadata = dictionary.metadata
        self.d_in, self.n_latents = dictionary.d_in, dictionary.n_latents
        self.d_out = part.stop - part.start

    @property
    def directions(self) -> Float[Tensor, "n_latents d_out"]:
        """The vector that each latent adds at the site when its activation is 1."""
        return self.dictionary.directions[:, self.part]

    def encode(self, x: Float[Tensor, "*rows d_in"], matmul_dtype: torch.dtype | None = None) -> Codes:
        """Compute the codes of vectors of all sites."""
        return self.dictionary.encode(x, matmul_dtype)

    def decode(self, codes: Codes | Float[Tensor, "*rows n_latents"]) -> Float[Tensor, "*rows d_out"]:
        """Compute vectors of the site."""
        return self.dictionary.decode(codes)[..., self.part]

    def __call__(self, x: Float[Tensor, "*rows d_in"]) -> Float[Tensor, "*rows d_out"]:
        """Compute the reconstruction of the site from all sites."""
        return self.decode(self.encode(x))

    def __repr__(self) -> str:
        return f"AtSite({self.dictionary!r}, {self.part.start} to {self.part.stop})"

    def to(self, device: torch.device | str) -> AtSite:
        """Move to a device."""
        return AtSite(self.dictionary.to(device), self.part)


def at_sites(metadata: Metadata, sites: Sequence[Site], transcodes: bool) -> Metadata:
    """Make the metadata of a dictionary whose rows hold these sites side by side."""
    if transcodes:
        return metadata.replace(site=sites[0], extra={**metadata.extra, "hook_name_out": str(sites[1])})
    if len(sites) > 1:
        return metadata.replace(site=sites[-1], extra={**metadata.extra, "sites": [str(site) for site in sites]})
    return metadata.replace(site=sites[0])


def title_of(dictionary: Dictionary) -> str:
    """Name a dictionary's kind: "TopK", "Pca"."""
    return dictionary.title if isinstance(dictionary, SparseCoder) else type(dictionary).__name__


def number_of_sites(dictionary: Dictionary) -> int:
    """Return the number of sites that stand side by side in a row."""
    return dictionary.n_sites if isinstance(dictionary, SparseCoder) else 1


def sites_read(dictionary: Dictionary, site: Site) -> tuple[Site, ...]:
    """Return the sites whose activations, side by side, a dictionary reads; `site` for those that read one.

    Raises:
        ConfigError: a crosscoder that doesn't say its sites.
    """
    number = number_of_sites(dictionary)
    if number == 1:
        return (site,)
    said = dictionary.metadata.extra.get("sites")
    if not isinstance(said, list) or len(said) != number:
        raise ConfigError(
            f"This crosscoder has {number} sites, but its metadata does not name them: set "
            'metadata.extra["sites"] to a list of their names, in the order of a row.'
        )
    return tuple(Site.parse(str(name)) for name in said)


def written_at(dictionary: Dictionary, site: Site) -> tuple[Dictionary, Site]:
    """Return what a dictionary writes at one site, and which: of a transcoder, where it writes; of a crosscoder, at
    `site`."""
    if not isinstance(dictionary, SparseCoder):
        return dictionary, site
    if dictionary.has_separate_target:
        said = dictionary.metadata.extra.get("hook_name_out")
        return dictionary, Site.parse(str(said)) if said else site
    if dictionary.n_sites > 1:
        number, width = sites_read(dictionary, site).index(site), dictionary.site_width
        return AtSite(dictionary, slice(number * width, (number + 1) * width)), site
    return dictionary, site


def share_of_other(crosscoder: SparseCoder) -> Float[Tensor, " n_latents"]:
    """Compute the second model's share of each latent's decoder norms (`SparseCoder.relative_norms`), summed over its
    sites.

    Raises:
        ConfigError: a crosscoder that is not over as many sites of a second model as of a first.
    """
    other = [site.other for site in sites_read(crosscoder, Site(None, "none"))]
    half = len(other) // 2
    if other != [False] * half + [True] * half:
        raise ConfigError(
            f"This crosscoder does not compare two models: its sites are {crosscoder.metadata.extra.get('sites')}. It "
            "needs sites of one, then as many of the other, with @other behind their names."
        )
    return crosscoder.relative_norms()[:, half:].sum(dim=1)


def reads_elsewhere(dictionary: Dictionary) -> bool:
    """True where what it reads is not what it writes."""
    return isinstance(dictionary, AtSite) or (isinstance(dictionary, SparseCoder) and dictionary.has_separate_target)
