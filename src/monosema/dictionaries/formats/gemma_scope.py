"""Gemma Scope's file (Lieberum et al. 2024, arXiv:2408.05147): arrays in ``params.npz``.

W_enc [d_in, m], b_enc [m], W_dec [m, d_out], b_dec [d_out], threshold [m]; JumpReLU, not centred. Gemma Scope's
transcoders are stored alike: where input and output have one width, the file doesn't say whether they are one site.

Holds whatever is a threshold: JumpReLU, BatchTopK and Matryoshka, L1 (threshold 0), Gated (a gate is a threshold of
its magnitude). They come back as JumpReLU, with equal activations; metadata is lost.
"""

from __future__ import annotations

from pathlib import Path

from monosema.core import FormatError
from monosema.dictionaries.formats.classes import dictionary_of, parts_of
from monosema.dictionaries.formats.files import checked, read_arrays, write_arrays
from monosema.dictionaries.formats.parts import Parts
from monosema.dictionaries.protocol import Dictionary

__all__ = ["read", "recognises", "write"]

NAME = "params.npz"


def recognises(path: Path) -> bool:
    """Whether there is a file of arrays."""
    return _file(path) is not None


def read(path: Path) -> Dictionary:
    """Read a dictionary. Raises FormatError or DamagedFileError, naming the file and the array."""
    file = _file(path)
    if file is None:
        raise FormatError(f"{path} holds no {NAME}.")
    arrays = read_arrays(file)
    width = {name: arrays[name].shape if name in arrays else () for name in ("W_enc", "W_dec")}
    d_in, m = width["W_enc"] if len(width["W_enc"]) == 2 else (None, None)
    d_out = width["W_dec"][1] if len(width["W_dec"]) == 2 else None
    shapes = {"W_enc": (d_in, m), "b_enc": (m,), "W_dec": (m, d_out), "b_dec": (d_out,), "threshold": (m,)}
    tensors = checked(arrays, shapes, file)
    return dictionary_of(
        Parts(
            activation="jumprelu",
            encoder=tensors["W_enc"].T,
            encoder_bias=tensors["b_enc"],
            decoder=tensors["W_dec"],
            decoder_bias=tensors["b_dec"],
            centred=False,
            threshold=tensors["threshold"],
            transcodes=d_in != d_out,
        )
    )


def write(dictionary: Dictionary, folder: Path) -> Path:
    """Write a dictionary; raises FormatError, and writes nothing, where it is no matter of thresholds."""
    parts = parts_of(dictionary)
    if parts.activation == "topk" or parts.normalisation != "none" or parts.skip is not None:
        what = "TopK" if parts.activation == "topk" else "a skip connection" if parts.skip is not None else None
        raise FormatError(
            f"Gemma Scope's file can't hold {what or 'a normalised input'}; nothing was written. monosema's own layout "
            "(SAELens') can."
        )
    parts = parts.as_jumprelu().centre(False)
    tensors = {
        "W_enc": parts.encoder.T,
        "b_enc": parts.encoder_bias,
        "W_dec": parts.decoder,
        "b_dec": parts.decoder_bias,
        "threshold": parts.threshold,
    }
    write_arrays(folder / NAME, {name: tensor for name, tensor in tensors.items() if tensor is not None})
    return folder


def _file(path: Path) -> Path | None:
    if path.is_file():
        return path if path.suffix == ".npz" else None
    return path / NAME if (path / NAME).is_file() else None
