"""Translation of configurations by older versions and unfinished runs of SAELens into those of a finished run today.

Before version 6 a configuration had other names, and a dictionary could have a factor for each latent, learnt after
training, that is between activations and decoder. A checkpoint in the middle of training is of activations that were
scaled (expected_average_only_in) or whitened; how, stands in ``activation_scaler.json`` and
``activation_whitening.safetensors`` beside it, or in ``activations_store_state.safetensors`` before version 6. At the
end SAELens folds it into the weights, and so does `folded`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monosema.core import FormatError
from monosema.dictionaries.formats.files import checked, number, read_config, read_safetensors, shortly
from monosema.dictionaries.formats.parts import Parts

SCALER, WHITENING = "activation_scaler.json", "activation_whitening.safetensors"
OLD_SCALER, OLD_SCALE = "activations_store_state.safetensors", "estimated_norm_scaling_factor"
OLD_NAMES = {
    "hook_point": "hook_name",
    "hook_point_head_index": "hook_head_index",
    "activation_fn_str": "activation_fn",
}
OLD_METADATA = (
    *("model_name", "hook_name", "context_size", "prepend_bos", "dataset_path", "training_tokens"),
    *("model_class_name", "hook_head_index", "neuronpedia_id", "seqpos_slice"),
)
NOT_READ = {
    "abstopk": "its activations have either sign, and here those of a latent have one",
    "matching_pursuit": "its encoder is no single step",
    "temporal": "it reads earlier positions too",
    "crosscoder": "it has a matrix for each of several sites",
}
"""Architectures of SAELens that no dictionary of monosema can be, and why."""
FOLDED_LATER = ("expected_average_only_in", "covariance_whitening")


def modern(config: dict[str, Any], path: Path) -> dict[str, Any]:
    """A configuration as SAELens 6 writes it, from one that may be older. Raises FormatError for other activations."""
    metadata = config.get("metadata")
    if "architecture" in config and isinstance(metadata, dict):
        return config
    config = {OLD_NAMES.get(name, name): value for name, value in config.items()}
    config["architecture"] = config.get("architecture") or "standard"
    options, activation = config.get("activation_fn_kwargs"), config.get("activation_fn") or "relu"
    if activation == "topk" and isinstance(options, dict) and "k" in options:
        config = {**config, "architecture": "topk", "k": options["k"]}
    elif activation not in ("relu", "topk"):
        raise FormatError(f"{path}: activation_fn = {shortly(activation)} is not read; relu and topk are.")
    if isinstance(config.get("normalize_activations"), bool):
        config["normalize_activations"] = "expected_average_only_in" if config["normalize_activations"] else "none"
    if not isinstance(metadata, dict):
        config["metadata"] = {name: config[name] for name in OLD_METADATA if name in config}
    return config


def with_learnt_factors(parts: Parts, stored: dict[str, Tensor], config: dict[str, Any], path: Path) -> Parts:
    """The dictionary with its latents' factors in the decoder. Raises FormatError where the configuration has none."""
    name = next((name for name in ("finetuning_scaling_factor", "scaling_factor") if name in stored), None)
    if name is None:
        return parts
    factors = checked(stored, {name: (parts.n_latents,)}, path)[name]
    if torch.allclose(factors, torch.ones_like(factors)):
        return parts
    if config.get("finetuning_scaling_factor") is not True:
        raise FormatError(
            f"{path}: {name} is not 1 throughout, but finetuning_scaling_factor is not true in the configuration, "
            "so which of the two holds is not known. Set it to true to apply the factors, or leave the tensor out."
        )
    return parts.replace(W_dec=parts.W_dec * factors.unsqueeze(1))


def folded(parts: Parts, said: str, folder: Path, path: Path) -> Parts:
    """The dictionary of activations as they are, of one that was training on scaled or whitened ones.

    Raises FormatError where no file says how they were scaled.
    """
    scaler = read_config(folder / SCALER) if (folder / SCALER).is_file() else {}
    if said == "covariance_whitening" and (folder / WHITENING).is_file():
        d = parts.d_in
        stored = read_safetensors(folder / WHITENING)
        values = checked(stored, {"mean": (d,), "matrix": (d, d), "inverse_matrix": (d, d)}, folder / WHITENING)
        return parts.of_whitened(values["mean"], values["matrix"], values["inverse_matrix"])
    if said == "expected_average_only_in":
        if scaler.get("scaling_factor") is not None:
            return parts.of_scaled(number(scaler, "scaling_factor", folder / SCALER))
        old = read_safetensors(folder / OLD_SCALER) if (folder / OLD_SCALER).is_file() else {}
        if OLD_SCALE in old:
            scale = {OLD_SCALE: float(checked(old, {OLD_SCALE: ()}, folder / OLD_SCALER)[OLD_SCALE])}
            return parts.of_scaled(number(scale, OLD_SCALE, folder / OLD_SCALER))
    names = f"{SCALER}, or {OLD_SCALER} before version 6" if said == "expected_average_only_in" else WHITENING
    raise FormatError(
        f"{path}: normalize_activations = {said!r}, but how activations were scaled is not in {folder}. SAELens' "
        f"checkpoints say it in {names}: copy that beside the weights, or fold it into them in SAELens and save again."
    )
