"""Reading and writing dictionaries; a format is told apart by what the files hold, not by their names alone.

One module per format, each with `recognises(folder)`, `read(folder)`, `write(dictionary, folder)`.
"""

from __future__ import annotations

from pathlib import Path

from monosema.core import FormatError
from monosema.dictionaries.formats import saelens
from monosema.dictionaries.protocol import Dictionary

__all__ = ["load_dictionary", "save_dictionary"]

FORMATS = (saelens,)


def load_dictionary(path: str | Path) -> Dictionary:
    """Load a dictionary in any format that monosema reads.

    Args:
        path: the folder, or a file in it.

    Raises:
        FormatError: no dictionary there, or none of a known format, or one whose parts don't fit together.
        DamagedFileError: a file that ends too early or can't be parsed.
    """
    folder = Path(path)
    if folder.is_file():
        folder = folder.parent
    if not folder.is_dir():
        raise FormatError(f"There is no dictionary at {path}: no such folder.")
    for known in FORMATS:
        if known.recognises(folder):
            return known.read(folder)
    inside = ", ".join(sorted(entry.name for entry in folder.iterdir())[:8]) or "nothing"
    raise FormatError(
        f"{folder} holds no dictionary that monosema can read; it holds {inside}. "
        "Expected is SAELens' layout: cfg.json beside sae_weights.safetensors."
    )


def save_dictionary(dictionary: Dictionary, path: str | Path) -> Path:
    """Save in SAELens' layout, monosema's own. Each file is written atomically, cfg.json last.

    Raises FormatError, and writes nothing, where the layout can't hold this kind of dictionary.
    """
    return saelens.write(dictionary, Path(path))
