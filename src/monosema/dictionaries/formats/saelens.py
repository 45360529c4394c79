"""SAELens' layout, which is monosema's own: ``cfg.json`` beside ``sae_weights.safetensors``.

Tensors: W_enc [d_in, m], b_enc [m], W_dec [m, d_in], b_dec [d_in]. The rest stands in cfg.json.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monosema.core import DamagedFileError, FormatError, Site, SiteError, atomic_path, nearest, read_json, write_json
from monosema.dictionaries.protocol import Dictionary, Metadata
from monosema.dictionaries.topk import TopK, TopKConfig

__all__ = ["read", "recognises", "write"]

CONFIG = "cfg.json"
WEIGHTS = "sae_weights.safetensors"
WRITTEN_VERSION = "6.0.0"
"""The version of SAELens whose layout this is; it reads anything older than 6.0.0-rc.0 with its legacy reader."""
ARCHITECTURES = ("topk",)
FOREIGN = ("standard", "gated", "jumprelu", "transcoder", "skip_transcoder", "jumprelu_transcoder")
KNOWN_METADATA = ("model_name", "hook_name", "context_size", "prepend_bos", "dataset_path", "training_tokens")


def recognises(folder: Path) -> bool:
    """Whether the folder has both files."""
    return (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file()


def read(folder: Path) -> Dictionary:
    """Read a dictionary. Raises FormatError or DamagedFileError, naming the file and the key."""
    path = folder / CONFIG
    config = read_json(path)
    if not isinstance(config, dict):
        raise FormatError(f"{path} must hold a JSON object, but holds a {type(config).__name__}.")
    architecture = config.get("architecture")
    if architecture not in ARCHITECTURES:
        hint = "" if architecture in FOREIGN else nearest(str(architecture), (*ARCHITECTURES, *FOREIGN))
        raise FormatError(
            f"{path}: architecture is {architecture!r}, which monosema does not read.{hint} "
            f"It reads: {', '.join(ARCHITECTURES)}."
        )
    return _read_topk(folder, config)


def write(dictionary: Dictionary, folder: Path) -> Path:
    """Write a dictionary: weights first, then cfg.json."""
    if not isinstance(dictionary, TopK):
        raise FormatError(
            f"SAELens' layout has no architecture for {type(dictionary).__name__}; nothing was written. "
            f"It can hold here: {', '.join(ARCHITECTURES)}."
        )
    from safetensors.torch import save_file

    tensors = {
        "W_enc": dictionary.encoder.detach().T,
        "b_enc": dictionary.encoder_bias.detach(),
        "W_dec": dictionary.decoder.detach(),
        "b_dec": dictionary.decoder_bias.detach(),
    }
    own = dictionary.config
    config = {
        "architecture": "topk",
        "d_in": dictionary.d_in,
        "d_sae": dictionary.n_latents,
        "dtype": str(dictionary.decoder.dtype).removeprefix("torch."),
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "k": own.k,
        "rescale_acts_by_decoder_norm": False,
        "metadata": _metadata_out(dictionary.metadata),
        "monosema": own.to_dict(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / WEIGHTS) as temporary:
        save_file({name: t.cpu().contiguous() for name, t in tensors.items()}, str(temporary))
    write_json(folder / CONFIG, config)
    return folder


def _read_topk(folder: Path, config: dict[str, Any]) -> TopK:
    path = folder / CONFIG
    d, m, k = (_positive(config, key, path) for key in ("d_in", "d_sae", "k"))
    for key, accepted in (("normalize_activations", "none"), ("reshape_activations", "none")):
        if config.get(key, accepted) not in (accepted, None):
            raise FormatError(f"{path}: {key} = {config[key]!r} is not supported for topk; only {accepted!r} is.")
    tensors = _tensors(folder / WEIGHTS, {"W_enc": (d, m), "b_enc": (m,), "W_dec": (m, d), "b_dec": (d,)})
    own = config.get("monosema")
    known = {n: v for n, v in own.items() if n in TopKConfig.model_fields} if isinstance(own, dict) else {}
    dictionary = TopK(TopKConfig(**{**known, "d_in": d, "n_latents": m, "k": k}), _metadata_in(config.get("metadata")))
    encoder, bias, decoder = tensors["W_enc"].T, tensors["b_enc"], tensors["W_dec"]
    if config.get("rescale_acts_by_decoder_norm", False):
        norms = torch.linalg.vector_norm(decoder, dim=1, keepdim=True)
        encoder, bias, decoder = encoder * norms, bias * norms.squeeze(1), decoder / norms
    if not config.get("apply_b_dec_to_input", True):
        bias = bias + encoder @ tensors["b_dec"]
    with torch.no_grad():
        dictionary.encoder.copy_(encoder)
        dictionary.encoder_bias.copy_(bias)
        dictionary.decoder.copy_(decoder)
        dictionary.decoder_bias.copy_(tensors["b_dec"])
    return dictionary.eval().requires_grad_(False)


def _positive(config: dict[str, Any], key: str, path: Path) -> int:
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        said = "is missing" if value is None else f"= {value!r} is not a positive whole number"
        raise FormatError(f"{path}: {key} {said}. A topk dictionary needs it.")
    return value


def _tensors(path: Path, shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """The named tensors in float32, each of the shape that cfg.json implies, all values finite."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            present = set(file.keys())
            missing = sorted(set(shapes) - present)
            if missing:
                raise FormatError(
                    f"{path} lacks {', '.join(missing)}; it holds {', '.join(sorted(present)) or 'nothing'}."
                )
            tensors = {name: file.get_tensor(name) for name in shapes}
    except (SafetensorError, OSError, ValueError) as error:
        raise DamagedFileError(
            f"{path} can't be read as safetensors ({error}). It may be cut short: copy or train it again."
        ) from None
    for name, shape in shapes.items():
        tensor = tensors[name]
        if tuple(tensor.shape) != shape:
            raise FormatError(
                f"{path}: {name} has shape {list(tensor.shape)}, but by {CONFIG} it should be {list(shape)}."
            )
        tensors[name] = tensor.to(torch.float32)
        if not torch.isfinite(tensors[name]).all():
            bad = int((~torch.isfinite(tensors[name])).sum())
            raise DamagedFileError(f"{path}: {name} holds {bad:,} values that are NaN or infinite.")
    return tensors


def _metadata_out(metadata: Metadata) -> dict[str, Any]:
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


def _metadata_in(values: Any) -> Metadata:
    if not isinstance(values, dict):
        return Metadata()
    rest = {n: v for n, v in values.items() if n not in KNOWN_METADATA and not n.startswith("sae_lens_")}
    return dataclasses.replace(
        Metadata(),
        model=values.get("model_name"),
        site=_site(values.get("hook_name")),
        context=values.get("context_size"),
        prepend_bos=bool(values.get("prepend_bos", True)),
        dataset=values.get("dataset_path"),
        tokens=values.get("training_tokens"),
        extra=rest,
    )


def _site(name: Any) -> Site | None:
    try:
        return Site.parse(name) if isinstance(name, str) and name else None
    except SiteError:
        return None
