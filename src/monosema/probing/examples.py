"""Labelled texts: of a task of monosema's, or of a file of your own."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from monosema.core import InputError, nearest, numpy_generator
from monosema.data.tasks import ALL_TASKS

TEST_SHARE = 0.3
"""Share of the groups of a file that is put aside for the test."""
LEAST = 20
"""Texts of each class at least."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Examples:
    """Texts of two classes.

    Attributes:
        name: of the concept.
        texts: the texts; activations are read at their last token, or over all.
        labels: 1 for the positive class, 0 for the other.
        classes: names of class 0 and class 1.
        test: texts that nothing is fitted or chosen on.
        groups: texts of one group are on one side of every split, and one unit of every interval.
        types: kinds that recur on both sides of the test, which the control task labels at random; None where there are
            none.
    """

    name: str
    texts: tuple[str, ...]
    labels: Int[np.ndarray, " n"]
    classes: tuple[str, str]
    test: Bool[np.ndarray, " n"]
    groups: tuple[str, ...]
    types: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for part, name in ((~self.test, "fit"), (self.test, "test")):
            counts = np.bincount(self.labels[part], minlength=2)
            if counts.min() < (LEAST if name == "fit" else 2):
                raise InputError(
                    f"{self.name}: {counts[0]} texts of class {self.classes[0]!r} and {counts[1]} of "
                    f"{self.classes[1]!r} to {name} on are too few: give {LEAST} of each to fit on, and more to "
                    "test on."
                )

    def control(self, seed: int = 0) -> Int[np.ndarray, " n"] | None:
        """Return labels drawn for each type at random: the control task (Hewitt & Liang 2019, arXiv:1909.03368)."""
        if self.types is None:
            return None
        kinds, index = np.unique(np.asarray(self.types), return_inverse=True)
        drawn: Int[np.ndarray, " kinds"] = numpy_generator(seed, "control task").integers(0, 2, len(kinds))
        return drawn[index]


def open_examples(
    name: str, n: int = 1000, seed: int = 0, *, text: str = "text", label: str = "label", group: str | None = None
) -> Examples:
    """Open a task by its name, or a CSV, JSON lines or Parquet file by its path.

    Args:
        n: texts of a task to fit on, and half as many to test on; of a file, at most so many.
        text, label, group: columns of a file. Without a group each text is one.

    Raises:
        InputError: no such task or file, no such column, or other than two classes.
    """
    path = Path(name)
    if path.is_file():
        return file_examples(path, n, seed, text=text, label=label, group=group)
    if name not in ALL_TASKS:
        raise InputError(
            f"There is no task and no file {name!r}.{nearest(name, ALL_TASKS)} Name truth, sentiment or gender, or a "
            ".csv, .jsonl or .parquet file of texts and labels."
        )
    return task_examples(name, n, seed)


def task_examples(name: str, n: int = 1000, seed: int = 0) -> Examples:
    """Take a task's prompts as texts, labelled by their right answers; tested on its held-out ones.

    A prompt that comes several times is one group, so that intervals count it once.

    Raises InputError for a task whose prompts have more than two right answers.
    """
    make = ALL_TASKS[name].prompts
    fitted, held = make(random.Random(seed), n, "train"), make(random.Random(seed), max(n // 2, 1), "test")
    prompts = [*fitted, *held]
    answers = sorted({prompt.correct[0] for prompt in prompts})
    if len(answers) != 2:
        raise InputError(f"The task {name!r} has {len(answers)} right answers, and a probe tells two classes apart.")
    first = prompts[0].spans[0].role
    return Examples(
        name=name,
        texts=tuple(prompt.clean for prompt in prompts),
        labels=np.array([answers.index(prompt.correct[0]) for prompt in prompts]),
        classes=(answers[0].strip(), answers[1].strip()),
        test=np.arange(len(prompts)) >= len(fitted),
        groups=tuple(prompt.clean for prompt in prompts),
        types=tuple(prompt.clean[prompt.span(first).start : prompt.span(first).end] for prompt in prompts),
    )


def file_examples(
    path: Path, n: int, seed: int = 0, *, text: str = "text", label: str = "label", group: str | None = None
) -> Examples:
    """Read a file's texts and labels; 30 % of its groups, drawn at random, are put aside for the test.

    The larger of the two labels in the order of the alphabet is class 1. Raises as `open_examples`.
    """
    rows = _rows(path)
    if not rows:
        raise InputError(f"{path} holds no rows.")
    for column in (text, label, *([] if group is None else [group])):
        if column not in rows[0]:
            raise InputError(
                f"{path} has no column {column!r}.{nearest(column, rows[0])} It has: {', '.join(rows[0])}. "
                "Name others with --text, --label and --group."
            )
    kept = {str(row[text]): row for row in rows if str(row[text] or "").strip()}
    order = numpy_generator(seed, "examples").permutation(len(kept))[:n]
    chosen = [list(kept.values())[index] for index in order]
    classes = sorted({str(row[label]) for row in chosen})
    if len(classes) != 2:
        listed = ", ".join(classes[:6]) + (", …" if len(classes) > 6 else "")
        raise InputError(f"The column {label!r} of {path} has {len(classes)} values ({listed}); a probe needs two.")
    groups = [str(row[text if group is None else group]) for row in chosen]
    names = sorted(set(groups))
    aside = {names[one] for one in numpy_generator(seed, "test groups").permutation(len(names))[: _count(len(names))]}
    return Examples(
        name=path.stem,
        texts=tuple(str(row[text]) for row in chosen),
        labels=np.array([classes.index(str(row[label])) for row in chosen]),
        classes=(classes[0], classes[1]),
        test=np.array([one in aside for one in groups]),
        groups=tuple(groups),
    )


def _count(groups: int) -> int:
    return max(1, round(TEST_SHARE * groups))


def _rows(path: Path) -> Sequence[Mapping[str, Any]]:
    try:
        if path.suffix == ".parquet":
            import pyarrow.parquet as pq

            return pq.read_table(path).to_pylist()
        content = path.read_text(encoding="utf-8")
        if path.suffix == ".csv":
            return list(csv.DictReader(content.splitlines(keepends=True)))
        if path.suffix == ".jsonl":
            return [json.loads(line) for line in content.splitlines() if line.strip()]
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path} can't be read ({error}). Give a .csv, .jsonl or .parquet file in UTF-8.") from None
    raise InputError(f"{path.name} is of a kind that is not read: give a .csv, .jsonl or .parquet file.")
