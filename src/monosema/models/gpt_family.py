"""Facts of models that can't be opened here, as published; `gpt_family.toml` holds them with a source each."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

UNPUBLISHED = "unpublished"
"""Mark of a fact that the maker did not publish."""
_FACTS = ("layers", "d_model", "heads", "context", "vocab", "architecture", "tokenizer", "data", "training")


@cache
def gpt_family() -> dict[str, dict[str, Any]]:
    """Return the facts of each model by its name, such as gpt-3; `UNPUBLISHED` where there is none."""
    text = (files("monosema.models") / "gpt_family.toml").read_text(encoding="utf-8")
    found = {}
    for key, values in tomllib.loads(text).items():
        facts = {name: values.get(name, UNPUBLISHED) for name in _FACTS}
        found[key] = {**values, **facts, "parameters": {"total": values.get("parameters", UNPUBLISHED)}}
    return found
