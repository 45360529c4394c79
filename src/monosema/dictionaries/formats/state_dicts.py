"""One file with a state dict, told apart by the names in it: libraries that publish nothing but weights.

Goodfire (2024)               encoder_linear.*, decoder_linear.*; ReLU
EleutherAI-style linear pairs encoder.*, decoder.* with both biases, such as DeepSeek-R1's by qresearch; ReLU
Apollo's e2e_sae (2024)       encoder.0.*, decoder.*; ReLU, decoder rows scaled to norm 1 where they are used
Qwen Scope (2026)             W_enc [m, d], W_dec [d, m]; TopK, whose k stands in the repository's name (…-L0_50)
Dunefsky's transcoders (2024) W_enc [d, m], W_dec [m, d], b_dec, b_dec_out; ReLU, centred by b_dec
MLSAE (Lawson et al. 2024)    encoder.weight, decoder.weight, pre_encoder_bias, config.json; TopK, layer norm
CrossCoder                    of dictionary_learning's forks: a matrix for each site; ReLU
SAELens' names                in .pt files, with SAELens' configuration in the file or beside it (ViT-Prisma, SAELens 1)
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from monosema.core import FormatError
from monosema.dictionaries.formats.dictionary_learning import crosscoder_parts, is_crosscoder
from monosema.dictionaries.formats.files import (
    checked,
    flag,
    only_file,
    positive,
    read_config,
    read_pickle,
    read_safetensors,
)
from monosema.dictionaries.formats.names import Names
from monosema.dictionaries.formats.parts import Parts, dictionary_of
from monosema.dictionaries.formats.saelens import parts_in
from monosema.dictionaries.protocol import Dictionary

PICKLES = (".pt", ".pth", ".bin", ".ckpt")
SUFFIXES = (*PICKLES, ".safetensors")
CONFIGS = ("config.json", "cfg.json")
GOODFIRE = Names(
    "encoder_linear.weight", "encoder_linear.bias", "decoder_linear.weight", "decoder_linear.bias", decoder_columns=True
)
PAIR = Names("encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias", decoder_columns=True)
E2E = replace(PAIR, W_enc="encoder.0.weight", b_enc="encoder.0.bias")
MLSAE = replace(PAIR, b_dec="pre_encoder_bias")
OURS = Names(encoder_columns=True)
QWEN = Names(decoder_columns=True)
TRANSCODER = Names(b_dec="b_dec_out", encoder_columns=True)
_K_IN_NAME = re.compile(r"-L0_(\d+)(?:$|[^\d])")


class _File(NamedTuple):
    """Facts about a dictionary in one file."""

    path: Path
    state: dict[str, Any]
    config: dict[str, Any]
    config_path: Path


def recognises(path: Path) -> bool:
    """Return True if it is one file of tensors, or a folder with one."""
    return only_file(path, SUFFIXES) is not None


def read(path: Path) -> Dictionary:
    """Read a dictionary. Raises FormatError or DamagedFileError, naming the file and what it holds."""
    file = only_file(path, SUFFIXES)
    if file is None:
        raise FormatError(f"{path} holds no file of tensors, or several.")
    state = read_pickle(file) if file.suffix in PICKLES else read_safetensors(file)
    config, config_path = _config(file, state)
    known = _File(file, _one_of_several(state, file), config, config_path)
    for fits, parts in _LAYOUTS:
        if fits(known):
            return dictionary_of(parts(known))
    there = ", ".join(sorted(name for name, value in state.items() if isinstance(value, Tensor))[:12]) or "no tensors"
    raise FormatError(
        f"{file} holds {there}: no dictionary whose layout monosema knows. If it has an encoder and a decoder, name "
        "them W_enc [d, m], b_enc, W_dec [m, d], b_dec, and put SAELens' cfg.json beside it."
    )


def _config(file: Path, state: dict[str, Any]) -> tuple[dict[str, Any], Path]:
    """The configuration in the file, or beside it, or an empty one."""
    inside = next((state[name] for name in ("cfg", "config") if isinstance(state.get(name), dict)), None)
    if inside is not None:
        return {str(name): value for name, value in inside.items()}, file
    beside = next((file.with_name(name) for name in CONFIGS if file.with_name(name).is_file()), None)
    return (read_config(beside), beside) if beside else ({}, file.with_name(CONFIGS[0]))


def _one_of_several(state: dict[str, Any], file: Path) -> dict[str, Any]:
    """The tensors of the only dictionary, where a file could hold one for each site (e2e_sae's ``saes.SITE.…``)."""
    sites = sorted({name.split(".")[1] for name in state if name.startswith("saes.") and name.count(".") > 1})
    if len(sites) > 1:
        raise FormatError(
            f"{file} holds {len(sites)} dictionaries: {', '.join(sites)}. Save one of them alone: the entries whose "
            f"names begin with 'saes.{sites[0]}.', say."
        )
    prefix = f"saes.{sites[0]}." if sites else ""
    return {name.removeprefix(prefix): value for name, value in state.items()}


def _linear(names: Names) -> Callable[[_File], Parts]:
    def parts(file: _File) -> Parts:
        return Parts(**names.parts(file.state, file.path), activation="relu", centred=False)

    return parts


def _e2e(file: _File) -> Parts:
    parts = _linear(E2E)(file)
    return parts.replace(W_dec=torch.nn.functional.normalize(parts.W_dec, dim=1))


def _qwen(file: _File) -> Parts:
    names = [part for part in file.path.parts if _K_IN_NAME.search(part)]
    if "k" not in file.config and not names:
        raise FormatError(
            f"{file.path}: this is Qwen Scope's layout, which says k in the repository's name alone (…-L0_50). Keep "
            'that name as the folder\'s, or put config.json with {"k": …} beside the file.'
        )
    said = {"k": int(match[1])} if names and (match := _K_IN_NAME.search(names[-1])) else file.config
    k = positive(said, "k", file.config_path)
    return Parts(**QWEN.parts(file.state, file.path), activation="topk", centred=False, k=k)


def _is_qwen(file: _File) -> bool:
    """W_enc with a row per latent: neither SAELens' way round nor a square matrix, which could be either."""
    if not QWEN.fits(file.state) or "d_sae" in file.config:
        return False
    W_enc, bias = file.state["W_enc"], file.state["b_enc"]
    return (
        isinstance(W_enc, Tensor)
        and isinstance(bias, Tensor)
        and W_enc.dim() == 2
        and W_enc.shape[0] == bias.numel() != W_enc.shape[1]
    )


def _transcoder(file: _File) -> Parts:
    """The input is centred by a bias of its own, which the encoder's bias takes up."""
    d_in, _ = TRANSCODER.sizes(file.state, file.path)
    d_out = TRANSCODER.width_out(file.state, file.path)
    parts = Parts(
        **TRANSCODER.parts(file.state, file.path, d_out=d_out), activation="relu", centred=False, transcodes=True
    )
    centre = checked(file.state, {"b_dec": (d_in,)}, file.path)["b_dec"]
    return parts.replace(b_enc=parts.b_enc - parts.W_enc @ centre)


def _mlsae(file: _File) -> Parts:
    if flag(file.config, "lens", False, file.config_path):
        raise FormatError(
            f"{file.config_path}: lens is not read: it has a linear map for each layer around one dictionary."
        )
    _, m = MLSAE.sizes(file.state, file.path)
    standardised = flag(file.config, "standardize", True, file.config_path)
    return Parts(
        **MLSAE.parts({**file.state, "encoder.bias": torch.zeros(m)}, file.path),
        activation="topk",
        k=positive(file.config, "k", file.config_path),
        normalisation="layer_norm" if standardised else "none",
    )


def _saelens(file: _File) -> Parts:
    tensors = {name: value for name, value in file.state.items() if isinstance(value, Tensor)}
    return parts_in(file.config, file.config_path, file.path, tensors)


_LAYOUTS: tuple[tuple[Callable[[_File], bool], Callable[[_File], Parts]], ...] = (
    (lambda file: GOODFIRE.fits(file.state), _linear(GOODFIRE)),
    (lambda file: is_crosscoder(file.state), lambda file: crosscoder_parts(file.state, file.path)),
    (lambda file: E2E.fits(file.state), _e2e),
    (lambda file: TRANSCODER.fits(file.state), _transcoder),
    (lambda file: "pre_encoder_bias" in file.state and MLSAE.W_enc in file.state, _mlsae),
    (lambda file: "d_in" in file.config and "W_enc" in file.state, _saelens),
    (_is_qwen, _qwen),
    (lambda file: PAIR.fits(file.state) and file.path.suffix in PICKLES, _linear(PAIR)),
)
"""Layouts by the names of their tensors; the first that fits is taken."""
