"""OpenMOSS' layouts (Language-Model-SAEs; Llama Scope, He et al. 2024, arXiv:2410.20526).

Now: ``config.json`` beside ``sae_weights.safetensors`` with W_E [d, m], b_E [m], W_D [m, d], b_D [d],
dataset_average_activation_norm.HOOK [], activation_function.log_jumprelu_threshold [m]; for a while with
encoder.weight, encoder.bias, decoder.weight, decoder.bias and log_jumprelu_threshold. Llama Scope: ``hyperparams.json``
beside ``checkpoints/final.safetensors``, encoder and decoder as linear layers, one threshold for all latents.

    z = W_E s_in x + b_E,   c = activation(z),   ŷ s_out = W_Dᵀ c + b_D,   s = √d / mean ‖x‖ of the data

The scales are folded as the library does when it loads one (its ``fold_activation_scale``): activations come out in
units of x, that is divided by s_in. Thresholds are of z, but Llama Scope's of z / s_in, which its authors set after
folding. Where sparsity_include_decoder_norm is set, z is judged times the norm of its decoder row: with JumpReLU that
divides the threshold; with TopK, activations come out multiplied by the norms and rows with norm 1. TopK with a
``jump_relu_threshold`` above 0 is how Llama Scope's were trained: the library makes it JumpReLU with that threshold
where it loads one for inference, and so does `read`.

Not read: gated linear encoders (use_glu_encoder), norms by batch, BatchTopK that was not yet turned into JumpReLU.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monosema.core import FormatError, write_json
from monosema.dictionaries.activation_functions.activation import Kind
from monosema.dictionaries.coder_config import Normalisation
from monosema.dictionaries.formats.files import (
    checked,
    choice,
    file_in,
    flag,
    number,
    positive,
    read_config,
    read_safetensors,
    shortly,
    site_of,
    write_safetensors,
)
from monosema.dictionaries.formats.names import Names
from monosema.dictionaries.formats.parts import Parts, dictionary_of, parts_of
from monosema.dictionaries.protocol import Dictionary, Metadata

CONFIG, WEIGHTS = "config.json", "sae_weights.safetensors"
OLD_CONFIG, OLD_WEIGHTS = "hyperparams.json", "checkpoints/final.safetensors"
PRESENT = Names("W_E", "b_E", "W_D", "b_D", encoder_columns=True)
LINEAR = Names("encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias", decoder_columns=True)
NORMS = "dataset_average_activation_norm"
ONE_THRESHOLD = "jump_relu_threshold"
THRESHOLDS = ("activation_function.log_jumprelu_threshold", "log_jumprelu_threshold")
SMALLEST_THRESHOLD = 1e-30
"""Stands for 0, of which there is no logarithm."""
ACTIVATIONS: dict[str, Kind] = {"relu": "relu", "jumprelu": "jumprelu", "topk": "topk"}
NORMALISATIONS: dict[str, Normalisation] = {"dataset-wise": "none", "inference": "none", "token-wise": "rescale"}


def recognises(path: Path) -> bool:
    """Return True if configuration and weights of either layout are there."""
    return _files(path) is not None


def read(path: Path) -> Dictionary:
    """Read a dictionary. Raises FormatError or DamagedFileError, naming the file and the key."""
    files = _files(path)
    if files is None:
        raise FormatError(f"{path} holds no dictionary in OpenMOSS' layout.")
    config_path, weights = files
    config = read_config(config_path)
    choice(config, "sae_type", "sae", ("sae",), config_path)
    if flag(config, "use_glu_encoder", False, config_path):
        raise FormatError(f"{config_path}: use_glu_encoder is not supported: its encoder is no linear map.")
    said = config.get("act_fn", "relu")
    activation = ACTIVATIONS.get(said.lower()) if isinstance(said, str) else None
    if activation is None:
        hint = " Turn it into jumprelu with the library first." if said == "batchtopk" else ""
        raise FormatError(
            f"{config_path}: act_fn = {shortly(said)} is not supported.{hint} Supported: {', '.join(ACTIVATIONS)}."
        )
    mode = choice(config, "norm_activation", "dataset-wise", NORMALISATIONS, config_path)
    stored = read_safetensors(weights)
    parts = _tensors(stored, config, config_path, weights).replace(
        activation=activation, normalisation=NORMALISATIONS[mode]
    )
    if activation == "topk" and config.get(ONE_THRESHOLD):
        parts = parts.replace(activation="jumprelu")
    elif activation == "topk":
        parts = parts.replace(k=positive(config, "top_k", config_path))
    if parts.normalisation != "none" and parts.transcodes:
        raise FormatError(f"{config_path}: norm_activation = {mode!r} is not supported for transcoders.")
    scales = _scales(stored, config, config_path, weights, parts) if mode == "dataset-wise" else (1.0, 1.0)
    return dictionary_of(_folded(parts, config, stored, files, scales))


def write(dictionary: Dictionary, folder: Path) -> Path:
    """Write a dictionary in the present layout; raises FormatError, and writes nothing, where it can't be held."""
    parts = parts_of(dictionary, "OpenMOSS' layout")
    if parts.normalisation == "layer_norm" or parts.skip is not None or parts.d_in != parts.d_out:
        what = "a skip connection" if parts.skip is not None else "a layer norm of the input"
        what = what if parts.d_in == parts.d_out else f"input and output of widths {parts.d_in} and {parts.d_out}"
        raise FormatError(f"OpenMOSS' layout can't hold {what}; nothing was written. monosema's own layout can.")
    parts = parts.centre(False)
    if parts.activation not in ("relu", "topk"):
        parts = parts.as_jumprelu()
    site_in = str(parts.metadata.site) if parts.metadata.site else "in"
    site_out = str(parts.metadata.extra.get("hook_name_out") or "out") if parts.transcodes else site_in
    norm = torch.tensor(float(parts.d_in)).sqrt()
    tensors = {
        **PRESENT.state(parts),
        **{f"{NORMS}.{site}": norm for site in {site_in, site_out}},
    }
    if parts.activation == "jumprelu" and parts.threshold is not None:
        tensors[THRESHOLDS[0]] = parts.threshold.clamp_min(SMALLEST_THRESHOLD).log()
    factor = parts.n_latents / parts.d_in
    config: dict[str, Any] = {
        "sae_type": "sae",
        "hook_point_in": site_in,
        "hook_point_out": site_out,
        "d_model": parts.d_in,
        "expansion_factor": int(factor) if factor == int(factor) else factor,
        "use_decoder_bias": True,
        "use_glu_encoder": False,
        "act_fn": parts.activation,
        "norm_activation": "token-wise" if parts.normalisation == "rescale" else "dataset-wise",
        "sparsity_include_decoder_norm": False,
        "top_k": parts.k or 50,
    }
    write_safetensors(folder / WEIGHTS, tensors)
    write_json(folder / CONFIG, config)
    return folder


def _files(path: Path) -> tuple[Path, Path] | None:
    """Configuration and weights, where both are there; a weights file in checkpoints/ stands for the folder above."""
    folder = path.parent if path.is_file() else path
    folder = folder.parent if path.is_file() and folder.name == "checkpoints" else folder
    for names in ((CONFIG, WEIGHTS), (OLD_CONFIG, OLD_WEIGHTS), (CONFIG, OLD_WEIGHTS), (OLD_CONFIG, WEIGHTS)):
        config, weights = (file_in(folder, name) for name in names)
        if config is not None and weights is not None:
            return config, weights
    return None


def _tensors(stored: dict[str, Tensor], config: dict[str, Any], config_path: Path, weights: Path) -> Parts:
    d = positive(config, "d_model", config_path)
    places = PRESENT if PRESENT.W_enc in stored else LINEAR
    biased = flag(config, "use_decoder_bias", True, config_path)
    stored = stored if biased else {**stored, places.b_dec: torch.zeros(d)}
    hook_in, hook_out = config.get("hook_point_in"), config.get("hook_point_out")
    transcodes = hook_out is not None and hook_out != hook_in
    centred = biased and flag(config, "apply_decoder_bias_to_pre_encoder", False, config_path)
    return Parts(
        activation="relu",
        **places.parts(stored, weights, d),
        centred=centred,
        transcodes=transcodes,
        metadata=Metadata(site=site_of(hook_in), extra={"hook_name_out": hook_out} if transcodes else {}),
    )


def _scales(
    stored: dict[str, Tensor], config: dict[str, Any], config_path: Path, weights: Path, parts: Parts
) -> tuple[float, float]:
    """√d over the mean norm of the data, at the input's site and at the output's."""
    hooks = [config.get("hook_point_in"), config.get("hook_point_out", config.get("hook_point_in"))]
    norms: dict[str, Any] = {}
    said = config.get(NORMS)
    if isinstance(said, dict):
        norms = {"in": said.get("in"), "out": said.get("out", said.get("in"))}
    else:
        for side, hook in zip(("in", "out"), hooks, strict=True):
            name = f"{NORMS}.{hook if isinstance(hook, str) else side}"
            norms[side] = float(checked(stored, {name: ()}, weights)[name])
    path = config_path if isinstance(said, dict) else weights
    root = parts.d_in**0.5
    return root / number(norms, "in", path), root / number(norms, "out", path)


def _folded(
    parts: Parts,
    config: dict[str, Any],
    stored: dict[str, Tensor],
    files: tuple[Path, Path],
    scales: tuple[float, float],
) -> Parts:
    """The dictionary of x itself, with activations in units of x."""
    config_path, weights = files
    scale_in, scale_out = scales
    parts = parts.centre(False)
    by_norm = flag(config, "sparsity_include_decoder_norm", config_path.name == CONFIG, config_path)
    norms = torch.linalg.vector_norm(parts.W_dec, dim=1)
    threshold = None
    if parts.activation == "jumprelu":
        trained = str(config.get("act_fn")).lower() == "jumprelu"
        name = next((name for name in THRESHOLDS if trained and name in stored), None)
        if name is None:
            threshold = torch.full_like(norms, number(config, ONE_THRESHOLD, config_path))
            norms = norms * (scale_in / scale_out)
        else:
            threshold = checked(stored, {name: (parts.n_latents,)}, weights)[name].exp() / scale_in
        threshold = threshold / norms.clamp_min(SMALLEST_THRESHOLD) if by_norm else threshold
    if by_norm and parts.activation == "topk":
        parts = parts.with_unit_rows()
    return parts.replace(
        b_enc=parts.b_enc / scale_in,
        W_dec=parts.W_dec * (scale_in / scale_out),
        b_dec=parts.b_dec / scale_out,
        threshold=threshold,
    )
