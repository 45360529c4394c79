"""Reading and writing dictionaries; a format is told apart by what the files hold, not by their names alone.

One module per format, each with `recognises(path)` and `read(path)`, those in `FORMATS` with
`write(dictionary, folder)` too; all go through `Parts`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from monosema.core import FormatError, nearest
from monosema.dictionaries.formats import (
    act_size,
    circuit_tracer,
    dictionary_learning,
    gemma_scope,
    not_read,
    openai,
    openmoss,
    saelens,
    sparsify,
    state_dicts,
)
from monosema.dictionaries.hub import HubName, fetch
from monosema.dictionaries.protocol import Dictionary

__all__ = ["FORMATS", "load_dictionary", "save_dictionary"]

READERS: tuple[ModuleType, ...] = (
    *(saelens, sparsify, dictionary_learning, openmoss, gemma_scope, circuit_tracer, act_size, openai),
    *(not_read, state_dicts),
)
"""Each reads what it recognises; the first that does is asked."""
FORMATS: dict[str, Callable[[Dictionary, Path], Path]] = {
    "monosema": saelens.write,
    "saelens": saelens.write_strictly,
    "sparsify": sparsify.write,
    "dictionary_learning": dictionary_learning.write,
    "openai": openai.write,
    "gemma_scope": gemma_scope.write,
    "openmoss": openmoss.write,
}
"""How each format is written. monosema's own is SAELens' layout, which it extends where SAELens has no architecture."""


def load_dictionary(path: str | Path) -> Dictionary:
    """Load a dictionary in any format that monosema reads.

    Args:
        path: the folder, or a file in it; or, where there is none, a name on the hub: "owner/name[@revision][/folder]".

    Raises:
        FormatError: no dictionary there, or none of a known format, or one whose parts don't fit together.
        DamagedFileError: a file that ends too early or can't be parsed.
    """
    place = Path(path)
    if not place.exists():
        name = HubName.parse(str(path))
        if name is None:
            raise FormatError(f"There is no dictionary at {path}: no such folder.")
        place = fetch(name)
    for reader in READERS:
        if reader.recognises(place):
            return reader.read(place)
    folder = place if place.is_dir() else place.parent
    inside = ", ".join(sorted(entry.name for entry in folder.iterdir())[:8]) or "nothing"
    raise FormatError(
        f"{folder} holds no dictionary that monosema can read; it holds {inside}. "
        f"Known are the layouts of {', '.join(FORMATS)}; monosema's and SAELens' is cfg.json beside "
        "sae_weights.safetensors."
    )


def save_dictionary(dictionary: Dictionary, path: str | Path, format: str = "monosema") -> Path:
    """Save a dictionary. Each file is written atomically, the one that names the architecture last.

    Args:
        dictionary: what to save.
        path: the folder; made if need be.
        format: a key of `FORMATS`.

    Raises:
        FormatError: and nothing is written: no such format, or it can't hold this dictionary, or the folder holds one
            in another layout.
    """
    if format not in FORMATS:
        raise FormatError(f"There is no format {format!r}.{nearest(format, FORMATS)} There are: {', '.join(FORMATS)}.")
    write = FORMATS[format]
    _refuse_other_layout(Path(path), write.__module__)
    return write(dictionary, Path(path))


def _refuse_other_layout(folder: Path, own: str) -> None:
    """Files of another layout beside those to be written would be found first, or next, by whoever reads the folder."""
    if not folder.is_dir():
        return
    for reader in READERS:
        if reader not in (not_read, state_dicts) and reader.__name__ != own and reader.recognises(folder):
            layout = reader.__name__.rpartition(".")[2]
            raise FormatError(
                f"{folder} holds a dictionary in the layout of {layout} already; nothing was written. Choose another "
                "folder, or remove it."
            )
