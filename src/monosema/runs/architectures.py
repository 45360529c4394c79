"""Which architecture a recipe means, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer

from monosema.core import Config, ConfigError, nearest
from monosema.dictionaries import (
    L1,
    Autoencoder,
    AutoencoderConfig,
    BatchTopK,
    BatchTopKConfig,
    Crosscoder,
    CrosscoderConfig,
    Gated,
    GatedConfig,
    JumpReLU,
    JumpReLUConfig,
    L1Config,
    MatryoshkaBatchTopK,
    MatryoshkaConfig,
    Metadata,
    PAnneal,
    PAnnealConfig,
    TiedL1,
    TiedL1Config,
    TopK,
    TopKConfig,
    Transcoder,
    TranscoderConfig,
)
from monosema.models import LanguageModel, vector_width, weight_directions
from monosema.runs.overrides import apply_overrides

ARCHITECTURES: Mapping[str, tuple[type[AutoencoderConfig], type[Autoencoder], str]] = {
    "topk": (TopKConfig, TopK, "TopK"),
    "batch_topk": (BatchTopKConfig, BatchTopK, "BatchTopK"),
    "matryoshka": (MatryoshkaConfig, MatryoshkaBatchTopK, "Matryoshka"),
    "jumprelu": (JumpReLUConfig, JumpReLU, "JumpReLU"),
    "gated": (GatedConfig, Gated, "Gated"),
    "l1": (L1Config, L1, "L1"),
    "tied_l1": (TiedL1Config, TiedL1, "Tied L1"),
    "p_anneal": (PAnnealConfig, PAnneal, "p-anneal"),
    "transcoder": (TranscoderConfig, Transcoder, "Transcoder"),
    "crosscoder": (CrosscoderConfig, Crosscoder, "Crosscoder"),
}
"""Configuration, class and title of each architecture that a recipe can name."""
COEFFICIENTS = ("l1_coefficient", "l0_coefficient")
OF_ACTIVATION = {"relu": "l1_coefficient", "jumprelu": "l0_coefficient"}
"""The coefficient of architectures that have several activations, by the activation."""
UNKNOWN_WIDTHS = {"d_in": 1, "d_out": 1, "width": 1}
"""Widths until the sites are known; `fitted` sets them."""


def architecture_of(config: Config) -> str:
    """The name of a configuration's architecture."""
    return next(name for name, (kind, _, _) in ARCHITECTURES.items() if type(config) is kind)


def title_of(config: Config) -> str:
    """What an architecture is called in a report."""
    return ARCHITECTURES[architecture_of(config)][2]


def make_dictionary(config: Any, metadata: Metadata, seed: int, model: LanguageModel | None = None) -> Autoencoder:
    """A dictionary of a configuration's architecture.

    Args:
        model: whose weights it starts from where the configuration says so.
    """
    made = ARCHITECTURES[architecture_of(config)][1](config, metadata, seed)
    if (
        config.start == "weights"
        and model is not None
        and metadata.site is not None
        and len(made.directions[0]) == (vector_width(model, metadata.site))
    ):
        made.given = weight_directions(model, metadata.site)
    return made


def of_architecture(config: Config, name: str) -> AutoencoderConfig:
    """The configuration for another architecture: what was chosen and both know stays, the rest is the other's default.

    Raises:
        ConfigError: no such architecture.
    """
    kind = _kind(name)
    if isinstance(config, kind) and type(config) is kind:
        return config
    own = type(config).model_fields
    shared = [field for field in own if field in kind.model_fields]
    chosen = {name: getattr(config, name) for name in shared if getattr(config, name) != own[name].default}
    return kind(**{**_unknown_widths(kind), **chosen})


def fitted(config: Any, widths: Sequence[int]) -> Any:
    """The configuration for rows that hold sites of these widths side by side."""
    if isinstance(config, TranscoderConfig):
        return config.replace(d_in=widths[0], d_out=widths[1])
    if isinstance(config, CrosscoderConfig):
        return config.replace(d_in=sum(widths), n_sites=len(widths), width=widths[0])
    return config.replace(d_in=widths[0])


def _unknown_widths(kind: type[AutoencoderConfig]) -> dict[str, int]:
    """Widths that a configuration can't do without, before they are known."""
    return {name: width for name, width in UNKNOWN_WIDTHS.items() if name in kind.model_fields and name != "d_in"}


def coefficient_of(config: Config) -> str | None:
    """The field that holds α, the weight of the sparsity penalty; None where k sets sparsity."""
    activation = getattr(config, "activation", None)
    if activation is not None:
        return OF_ACTIVATION.get(activation)
    return next((name for name in COEFFICIENTS if name in type(config).model_fields), None)


def active_latents(config: Any) -> int | None:
    """Latents that are active on a row, where the configuration fixes them."""
    return getattr(config, "k", None) if coefficient_of(config) is None else None


def expected_active(config: Any) -> int:
    """Latents that are active on a row: k, or where a penalty decides, the number that training starts from."""
    k = active_latents(config)
    return k if k is not None else max(1, round(config.start_l0 or config.n_latents / 2))


def override(config: Any, overrides: Mapping[str, str], short: Mapping[str, str]) -> Any:
    """A recipe with some keys changed, as `apply_overrides` does it; the architecture first, as it decides which keys
    there are. ``alpha`` is short for the weight of its sparsity penalty.

    Args:
        config: a recipe with a field ``dictionary``.

    Raises:
        ConfigError: an unknown or ambiguous key, or a value out of range.
    """
    rest = dict(overrides)
    chosen = [rest.pop(name) for name in ("architecture", "dictionary.architecture") if name in rest]
    if len(set(chosen)) > 1:
        raise ConfigError(f"The architecture is given twice, as {chosen[0]} and as {chosen[1]}. Give it once.")
    if chosen:
        config = config.replace(dictionary=of_architecture(config.dictionary, chosen[0].replace("-", "_")))
    activation = rest.pop("activation", rest.pop("dictionary.activation", None))
    if activation is not None:
        config = apply_overrides(config, {"dictionary.activation": activation.replace("-", "_")})
    name, field = architecture_of(config.dictionary), coefficient_of(config.dictionary)
    if field is None and "alpha" in rest:
        raise ConfigError(f"There is no key --alpha for {name}: its sparsity is set by --k.")
    if field is not None and "k" in rest:
        raise ConfigError(f"There is no key --k for {name}: its sparsity is set by --alpha (dictionary.{field}).")
    alpha = {} if field is None else {"alpha": f"dictionary.{field}"}
    return apply_overrides(config, rest, {**short, **alpha})


def _kind(name: Any) -> type[AutoencoderConfig]:
    if name not in ARCHITECTURES:
        hint = nearest(str(name), ARCHITECTURES)
        raise ConfigError(
            f"dictionary.architecture = {name!r} is not valid.{hint} The architectures are: {', '.join(ARCHITECTURES)}."
        )
    return ARCHITECTURES[name][0]


def _read(value: Any) -> Any:
    """A configuration as it is, or from plain values; without ``architecture`` it is TopK."""
    if not isinstance(value, Mapping):
        return value
    fields = dict(value)
    kind = _kind(fields.pop("architecture", "topk"))
    return kind(**{**_unknown_widths(kind), **fields})


def _write(config: Config) -> dict[str, Any]:
    return {"architecture": architecture_of(config), **config.to_dict()}


DictionaryChoice = Annotated[AutoencoderConfig, BeforeValidator(_read), PlainSerializer(_write)]
"""The configuration of any architecture; in TOML, the key ``architecture`` says which."""
