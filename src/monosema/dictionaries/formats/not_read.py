"""Well-known files that are no dictionary: refused by name, with the reason."""

from __future__ import annotations

from pathlib import Path

from monosema.core import FormatError, counted
from monosema.dictionaries.protocol import Dictionary

DEPTH = 2
"""Levels below a folder in which dictionaries are looked for."""
NAMES = ("cfg.json", "ae.pt", "params.npz", "params.safetensors", "hyperparams.json", "sae_weights.safetensors")


def recognises(path: Path) -> bool:
    """Return True if what is there is known not to be readable."""
    return _reason(path) is not None


def read(path: Path) -> Dictionary:
    """Raise FormatError: why, and what to do."""
    raise FormatError(str(_reason(path)))


def _reason(path: Path) -> str | None:
    """Why the files there are not read, and what to do; None where they are not known either."""
    folder = path if path.is_dir() else path.parent
    names = {entry.name for entry in folder.iterdir()} if path.is_dir() else {path.name}
    if pickles := sorted(name for name in names if name.endswith((".pkl", ".pkl.gz", ".pickle"))):
        return (
            f"{folder / pickles[0]} is a pickle of whole objects, which runs code when it is read. Load it where it "
            "was made, and save its state_dict() alone, with torch.save or as safetensors."
        )
    if any(name.startswith("W_enc_") for name in names) and any(name.startswith("W_dec_") for name in names):
        return (
            f"{folder} holds a cross-layer transcoder, whose latents write to every later layer. monosema's "
            "transcoders write to one."
        )
    if "conf.yaml" in names and any(name.startswith("latest_ckpt") for name in names):
        return f"{folder} holds a temporal SAE, which reads earlier positions too. monosema's dictionaries read one."
    if path.is_dir() and (below := _below(path)):
        shown = ", ".join(place.relative_to(path).as_posix() for place in below[:6])
        more = f" and {len(below) - 6} more" if len(below) > 6 else ""
        return (
            f"{path} holds {counted(len(below), 'dictionary')}, each in a folder: {shown}{more}. Give one: {below[0]}."
        )
    return None


def _below(path: Path) -> list[Path]:
    patterns = ["*/" * depth + name for depth in range(1, DEPTH + 1) for name in NAMES]
    return sorted({file.parent for pattern in patterns for file in path.glob(pattern)})
