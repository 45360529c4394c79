"""sparsify's layout (EleutherAI): ``cfg.json`` beside ``sae.safetensors``, in a folder named after the module.

Tensors: encoder.weight [m, d], encoder.bias [m], W_dec [m, d], b_dec [d], W_skip [d, d]. Codes are the k largest of
ReLU(z); the input is centred unless it transcodes. Input and output have one width.

Holds TopK dictionaries and transcoders with TopK, with a skip connection or without.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from monosema.core import FormatError, Site, write_json
from monosema.dictionaries.formats.files import (
    checked,
    choice,
    file_in,
    flag,
    own_in,
    positive,
    read_config,
    read_safetensors,
    write_safetensors,
)
from monosema.dictionaries.formats.names import Names
from monosema.dictionaries.formats.parts import Parts, dictionary_of, parts_of
from monosema.dictionaries.formats.saelens import metadata_in, metadata_out
from monosema.dictionaries.protocol import Dictionary, Metadata

CONFIG = "cfg.json"
WEIGHTS = "sae.safetensors"
PLACES = Names("encoder.weight", "encoder.bias")
EXPANSION = 32
"""sparsify's own default, where cfg.json says neither a number of latents nor a factor."""
_MODULE = re.compile(r"(?:.*\.)?(?:layers|h|blocks)\.(\d+)(?:\.(\w+))?")


def recognises(path: Path) -> bool:
    """Return True if both files are there."""
    return file_in(path, CONFIG) is not None and file_in(path, WEIGHTS) is not None


def read(path: Path) -> Dictionary:
    """Read a dictionary. Raises FormatError or DamagedFileError, naming the file and the key."""
    folder = path.parent if path.is_file() else path
    config_path = folder / CONFIG
    config = read_config(config_path)
    choice(config, "activation", "topk", ("topk",), config_path)
    if config.get("signed"):
        raise FormatError(f"{config_path}: activation = signed is not supported; only topk is.")
    d = positive(config, "d_in", config_path)
    if config.get("num_latents"):
        m = positive(config, "num_latents", config_path)
    else:
        m = d * (positive(config, "expansion_factor", config_path) if "expansion_factor" in config else EXPANSION)
    skips = flag(config, "skip_connection", False, config_path)
    transcodes = flag(config, "transcode", False, config_path)
    state = read_safetensors(folder / WEIGHTS)
    own = own_in(config)
    return dictionary_of(
        Parts(
            activation="topk",
            **PLACES.parts(state, folder / WEIGHTS, d, m),
            centred=not transcodes,
            k=positive(config, "k", config_path),
            skip=checked(state, {"W_skip": (d, d)}, folder / WEIGHTS)["W_skip"] if skips else None,
            transcodes=transcodes or skips,
            own=own,
            metadata=metadata_in(own["metadata"]) if "metadata" in own else _metadata(folder.name, transcodes),
        )
    )


def write(dictionary: Dictionary, folder: Path) -> Path:
    """Write a dictionary; raises FormatError, and writes nothing, for all but TopK."""
    parts = parts_of(dictionary, "sparsify")
    if parts.activation != "topk" or parts.d_in != parts.d_out or parts.normalisation != "none":
        what = f"{parts.activation} activation" if parts.activation != "topk" else "a normalised input"
        what = what if parts.d_in == parts.d_out else f"input and output of widths {parts.d_in} and {parts.d_out}"
        raise FormatError(f"sparsify can't hold {what}; nothing was written. monosema's own layout can.")
    parts = parts.centre(not parts.transcodes)
    tensors = PLACES.state(parts)
    config: dict[str, Any] = {
        "activation": "topk",
        "expansion_factor": max(1, parts.n_latents // parts.d_in),
        "normalize_decoder": True,
        "num_latents": parts.n_latents,
        "k": parts.k,
        "multi_topk": False,
        "skip_connection": parts.skip is not None,
        "transcode": parts.transcodes,
        "d_in": parts.d_in,
        "monosema": {**parts.own, "metadata": metadata_out(parts.metadata)},
    }
    write_safetensors(folder / WEIGHTS, tensors if parts.skip is None else {**tensors, "W_skip": parts.skip})
    write_json(folder / CONFIG, config)
    return folder


def _metadata(name: str, transcodes: bool) -> Metadata:
    """The folder's name is that of the module whose output (or, transcoding, input) it was trained on."""
    match = _MODULE.fullmatch(name)
    if match is None:
        return Metadata()
    part = match[2]
    component = {None: "resid_post", "mlp": "mlp_in" if transcodes else "mlp_out"}.get(part)
    if part in ("attn", "attention", "self_attn"):
        component = "attn_out"
    layer = int(match[1])
    written = {"hook_name_out": str(Site(layer, "mlp_out"))} if component == "mlp_in" else {}
    return Metadata(site=Site(layer, component) if component else None, extra={"hookpoint": name, **written})
