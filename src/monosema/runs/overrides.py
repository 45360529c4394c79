"""Keys of a configuration given as words: ``--training.batch 4096``, ``--k 32``.

Keys are written with hyphens; underscores, as the fields have them, are taken too.
"""

from __future__ import annotations

import contextlib
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from operator import getitem
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from monosema.core import Config, ConfigError, nearest
from monosema.dictionaries import of_architecture


def parse_keys(words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Split words into plain arguments and ``--key value`` (or ``--key=value``) pairs, keys with underscores.

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
        key = key.replace("-", "_")
        if keys.get(key, value) != value:
            raise ConfigError(f"{flag(key)} is given twice, as {keys[key]} and as {value}. Give it once.")
        keys[key] = value
    return plain, keys


def _is_key(word: str) -> bool:
    return word.startswith("--") and len(word) > 2


def flag(key: str) -> str:
    """Return a key as it is written on the command line."""
    return "--" + key.replace("_", "-")


def fields_of(config: Config) -> dict[str, tuple[type[Config], str]]:
    """Return the class and the name of every field in the configuration and in those nested in it, by dotted name."""
    found: dict[str, tuple[type[Config], str]] = {}
    for name in type(config).model_fields:
        value = getattr(config, name)
        inside = fields_of(value) if isinstance(value, Config) else None
        found |= {name: (type(config), name)} if inside is None else {f"{name}.{key}": at for key, at in inside.items()}
    return found


def flags_of(config: Config, short: Mapping[str, str]) -> dict[str, str]:
    """Return the shortest flag of every field, by dotted name."""
    names, brief = list(fields_of(config)), {name: key for key, name in short.items()}
    leaves = Counter([name.rsplit(".", 1)[-1] for name in names] + list(short))
    last = {name: name.rsplit(".", 1)[-1] for name in names}
    return {name: flag(brief.get(name) or (last[name] if leaves[last[name]] == 1 else name)) for name in names}


def resolve_key(key: str, known: Iterable[str], short: Mapping[str, str]) -> str:
    """Return the dotted name that a key stands for: itself, a short name, or a last part that only one field has.

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
        raise ConfigError(f"{flag(key)} could be {' or '.join(map(flag, meant))}. Say which.")
    known = {name.replace("_", "-") for full in (*names, *short) for name in (full, full.rsplit(".", 1)[-1])}
    hint = nearest(flag(key)[2:], sorted(known))
    raise ConfigError(f"There is no key {flag(key)}.{hint} All keys: `monosema run --keys`.")


def apply_overrides(config: Any, overrides: Mapping[str, str], short: Mapping[str, str] | None = None) -> Any:
    """Return the configuration with some keys changed, validated again.

    Args:
        config: the configuration to begin from; it is left as it is.
        overrides: texts by key, as parse_keys gives them. ``none`` empties a field that may be empty;
            several values are separated by commas.
        short: short names of fields.

    Raises:
        ConfigError: an unknown or ambiguous key, or a value out of range; the message names the key as it was given.
    """
    fields, values = fields_of(config), config.to_dict()
    given: dict[str, str] = {}
    for key, text in overrides.items():
        name = resolve_key(key, fields, short or {})
        owner, leaf = fields[name]
        value = _value(text, owner.model_fields[leaf])
        place = reduce(getitem, name.split(".")[:-1], values)
        if value is not None:
            place[leaf] = value
        elif owner.model_fields[leaf].get_default() is None:
            place.pop(leaf, None)
        else:
            raise ConfigError(f"{flag(key)} can't be none here: its default is not none, and TOML has no word for it.")
        given[f"{owner.__name__}.{leaf}"] = flag(key)
    try:
        return type(config).from_dict(values)
    except ConfigError as error:
        message = str(error)
        for field, as_given in given.items():
            message = re.sub(rf"\b{re.escape(field)}(\.\d+)?(?= )", as_given, message)
        raise ConfigError(message) from None


def _value(text: str, field: FieldInfo) -> Any:
    """Return the first reading of the text that the field takes; where none is, one that says best what it lacks."""
    annotation: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    kind: Any = TypeAdapter(annotation)
    if text.lower() == "none" and not _problems(kind, None):
        return None
    readings: list[Any] = [text, [part.strip() for part in text.split(",")]]
    with contextlib.suppress(tomllib.TOMLDecodeError):
        readings.insert(1, tomllib.loads(f"value = {text}")["value"])
    taken = [reading for reading in readings if not _problems(kind, reading)]
    of_kind = [reading for reading in reversed(readings) if not _OTHER_KIND & _problems(kind, reading)]
    return (taken or of_kind or readings)[0]


_OTHER_KIND = {"literal_error", *(f"{name}_type" for name in ("int", "float", "bool", "string", "list", "tuple"))}


def _problems(kind: Any, value: Any) -> set[str]:
    """Return the kinds of what is wrong with the value: ``inside`` for its parts."""
    try:
        kind.validate_python(value)
    except ValidationError as error:
        return {"inside" if problem["loc"] else problem["type"] for problem in error.errors()}
    return set()


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
    architecture, activation = (_taken(rest, name) for name in ("architecture", "activation"))
    if architecture or activation:
        chosen = of_architecture(config.dictionary, architecture or config.dictionary.architecture, activation)
        config = config.replace(dictionary=chosen)
    name, field = config.dictionary.architecture, config.dictionary.coefficient
    if field is None and "alpha" in rest:
        raise ConfigError(f"There is no key --alpha for {name}: its sparsity is set by --k.")
    if field is not None and "k" in rest:
        raise ConfigError(f"There is no key --k for {name}: its sparsity is set by --alpha ({flag(field)}).")
    alpha = {} if field is None else {"alpha": f"dictionary.{field}"}
    return _aimed(apply_overrides(config, rest, {**short, **alpha}), rest)


def _taken(keys: dict[str, str], name: str) -> str | None:
    """Take a key of the dictionary out of others, under its short or its full name."""
    said = {keys.pop(key).replace("-", "_") for key in (name, f"dictionary.{name}") if key in keys}
    if len(said) > 1:
        raise ConfigError(f"{flag(name)} is given twice, as {' and as '.join(sorted(said))}. Give it once.")
    return next(iter(said), None)


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
