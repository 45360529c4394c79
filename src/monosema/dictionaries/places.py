"""Where a dictionary over several sites reads and writes, as its metadata says; and one of its sites alone.

`hook_name_out` is the site that a transcoder writes (SAELens' name for it), `sites` are those of a crosscoder, in the
order in which they stand in a row; those of a second model end in ``@other``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.core import Config, ConfigError, Site
from monosema.dictionaries.codes import Codes
from monosema.dictionaries.crosscoder import Crosscoder, CrosscoderConfig
from monosema.dictionaries.protocol import Dictionary, Metadata
from monosema.dictionaries.transcoder import Transcoder, TranscoderConfig


class AtSite:
    """What a dictionary over several sites writes at one of them; it reads all of them. A `Dictionary`."""

    def __init__(self, dictionary: Dictionary, part: slice) -> None:
        """`part`: which values of a written row are of the site."""
        self.dictionary, self.part = dictionary, part
        self.metadata = dictionary.metadata
        self.d_in, self.n_latents = dictionary.d_in, dictionary.n_latents
        self.d_out = part.stop - part.start

    @property
    def directions(self) -> Float[Tensor, "n_latents d_out"]:
        """What each latent adds at the site when its activation is 1."""
        return self.dictionary.directions[:, self.part]

    def encode(self, x: Float[Tensor, "n d_in"], matmul_dtype: torch.dtype | None = None) -> Codes:
        """Codes of rows of all sites."""
        return self.dictionary.encode(x, matmul_dtype)

    def decode(self, codes: Codes) -> Float[Tensor, "n d_out"]:
        """Rows of the site."""
        return self.dictionary.decode(codes)[:, self.part]

    def __call__(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_out"]:
        """The reconstruction of the site from all sites."""
        return self.decode(self.encode(x))


def at_sites(metadata: Metadata, config: Config, sites: Sequence[Site]) -> Metadata:
    """Metadata of a dictionary whose rows hold these sites side by side."""
    if isinstance(config, TranscoderConfig):
        return metadata.replace(site=sites[0], extra={**metadata.extra, "hook_name_out": str(sites[1])})
    if isinstance(config, CrosscoderConfig):
        return metadata.replace(site=sites[-1], extra={**metadata.extra, "sites": [str(site) for site in sites]})
    return metadata.replace(site=sites[0])


def sites_read(dictionary: Dictionary, site: Site) -> tuple[Site, ...]:
    """The sites whose activations, side by side, a dictionary reads; `site` for those that read one.

    Raises:
        ConfigError: a crosscoder that doesn't say its sites.
    """
    if not isinstance(dictionary, Crosscoder):
        return (site,)
    said = dictionary.metadata.extra.get("sites")
    if not isinstance(said, list) or len(said) != dictionary.config.n_sites:
        raise ConfigError(
            f"This crosscoder has {dictionary.config.n_sites} sites, but its metadata does not name them: set "
            'metadata.extra["sites"] to a list of their names, in the order of a row.'
        )
    return tuple(Site.parse(str(name)) for name in said)


def written_at(dictionary: Dictionary, site: Site) -> tuple[Dictionary, Site]:
    """What a dictionary writes at one site, and which: of a transcoder, where it writes; of a crosscoder, at `site`."""
    if isinstance(dictionary, Transcoder):
        said = dictionary.metadata.extra.get("hook_name_out")
        return dictionary, Site.parse(str(said)) if said else site
    if isinstance(dictionary, Crosscoder):
        number, width = sites_read(dictionary, site).index(site), dictionary.config.width
        return AtSite(dictionary, slice(number * width, (number + 1) * width)), site
    return dictionary, site


def share_of_other(crosscoder: Crosscoder) -> Float[Tensor, " n_latents"]:
    """The second model's share of each latent's decoder norms (`Crosscoder.relative_norms`), summed over its sites.

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
    """Whether what it reads is not what it writes."""
    return isinstance(dictionary, (Transcoder, AtSite))
