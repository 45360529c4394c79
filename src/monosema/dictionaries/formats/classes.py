"""Dictionaries as parts, and back: the one place where formats meet architectures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from monosema.core import FormatError
from monosema.dictionaries.autoencoder import Autoencoder
from monosema.dictionaries.formats.parts import Parts
from monosema.dictionaries.normalised import NormalisedInput
from monosema.dictionaries.protocol import Dictionary
from monosema.dictionaries.topk import TopK, TopKConfig

__all__ = ["dictionary_of", "parts_of"]

_SHARED = ("encoder", "encoder_bias", "decoder", "decoder_bias")


def parts_of(dictionary: Dictionary) -> Parts:
    """The parts of a dictionary. Raises FormatError for the baselines, which no format holds."""
    if isinstance(dictionary, NormalisedInput):
        return parts_of(dictionary.inner).replace(normalisation=dictionary.kind)
    name = type(dictionary).__name__
    if name not in _PARTS or not isinstance(dictionary, Autoencoder):
        raise FormatError(
            f"No format holds a dictionary of the kind {name}; nothing was written. Those that can be saved: "
            f"{', '.join(_PARTS)}."
        )
    shared: dict[str, Any] = {
        **{name: getattr(dictionary, name).detach().float() for name in _SHARED},
        "own": {"class": name, **dictionary.config.to_dict()},
        "metadata": dictionary.metadata,
    }
    return Parts(**{**shared, **_PARTS[name](dictionary)})


def dictionary_of(parts: Parts) -> Dictionary:
    """The dictionary of these parts: of the class that the files name, or of the one that its activation means."""
    name = parts.own.get("class")
    makers = _MAKERS[parts.activation]
    maker = makers.get(name) if isinstance(name, str) else None
    dictionary = (maker or next(iter(makers.values())))(parts)
    dictionary.eval().requires_grad_(False)
    return dictionary if parts.normalisation == "none" else NormalisedInput(dictionary, parts.normalisation)


def _config(kind: Any, parts: Parts, **fixed: Any) -> Any:
    """The configuration that the files give, as far as this version has its fields."""
    known = {name: value for name, value in parts.own.items() if name in kind.model_fields and _is_plain(value)}
    return kind(**{**known, "n_latents": parts.n_latents, **fixed})


def _is_plain(value: Any) -> bool:
    """Whether a value is one that a configuration can have; messages show it whole, however deep it nests."""
    values = value if isinstance(value, list) else [value]
    return all(isinstance(one, (str, int, float, bool)) for one in values)


def _filled(dictionary: Any, parts: Parts, **more: Tensor) -> Any:
    with torch.no_grad():
        for name, value in {**{name: getattr(parts, name) for name in _SHARED}, **more}.items():
            getattr(dictionary, name).copy_(value)
    return dictionary


def _topk(parts: Parts) -> TopK:
    return _filled(TopK(_config(TopKConfig, parts, d_in=parts.d_in, k=parts.k), parts.metadata), parts.centre(True))


_PARTS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "TopK": lambda dictionary: {"activation": "topk", "k": dictionary.config.k},
}
_MAKERS: dict[str, dict[str, Callable[[Parts], Any]]] = {
    "topk": {"TopK": _topk},
}
