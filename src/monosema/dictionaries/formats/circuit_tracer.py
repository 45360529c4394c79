"""circuit-tracer's transcoders (Hanna et al. 2025): ``layer_N.safetensors`` for each layer, ``config.yaml`` for all.

W_enc [m, d], b_enc [m], W_dec [m, d], b_dec [d]; W_skip [d, d] with a skip connection. Activations are those above
``activation_function.threshold`` [m] where that is there; else what config.yaml says under ``activation`` (topk, with
its k) or, if nothing, ReLU. The sites are ``blocks.N.`` before feature_input_hook and feature_output_hook.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from monosema.core import FormatError
from monosema.dictionaries.activation_functions.activation import Kind
from monosema.dictionaries.formats.files import checked, choice, metadata_of, positive, read_safetensors, site_of
from monosema.dictionaries.formats.names import Names
from monosema.dictionaries.formats.parts import Parts, dictionary_of
from monosema.dictionaries.protocol import Dictionary

CONFIG = "config.yaml"
THRESHOLD = "activation_function.threshold"
_LAYER = re.compile(r"layer_(\d+)\.safetensors")
_LINE = re.compile(r"(\w+):\s*(?:\"([^\"]*)\"|'([^']*)'|([^#\s][^#]*?))\s*(?:#.*)?")


def recognises(path: Path) -> bool:
    """Return True if it is the file of a layer, or a folder of such."""
    return bool(_layers(path))


def read(path: Path) -> Dictionary:
    """Read one layer's transcoder. Raises FormatError for a folder of several, naming the files."""
    files = _layers(path)
    if len(files) != 1:
        raise FormatError(
            f"{path} holds transcoders of {len(files)} layers, one a file. Give one of the files, such as {files[0]}."
        )
    (file,) = files
    layer = file.name.removesuffix(".safetensors").rpartition("_")[2]
    config, config_path = _config(file.parent)
    state = read_safetensors(file)
    activation, places = _activation(state, config, config_path)
    parts = places.parts(state, file)
    d, skip = parts["W_enc"].shape[1], None
    if "W_skip" in state:
        skip = checked(state, {"W_skip": (d, d)}, file)["W_skip"]
    hooks = [config.get(f"feature_{side}_hook") for side in ("input", "output")]
    sites = [site_of(f"blocks.{layer}.{hook}") if hook else None for hook in hooks]
    return dictionary_of(
        Parts(
            **parts,
            activation=activation,
            centred=False,
            k=_k(state, config, config_path) if activation == "topk" else None,
            skip=skip,
            transcodes=True,
            metadata=metadata_of(config.get("model_name"), *sites),
        )
    )


def _layers(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if _LAYER.fullmatch(path.name) else []
    files = [entry for entry in path.iterdir() if _LAYER.fullmatch(entry.name) and entry.is_file()]
    return sorted(files, key=lambda file: int(_LAYER.fullmatch(file.name)[1]))  # type: ignore[index]


def _config(folder: Path) -> tuple[dict[str, Any], Path]:
    """The lines of config.yaml that have a key and a plain value, which are all that is asked of it."""
    path = folder / CONFIG
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    matches = (_LINE.fullmatch(line.rstrip()) for line in text.splitlines())
    values = {match[1]: match[2] or match[3] or match[4] for match in matches if match}
    return {name: int(value) if value and value.isdecimal() else value for name, value in values.items()}, path


def _activation(state: dict[str, Any], config: dict[str, Any], path: Path) -> tuple[Kind, Names]:
    if THRESHOLD in state:
        return "jumprelu", replace(Names(), more={"threshold": THRESHOLD})
    said = choice(config, "activation", "topk" if "k" in state else "relu", ("relu", "topk"), path)
    return ("topk" if said == "topk" else "relu"), Names()


def _k(state: dict[str, Any], config: dict[str, Any], path: Path) -> int:
    if "k" in state and state["k"].numel() == 1:
        return positive({"k": int(state["k"])}, "k", path)
    return positive(config, "k", path)
