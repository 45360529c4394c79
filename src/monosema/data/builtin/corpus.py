"""The built-in corpus: documentation, stories and skill sentences in one shuffled order."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from functools import cache, cached_property
from pathlib import Path

from monosema.core import derive_seed, digest, sha256_file
from monosema.data import tasks
from monosema.data.builtin import documentation, stories
from monosema.data.document import Document

STORIES = 4_400
"""Generated stories, letters and the like."""
SKILLS = 1_600
"""Documents of skill sentences."""


class BuiltinCorpus:
    """Some 1.8M tokens (byte-level BPE of 4,096) on any machine: the same for the same Python, monosema, and seed.

    Half of it is documentation written by people, the rest is generated: stories, and sentences that teach skills (the
    training sides of `monosema.data.tasks`; their held-out items never occur here). Document ids follow the shuffled
    order, so that each part of the corpus holds all kinds.
    """

    name = "builtin"

    def __init__(self, seed: int = 0, limit: int | None = None) -> None:
        self._seed = seed
        self._limit = limit

    @cached_property
    def digest(self) -> str:
        """Hash of the Python whose documentation it is, of the generators' own source, and of seed and limit."""
        files = [[name, path.stat().st_size] for name, path in documentation.library_files()]
        folders = (Path(__file__).parent, Path(tasks.__file__).parent)
        sources = [[path.name, sha256_file(path)] for folder in folders for path in sorted(folder.glob("*.py"))]
        return digest([sys.version, files, sources, self._seed, self._limit])

    def documents(self) -> Iterator[Document]:
        """All documents; documentation is parsed once, generated texts are made when they are reached."""
        order = [("documentation", index) for index in range(len(_documentation()))]
        order += [("story", index) for index in range(STORIES)]
        order += [("skill", index) for index in range(SKILLS)]
        random.Random(derive_seed(self._seed, "order")).shuffle(order)
        for number, (kind, index) in enumerate(order[: self._limit]):
            source, text = self._make(kind, index)
            yield Document(number, text, source)

    def _make(self, kind: str, index: int) -> tuple[str, str]:
        if kind == "documentation":
            return _documentation()[index]
        rng = random.Random(derive_seed(self._seed, kind, index))
        return stories.story(rng) if kind == "story" else _skills(rng)


@cache
def _documentation() -> tuple[tuple[str, str], ...]:
    """All (source, text): some 3 MB, the same for every corpus of this process."""
    return (*documentation.topics(), *documentation.documentation())


def _skills(rng: random.Random) -> tuple[str, str]:
    """A document of one skill, or of several mixed."""
    families = list(tasks.ALL_TASKS.values())
    n = rng.randint(4, 14)
    if rng.random() < 0.5:
        family = rng.choice(families)
        return f"skill/{family.name}", " ".join(family.sentences(rng, n, "train"))
    return "skill/mixed", " ".join(rng.choice(families).sentences(rng, 1, "train")[0] for _ in range(n))
