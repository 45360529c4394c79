"""Keys given as words."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from monosema.core import Config, ConfigError
from monosema.runs.overrides import apply_overrides, flatten, known_keys, parse_keys, resolve_key


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


SHORT = {"batch": "other.batch"}


def test_words_are_split_into_plain_ones_and_keys() -> None:
    words = ["recipe.toml", "--k", "64", "--inner.rate=1e-3", "--quick", "--limit", "-1"]
    plain, keys = parse_keys(words)
    assert plain == ["recipe.toml"]
    assert keys == {"k": "64", "inner.rate": "1e-3", "quick": "true", "limit": "-1"}


def test_a_key_given_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="given twice"):
        parse_keys(["--k", "1", "--k", "2"])


@pytest.mark.parametrize(
    ("key", "name"),
    [("inner.k", "inner.k"), ("k", "inner.k"), ("batch", "other.batch"), ("inner.batch", "inner.batch")],
)
def test_a_key_stands_for_one_field(key: str, name: str) -> None:
    assert resolve_key(key, known_keys(Outer()), SHORT) == name


def test_an_ambiguous_key_lists_what_it_could_be() -> None:
    with pytest.raises(ConfigError, match=r"--inner\.batch or --other\.batch"):
        resolve_key("batch", known_keys(Outer()), {})


def test_an_unknown_key_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no key --rat\b.*'rate'"):
        resolve_key("rat", known_keys(Outer()), {})


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
    with pytest.raises(ConfigError, match=r"Inner\.k = .* is not valid"):
        apply_overrides(Outer(), {"k": text})


def test_none_is_refused_where_toml_could_not_say_it() -> None:
    with pytest.raises(ConfigError, match="can't be none"):
        apply_overrides(Outer(), {"most": "none"})


@given(st.text(alphabet="abc.-_=x1 ", max_size=12), st.text(max_size=8))
def test_no_words_end_in_anything_but_a_configuration_or_its_error(key: str, value: str) -> None:
    with contextlib.suppress(ConfigError):
        _, keys = parse_keys([f"--{key}", value])
        assert isinstance(apply_overrides(Outer(), keys, SHORT), Outer)


def test_flatten_names_by_dots() -> None:
    assert flatten({"a": {"b": {"c": 1}}, "d": [2]}) == {"a.b.c": 1, "d": [2]}
