"""Reading and writing dictionaries; a format is told apart by what the files hold, not by their names alone.

One module per format, each with `recognises(path)` and `read(path)`, those in `FORMATS` with
`write(dictionary, folder)` too; all go through `Parts`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

from monosema.core import FormatError, nearest, write_json
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
from monosema.dictionaries.formats.files import read_config
from monosema.dictionaries.formats.parts import Parts, dictionary_of, parts_of
from monosema.dictionaries.hub import HubName, fetch
from monosema.dictionaries.protocol import Dictionary

__all__ = [
    "FORMATS",
    "Parts",
    "dictionary_of",
    "load_dictionary",
    "parts_of",
    "register_format",
    "save_dictionary",
]


@runtime_checkable
class Reader(Protocol):
    """Reads one format; a module or any object with these two functions."""

    def recognises(self, path: Path) -> bool:
        """True where the files at a path, a folder or one file, are of this format."""
        ...

    def read(self, path: Path) -> Dictionary:
        """Read a dictionary. Raises FormatError or DamagedFileError."""
        ...


READERS: list[Reader] = [
    *(saelens, sparsify, dictionary_learning, openmoss, gemma_scope, circuit_tracer, act_size, openai),
    *(not_read, state_dicts),
]
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
"""Writers by format. monosema's own is SAELens' layout, extended where SAELens has no architecture."""


WITH_METADATA = ("monosema", "saelens", "sparsify", "dictionary_learning")
"""Formats with room for all metadata in their own files."""
ABOUT = "monosema.json"
"""File beside those of other formats, which their libraries pass over: the metadata, as SAELens names it."""


def register_format(name: str, reader: Reader, write: Callable[[Dictionary, Path], Path] | None = None) -> None:
    """Add a format, asked before those that are known; `Parts` makes a dictionary of named weights.

    Args:
        name: for `save_dictionary` and `monosema convert --to`.
        write: writes a dictionary into a folder and returns the file that was written last; None where the format is
            only read.

    Raises:
        FormatError: the name is taken.
    """
    if name in FORMATS:
        raise FormatError(f"There is a format {name!r} already. Give yours another name.")
    READERS.insert(0, reader)
    if write is not None:
        FORMATS[name] = write


def load_dictionary(path: str | Path) -> Dictionary:
    """Load a dictionary in any format that monosema reads.

    Args:
        path: the folder, or a file in it; or, where there is none, a name on the hub: `owner/name[@revision][/folder]`.

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
    folder = place if place.is_dir() else place.parent
    for reader in READERS:
        if reader.recognises(place):
            dictionary = reader.read(place)
            if (folder / ABOUT).is_file():
                dictionary.metadata = saelens.metadata_in(read_config(folder / ABOUT))
            return dictionary
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
    place = write(dictionary, Path(path))
    if format not in WITH_METADATA:
        write_json(Path(path) / ABOUT, saelens.metadata_out(dictionary.metadata))
    return place


def _refuse_other_layout(folder: Path, own: str) -> None:
    """Files of another layout beside those to be written would be found first, or next, by whoever reads the folder."""
    if not folder.is_dir():
        return
    for reader in READERS:
        module = getattr(reader, "__name__", type(reader).__module__)
        if reader not in (not_read, state_dicts) and module != own and reader.recognises(folder):
            layout = module.rpartition(".")[2]
            raise FormatError(
                f"{folder} holds a dictionary in the layout of {layout} already; nothing was written. Choose another "
                "folder, or remove it."
            )
