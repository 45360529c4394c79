"""A dictionary that a recipe gives instead of training one: read, held against the recipe, and known by its digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from monosema.core import ConfigError, FormatError, Site
from monosema.dictionaries import SparseCoder, at_sites, config_of, load_dictionary
from monosema.runs.directions import coder_of, is_directions
from monosema.runs.overrides import flatten
from monosema.runs.recipe import Recipe


def load_coder(path: str | Path, site: Site | None = None) -> SparseCoder:
    """Load a dictionary of any format, or the directions of a steering file: those at a site, where it is named.

    Raises FormatError where it is neither, or no encoder, activation and decoder; ConfigError for directions at several
    sites.
    """
    try:
        dictionary = load_dictionary(path)
    except FormatError:
        if not (is_directions(path) and Path(path).is_file()):
            raise
        return coder_of(path, site)
    if not isinstance(dictionary, SparseCoder):
        raise FormatError(f"{path} holds {type(dictionary).__name__}, and a run takes sparse coders only.")
    return dictionary


def read_given(recipe: Recipe, copy: Path) -> SparseCoder:
    """Read the dictionary that a recipe gives, with the recipe's model and sites in its metadata.

    Args:
        copy: folder of the run's own copy, which is read where what the recipe names is gone.

    Raises:
        FormatError, DamagedFileError: no dictionary there, or one that can't be read.
        ConfigError: another dictionary than the recipe describes.
    """
    assert recipe.given is not None
    gone = Path(recipe.given).is_absolute() and not Path(recipe.given).exists()
    coder = load_coder(copy if gone and copy.exists() else recipe.given, recipe.sites[-1])
    here, there = flatten(config_of(coder).to_dict()), flatten(recipe.dictionary.to_dict())
    keys = [key for key in {**here, **there} if here.get(key) != there.get(key)]
    if keys or config_of(coder).title != recipe.dictionary.title:
        lines = [f"{key} is {here.get(key, 'none')} in its files and {there.get(key, 'none')} here" for key in keys]
        said = "; ".join(lines) or f"it is a {config_of(coder).title}, and this run is of a {recipe.dictionary.title}"
        raise ConfigError(
            f"{recipe.given} is another dictionary than the recipe says: {said}. A dictionary that is given can't be "
            "set: leave such keys out. Where its files changed, open them in a folder of their own: --out."
        )
    extra = coder.metadata.extra | ({} if recipe.other_model is None else {"other_model": recipe.other_model})
    about = coder.metadata.replace(model=recipe.model.name, extra=extra)
    coder.metadata = at_sites(about, recipe.sites, recipe.output_site is not None)
    return coder


def require_widths(coder: SparseCoder, recipe: Recipe, widths: Sequence[int]) -> None:
    """Raise ConfigError for a dictionary that reads or writes other widths than the recipe's sites have."""
    wanted = [coder.d_in, coder.d_out] if coder.has_separate_target else [coder.site_width] * coder.n_sites
    if list(widths) == wanted:
        return
    have = ", ".join(f"{site.short} has {width}" for site, width in zip(recipe.sites, widths, strict=True))
    raise ConfigError(
        f"{recipe.given} is a dictionary of vectors with {', '.join(map(str, dict.fromkeys(wanted)))} values, and in "
        f"{recipe.model.name} {have}. Name the model and the site that it was trained on: --model, --site."
    )


def digest_of(coder: SparseCoder) -> str:
    """Hash all that a coder computes with: its tensors and its description; not where it comes from."""
    state = hashlib.sha256(json.dumps(coder.description(), sort_keys=True).encode())
    for name, tensor in sorted(coder.state_dict().items()):
        if name != "silent_tokens":
            state.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return state.hexdigest()[:16]
