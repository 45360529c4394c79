"""Finished dictionaries: not trained again, and not replaced by another.

``training.json`` holds the digests of recipe, vectors and weights, so that the same command finds its result, and a
damaged one is made again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monosema.core import MonosemaError, RunError, read_json, sha256_file
from monosema.dictionaries import SparseCoder, load_dictionary, title_of
from monosema.training.config import TrainResult

FACTS, WEIGHTS, CONFIG = "training.json", "sae_weights.safetensors", "cfg.json"
_LEFT = "It was left as it is: choose another folder with --out,"


def finished_before(out: Path, recipe: str, vectors: str, update: bool = False) -> TrainResult | None:
    """Return the result of the same training where it is done and its files are whole; None where there is work to do.

    Args:
        out: the dictionary's folder.
        recipe: digest of the training's recipe.
        vectors: digest of the stream's state at its beginning, which decides its batches.
        update: remove another training's dictionary.

    Raises:
        RunError: the folder holds another dictionary, and `update` is False; or one in another library's layout.
    """
    _refuse_other_layouts(out)
    facts = _facts(out)
    if facts is None:
        return None
    if facts.get("recipe") != recipe or facts.get("vectors") not in (None, vectors):
        other = "on other vectors, or in another order" if facts.get("recipe") == recipe else "by another recipe"
        if not update:
            raise RunError(
                f"{out} holds a finished dictionary{_described(out)}, trained {other}. {_LEFT} or replace it with "
                "--update."
            )
        for name in (FACTS, CONFIG, WEIGHTS, "metrics.jsonl"):
            (out / name).unlink(missing_ok=True)
        return None
    if facts.get("sha256") is None or not _whole(out, facts):
        return None
    known = {name: facts[name] for name in TrainResult.__dataclass_fields__ if name in facts}
    return TrainResult(**{**known, "dictionary": out})


def refuse_untrained(out: Path) -> None:
    """Raise RunError where the folder holds a dictionary that was not trained there."""
    if not (out / FACTS).is_file() and not (out / "checkpoint").is_dir() and _described(out):
        raise RunError(
            f"{out} holds a dictionary{_described(out)} that was not trained there. {_LEFT} or replace it with "
            "--update."
        )


def _refuse_other_layouts(out: Path) -> None:
    """Raise RunError for a dictionary in another library's layout: it would stand in the way of saving."""
    if not ((out / CONFIG).is_file() and (out / WEIGHTS).is_file()) and _described(out):
        raise RunError(f"{out} holds a dictionary{_described(out)} in another library's layout. {_LEFT} or remove it.")


def _facts(out: Path) -> dict[str, Any] | None:
    if not (out / FACTS).is_file():
        return None
    try:
        facts = read_json(out / FACTS)
    except MonosemaError:
        return {}
    return facts if isinstance(facts, dict) else {}


def _described(out: Path) -> str:
    """Describe the dictionary in a folder, in brackets; empty where none can be read."""
    if not out.is_dir():
        return ""
    try:
        dictionary = load_dictionary(out)
    except MonosemaError:
        return ""
    k = dictionary.activation.kept if isinstance(dictionary, SparseCoder) else 0
    return f" ({title_of(dictionary)}, {dictionary.n_latents:,} latents{f', k = {k}' if k else ''})"


def _whole(out: Path, facts: dict[str, Any]) -> bool:
    try:
        return sha256_file(out / WEIGHTS) == facts["sha256"] and load_dictionary(out) is not None
    except (MonosemaError, OSError):
        return False
