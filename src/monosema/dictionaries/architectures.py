"""Dictionaries as recipes say them: an architecture by name, its configuration as flat keys.

Every registered activation is an architecture of its own name, of autoencoders. Besides there are `matryoshka`
(BatchTopK with nested prefixes), `transcoder` and `crosscoder`; these two take any activation, by the key
``activation``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, create_model

from monosema.core import ConfigError, nearest
from monosema.dictionaries.activation_functions import ACTIVATIONS, Activation, AuxK, TopK, activation_named
from monosema.dictionaries.coder import SparseCoder
from monosema.dictionaries.coder_config import CoderConfig, require_prefixes
from monosema.dictionaries.protocol import Metadata

OLD_WIDTHS = ("d_in", "d_out", "width", "n_sites")
"""Keys that recipes of an earlier version have; widths follow from the sites."""
OLD_KEYS = ("k", "l1_coefficient", "l0_coefficient", "bandwidth", "start_l0", *AuxK.model_fields)
"""Keys that these had for transcoders and crosscoders with any activation."""

PREFIXES = (1 / 32, 3 / 32, 7 / 32, 15 / 32, 1.0)
"""Nested parts of 1/32, 1/16, 1/8, 1/4 and the rest (Bussmann et al. 2025)."""


@dataclass(frozen=True)
class Preset:
    """An architecture that is more than its activation.

    Attributes:
        title: its name in reports.
        activation: the activation it has; None for any.
        sites: sites that stand in a row of the training stream.
        defaults: defaults that differ from those of `CoderConfig`.
    """

    title: str
    activation: str | None = None
    sites: Literal["one", "read and written", "several"] = "one"
    defaults: tuple[tuple[str, Any], ...] = ()


PRESETS = {
    "matryoshka": Preset("Matryoshka", "batch_topk", defaults=(("prefixes", PREFIXES),)),
    "transcoder": Preset("Transcoder", sites="read and written"),
    "crosscoder": Preset("Crosscoder", sites="several"),
}


class DictionaryConfig(CoderConfig):
    """Configuration of a dictionary in a recipe; each architecture has a subclass with its activation's fields."""

    architecture: ClassVar[str]
    preset: ClassVar[Preset]
    kind: ClassVar[type[Activation]]

    n_latents: int = Field(gt=0)
    """Number of latents."""

    def model_post_init(self, context: Any) -> None:
        """Raise ConfigError for fields that don't go together, before any work is done."""
        self.activation_function.check(self.n_latents)
        if self.skip and self.preset.sites != "read and written":
            raise ConfigError(f"skip is a transcoder's, not of {self.title}. Take --architecture transcoder.")
        require_prefixes(self.prefixes, self.n_latents)

    def __reduce__(self) -> tuple[Any, tuple[dict[str, Any]]]:
        """Pickle by name and values, for other processes: the class is made, not found in a module."""
        return _read, (_write(self),)

    @property
    def title(self) -> str:
        """Name in reports."""
        return self.preset.title

    @property
    def activation_function(self) -> Activation:
        """The activation function."""
        return self.kind(**{name: getattr(self, name) for name in self.kind.model_fields})

    @property
    def coefficient(self) -> str | None:
        """The field with the weight of the sparsity penalty; None where k sets sparsity."""
        return self.kind.coefficient

    @property
    def active_latents(self) -> int | None:
        """Latents that are active on a row, where the configuration fixes them."""
        return self.activation_function.kept or None

    @property
    def expected_active(self) -> int:
        """Latents that are active on a row: k, or where a penalty decides, the number that training starts from."""
        start = getattr(self, "start_l0", self.activation_function.expected_l0)
        return self.active_latents or max(1, round(start or self.n_latents / 2))

    def aimed_at(self, l0: float) -> DictionaryConfig:
        """Return the configuration that is trained towards an L0: k, where that sets it; else one that starts there,
        unless another start was chosen."""
        if self.active_latents is not None:
            aimed: DictionaryConfig = self.replace(k=round(l0))
            return aimed
        start = type(self).model_fields.get("start_l0")
        chosen = start is None or getattr(self, "start_l0", None) != start.default
        return self if chosen else self.replace(start_l0=l0)

    def make(self, widths: Sequence[int], metadata: Metadata | None = None, seed: int = 0) -> SparseCoder:
        """Make a dictionary for rows that hold sites of these widths side by side.

        Raises:
            ConfigError: sites that the architecture doesn't take.
        """
        sites = self.preset.sites
        if len(widths) != (len(widths) if sites == "several" else 2 if sites == "read and written" else 1):
            raise ConfigError(f"{self.title} takes other sites than {len(widths)}: see `Preset.sites`.")
        if sites == "several" and len(set(widths)) > 1:
            raise ConfigError(
                f"A crosscoder's sites must be of one width, and these are {', '.join(map(str, widths))}."
            )
        return SparseCoder(
            sum(widths) if sites == "several" else widths[0],
            self.n_latents,
            self.activation_function,
            CoderConfig(**{name: getattr(self, name) for name in CoderConfig.model_fields}),
            d_out=widths[1] if sites == "read and written" else None,
            n_sites=len(widths) if sites == "several" else 1,
            metadata=metadata,
            seed=seed,
        )


def architectures() -> tuple[str, ...]:
    """Return the names of all architectures: registered activations, and presets."""
    return (*ACTIVATIONS, *PRESETS)


def is_architecture(name: str) -> bool:
    """Return True for the name of an architecture, or another name of one."""
    return name in PRESETS or any(name in (one.name, *one.aliases) for one in ACTIVATIONS.values())


def dictionary_config(architecture: str = "topk", activation: str | None = None, **fields: Any) -> DictionaryConfig:
    """Make the configuration of an architecture, such as ``dictionary_config("topk", n_latents=4096, k=32)``.

    Args:
        activation: of a transcoder or crosscoder; TopK if not said.

    Raises:
        ConfigError: no such architecture, or fields out of range.
    """
    return _class_of(architecture, activation)(**fields)


def make_coder(
    architecture: str,
    d_in: int,
    n_latents: int,
    *,
    d_out: int | None = None,
    n_sites: int = 1,
    activation: str | None = None,
    metadata: Metadata | None = None,
    seed: int = 0,
    **fields: Any,
) -> SparseCoder:
    """Make an untrained coder of an architecture by name, such as ``make_coder("topk", 384, 4096, k=32)``.

    Args:
        d_in: width of an input row; of all `n_sites` sites together.
        d_out: width of a transcoder's output.
        activation: of a transcoder or crosscoder; TopK if not said.
        fields: of the architecture's configuration.

    Raises:
        ConfigError: no such architecture, or fields out of range.
    """
    config = dictionary_config(architecture, activation, n_latents=n_latents, **fields)
    widths = [d_in // n_sites] * n_sites if d_out is None else [d_in, d_out]
    return config.make(widths, metadata, seed)


def config_of(coder: SparseCoder) -> DictionaryConfig:
    """Make the configuration, as recipes say it, of a coder that is there already."""
    facts = {**coder.config.to_dict(), **coder.activation.to_dict(), "n_latents": coder.n_latents}
    activation = coder.activation.name
    if coder.has_separate_target or coder.n_sites > 1:
        return dictionary_config("transcoder" if coder.has_separate_target else "crosscoder", activation, **facts)
    nested = bool(coder.config.prefixes) and activation == PRESETS["matryoshka"].activation
    return dictionary_config("matryoshka" if nested else activation, **facts)


def of_architecture(config: DictionaryConfig, architecture: str, activation: str | None = None) -> DictionaryConfig:
    """Make the configuration for another architecture: what was chosen and both know stays, the rest is the other's
    default.

    Raises:
        ConfigError: no such architecture.
    """
    own, other = type(config).model_fields, _class_of(architecture, activation)
    if isinstance(config, other):
        return config
    shared = [name for name in own if name in other.model_fields and name != "activation"]
    return other(**{name: getattr(config, name) for name in shared if getattr(config, name) != own[name].default})


def _class_of(architecture: str, activation: str | None) -> type[DictionaryConfig]:
    preset = PRESETS.get(architecture)
    if preset is None:
        try:
            kind = activation_named(architecture)
        except ConfigError:
            raise ConfigError(
                f"There is no architecture {architecture!r}.{nearest(architecture, architectures())} The architectures "
                f"are: {', '.join(architectures())}."
            ) from None
        if activation is not None and activation_named(activation) is not kind:
            raise ConfigError(
                f"--activation is a transcoder's or crosscoder's. Take --architecture {activation}, or one of these."
            )
        return _made(kind.name, Preset(kind.title, kind.name), kind)
    return _made(architecture, preset, activation_named(preset.activation or activation or TopK.name))


@cache
def _made(architecture: str, preset: Preset, kind: type[Activation]) -> type[DictionaryConfig]:
    """A subclass of `DictionaryConfig` with the fields of an activation."""
    fields: dict[str, Any] = {name: (info.annotation, info) for name, info in kind.model_fields.items()}
    for name, default in preset.defaults:
        info = CoderConfig.model_fields[name]
        fields[name] = (info.annotation, Field(default, description=info.description))
    if preset.activation is None:
        fields["activation"] = (str, Field(kind.name, description="The activation function, by name."))
    made = create_model(f"{kind.__name__}Config", __base__=DictionaryConfig, __doc__=kind.__doc__, **fields)
    made.architecture, made.preset, made.kind = architecture, preset, kind
    return made


def _read(value: Any) -> Any:
    """A configuration as it is, or from plain values, of earlier versions too; TopK without ``architecture``."""
    if not isinstance(value, Mapping):
        return value
    fields = {name: given for name, given in value.items() if name not in OLD_WIDTHS}
    architecture = str(fields.pop("architecture", TopK.name))
    made = _class_of(architecture, fields.pop("activation", None))
    if made.preset.activation is None:
        fields = {name: given for name, given in fields.items() if name in made.model_fields or name not in OLD_KEYS}
    return made(**fields)


def _write(config: DictionaryConfig) -> dict[str, Any]:
    return {"architecture": config.architecture, **config.to_dict()}


DictionaryChoice = Annotated[DictionaryConfig, BeforeValidator(_read), PlainSerializer(_write)]
"""The configuration of any architecture; in TOML, the key ``architecture`` says which."""
