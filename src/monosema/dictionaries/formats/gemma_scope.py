"""Gemma Scope's files: ``params.npz`` (Lieberum et al. 2024, arXiv:2408.05147), and Gemma Scope 2's
``params.safetensors`` with ``config.json`` (2025).

W_enc [d_in, m], b_enc [m], W_dec [m, d_out], b_dec [d_out], threshold [m]; JumpReLU, not centred. Gemma Scope 2 writes
w_enc and w_dec, and has affine_skip_connection [d_in, d_out] in some transcoders. Gemma Scope's transcoders are stored
like its autoencoders: where input and output have one width, the file doesn't say whether they are one site.

Holds whatever is a threshold: JumpReLU, BatchTopK and Matryoshka, L1 (threshold 0), Gated (a gate is a threshold of
its magnitude). They come back as JumpReLU, with equal activations.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from monosema.core import FormatError, Site
from monosema.dictionaries.formats.files import (
    checked,
    choice,
    metadata_of,
    read_arrays,
    read_config,
    read_safetensors,
    write_arrays,
)
from monosema.dictionaries.formats.names import Names
from monosema.dictionaries.formats.parts import Parts, dictionary_of, parts_of
from monosema.dictionaries.protocol import Dictionary

NAME, SECOND = "params.npz", "params.safetensors"
CONFIG = "config.json"
PLACES = Names(encoder_columns=True, more={"threshold": "threshold"})
SMALL = {"w_enc": "W_enc", "w_dec": "W_dec"}
"""Names that Gemma Scope 2 writes in small letters."""
SKIP = "affine_skip_connection"
COMPONENTS = {
    "output": "resid_post",
    "self_attn.o_proj.input": "z",
    "pre_feedforward_layernorm.output": "mlp_in",
    "post_feedforward_layernorm.output": "mlp_out",
}
"""The places where Gemma Scope 2 reads and writes, which config.json says by the paths of transformers' modules."""
_PLACE = re.compile(r"model\.layers\.(\d+)\.(.+)")


def recognises(path: Path) -> bool:
    """Return True if there is a file of arrays, or of Gemma Scope 2's tensors."""
    return _file(path) is not None


def read(path: Path) -> Dictionary:
    """Read a dictionary. Raises FormatError or DamagedFileError, naming the file and the array."""
    file = _file(path)
    if file is None:
        raise FormatError(f"{path} holds no {NAME}.")
    stored = read_arrays(file) if file.suffix == ".npz" else read_safetensors(file)
    stored = {SMALL.get(name, name): value for name, value in stored.items()}
    if "W_dec" in stored and stored["W_dec"].dim() == 3:
        raise FormatError(
            f"{file} is a layer of a cross-layer transcoder, which writes to every later layer. monosema's transcoders "
            "write to one."
        )
    d_in, _ = PLACES.sizes(stored, file)
    d_out = PLACES.width_out(stored, file)
    config_path = file.with_name(CONFIG)
    config = read_config(config_path) if file.name == SECOND and config_path.is_file() else {}
    choice(config, "architecture", "jump_relu", ("jump_relu", "jumprelu"), config_path)
    skip = checked(stored, {SKIP: (d_in, d_out)}, file)[SKIP].T if SKIP in stored else None
    reads, writes = (config.get(f"hf_hook_point_{side}") for side in ("in", "out"))
    return dictionary_of(
        Parts(
            **PLACES.parts(stored, file, d_out=d_out),
            activation="jumprelu",
            centred=False,
            skip=skip,
            transcodes=d_in != d_out or skip is not None or (writes is not None and writes != reads),
            metadata=metadata_of(config.get("model_name"), _site(reads), _site(writes)),
        )
    )


def _site(place: Any) -> Site | None:
    match = _PLACE.fullmatch(place) if isinstance(place, str) else None
    return Site(int(match[1]), COMPONENTS[match[2]]) if match and match[2] in COMPONENTS else None


def write(dictionary: Dictionary, folder: Path) -> Path:
    """Write a dictionary; raises FormatError, and writes nothing, where it is no matter of thresholds."""
    parts = parts_of(dictionary, "Gemma Scope's file")
    if parts.activation == "topk" or parts.normalisation != "none" or parts.skip is not None:
        what = "TopK" if parts.activation == "topk" else "a skip connection" if parts.skip is not None else None
        raise FormatError(
            f"Gemma Scope's file can't hold {what or 'a normalised input'}; nothing was written. monosema's own layout "
            "(SAELens') can."
        )
    parts = parts.as_jumprelu().centre(False)
    write_arrays(folder / NAME, PLACES.state(parts))
    return folder


def _file(path: Path) -> Path | None:
    if path.is_file():
        return path if path.suffix == ".npz" or path.name == SECOND else None
    return next((path / name for name in (NAME, SECOND) if (path / name).is_file()), None)
