"""Prompts of a planted model as a file of one's own, for verbs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from monosema.circuits.planted import Planted


def planted_pairs(subject: Planted, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the prompts; every name of a model is the planted one's from now on."""

    def load(name: str, **_: Any) -> object:
        return subject.model

    monkeypatch.setattr("monosema.models.load_model", load)
    path = folder / "repeats.jsonl"
    lines = [
        {"clean": one.clean, "corrupt": one.corrupt, "correct": one.correct, "wrong": one.wrong[0]}
        for one in subject.contrasts.prompts
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    return path
