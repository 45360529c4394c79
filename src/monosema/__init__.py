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

_STATIONS = {
    "MonosemaError": "core",
    "Recipe": "runs",
    "Run": "runs",
    "Site": "core",
    "encode": "runs.direct",
    "evaluate": "runs.direct",
    "load_dictionary": "dictionaries",
    "load_model": "models",
    "open_atlas": "atlas",
    "open_corpus": "data",
    "run": "runs",
    "save_dictionary": "dictionaries",
    "splice": "interventions",
    "train": "runs.direct",
}

__all__ = [
    "MonosemaError",
    "Recipe",
    "Run",
    "Site",
    "__version__",
    "encode",
    "evaluate",
    "load_dictionary",
    "load_model",
    "open_atlas",
    "open_corpus",
    "run",
    "save_dictionary",
    "splice",
    "train",
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
