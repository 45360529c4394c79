"""Dictionaries on the Hugging Face hub, fetched by name.

A name is ``owner/name``, with ``@revision`` after it if wanted, then the folder in the repository:
``owner/name@main/blocks.3.hook_resid_post``. Only the files of that one dictionary travel. The endpoint is that of
HF_ENDPOINT.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from monosema.core import FormatError
from monosema.core.hub import snapshot

FILES = (
    "cfg.json",
    "sae_weights.safetensors",
    "sparsity.safetensors",
    "activation_scaler.json",
    "activation_whitening.safetensors",
    "sae.safetensors",
    "ae.pt",
    "config.json",
    "autoencoder.pt",
    "params.npz",
    "params.safetensors",
    "sae.pt",
    "weights.pt",
    "hyperparams.json",
    "checkpoints/final.safetensors",
    "monosema.json",
    "README.md",
)
"""Files of a dictionary's folder in any format; nothing else travels."""
SINGLE = (".pt", ".pth", ".npz", ".safetensors")
"""Files that are a dictionary by themselves, where they are named; with a configuration of one of these names."""
BESIDE = ("config.json", "cfg.json", "config.yaml", "monosema.json")
_NAME = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w.-]+))?(?:/(?P<folder>[\w./@=-]+?))?/?")


@dataclass(frozen=True)
class HubName:
    """The name of a dictionary on the hub.

    Attributes:
        repo: "owner/name".
        revision: branch, tag or commit; None for the main branch.
        folder: where in the repository; "" for its root.
    """

    repo: str
    revision: str | None
    folder: str

    @classmethod
    def parse(cls, text: str) -> HubName | None:
        """Parse a name; None where the text is none."""
        match = _NAME.fullmatch(text)
        if match is None or ".." in text or text.startswith((".", "~")):
            return None
        folder = match["folder"] or ""
        for file in FILES:
            folder = "" if folder == file else folder.removesuffix(f"/{file}")
        return cls(match["repo"], match["revision"], folder)


def fetch(name: HubName) -> Path:
    """Return the local folder of a dictionary, fetched into the hub's cache if need be; a file, if it names one.

    Raises FormatError where it can't be had.
    """
    parent, _, last = name.folder.rpartition("/")
    single = last.endswith(SINGLE)
    prefix = f"{parent}/" if single and parent else f"{name.folder}/" if name.folder and not single else ""
    files = (last, f"{last.rpartition('.')[0]}_cfg.json", *BESIDE) if single else FILES
    root = snapshot(
        f"{name.repo}@{name.revision}" if name.revision else name.repo,
        [f"{prefix}{file}" for file in files],
        kind="dictionary",
        failure=FormatError,
        advice="Or give the folder of a saved dictionary.",
    )
    place = root / name.folder
    if not (place.is_file() if single else place.is_dir()):
        raise FormatError(f"{name.repo!r} has no dictionary in {name.folder!r}.")
    return place
