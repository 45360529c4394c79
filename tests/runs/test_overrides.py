"""Keys given as words."""

from __future__ import annotations

import contextlib
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from monosema.core import Config, ConfigError
from monosema.recipes import demo
from monosema.runs.overrides import apply_overrides, fields_of, flags_of, flatten, parse_keys, resolve_key


class Inner(Config):
    k: int = Field(32, gt=0)
    rate: float = 0.1
    batch: int = 8
    limit: int | None = None
    most: int | None = 3
    sites: tuple[str, ...] = ("a",)
    quick: bool = False


class Other(Config):
    batch: int = 4


class Outer(Config):
    name: str = "demo"
    inner: Inner = Inner()
    other: Other = Other()


class Several(Config):
    kinds: tuple[Literal["a", "b"], ...] = ()


SHORT = {"batch": "other.batch"}


def test_words_are_split_into_plain_ones_and_keys() -> None:
    words = ["recipe.toml", "--k", "64", "--inner.rate=1e-3", "--quick", "--limit", "-1"]
    plain, keys = parse_keys(words)
    assert plain == ["recipe.toml"]
    assert keys == {"k": "64", "inner.rate": "1e-3", "quick": "true", "limit": "-1"}


def test_hyphens_and_underscores_are_one_spelling() -> None:
    assert parse_keys(["--a-b.c-d", "1", "--a_b.c_d", "1"])[1] == {"a_b.c_d": "1"}


def test_flags_are_as_short_as_they_can_be() -> None:
    flags = flags_of(Outer(), SHORT)
    assert [flags[name] for name in ("inner.k", "inner.batch", "other.batch")] == ["--k", "--inner.batch", "--batch"]


def test_a_key_given_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="given twice"):
        parse_keys(["--k", "1", "--k", "2"])


@pytest.mark.parametrize(
    ("key", "name"),
    [("inner.k", "inner.k"), ("k", "inner.k"), ("batch", "other.batch"), ("inner.batch", "inner.batch")],
)
def test_a_key_stands_for_one_field(key: str, name: str) -> None:
    assert resolve_key(key, fields_of(Outer()), SHORT) == name


def test_an_ambiguous_key_lists_what_it_could_be() -> None:
    with pytest.raises(ConfigError, match=r"--inner\.batch or --other\.batch"):
        resolve_key("batch", fields_of(Outer()), {})


def test_an_unknown_key_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no key --rat\b.*'rate'"):
        resolve_key("rat", fields_of(Outer()), {})


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("64", "k", 64),
        ("1e1", "k", 10),
        ("200_000", "k", 200_000),
        ("1e-3", "rate", 1e-3),
        ("true", "quick", True),
        ("no", "quick", False),
        ("7", "limit", 7),
        ("none", "limit", None),
        ("3.resid_post,4.q", "sites", ("3.resid_post", "4.q")),
        ("x", "sites", ("x",)),
        ('["x", "y"]', "sites", ("x", "y")),
    ],
)
def test_texts_become_what_the_field_holds(text: str, name: str, value: object) -> None:
    changed = apply_overrides(Outer(), {name: text})
    assert getattr(changed.inner, name) == value
    assert Outer().inner.k == 32


@pytest.mark.parametrize("text", ["0", "-3", "many", "1.5", "none"])
def test_a_value_out_of_range_says_what_is_valid(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^--k = .* is not valid"):
        apply_overrides(Outer(), {"k": text})


def test_none_is_refused_where_toml_could_not_say_it() -> None:
    with pytest.raises(ConfigError, match="can't be none"):
        apply_overrides(Outer(), {"most": "none"})


def test_what_one_of_several_values_lacks_is_said_of_the_flag() -> None:
    with pytest.raises(ConfigError, match=r"^--kinds = 'c' is not valid: input should be 'a' or 'b'"):
        apply_overrides(Several(), {"kinds": "a,c"})


@given(st.text(alphabet="abc.-_=x1 ", max_size=12), st.text(max_size=8))
def test_no_words_end_in_anything_but_a_configuration_or_its_error(key: str, value: str) -> None:
    with contextlib.suppress(ConfigError):
        _, keys = parse_keys([f"--{key}", value])
        assert isinstance(apply_overrides(Outer(), keys, SHORT), Outer)


def test_flatten_names_by_dots() -> None:
    assert flatten({"a": {"b": {"c": 1}}, "d": [2]}) == {"a.b.c": 1, "d": [2]}


def test_precisions_that_were_left_to_the_machine_are_said_as_keys() -> None:
    recipe = demo().replace(model=demo().model.replace(dtype="auto"))
    resolved = recipe.resolve(None, "cpu")
    said = recipe.left_to_machine(resolved)
    assert said == f"--model.dtype {resolved.model.dtype} --training.product {resolved.training.product}"
    assert resolved.left_to_machine(resolved) == ""
