"""Finished texts of sweeps in a file, so that a sweep that was killed goes on from them: JSON, a line for each text.

A text is known by what it depends on: the model, the prompt as it was read, the settings with the seed, and the
steering with its vectors. So another sweep may use the same file, and takes from it what the two have in common. A last
line that a kill has cut is dropped.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monosema.core import InputError, digest
from monosema.models import LanguageModel
from monosema.models.weights import bytes_digest
from monosema.steering.coordinates import Latent
from monosema.steering.edits import Steering
from monosema.steering.metrics.likelihood import Likelihood
from monosema.steering.metrics.measures import MeasuredText

if TYPE_CHECKING:
    from monosema.steering.writing import SteeredText


class KeptTexts:
    """Texts that were written and read, by what they depend on; without a path, none."""

    def __init__(self, path: Path | None, model: LanguageModel) -> None:
        """Raises InputError for a file that holds something else."""
        self._path, self._texts = path, dict[str, list[int]]()
        self._matched, self._read = dict[str, list[int]](), dict[str, Likelihood]()
        self._of = [model.digest, str(model.dtype)] if path is not None else []
        # With each key its text: the id of one that is gone may be given again.
        self._keys: dict[int, tuple[SteeredText, str]] = {}
        if path is not None and path.exists():
            self._open(path)

    def _open(self, path: Path) -> None:
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        try:
            for line in whole.splitlines():
                found = json.loads(line)
                key = found["text"]
                if "tokens" in found:
                    self._texts[key], self._matched[key] = found["tokens"], found["matched"]
                else:
                    self._read[key] = Likelihood(**found["read"])
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{path} holds no texts of a sweep. Name another file, which may be a new one.") from None
        if len(whole) < len(content):
            with open(path, "rb+") as file:
                file.truncate(len(whole))

    def restore(self, texts: Sequence[SteeredText]) -> list[SteeredText]:
        """Give texts what was written of them; return those that are to be written yet."""
        for text in texts:
            key = self._key(text)
            for token in self._texts.get(key, ()):
                text.row.write(token)
            if text.steered is not None:
                edits = text.steered.steering.edits
                text.steered.matched |= {edits[place].where for place in self._matched.get(key, ())}
                text.steered.prompt_length = len(text.row.prompt.ids)
        return [text for text in texts if not text.row.ended]

    def likelihood(self, text: SteeredText) -> MeasuredText | None:
        """Return what was found by reading a text once more; None where it was not read."""
        found = self._read.get(self._key(text))
        return None if found is None else MeasuredText(text.row.text, text.written.tokens, found)

    def wrote(self, text: SteeredText) -> None:
        """Keep a text that has ended."""
        row = text.steered
        edits = [] if row is None else row.steering.edits
        matched = [place for place, edit in enumerate(edits) if row is not None and edit.where in row.matched]
        self._add({"text": self._key(text), "tokens": text.row.written, "matched": matched})

    def read(self, text: SteeredText, found: MeasuredText) -> None:
        """Keep what was found by reading a text."""
        self._add({"text": self._key(text), "read": vars(found.likelihood)})

    def _add(self, line: dict[str, Any]) -> None:
        if self._path is None:
            return
        with contextlib.suppress(FileExistsError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _key(self, text: SteeredText) -> str:
        if self._path is None:
            return ""
        if id(text) not in self._keys:
            steering = None if text.steered is None else _facts(text.steered.steering)
            known = digest([*self._of, text.written.plain.ids, text.row.prompt.ids, text.row.prompt.roles,
                            text.row.config.to_dict(), steering])  # fmt: skip
            self._keys[id(text)] = text, known
        return self._keys[id(text)][1]


def _facts(steering: Steering) -> list[Any]:
    """Return what a steering does: its edits as they are written in files, and the vectors along which they act."""
    coordinates = [edit.coordinate for edit in steering.edits]
    rows = [one.direction.vector if isinstance(one, Latent) else getattr(one, "vector", None) for one in coordinates]
    vectors = [None if row is None else bytes_digest(row) for row in rows]
    return [steering.to_dict(), vectors, [one.maximum for one in coordinates], [str(one.site) for one in coordinates]]
