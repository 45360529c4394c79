"""SAELens' layout, which is monosema's own: ``cfg.json`` beside ``sae_weights.safetensors``.

Tensors: W_enc [d_in, m], b_enc [m], W_dec [m, d_out], b_dec [d_out]. Gated: b_gate, b_mag, r_mag [m] in place of b_enc.
JumpReLU: threshold [m]. With a skip connection: W_skip [d_out, d_in]. The rest stands in cfg.json; monosema's class and
configuration under the key "monosema".

BatchTopK and Matryoshka dictionaries, and all with that activation, are saved as jumprelu with one threshold for all
latents, as SAELens does; the key "monosema" tells them apart. What SAELens has no architecture for (transcoders with
TopK) is written under a name of monosema's, which SAELens refuses; asked for SAELens' format itself, it is not written.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monosema.core import FormatError, nearest, write_json
from monosema.dictionaries.formats.classes import dictionary_of, parts_of
from monosema.dictionaries.formats.files import (
    Shape,
    checked,
    file_in,
    flag,
    positive,
    read_config,
    read_safetensors,
    shortly,
    site_of,
    write_safetensors,
)
from monosema.dictionaries.formats.parts import Activation, Normalisation, Parts
from monosema.dictionaries.protocol import Dictionary, Metadata

__all__ = ["read", "recognises", "write", "write_strictly"]

CONFIG = "cfg.json"
WEIGHTS = "sae_weights.safetensors"
WRITTEN_VERSION = "6.0.0"
"""The version of SAELens whose layout this is; it reads anything older than 6.0.0-rc.0 with its legacy reader."""
ARCHITECTURES: dict[str, Activation] = {
    "standard": "relu",
    "topk": "topk",
    "gated": "gated",
    "jumprelu": "jumprelu",
    "transcoder": "relu",
    "skip_transcoder": "relu",
    "jumprelu_transcoder": "jumprelu",
    "jumprelu_skip_transcoder": "jumprelu",
}
OWN: dict[str, Activation] = {"topk_transcoder": "topk", "topk_skip_transcoder": "topk"}
NORMALISATIONS: dict[str, Normalisation] = {
    "none": "none",
    "layer_norm": "layer_norm",
    "constant_norm_rescale": "rescale",
}
KNOWN_METADATA = ("model_name", "hook_name", "context_size", "prepend_bos", "dataset_path", "training_tokens")
OLD_NAMES = {
    "hook_point": "hook_name",
    "hook_point_head_index": "hook_head_index",
    "activation_fn_str": "activation_fn",
}
OLD_METADATA = (*KNOWN_METADATA, "model_class_name", "hook_head_index", "neuronpedia_id", "seqpos_slice")


def recognises(path: Path) -> bool:
    """Whether both files are there."""
    return file_in(path, CONFIG) is not None and file_in(path, WEIGHTS) is not None


def read(path: Path) -> Dictionary:
    """Read a dictionary. Raises FormatError or DamagedFileError, naming the file and the key."""
    folder = path.parent if path.is_file() else path
    config_path = folder / CONFIG
    config = _modern(read_config(config_path))
    architecture = config.get("architecture")
    known = {**ARCHITECTURES, **OWN}
    if not isinstance(architecture, str) or architecture not in known:
        raise FormatError(
            f"{config_path}: architecture is {shortly(architecture)}, which monosema does not read."
            f"{nearest(str(architecture)[:60], known)} It reads: {', '.join(known)}."
        )
    return dictionary_of(_read_parts(folder, config, architecture, known[architecture]))


def write(dictionary: Dictionary, folder: Path) -> Path:
    """Write a dictionary: weights first, then cfg.json."""
    return _write(parts_of(dictionary), folder)


def write_strictly(dictionary: Dictionary, folder: Path) -> Path:
    """Write what SAELens itself can read; raises FormatError, and writes nothing, where it could not."""
    parts = parts_of(dictionary)
    if (name := _architecture(parts)) not in ARCHITECTURES:
        raise FormatError(
            f"SAELens has no architecture {name}; nothing was written. monosema's own layout holds it, and sparsify "
            "where its input and output have one width."
        )
    return _write(parts, folder)


def _architecture(parts: Parts) -> str:
    activation = "jumprelu" if parts.activation == "batch_topk" else parts.activation
    if not parts.transcodes:
        return "standard" if activation == "relu" else activation
    prefix = "" if activation == "relu" else f"{activation}_"
    return f"{prefix}{'skip_' if parts.skip is not None else ''}transcoder"


def _modern(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration as SAELens 6 writes it, from one that may be older."""
    metadata = config.get("metadata")
    if "architecture" in config and isinstance(metadata, dict):
        return config
    config = {OLD_NAMES.get(name, name): value for name, value in config.items()}
    config.setdefault("architecture", "standard")
    options = config.get("activation_fn_kwargs")
    if config.get("activation_fn") == "topk" and isinstance(options, dict) and "k" in options:
        config = {**config, "architecture": "topk", "k": options["k"]}
    if isinstance(config.get("normalize_activations"), bool):
        config["normalize_activations"] = "expected_average_only_in" if config["normalize_activations"] else "none"
    if not isinstance(metadata, dict):
        config["metadata"] = {name: config[name] for name in OLD_METADATA if name in config}
    return config


def _read_parts(folder: Path, config: dict[str, Any], architecture: str, activation: Activation) -> Parts:
    path = folder / CONFIG
    d_in, m = positive(config, "d_in", path), positive(config, "d_sae", path)
    transcodes = architecture.endswith("transcoder")
    d_out = positive(config, "d_out", path) if transcodes else d_in
    k = positive(config, "k", path) if activation == "topk" else None
    normalisation = _normalisation(config, transcodes, path)
    skips = "skip" in architecture
    shapes: dict[str, Shape] = {"W_enc": (d_in, m), "W_dec": (m, d_out), "b_dec": (d_out,)}
    biases = ("b_gate", "b_mag", "r_mag") if activation == "gated" else ("b_enc",)
    shapes |= dict.fromkeys((*biases, *(("threshold",) if activation == "jumprelu" else ())), (m,))
    shapes |= {"W_skip": (d_out, d_in)} if skips else {}
    stored = read_safetensors(folder / WEIGHTS)
    _refuse_scaling(stored, folder / WEIGHTS)
    tensors = checked(stored, shapes, folder / WEIGHTS)
    own = config.get("monosema")
    parts = Parts(
        activation=activation,
        encoder=tensors["W_enc"].T,
        encoder_bias=tensors[biases[0]],
        decoder=tensors["W_dec"],
        decoder_bias=tensors["b_dec"],
        centred=not transcodes and flag(config, "apply_b_dec_to_input", True, path),
        k=k,
        threshold=tensors.get("threshold"),
        magnitude_bias=tensors.get("b_mag"),
        magnitude_scale=tensors.get("r_mag"),
        skip=tensors.get("W_skip"),
        transcodes=transcodes,
        normalisation=normalisation,
        own=own if isinstance(own, dict) else {},
        metadata=metadata_in(config.get("metadata")),
    )
    if activation == "topk" and flag(config, "rescale_acts_by_decoder_norm", False, path):
        parts = parts.with_unit_rows()
    batch_topk = parts.own.get("class") in ("BatchTopK", "MatryoshkaBatchTopK")
    if activation == "jumprelu" and (batch_topk or parts.own.get("activation") == "batch_topk"):
        parts = _one_threshold(parts, folder / WEIGHTS)
    return parts


def _normalisation(config: dict[str, Any], transcodes: bool, path: Path) -> Normalisation:
    said = config.get("normalize_activations") or "none"
    if not isinstance(said, str) or said not in NORMALISATIONS:
        fold = said in ("expected_average_only_in", "covariance_whitening")
        hint = " The scale is not in the files: fold it into the weights in SAELens, and save again." if fold else ""
        raise FormatError(
            f"{path}: normalize_activations = {shortly(said)} is not supported.{hint} Supported: "
            f"{', '.join(NORMALISATIONS)}."
        )
    if transcodes and said != "none":
        raise FormatError(f"{path}: normalize_activations = {said!r} is not supported for transcoders.")
    reshape = config.get("reshape_activations") or "none"
    if reshape not in ("none", "hook_z"):
        raise FormatError(f"{path}: reshape_activations = {shortly(reshape)} is not known; none and hook_z are.")
    return NORMALISATIONS[said]


def _refuse_scaling(tensors: dict[str, Tensor], path: Path) -> None:
    """Old dictionaries may hold a factor for each latent, which nothing but 1 is read for."""
    scale = tensors.get("scaling_factor")
    if scale is not None and not torch.allclose(scale.float(), torch.ones_like(scale, dtype=torch.float32)):
        raise FormatError(f"{path}: scaling_factor is not 1 throughout: fold it into W_dec, and leave it out.")


def _one_threshold(parts: Parts, path: Path) -> Parts:
    if parts.threshold is not None and bool((parts.threshold != parts.threshold[0]).any()):
        raise FormatError(f"{path}: threshold must be one value for all latents of a {parts.own['class']} dictionary.")
    return parts.replace(activation="batch_topk", k=parts.own.get("k"))


def _write(parts: Parts, folder: Path) -> Path:
    architecture = _architecture(parts)
    gated = parts.activation == "gated"
    tensors: dict[str, Tensor | None] = {
        "W_enc": parts.encoder.T,
        "b_gate" if gated else "b_enc": parts.encoder_bias,
        "b_mag": parts.magnitude_bias,
        "r_mag": parts.magnitude_scale,
        "W_dec": parts.decoder,
        "b_dec": parts.decoder_bias,
        "threshold": parts.threshold,
        "W_skip": parts.skip,
    }
    site = parts.metadata.site
    config: dict[str, Any] = {
        "architecture": architecture,
        "d_in": parts.d_in,
        "d_sae": parts.n_latents,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": parts.centred,
        "normalize_activations": next(said for said, kind in NORMALISATIONS.items() if kind == parts.normalisation),
        "reshape_activations": "hook_z" if site and site.component == "z" else "none",
        "metadata": metadata_out(parts.metadata),
        "monosema": parts.own,
    }
    if parts.transcodes:
        config["d_out"] = parts.d_out
    if architecture == "topk":
        config["rescale_acts_by_decoder_norm"] = False
    if parts.activation == "topk":
        config["k"] = parts.k
    write_safetensors(folder / WEIGHTS, {name: tensor for name, tensor in tensors.items() if tensor is not None})
    write_json(folder / CONFIG, config)
    return folder


def metadata_out(metadata: Metadata) -> dict[str, Any]:
    """Metadata as SAELens names it."""
    return {
        **metadata.extra,
        "sae_lens_version": WRITTEN_VERSION,
        "sae_lens_training_version": None,
        "model_name": metadata.model,
        "hook_name": str(metadata.site) if metadata.site else None,
        "context_size": metadata.context,
        "prepend_bos": metadata.prepend_bos,
        "dataset_path": metadata.dataset,
        "training_tokens": metadata.tokens,
    }


def metadata_in(values: Any) -> Metadata:
    """Metadata as SAELens names it; values of another type than expected are kept aside."""
    if not isinstance(values, dict):
        return Metadata()
    site = site_of(values.get("hook_name"))
    rest = {
        name: value
        for name, value in values.items()
        if not name.startswith("sae_lens_")
        and (name not in KNOWN_METADATA or (name == "hook_name" and value and not site))
    }

    def kept(name: str, kind: type) -> Any:
        value = values.get(name)
        return value if isinstance(value, kind) and not isinstance(value, bool) else None

    return dataclasses.replace(
        Metadata(),
        model=kept("model_name", str),
        site=site,
        context=kept("context_size", int),
        prepend_bos=bool(values.get("prepend_bos", True)),
        dataset=kept("dataset_path", str),
        tokens=kept("training_tokens", int),
        extra=rest,
    )
