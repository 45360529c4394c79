"""Dictionaries as parts, and back: the one place where formats meet architectures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from monosema.core import FormatError
from monosema.dictionaries.autoencoder import Autoencoder
from monosema.dictionaries.batch_topk import BatchTopK, BatchTopKConfig
from monosema.dictionaries.crosscoder import Crosscoder, CrosscoderConfig
from monosema.dictionaries.formats.parts import Activation, Parts
from monosema.dictionaries.gated import Gated, GatedConfig
from monosema.dictionaries.jumprelu import JumpReLU, JumpReLUConfig
from monosema.dictionaries.l1 import L1, L1Config
from monosema.dictionaries.matryoshka import MatryoshkaBatchTopK, MatryoshkaConfig
from monosema.dictionaries.normalised import NormalisedInput
from monosema.dictionaries.p_anneal import PAnneal, PAnnealConfig
from monosema.dictionaries.protocol import Dictionary
from monosema.dictionaries.tied import TiedL1, TiedL1Config
from monosema.dictionaries.topk import TopK, TopKConfig
from monosema.dictionaries.transcoder import Transcoder, TranscoderConfig

Fields = dict[str, Any]


@dataclass(frozen=True)
class _Class:
    """How an architecture stands in parts.

    Attributes:
        kind: its class.
        config: the class of its configuration.
        activation: what its parts say.
        facts: what its parts say besides, of a dictionary.
        settings: what its configuration must say, of parts.
        tensors: what it has beside encoder, decoder and their biases, of parts; by attribute.
    """

    kind: type[Autoencoder]
    config: type[Any]
    activation: Activation
    facts: Callable[[Any], Fields] = lambda dictionary: {}
    settings: Callable[[Parts], Fields] = lambda parts: {}
    tensors: Callable[[Parts], dict[str, Tensor | None]] = lambda parts: {}


def _kept(parts: Parts) -> Fields:
    """How many latents are kept; the configuration's own number where the files don't say."""
    return {} if parts.k is None else {"k": parts.k}


def _rectified(parts: Parts) -> Tensor:
    """Thresholds below 0 cut off nothing that is not cut off at 0."""
    return torch.zeros_like(parts.b_enc) if parts.threshold is None else parts.threshold.clamp_min(0)


_JUMPRELU = _Class(
    JumpReLU,
    JumpReLUConfig,
    "jumprelu",
    lambda dictionary: {"threshold": dictionary.threshold, "centred": dictionary.config.centre_input},
    lambda parts: {"centre_input": parts.centred},
    lambda parts: {"threshold": _rectified(parts)},
)
_GATED = _Class(
    Gated,
    GatedConfig,
    "gated",
    lambda dictionary: {
        "magnitude_bias": dictionary.magnitude_bias,
        "magnitude_scale": dictionary.magnitude_scale,
    },
    tensors=lambda parts: {"magnitude_bias": parts.magnitude_bias, "magnitude_scale": parts.magnitude_scale},
)


def _batch_topk(kind: type[Autoencoder], config: type[Any]) -> _Class:
    return _Class(
        kind,
        config,
        "batch_topk",
        lambda dictionary: {
            "k": dictionary.config.k,
            "threshold": dictionary.threshold.expand(dictionary.n_latents),
        },
        _kept,
        lambda parts: {"threshold": _rectified(parts)[0]},
    )


def _several_sites(dictionary: Any) -> Fields:
    """What parts of a dictionary over several sites say: k where it keeps the largest, a threshold for each latent."""
    config, threshold = dictionary.config, dictionary.threshold
    return {
        "k": config.k if config.activation in ("topk", "batch_topk") else None,
        "threshold": None if threshold is None else threshold.expand(dictionary.n_latents),
    }


def _thresholds(parts: Parts, activation: Activation) -> dict[str, Tensor | None]:
    """Its own threshold, of parts: one for each latent, or one for all."""
    if activation == "jumprelu":
        return {"threshold": _rectified(parts)}
    return {"threshold": _rectified(parts)[0]} if activation == "batch_topk" else {}


def _crosscoder(activation: Activation) -> _Class:
    return _Class(
        Crosscoder,
        CrosscoderConfig,
        activation,
        _several_sites,
        lambda parts: {"activation": activation, **_kept(parts)},
        lambda parts: _thresholds(parts, activation),
    )


def _transcoder(activation: Activation) -> _Class:
    return _Class(
        Transcoder,
        TranscoderConfig,
        activation,
        lambda dictionary: {
            **_several_sites(dictionary),
            "skip": dictionary.skip,
            "centred": False,
            "transcodes": True,
        },
        lambda parts: {
            "activation": activation,
            "skip": parts.skip is not None,
            "d_out": parts.d_out,
            **_kept(parts),
        },
        lambda parts: {"skip": parts.skip, **_thresholds(parts, activation)},
    )


_CLASSES = (
    _Class(TopK, TopKConfig, "topk", lambda dictionary: {"k": dictionary.config.k}, _kept),
    _Class(L1, L1Config, "relu"),
    _Class(PAnneal, PAnnealConfig, "relu"),
    _Class(TiedL1, TiedL1Config, "relu"),
    _JUMPRELU,
    _GATED,
    _batch_topk(BatchTopK, BatchTopKConfig),
    _batch_topk(MatryoshkaBatchTopK, MatryoshkaConfig),
    _crosscoder("topk"),
    _crosscoder("batch_topk"),
    _crosscoder("relu"),
    _crosscoder("jumprelu"),
    _transcoder("topk"),
    _transcoder("batch_topk"),
    _transcoder("relu"),
    _transcoder("jumprelu"),
)
"""Of those with one activation, the first is what files mean that name no class."""
_SHARED = ("W_enc", "b_enc", "W_dec", "b_dec")


def parts_of(dictionary: Dictionary) -> Parts:
    """The parts of a dictionary. Raises FormatError for the baselines, which no format holds."""
    if isinstance(dictionary, NormalisedInput):
        return parts_of(dictionary.inner).replace(normalisation=dictionary.kind)
    activation = getattr(getattr(dictionary, "config", None), "activation", None)
    known = next(
        (one for one in _CLASSES if one.kind is type(dictionary) and activation in (None, one.activation)), None
    )
    if known is None or not isinstance(dictionary, Autoencoder):
        raise FormatError(
            f"No format holds a dictionary of the kind {type(dictionary).__name__}; nothing was written. Those that "
            f"can be saved: {', '.join(dict.fromkeys(one.kind.__name__ for one in _CLASSES))}."
        )
    values = {**{name: getattr(dictionary, name) for name in _SHARED}, **known.facts(dictionary)}
    plain: Fields = {name: one.detach().float() if isinstance(one, Tensor) else one for name, one in values.items()}
    own = {"class": known.kind.__name__, **dictionary.config.to_dict()}
    return Parts(**plain, activation=known.activation, own=own, metadata=dictionary.metadata)


def dictionary_of(parts: Parts) -> Dictionary:
    """The dictionary of these parts: of the class that the files name, or of the one that its activation means."""
    fitting = [
        one for one in _CLASSES if one.activation == parts.activation and (one.kind is Transcoder) == parts.transcodes
    ]
    if not fitting:
        raise FormatError(
            f"Transcoders with the activation {parts.activation} can't be read; relu, jumprelu, topk, batch_topk can."
        )
    named = [one for one in fitting if one.kind.__name__ == parts.own.get("class")]
    dictionary = _made((named or fitting)[0], parts)
    return dictionary if parts.normalisation == "none" else NormalisedInput(dictionary, parts.normalisation)


def _made(known: _Class, parts: Parts) -> Autoencoder:
    settings = known.settings(parts)
    given = {name: value for name, value in parts.own.items() if name in known.config.model_fields and _is_plain(value)}
    sizes = {"d_in": parts.d_in, "n_latents": parts.n_latents}
    try:
        dictionary = known.kind(known.config(**{**given, **settings, **sizes}), parts.metadata)
    except (RuntimeError, OverflowError) as error:
        raise FormatError(f'The configuration under "monosema" can\'t be used: {error}.') from None
    placed = parts if "centre_input" in settings else parts.centre(not parts.transcodes)
    tensors = {**{name: getattr(placed, name) for name in _SHARED}, **known.tensors(placed)}
    if dictionary.W_enc is dictionary.W_dec and not torch.equal(placed.W_enc, placed.W_dec):
        raise FormatError(
            f"The files name a {known.kind.__name__} with one matrix for encoder and decoder, but hold two that "
            'differ. Leave out "monosema" in its configuration to read it as L1.'
        )
    with torch.no_grad():
        for name, tensor in tensors.items():
            if tensor is not None:
                getattr(dictionary, name).copy_(tensor)
    dictionary.eval().requires_grad_(False)
    return dictionary


def _is_plain(value: Any) -> bool:
    """Whether a value is one that a configuration can have; messages show it whole, however deep it nests."""
    values = value if isinstance(value, (list, tuple)) else [value]
    return all(isinstance(one, (str, int, float, bool)) for one in values)
