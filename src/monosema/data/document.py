"""What all readers give: documents, in an order that never changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Document:
    """One text.

    Attributes:
        id: index in the corpus's order, counted from 0.
        text: the text itself, never blank.
        source: where it came from, for people: ``reviews.parquet``, ``stdlib/json``, ``story``.
    """

    id: int
    text: str
    source: str


@runtime_checkable
class Corpus(Protocol):
    """Documents in a deterministic order, read as a stream: memory does not grow with the corpus."""

    @property
    def name(self) -> str:
        """A name for people and for tables."""
        ...

    @property
    def digest(self) -> str:
        """A short hash of the content and of all that chooses documents from it."""
        ...

    def documents(self) -> Iterator[Document]:
        """All documents from the first on. Raises CorpusError when there is none, or where one can't be read."""
        ...
