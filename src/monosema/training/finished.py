"""What a folder holds from before: a finished dictionary is neither trained again nor replaced by another.

``training.json`` says by which recipe, on which vectors, and the checksum of the weights, so that the same command
finds its result, and a damaged one is made again.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from monosema.core import MonosemaError, RunError, read_json, sha256_file
from monosema.dictionaries import load_dictionary
from monosema.training.config import TrainResult

__all__ = ["FACTS", "WEIGHTS", "finished_before", "make_room"]

FACTS, WEIGHTS, CONFIG = "training.json", "sae_weights.safetensors", "cfg.json"


def finished_before(out: Path, recipe: str, vectors: str) -> TrainResult | None:
    """The result of the same training, where it is done and its files are whole; None where there is work to do.

    Args:
        out: the dictionary's folder.
        recipe: digest of the training's recipe.
        vectors: digest of the stream's state at its beginning, which says what it gives.

    Raises:
        RunError: the folder holds another dictionary.
    """
    facts = _facts(out)
    if facts is None:
        return None
    if facts.get("recipe") != recipe or facts.get("vectors") not in (None, vectors):
        other = "on other vectors, or in another order" if facts.get("recipe") == recipe else "by another recipe"
        raise RunError(
            f"{out} holds a finished dictionary{_described(out)}, trained {other}. It was left as it is: choose "
            "another folder with --out, or replace it with --update."
        )
    if facts.get("sha256") is None or not _whole(out, facts):
        return None
    known = {name: facts[name] for name in TrainResult.__dataclass_fields__ if name in facts}
    return TrainResult(**{**known, "dictionary": out})


def make_room(out: Path, update: bool) -> None:
    """Remove what training wrote into a folder, finished or not, where `update` says so; other files stay.

    Raises RunError where it is not to be removed, and holds a dictionary that was not trained there.
    """
    if update:
        for name in (FACTS, CONFIG, WEIGHTS, "metrics.jsonl"):
            (out / name).unlink(missing_ok=True)
        shutil.rmtree(out / "checkpoint", ignore_errors=True)
    elif not (out / FACTS).is_file() and not (out / "checkpoint").is_dir() and _described(out):
        raise RunError(
            f"{out} holds a dictionary{_described(out)} that was not trained there. It was left as it is: choose "
            "another folder with --out, or replace it with --update."
        )


def _facts(out: Path) -> dict[str, Any] | None:
    if not (out / FACTS).is_file():
        return None
    try:
        facts = read_json(out / FACTS)
    except MonosemaError:
        return {}
    return facts if isinstance(facts, dict) else {}


def _described(out: Path) -> str:
    """What dictionary is in a folder, in brackets; nothing where there is none that can be read."""
    if not out.is_dir():
        return ""
    try:
        dictionary = load_dictionary(out)
    except MonosemaError:
        return ""
    k = getattr(getattr(dictionary, "config", None), "k", None)
    sparsity = f", k = {k}" if k is not None else ""
    return f" ({type(dictionary).__name__}, {dictionary.n_latents:,} latents{sparsity})"


def _whole(out: Path, facts: dict[str, Any]) -> bool:
    try:
        return sha256_file(out / WEIGHTS) == facts["sha256"] and load_dictionary(out) is not None
    except (MonosemaError, OSError):
        return False
