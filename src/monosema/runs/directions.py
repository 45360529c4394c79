"""Directions in a run: a steering file's vectors as a dictionary, so that each has the page of a feature.

    c₊ = ReLU(⟨x − x̄, u⟩),   c₋ = ReLU(−⟨x − x̄, u⟩),   u = d / ‖d‖

Each direction is two latents, one for either side of the mean x̄ of the run's text: on any token one of the two is
active, by how far the activations lie on its side, in the units of their norm. What they rebuild is x̄ and the part
along u; of several directions that are not at right angles, the parts that they share more than once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.atlas import PERSON, Explanation, record
from monosema.core import ConfigError, Site
from monosema.dictionaries import Dictionary, Metadata, SparseCoder, make_coder
from monosema.steering import read_directions

NAMES = "directions"
"""Key of a dictionary's metadata that holds the names of its directions, two latents each."""
ENDINGS = (".toml", ".json", ".safetensors", ".gguf", ".npy", ".pt", ".csv")


def coder_of(path: str | Path, site: Site | None = None) -> SparseCoder:
    """Read the directions of a steering file as a dictionary; its mean is 0 until `centred`.

    Args:
        site: which of them, and where those are that don't say their site; None for all, at one site.

    Raises:
        FormatError: no such file, or one without a direction at the site.
        ConfigError: directions at several sites.
    """
    found = read_directions(path, site)
    sites = list(dict.fromkeys(one.site for one in found))
    if len(sites) > 1:
        there = ", ".join(one.short for one in sites)
        raise ConfigError(f"{path} holds directions at several sites, {there}: choose one by --site.")
    units = torch.nn.functional.normalize(torch.stack([one.vector.detach().float().cpu() for one in found]), dim=1)
    about = Metadata(site=sites[0], extra={NAMES: [one.name for one in found]})
    fields: dict[str, Any] = {"recipe": "2023", "l1_coefficient": 0.0, "start_l0": None, "resample_at": ()}
    coder = make_coder("l1", units.shape[1], 2 * len(units), metadata=about, **fields)
    with torch.no_grad():
        rows = torch.stack([units, -units], dim=1).flatten(0, 1)
        coder.W_enc.copy_(rows)
        coder.W_dec.copy_(rows)
    return coder


def is_directions(path: str | Path) -> bool:
    """Return True for the name of a file that may hold directions, by its ending."""
    return Path(path).suffix in ENDINGS


def names_of(dictionary: Dictionary) -> list[str]:
    """Return the names of the latents of a dictionary of directions; none of another."""
    names = dictionary.metadata.extra.get(NAMES, [])
    return [f"{name}, {side}" for name in names for side in ("above its mean", "below its mean")]


@torch.no_grad()
def centred(coder: SparseCoder, rows: Float[Tensor, "rows width"]) -> SparseCoder:
    """Put the mean of activations into a dictionary of directions, in place."""
    coder.b_dec.copy_(rows.float().mean(0))
    return coder


def name_features(atlas: Path, dictionary: Dictionary) -> None:
    """Give the features of an atlas the names of the directions that they are; of another dictionary nothing."""
    names = names_of(dictionary)
    if names:
        record(
            atlas,
            {latent: [Explanation("steering file", PERSON, None, None, name)] for latent, name in enumerate(names)},
        )
