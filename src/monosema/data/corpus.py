"""Corpora: documents in an order that never changes, and their split into training and held-out ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from monosema.core import CorpusError, digest


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


class ListCorpus:
    """Texts in memory."""

    name = "texts"

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = [text for text in texts if text.strip()]

    @property
    def digest(self) -> str:
        """Hash of the texts."""
        return digest(self.texts)

    def documents(self) -> Iterator[Document]:
        """Yield the texts. Raises CorpusError when there is none."""
        if not self.texts:
            raise CorpusError("There is no text: all that was given is empty.")
        yield from (Document(id, text, self.name) for id, text in enumerate(self.texts))


Split = Literal["train", "heldout", "all"]


def is_heldout(text: str, share: float) -> bool:
    """Check if a document belongs to the held-out split of about `share` of all documents.

    The hash is of the text, so the answer is the same in every corpus, order, seed and machine, a document that
    occurs twice is never on both sides, and a larger share holds out all that a smaller one does.
    """
    point = int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
    return point < share * 2.0**64


def in_split(text: str, split: Split, share: float) -> bool:
    """Check if a document belongs to `split`."""
    return split == "all" or is_heldout(text, share) == (split == "heldout")
