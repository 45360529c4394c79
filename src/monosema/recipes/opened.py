"""The walk on a dictionary that is there already: evaluation, atlas, explanations, scores and report."""

from __future__ import annotations

import re
from pathlib import Path

from monosema.core import ConfigError, Site
from monosema.dictionaries import SparseCoder, config_of
from monosema.recipes.demo import demo
from monosema.recipes.smollm2 import smollm2
from monosema.runs import Recipe
from monosema.runs.given import load_coder
from monosema.runs.sites import site_text

HUB_NAMES = {
    "gpt2-small": "gpt2",
    "pythia-": "EleutherAI/pythia-",
    "gemma-": "google/gemma-",
    "Llama-": "meta-llama/Llama-",
    "Meta-Llama-": "meta-llama/Meta-Llama-",
    "Qwen": "Qwen/Qwen",
    "SmolLM": "HuggingFaceTB/SmolLM",
}
"""Names of models on the hub, by how TransformerLens' short ones begin, which SAELens and others write into files."""


def opened(
    dictionary: str | Path,
    base: Recipe | None = None,
    *,
    model: str | None = None,
    site: str | None = None,
    output_site: str | None = None,
    other_model: str | None = None,
) -> Recipe:
    """Return the recipe that opens a dictionary: nothing is captured or trained.

    Model and sites are those that are named here, or else those that the dictionary's files name, or else those of
    `base`.

    Args:
        dictionary: in any format that is read: a folder, a file in it, or a name on the hub; or a steering file, whose
            directions get the pages of features (`monosema.runs.directions`).
        base: recipe with the text and all other settings; None is the built-in one for the model.
        site: where the dictionary reads; of a crosscoder several, with commas between.
        output_site: where a transcoder writes.
        other_model: the second model of a crosscoder over two.

    Raises:
        FormatError, DamagedFileError: no dictionary there, or one that can't be read.
        ConfigError: neither the files nor anybody else says the model or a site; the message names what to give.
    """
    coder = load_coder(dictionary, Site.parse(site) if site and "," not in site else None)
    about, transcodes = coder.metadata, coder.has_separate_target
    model = model or _on_hub(about.model) or (base.model.name if base else None)
    read = site or _sites_in(coder) or (site_text(base.site) if base else None)
    written = output_site or about.extra.get("hook_name_out") or (base.output_site if base else None)
    wanted = {
        "--model": ("model it belongs to", model),
        "--site": ("site it reads", read),
        "--output-site": ("site it writes", written or not transcodes),
    }
    missing = [flag for flag, (_, said) in wanted.items() if not said]
    if missing:
        unsaid = " and ".join(f"which {wanted[flag][0]}" for flag in missing)
        raise ConfigError(f"The files of {dictionary} don't say {unsaid}. Give {' and '.join(missing)}.")
    if base is None:
        base = next((recipe for recipe in (smollm2(), demo()) if recipe.model.name == model), demo())
        window = min(base.text.window, about.context or base.text.window)
        base = base.replace(text=base.text.replace(window=window))
    place = Path(dictionary).absolute()
    return base.replace(
        name=re.sub(r"\W*([\w.\-]*).*", r"\1", (place.parent if place.is_file() else place).name) or base.name,
        given=str(dictionary),
        model=base.model.replace(name=model),
        site=read,
        output_site=written if transcodes else None,
        other_model=(other_model or about.extra.get("other_model")) if coder.n_sites > 1 else None,
        dictionary=config_of(coder),
    )


def _on_hub(name: str | None) -> str | None:
    """Return the name as the hub has it; as it is, where it is no short name of a model that is published there."""
    if name is None or "/" in name or Path(name).exists():
        return name
    short = next((short for short in HUB_NAMES if name.startswith(short)), None)
    return name if short is None else HUB_NAMES[short] + name.removeprefix(short)


def _sites_in(coder: SparseCoder) -> str | None:
    """Return the sites that a dictionary's files name, in the order of a row."""
    if coder.n_sites > 1:
        said = coder.metadata.extra.get("sites")
        return ",".join(Site.parse(str(one)).short for one in said) if isinstance(said, list) else None
    return coder.metadata.site.short if coder.metadata.site else None
