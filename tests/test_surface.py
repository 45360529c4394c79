"""The public surface, fixed: a name that goes or comes must be changed here too."""

from __future__ import annotations

import importlib

import pytest

import monosema

PUBLIC = [
    "Add",
    "Clamp",
    "Direction",
    "Edit",
    "Head",
    "Latent",
    "MonosemaError",
    "Recipe",
    "Run",
    "Scale",
    "Site",
    "Steering",
    "Where",
    "__version__",
    "encode",
    "evaluate",
    "for_divergence",
    "load_dictionary",
    "load_model",
    "mean_difference",
    "open_atlas",
    "open_corpus",
    "read_steering",
    "run",
    "save_dictionary",
    "splice",
    "steered",
    "train",
    "write_steering",
]


def test_the_public_names_are_these() -> None:
    assert monosema.__all__ == PUBLIC
    assert dir(monosema) == sorted(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(monosema, name) is not None


def test_an_unknown_name_says_which_there_are() -> None:
    with pytest.raises(AttributeError, match=r"'laod_model'.*load_model"):
        _ = monosema.laod_model


def test_names_stay_after_their_station_is_imported() -> None:
    importlib.import_module("monosema.runs")
    importlib.import_module("monosema.runs.run")
    assert callable(monosema.run)
