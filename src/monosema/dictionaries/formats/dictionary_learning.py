"""dictionary_learning's layout: a state dict in ``ae.pt``, and ``config.json`` with the trainer's settings.

    AutoEncoder             bias [d], encoder.weight [m, d], encoder.bias [m], decoder.weight [d, m]
    AutoEncoderNew          encoder.weight, encoder.bias, decoder.weight, decoder.bias [d]; not centred
    GatedAutoEncoder        decoder_bias [d], encoder.weight, r_mag, gate_bias, mag_bias [m], decoder.weight
    AutoEncoderTopK         b_dec [d], encoder.weight, encoder.bias, decoder.weight, k, threshold []
    BatchTopKSAE            the same; activations above the threshold (below 0: not set yet, all above 0)
    JumpReluAutoEncoder     W_enc [d, m], b_enc, W_dec [m, d], b_dec, threshold [m]; not centred
    MatryoshkaBatchTopKSAE  W_enc, b_enc, W_dec, b_dec, k, threshold [], group_sizes [groups]

    CrossCoder              a matrix for each site; see `crosscoder_parts`

The library scales an AutoEncoder's decoder rows to norm 1 when it loads one, and so does `read`. What has other norms
is written as AutoEncoderNew, which it leaves alone.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monosema.core import FormatError, Site, SiteError, nearest, write_json
from monosema.dictionaries.activation_functions.activation import Kind
from monosema.dictionaries.formats.files import (
    checked,
    file_in,
    own_in,
    positive,
    read_config,
    read_pickle,
    shortly,
    write_pickle,
)
from monosema.dictionaries.formats.names import Names
from monosema.dictionaries.formats.parts import Parts, dictionary_of, parts_of
from monosema.dictionaries.formats.saelens import metadata_in, metadata_out
from monosema.dictionaries.protocol import Dictionary, Metadata

WEIGHTS = "ae.pt"
CONFIG = "config.json"
_LINEAR = Names("encoder.weight", "encoder.bias", "decoder.weight", "b_dec", decoder_columns=True)
_PLAIN = Names(encoder_columns=True)
CLASSES: dict[str, Names] = {
    "AutoEncoder": replace(_LINEAR, b_dec="bias"),
    "AutoEncoderNew": replace(_LINEAR, b_dec="decoder.bias"),
    "GatedAutoEncoder": replace(
        _LINEAR,
        b_enc="gate_bias",
        b_dec="decoder_bias",
        more={"magnitude_bias": "mag_bias", "magnitude_scale": "r_mag"},
    ),
    "AutoEncoderTopK": _LINEAR,
    "BatchTopKSAE": _LINEAR,
    "JumpReluAutoEncoder": replace(_PLAIN, more={"threshold": "threshold"}),
    "MatryoshkaBatchTopKSAE": _PLAIN,
}
"""Names of the parts, by class."""
ACTIVATIONS: dict[str, Kind] = {
    "AutoEncoder": "relu",
    "AutoEncoderNew": "relu",
    "GatedAutoEncoder": "gated",
    "AutoEncoderTopK": "topk",
    "BatchTopKSAE": "batch_topk",
    "JumpReluAutoEncoder": "jumprelu",
    "MatryoshkaBatchTopKSAE": "batch_topk",
}
NOT_CENTRED = ("AutoEncoderNew", "JumpReluAutoEncoder")
NOT_READ = {
    "IdentityDict": "it has no parts; the dictionary `neurons` is the same",
}
PREFIXES = "prefixes"
"""The field of a Matryoshka dictionary's configuration that says how its latents nest: shares that rise to 1."""
UNSET = -1.0
"""The threshold of a dictionary that has learnt none yet."""


def recognises(path: Path) -> bool:
    """Return True if the state dict is there."""
    return file_in(path, WEIGHTS) is not None


def read(path: Path) -> Dictionary:
    """Read a dictionary. Raises FormatError or DamagedFileError, naming the file and the key."""
    folder = path.parent if path.is_file() else path
    weights = folder / WEIGHTS
    config = read_config(folder / CONFIG) if (folder / CONFIG).is_file() else {}
    trainer = config.get("trainer")
    trainer = trainer if isinstance(trainer, dict) else {}
    state = read_pickle(weights)
    if is_crosscoder(state):
        return dictionary_of(crosscoder_parts(state, weights))
    name = _class_name(trainer.get("dict_class"), state, weights)
    places = CLASSES[name]
    _, m = places.sizes(state, weights)
    parts = Parts(**places.parts(state, weights), activation=ACTIVATIONS[name], centred=name not in NOT_CENTRED)
    if parts.activation in ("topk", "batch_topk"):
        k = _scalar(state, "k", weights) if "k" in state else positive(trainer, "k", folder / CONFIG)
        parts = parts.replace(k=k)
    if parts.activation == "batch_topk":
        threshold = checked(state, {"threshold": ()}, weights)["threshold"].clamp_min(0.0)
        parts = parts.replace(threshold=threshold.expand(m))
    parts = parts.replace(own=own_in(config))
    if name == "MatryoshkaBatchTopKSAE":
        parts = parts.replace(own={**parts.own, PREFIXES: _prefixes(state, m, weights)})
    if name == "AutoEncoder" and not parts.has_unit_rows:
        parts = parts.with_unit_rows()
    metadata = metadata_in(parts.own["metadata"]) if "metadata" in parts.own else _metadata(trainer, config)
    return dictionary_of(parts.replace(metadata=metadata))


def is_crosscoder(state: dict[str, Any]) -> bool:
    """Return True if there is a matrix for each of several sites."""
    W_enc = state.get("encoder.weight")
    return isinstance(W_enc, Tensor) and W_enc.dim() == 3


def crosscoder_parts(state: dict[str, Any], path: Path) -> Parts:
    """A CrossCoder (in the library's forks): encoder.weight [sites, d, m], decoder.weight [sites, m, d], encoder.bias
    [m], decoder.bias [sites, d]; ReLU, not centred. Raises FormatError for other activations."""
    if "threshold" in state or "k" in state:
        raise FormatError(f"{path}: a crosscoder with a threshold or k is not read; those with ReLU are.")
    sites, d, m = state["encoder.weight"].shape
    shapes = {"encoder.weight": (sites, d, m), "decoder.weight": (sites, m, d)}
    tensors = checked(state, {**shapes, "encoder.bias": (m,), "decoder.bias": (sites, d)}, path)
    return Parts(
        activation="relu",
        W_enc=tensors["encoder.weight"].reshape(sites * d, m).T,
        b_enc=tensors["encoder.bias"],
        W_dec=tensors["decoder.weight"].transpose(0, 1).reshape(m, sites * d),
        b_dec=tensors["decoder.bias"].reshape(-1),
        centred=False,
        own={"n_sites": sites},
    )


def write(dictionary: Dictionary, folder: Path) -> Path:
    """Write a dictionary; raises FormatError, and writes nothing, for transcoders and normalised inputs."""
    parts = parts_of(dictionary, "dictionary_learning")
    if parts.transcodes or parts.normalisation != "none":
        what = "transcoders" if parts.transcodes else "normalised inputs"
        raise FormatError(
            f"dictionary_learning can't hold {what}; nothing was written. monosema's own layout (SAELens') can."
        )
    name = _class_for(parts)
    parts = parts.centre(name not in NOT_CENTRED)
    state = CLASSES[name].state(parts)
    if parts.activation in ("topk", "batch_topk"):
        state["k"] = torch.tensor(parts.k, dtype=torch.int32)
        state["threshold"] = torch.tensor(UNSET) if parts.threshold is None else parts.threshold[0]
    if name == "MatryoshkaBatchTopKSAE":
        ends = [max(1, round(share * parts.n_latents)) for share in parts.own[PREFIXES]]
        state["group_sizes"] = torch.tensor([0, *ends], dtype=torch.int64).diff()
    site = parts.metadata.site
    trainer: dict[str, Any] = {
        "dict_class": name,
        "activation_dim": parts.d_in,
        "dict_size": parts.n_latents,
        "lm_name": parts.metadata.model,
        "layer": site.layer if site else None,
        "submodule_name": f"{site.component}_layer_{site.layer}" if site else None,
    }
    if parts.k is not None:
        trainer["k"] = parts.k
    buffer = {"d_submodule": parts.d_in, "ctx_len": parts.metadata.context}
    own = {**parts.own, "metadata": metadata_out(parts.metadata)}
    write_pickle(folder / WEIGHTS, state)
    write_json(folder / CONFIG, {"trainer": trainer, "buffer": buffer, "monosema": own})
    return folder


def _class_name(said: Any, state: dict[str, Any], path: Path) -> str:
    """The class that config.json names, or the one that the tensors' names leave."""
    if said is not None:
        name = said.rstrip("'>").rpartition(".")[2] if isinstance(said, str) else ""
        if name in CLASSES:
            return name
        if name in NOT_READ:
            raise FormatError(f"{path.parent / CONFIG}: dict_class = {name} is not read: {NOT_READ[name]}.")
        near = nearest(name[:60], CLASSES)
        raise FormatError(
            f"{path.parent / CONFIG}: dict_class = {shortly(said)} is not known.{near} Known: {', '.join(CLASSES)}."
        )
    if "W_enc" in state:
        return "MatryoshkaBatchTopKSAE" if "group_sizes" in state else "JumpReluAutoEncoder"
    if "threshold" in state:
        raise FormatError(
            f"{path}: AutoEncoderTopK and BatchTopKSAE hold the same tensors. Put config.json beside it, with "
            '{"trainer": {"dict_class": …}}.'
        )
    for name, bias in (("GatedAutoEncoder", "gate_bias"), ("AutoEncoderNew", "decoder.bias")):
        if bias in state:
            return name
    return "AutoEncoderTopK" if "b_dec" in state else "AutoEncoder"


def _class_for(parts: Parts) -> str:
    if parts.activation == "relu":
        return "AutoEncoder" if parts.has_unit_rows else "AutoEncoderNew"
    if parts.activation == "batch_topk":
        return "MatryoshkaBatchTopKSAE" if parts.own.get(PREFIXES) else "BatchTopKSAE"
    others = {"topk": "AutoEncoderTopK", "jumprelu": "JumpReluAutoEncoder", "gated": "GatedAutoEncoder"}
    return others[str(parts.activation)]


def _scalar(state: dict[str, Any], name: str, path: Path) -> int:
    value = checked(state, {name: ()}, path)[name]
    if not 0 < float(value) < 2**31 or float(value) != int(value):
        raise FormatError(f"{path}: {name} = {float(value):g} must be a whole number above 0.")
    return int(value)


def _prefixes(state: dict[str, Any], m: int, path: Path) -> list[float]:
    """Return the end of each group, as a share of all latents."""
    sizes = checked(state, {"group_sizes": (None,)}, path)["group_sizes"].to(torch.float64)
    if bool((sizes < 1).any()) or float(sizes.sum()) != m:
        raise FormatError(f"{path}: group_sizes must be above 0 and sum to {m}, the number of latents.")
    return [float(end) / m for end in sizes.cumsum(0)]


def _metadata(trainer: dict[str, Any], config: dict[str, Any]) -> Metadata:
    model, layer, buffer = trainer.get("lm_name"), trainer.get("layer"), config.get("buffer")
    context = buffer.get("ctx_len") if isinstance(buffer, dict) else None
    submodule = trainer.get("submodule_name")
    site = None
    if isinstance(layer, int) and isinstance(submodule, str):
        try:
            site = Site(layer, submodule.removesuffix(f"_layer_{layer}"))
        except SiteError:
            site = None
    return Metadata(
        model=model if isinstance(model, str) else None,
        site=site,
        context=context if isinstance(context, int) else None,
        extra={"trainer": trainer} if trainer else {},
    )
