"""The corpus that needs no file of its own: documentation of Python, generated stories and skill sentences.

The text ships with the package; `experiments/builtin_text` made it from Python 3.11's standard library (its terms and
the summary of changes: LICENSE.python) and from generators, and makes it again with one command.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from monosema.core import digest
from monosema.data.corpus import Document
from monosema.data.files import fingerprint

_FILE = Path(__file__).with_suffix(".parquet")


class BuiltinCorpus:
    """Some 1.8M tokens (byte-level BPE of 4,096), the same on every machine.

    Half of the text is documentation written by people, the rest is generated: stories, and sentences that teach skills
    (the training split of `monosema.data.tasks`; held-out items never occur here). The order is shuffled, so each part
    of the corpus holds all kinds.
    """

    name = "builtin"

    def __init__(self, limit: int | None = None) -> None:
        """Read the first `limit` documents; None reads all."""
        self._limit = limit

    @cached_property
    def digest(self) -> str:
        """Hash of the text and of the limit."""
        return digest([fingerprint(_FILE), self._limit])

    def documents(self) -> Iterator[Document]:
        """Yield all documents, from the first on."""
        import pyarrow.parquet as pq

        table = pq.read_table(_FILE).slice(length=self._limit)
        for id, (source, text) in enumerate(zip(table["source"], table["text"], strict=True)):
            yield Document(id, text.as_py(), source.as_py())
