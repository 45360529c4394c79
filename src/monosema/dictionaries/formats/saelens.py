"""SAELens' layout, which is monosema's own: ``cfg.json`` beside ``sae_weights.safetensors``.

Tensors: W_enc [d_in, m], b_enc [m], W_dec [m, d_out], b_dec [d_out]. Gated: b_gate, b_mag, r_mag [m] in place of b_enc.
JumpReLU: threshold [m]. With a skip connection: W_skip [d_out, d_in]. The rest stands in cfg.json; what monosema knows
besides, its activation and configuration, under the key "monosema".

BatchTopK and Matryoshka dictionaries, and all with that activation, are saved as jumprelu with one threshold for all
latents, as SAELens does; the key "monosema" tells them apart. What SAELens has no architecture for (transcoders with
TopK; activations registered from outside, with their own tensors) is written under a name of monosema's, which SAELens
refuses; asked for SAELens' format itself, it is not written.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monosema.core import ConfigError, FormatError, nearest, write_json
from monosema.dictionaries.activation_functions import activation_named
from monosema.dictionaries.activation_functions.activation import Kind
from monosema.dictionaries.coder_config import Normalisation
from monosema.dictionaries.formats.files import (
    checked,
    file_in,
    flag,
    own_in,
    positive,
    read_config,
    read_safetensors,
    shortly,
    site_of,
    write_safetensors,
)
from monosema.dictionaries.formats.names import Names
from monosema.dictionaries.formats.parts import Parts, dictionary_of, parts_of
from monosema.dictionaries.formats.saelens_versions import FOLDED_LATER, NOT_READ, folded, modern, with_learnt_factors
from monosema.dictionaries.protocol import Dictionary, Metadata

CONFIG = "cfg.json"
WEIGHTS = "sae_weights.safetensors"
WRITTEN_VERSION = "6.0.0"
"""The version of SAELens whose layout this is; it reads anything older than 6.0.0-rc.0 with its legacy reader."""
ARCHITECTURES: dict[str, Kind] = {
    "standard": "relu",
    "topk": "topk",
    "gated": "gated",
    "jumprelu": "jumprelu",
    "transcoder": "relu",
    "skip_transcoder": "relu",
    "jumprelu_transcoder": "jumprelu",
    "jumprelu_skip_transcoder": "jumprelu",
}
TRAINING: dict[str, Kind] = {"batchtopk": "jumprelu", "matryoshka_batchtopk": "jumprelu"}
"""Names of unfinished runs: SAELens saves them as jumprelu in the end, with one threshold for all."""
OWN: dict[str, Kind] = {f"{kind}_{skip}transcoder": kind for kind in ("topk", "gated") for skip in ("", "skip_")}
"""monosema's names of what SAELens has no architecture for."""
ANY = "monosema_"
"""Prefix of monosema's names of architectures with an activation of no kind; its name follows."""
NORMALISATIONS: dict[str, Normalisation] = {
    "none": "none",
    "layer_norm": "layer_norm",
    "constant_norm_rescale": "rescale",
}
WEIGHT_NAMES = ("W_enc", "b_enc", "W_dec", "b_dec", "W_skip")
KNOWN_METADATA = ("model_name", "hook_name", "context_size", "prepend_bos", "dataset_path", "training_tokens")


def recognises(path: Path) -> bool:
    """Return True if both files are there."""
    return file_in(path, CONFIG) is not None and file_in(path, WEIGHTS) is not None


def read(path: Path) -> Dictionary:
    """Read a dictionary. Raises FormatError or DamagedFileError, naming the file and the key."""
    folder = path.parent if path.is_file() else path
    config_path = folder / CONFIG
    return dictionary_of(parts_in(read_config(config_path), config_path, folder / WEIGHTS))


def write(dictionary: Dictionary, folder: Path) -> Path:
    """Write a dictionary: weights first, then cfg.json."""
    return _write(parts_of(dictionary), folder)


def write_strictly(dictionary: Dictionary, folder: Path) -> Path:
    """Write what SAELens itself can read; raises FormatError, and writes nothing, where it could not."""
    parts = parts_of(dictionary, "SAELens' layout")
    if (name := _architecture(parts)) not in ARCHITECTURES:
        raise FormatError(
            f"SAELens has no architecture {name}; nothing was written. monosema's own layout holds it, and sparsify "
            "where its input and output have one width."
        )
    return _write(parts, folder)


def _architecture(parts: Parts) -> str:
    activation = "jumprelu" if parts.activation == "batch_topk" else parts.activation
    if activation is None:
        return f"{ANY}{parts.own['activation']}"
    if not parts.transcodes:
        return "standard" if activation == "relu" else activation
    prefix = "" if activation == "relu" else f"{activation}_"
    return f"{prefix}{'skip_' if parts.skip is not None else ''}transcoder"


def parts_in(config: dict[str, Any], path: Path, weights: Path, stored: dict[str, Tensor] | None = None) -> Parts:
    """The parts of a dictionary in SAELens' names.

    Args:
        config: its configuration, of any version.
        path: the file that holds it.
        weights: the file that holds the tensors.
        stored: the tensors, where they are read already.

    Raises:
        FormatError: what can't be read, naming file and key.
        DamagedFileError: a file that can't be parsed, or values that are NaN or infinite.
    """
    config = modern(config, path)
    architecture = _architecture_said(config, path)
    activation = {**ARCHITECTURES, **TRAINING, **OWN}.get(architecture)
    stored = read_safetensors(weights) if stored is None else stored
    if activation == "jumprelu":
        stored = _with_thresholds(stored, positive(config, "d_sae", path), weights)
    own = own_in(config)
    transcodes = architecture.endswith("transcoder") or (activation is None and own.get("transcodes") is True)
    said, normalisation = _normalisation(config, transcodes, path)
    parts = _stored_parts(stored, config, activation, transcodes, path, weights)
    skips = "skip" in architecture if activation is not None else "W_skip" in stored
    parts = parts.replace(
        skip=_skip(stored, parts, weights) if skips else None,
        normalisation=normalisation,
        own=own,
        metadata=metadata_in(config.get("metadata")),
    )
    parts = with_learnt_factors(parts, stored, config, weights)
    by_norm = architecture in ("topk", *TRAINING) and flag(config, "rescale_acts_by_decoder_norm", False, path)
    if by_norm and parts.threshold is not None:
        norms = torch.linalg.vector_norm(parts.W_dec, dim=1).clamp_min(torch.finfo(torch.float32).tiny)
        parts = parts.replace(threshold=parts.threshold / norms)
    if said == "expected_average_only_in":
        parts = folded(parts, said, path.parent, path)
    if by_norm:
        parts = parts.with_unit_rows()
    if said == "covariance_whitening":
        parts = folded(parts, said, path.parent, path)
    if activation == "jumprelu" and parts.own_activation is not None and parts.own_activation.kind == "batch_topk":
        parts = _one_threshold(parts, weights)
    return parts


def _architecture_said(config: dict[str, Any], path: Path) -> str:
    architecture = config.get("architecture")
    known = {**ARCHITECTURES, **TRAINING, **OWN}
    if isinstance(architecture, str) and architecture.startswith(ANY):
        try:
            activation_named(architecture.removeprefix(ANY))
        except ConfigError as error:
            raise FormatError(f"{path}: {error}") from None
        return architecture
    if isinstance(architecture, str) and architecture in NOT_READ:
        raise FormatError(f"{path}: architecture {architecture!r} is not read: {NOT_READ[architecture]}.")
    if not isinstance(architecture, str) or architecture not in known:
        raise FormatError(
            f"{path}: architecture is {shortly(architecture)}, which monosema does not read."
            f"{nearest(str(architecture)[:60], known)} It reads: {', '.join(known)}."
        )
    return architecture


def _with_thresholds(stored: dict[str, Tensor], m: int, weights: Path) -> dict[str, Tensor]:
    """The tensors with a threshold for each latent, of a file that may hold its logarithm, or one for all."""
    if "log_threshold" in stored:
        stored = {**stored, "threshold": checked(stored, {"log_threshold": (m,)}, weights)["log_threshold"].exp()}
    if "topk_threshold" in stored:
        one = checked(stored, {"topk_threshold": ()}, weights)["topk_threshold"]
        stored = {**stored, "threshold": one.expand(m).contiguous()}
    return stored


def _stored_parts(
    stored: dict[str, Tensor],
    config: dict[str, Any],
    activation: Kind | None,
    transcodes: bool,
    path: Path,
    weights: Path,
) -> Parts:
    places = Names(encoder_columns=True)
    if activation == "gated":
        more = {"magnitude_bias": "b_mag", "magnitude_scale": "r_mag"}
        places = dataclasses.replace(places, b_enc="b_gate", more=more)
    elif activation == "jumprelu":
        places = dataclasses.replace(places, more={"threshold": "threshold"})
    d_in, m = positive(config, "d_in", path), positive(config, "d_sae", path)
    d_out = positive(config, "d_out", path) if transcodes else d_in
    return Parts(
        **places.parts(stored, weights, d_in, m, d_out),
        activation=activation,
        centred=not transcodes and flag(config, "apply_b_dec_to_input", True, path),
        k=positive(config, "k", path) if activation == "topk" else None,
        transcodes=transcodes,
        tensors={} if activation is not None else {n: t for n, t in stored.items() if n not in WEIGHT_NAMES},
    )


def _skip(stored: dict[str, Tensor], parts: Parts, weights: Path) -> Tensor:
    return checked(stored, {"W_skip": (parts.d_out, parts.d_in)}, weights)["W_skip"]


def _normalisation(config: dict[str, Any], transcodes: bool, path: Path) -> tuple[str, Normalisation]:
    """Return the parts by the configuration, and the fields that can't be folded in."""
    said = config.get("normalize_activations") or "none"
    if not isinstance(said, str) or said not in (*NORMALISATIONS, *FOLDED_LATER):
        raise FormatError(
            f"{path}: normalize_activations = {shortly(said)} is not supported. Supported: "
            f"{', '.join((*NORMALISATIONS, *FOLDED_LATER))}."
        )
    if transcodes and said != "none":
        raise FormatError(f"{path}: normalize_activations = {said!r} is not supported for transcoders.")
    reshape = config.get("reshape_activations") or "none"
    if reshape not in ("none", "hook_z"):
        raise FormatError(f"{path}: reshape_activations = {shortly(reshape)} is not known; none and hook_z are.")
    return said, NORMALISATIONS.get(said, "none")


def _one_threshold(parts: Parts, path: Path) -> Parts:
    if parts.threshold is not None and bool((parts.threshold != parts.threshold[0]).any()):
        raise FormatError(f"{path}: threshold must be one value for all latents of a BatchTopK dictionary.")
    return parts.replace(activation="batch_topk", k=parts.own.get("k"))


def _write(parts: Parts, folder: Path) -> Path:
    architecture = _architecture(parts)
    gated = parts.activation == "gated"
    tensors: dict[str, Tensor | None] = {
        "W_enc": parts.W_enc.T,
        "b_gate" if gated else "b_enc": parts.b_enc,
        "b_mag": parts.magnitude_bias,
        "r_mag": parts.magnitude_scale,
        "W_dec": parts.W_dec,
        "b_dec": parts.b_dec,
        "threshold": parts.threshold,
        "W_skip": parts.skip,
        **parts.tensors,
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
