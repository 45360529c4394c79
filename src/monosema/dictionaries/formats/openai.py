"""OpenAI's sparse_autoencoder (2024): one state dict in a ``.pt`` file.

Tensors: pre_bias [d], latent_bias [m], encoder.weight [m, d], decoder.weight [d, m], and counters of training. Beside
them the activation's name, and for TopK its state: k, and the name of what is applied to the k largest. Rows are
layer-normalised before and brought back after exactly where the activation is TopK.

Holds TopK behind a layer norm, and ReLU without one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monosema.core import FormatError
from monosema.dictionaries.formats.files import choice, only_file, positive, read_pickle, write_pickle
from monosema.dictionaries.formats.names import Names
from monosema.dictionaries.formats.parts import Parts, dictionary_of, parts_of
from monosema.dictionaries.protocol import Dictionary

NAME = "autoencoder.pt"
SUFFIXES = (".pt", ".pth")
PLACES = Names("encoder.weight", "latent_bias", "decoder.weight", "pre_bias", decoder_columns=True)
NAMES = (PLACES.b_dec, PLACES.b_enc, PLACES.W_enc)


def recognises(path: Path) -> bool:
    """Return True if there is one state dict, with OpenAI's names in it."""
    file = only_file(path, SUFFIXES)
    return file is not None and all(name in read_pickle(file) for name in NAMES)


def read(path: Path) -> Dictionary:
    """Read a dictionary. Raises FormatError or DamagedFileError, naming the file and the key."""
    file = only_file(path, SUFFIXES)
    if file is None:
        raise FormatError(f"{path} holds no .pt file, or several.")
    state = read_pickle(file)
    if (
        "decoder.weight" not in state
        and "decoder.linear.weight" in state
        and isinstance(state["encoder.weight"], Tensor)
    ):
        state["decoder.weight"] = state["encoder.weight"].T
    activation, k = _activation(state, file)
    return dictionary_of(
        Parts(
            activation="relu" if k is None else "topk",
            **PLACES.parts(state, file),
            k=k,
            normalisation="layer_norm" if activation == "TopK" else "none",
        )
    )


def write(dictionary: Dictionary, folder: Path) -> Path:
    """Write a dictionary; raises FormatError, and writes nothing, for one that the file would read otherwise."""
    parts = parts_of(dictionary, "OpenAI's format")
    kind = (parts.activation, parts.normalisation)
    if kind not in (("topk", "layer_norm"), ("relu", "none")) or parts.transcodes:
        what = "transcoders" if parts.transcodes else f"{kind[0]} activation with normalisation {kind[1]!r}"
        raise FormatError(
            f"OpenAI's format can't hold {what}: it has TopK behind a layer norm, and ReLU without one. Nothing was "
            "written. monosema's own layout (SAELens') can hold it."
        )
    parts = parts.centre(True)
    state: dict[str, Any] = {
        **PLACES.state(parts),
        "stats_last_nonzero": torch.zeros(parts.n_latents, dtype=torch.int64),
        "latents_activation_frequency": torch.ones(parts.n_latents),
        "latents_mean_square": torch.zeros(parts.n_latents),
        "activation": "ReLU",
        "activation_state_dict": {},
    }
    if parts.k is not None:
        state |= {"activation": "TopK", "activation_state_dict": {"k": parts.k, "postact_fn": "ReLU"}}
    write_pickle(folder / NAME, state)
    return folder


def _activation(state: dict[str, Any], path: Path) -> tuple[str, int | None]:
    """The activation's name, and k where it is TopK."""
    activation = choice(state, "activation", "ReLU", ("ReLU", "TopK"), path)
    if activation == "ReLU":
        return activation, None
    settings = state.get("activation_state_dict")
    settings = settings if isinstance(settings, dict) else {}
    choice(settings, "postact_fn", "none", ("ReLU",), path)
    k = settings.get("k")
    if isinstance(k, Tensor) and k.numel() == 1 and not k.is_floating_point() and not k.is_complex():
        k = int(k)
    return activation, positive({"k": k}, "k", path)
