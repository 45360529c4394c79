"""Keys of a configuration given as words: ``--training.batch 4096``, ``--k 32``."""

from __future__ import annotations

import contextlib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from monosema.core import Config, ConfigError, nearest
from monosema.dictionaries import of_architecture


def parse_keys(words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Split words into plain arguments and ``--key value`` (or ``--key=value``) pairs.

    ``--flag`` without a value means ``--flag true``.

    Raises:
        ConfigError: a key given twice with different values.
    """
    plain: list[str] = []
    keys: dict[str, str] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not _is_key(word):
            plain.append(word)
            continue
        key, sign, value = word[2:].partition("=")
        if not sign:
            value = rest.pop(0) if rest and not _is_key(rest[0]) else "true"
        if keys.get(key, value) != value:
            raise ConfigError(f"--{key} is given twice, as {keys[key]} and as {value}. Give it once.")
        keys[key] = value
    return plain, keys


def _is_key(word: str) -> bool:
    return word.startswith("--") and len(word) > 2


def known_keys(config: Config) -> dict[str, Any]:
    """The type of every field in the configuration and in those nested in it, by dotted name."""
    keys: dict[str, Any] = {}
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, Config):
            keys |= {f"{name}.{inner}": kind for inner, kind in known_keys(value).items()}
        else:
            keys[name] = TypeAdapter(_annotated(field.annotation, field.metadata))
    return keys


def _annotated(annotation: Any, metadata: Iterable[Any]) -> Any:
    from typing import Annotated

    extra = tuple(metadata)
    return Annotated[annotation, *extra] if extra else annotation


def resolve_key(key: str, known: Iterable[str], short: Mapping[str, str]) -> str:
    """The dotted name that a key stands for: itself, a short name, or a last part that only one field has.

    Raises:
        ConfigError: no field is meant, or several could be.
    """
    names = list(known)
    wanted = key.replace("-", "_")
    if wanted in names:
        return wanted
    if wanted in short:
        return short[wanted]
    meant = [name for name in names if name.rsplit(".", 1)[-1] == wanted]
    if len(meant) == 1:
        return meant[0]
    if meant:
        raise ConfigError(f"--{key} could be {' or '.join(f'--{name}' for name in meant)}. Say which.")
    leaves = {name.rsplit(".", 1)[-1] for name in names}
    hint = nearest(wanted, [*names, *short, *leaves])
    raise ConfigError(f"There is no key --{key}.{hint} All keys: `monosema run --keys`.")


def apply_overrides(config: Any, overrides: Mapping[str, str], short: Mapping[str, str] | None = None) -> Any:
    """The configuration with some keys changed, validated again.

    Args:
        config: the configuration to begin from; it is left as it is.
        overrides: texts by key, as parse_keys gives them. ``none`` empties a field that may be empty;
            several values are separated by commas.
        short: short names of fields.

    Raises:
        ConfigError: an unknown or ambiguous key, or a value out of range.
    """
    known = known_keys(config)
    values = config.to_dict()
    for key, text in overrides.items():
        name = resolve_key(key, known, short or {})
        *sections, leaf = name.split(".")
        place = values
        for section in sections:
            place = place[section]
        value = _value(text, known[name])
        if value is None:
            place.pop(leaf, None)
            _require_none_is_default(config, name)
        else:
            place[leaf] = value
    return type(config).from_dict(values)


def _value(text: str, kind: Any) -> Any:
    """The first reading of the text that the field takes; the text itself where none is, for the field to refuse."""
    if text.lower() == "none" and _takes(kind, None):
        return None
    readings: list[Any] = [text, [part.strip() for part in text.split(",")]]
    with contextlib.suppress(tomllib.TOMLDecodeError):
        readings.insert(1, tomllib.loads(f"value = {text}")["value"])
    return next((reading for reading in readings if _takes(kind, reading)), readings[-2])


def _takes(kind: Any, value: Any) -> bool:
    try:
        kind.validate_python(value)
    except ValidationError:
        return False
    return True


def _require_none_is_default(config: Config, name: str) -> None:
    owner: Any = config
    *sections, leaf = name.split(".")
    for section in sections:
        owner = getattr(owner, section)
    if type(owner).model_fields[leaf].get_default() is not None:
        raise ConfigError(f"--{name} can't be none here: its default is not none, and TOML has no word for it.")


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values by dotted name."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def override(config: Any, overrides: Mapping[str, str], short: Mapping[str, str]) -> Any:
    """Return a recipe with some keys changed, as `apply_overrides` does it; the architecture first, as it decides
    which keys there are. ``alpha`` is short for the weight of its sparsity penalty.

    Args:
        config: a recipe with the fields ``dictionary`` and ``training``.

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
        name = config.dictionary.architecture
        config = config.replace(dictionary=of_architecture(config.dictionary, name, activation.replace("-", "_")))
    name, field = config.dictionary.architecture, config.dictionary.coefficient
    if field is None and "alpha" in rest:
        raise ConfigError(f"There is no key --alpha for {name}: its sparsity is set by --k.")
    if field is not None and "k" in rest:
        raise ConfigError(f"There is no key --k for {name}: its sparsity is set by --alpha (dictionary.{field}).")
    alpha = {} if field is None else {"alpha": f"dictionary.{field}"}
    return _aimed(apply_overrides(config, rest, {**short, **alpha}), rest)


def _aimed(config: Any, chosen: Iterable[str]) -> Any:
    """Return the recipe with its dictionary aimed at the target of training, where there is one."""
    target, dictionary = config.training.target_l0, config.dictionary
    if target is None:
        return config
    aimed = dictionary.aimed_at(target)
    if dictionary.active_latents != aimed.active_latents and {"k", "dictionary.k"} & set(chosen):
        raise ConfigError(
            f"--k {dictionary.active_latents} and --target-l0 {target:g} say two things: k is the L0 of "
            f"{dictionary.title}. Give one of them."
        )
    return config.replace(dictionary=aimed)
