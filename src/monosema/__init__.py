"""See inside language models: from text to features, their meaning, their causes, and control.

The names below are the public surface; each is imported from its station when it is first used, so that
``import monosema`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monosema.atlas import open_atlas
    from monosema.core import MonosemaError, Site
    from monosema.data import open_corpus
    from monosema.dictionaries import load_dictionary, save_dictionary
    from monosema.interventions import splice
    from monosema.models import load_model
    from monosema.runs import Recipe, Run, run
    from monosema.runs.direct import encode, evaluate, train
    from monosema.steering import (
        Add,
        Clamp,
        Direction,
        Edit,
        Head,
        Latent,
        Scale,
        Steering,
        Where,
        for_divergence,
        mean_difference,
        read_steering,
        steered,
        write_steering,
    )

_STATIONS = {
    "Add": "steering",
    "Clamp": "steering",
    "Direction": "steering",
    "Edit": "steering",
    "Head": "steering",
    "Latent": "steering",
    "MonosemaError": "core",
    "Recipe": "runs",
    "Run": "runs",
    "Scale": "steering",
    "Site": "core",
    "Steering": "steering",
    "Where": "steering",
    "encode": "runs.direct",
    "evaluate": "runs.direct",
    "for_divergence": "steering",
    "load_dictionary": "dictionaries",
    "load_model": "models",
    "mean_difference": "steering",
    "open_atlas": "atlas",
    "open_corpus": "data",
    "read_steering": "steering",
    "run": "runs",
    "save_dictionary": "dictionaries",
    "splice": "interventions",
    "steered": "steering",
    "train": "runs.direct",
    "write_steering": "steering",
}

__all__ = [
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


def __getattr__(name: str) -> Any:
    """Import a public name from its station when it is first used."""
    if name == "__version__":
        from importlib.metadata import version

        return version("monosema")
    if name in _STATIONS:
        return getattr(importlib.import_module(f"monosema.{_STATIONS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}. It has: {', '.join(__all__)}")


def __dir__() -> list[str]:
    return list(__all__)
