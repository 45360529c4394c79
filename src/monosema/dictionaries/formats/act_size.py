"""Checkpoints of Neel Nanda's autoencoder and what grew out of it: a state dict, and a configuration with ``act_size``.

Nanda's (2023) and Kissane & Krzyzanowski's (2024) ``N.pt`` with ``N_cfg.json``; Bussmann's BatchTopK (2024, which is
also where Matryoshka SAEs come from) ``sae.pt`` with ``config.json``. W_enc [d, m], b_enc [m], W_dec [m, d], b_dec [d].
sae_type is vanilla (ReLU), topk, or jumprelu with ``jumprelu.log_threshold`` [m], which alone is not centred; batchtopk
with a ``threshold``, where one was stored. input_unit_norm is a layer norm of each row, undone at the end.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from monosema.core import FormatError
from monosema.dictionaries.activation_functions.activation import Kind
from monosema.dictionaries.formats.files import (
    checked,
    choice,
    flag,
    metadata_of,
    only_file,
    positive,
    read_config,
    read_pickle,
    site_of,
)
from monosema.dictionaries.formats.names import Names
from monosema.dictionaries.formats.parts import Parts, dictionary_of
from monosema.dictionaries.protocol import Dictionary

SUFFIXES = (".pt", ".pth")
CONFIG = "config.json"
KINDS: dict[str, Kind] = {
    "vanilla": "relu",
    "topk": "topk",
    "batchtopk": "batch_topk",
    "jumprelu": "jumprelu",
    "jump-relu": "jumprelu",
    "batch-topk": "batch_topk",
}
LOG_THRESHOLD = "jumprelu.log_threshold"


def recognises(path: Path) -> bool:
    """Return True if there is one state dict, and beside it a configuration of this kind."""
    return _files(path) is not None


def read(path: Path) -> Dictionary:
    """Read a dictionary. Raises FormatError or DamagedFileError, naming the file and the key."""
    files = _files(path)
    if files is None:
        raise FormatError(f"{path} holds no .pt file with a configuration beside it that has act_size.")
    file, config_path = files
    config = read_config(config_path)
    activation = KINDS[choice(config, "sae_type", "vanilla", KINDS, config_path)]
    choice(config, "activation", "relu", ("relu",), config_path)
    state = read_pickle(file)
    if flag(config, "tied_weights", False, config_path) and "W_enc" in state:
        state = {**state, "W_dec": state["W_enc"].T}
    state, places = _with_thresholds(state, activation, file)
    hook = config.get("hook_point") or config.get("act_name")
    return dictionary_of(
        Parts(
            **places.parts(state, file, d_in=positive(config, "act_size", config_path)),
            activation=activation,
            centred=activation != "jumprelu",
            k=positive(config, "top_k", config_path) if "topk" in activation else None,
            normalisation="layer_norm" if flag(config, "input_unit_norm", False, config_path) else "none",
            metadata=metadata_of(config.get("model_name"), site_of(hook)),
        )
    )


def _with_thresholds(state: dict[str, Any], activation: Kind, file: Path) -> tuple[dict[str, Any], Names]:
    places = Names(encoder_columns=True)
    if activation not in ("jumprelu", "batch_topk"):
        return state, places
    _, m = places.sizes(state, file)
    if activation == "jumprelu":
        threshold = checked(state, {LOG_THRESHOLD: (m,)}, file)[LOG_THRESHOLD].exp()
    elif "threshold" in state:
        threshold = checked(state, {"threshold": ()}, file)["threshold"].expand(m).contiguous()
    else:
        raise FormatError(
            f"{file}: batchtopk keeps the largest of a whole batch, and what one row keeps is said by a threshold that "
            "is not in the file. Measure the smallest activation that is kept, on average over batches, and store it "
            'as "threshold".'
        )
    return {**state, "threshold": threshold}, replace(places, more={"threshold": "threshold"})


def _files(path: Path) -> tuple[Path, Path] | None:
    """The state dict and its configuration."""
    file = only_file(path, SUFFIXES)
    if file is None:
        return None
    for config in (file.with_name(f"{file.stem}_cfg.json"), file.with_name(CONFIG)):
        if config.is_file() and "act_size" in read_config(config):
            return file, config
    return None
