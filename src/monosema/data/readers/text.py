"""Plain text files in UTF-8."""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from monosema.core import CorpusError

LONGEST = 250_000
"""A file is one document up to this many characters; a longer one is cut where a paragraph, line or word ends."""


def read_text(path: Path) -> Iterator[str]:
    """The file's text, as one document or, if it is long, as several. Raises CorpusError where it is not UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    pending, read = "", 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as file:
            while piece := file.read(2**18):
                pending += decoder.decode(piece)
                read += len(piece)
                while len(pending) > LONGEST:
                    cut = _cut(pending)
                    yield pending[:cut]
                    pending = pending[cut:]
        pending += decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{path} is not text in UTF-8 (near byte {read + error.start:,}: {error.reason}). "
            "Convert it, or leave it out."
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        raise CorpusError(f"{path} can't be read beyond byte {read:,} ({error}). Fetch it again.") from error
    if pending:
        yield pending


def _cut(text: str) -> int:
    """Where to end a document: after the last paragraph, line or word of its second half."""
    for mark in ("\n\n", "\n", " "):
        found = text.rfind(mark, LONGEST // 2, LONGEST)
        if found >= 0:
            return found + len(mark)
    return LONGEST
