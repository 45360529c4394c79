"""Contrasts: the prompts of a task as tokens, clean and corrupted side by side, for all causal methods.

Prompts are grouped by their length in tokens, so that nothing is padded and the answer follows the last position. A
prompt is left out, and counted with the reason, where its corruption has another number of tokens, or where an answer
is not a single token.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor

from monosema.attribution.pairs import Pair, read_pair
from monosema.core import InputError
from monosema.data.tasks import Metric as MetricName
from monosema.data.tasks import Prompt, Task
from monosema.models import LanguageModel

NO_ANSWER = -1
"""Fills up rows of answers where prompts have different numbers of them."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Contrast:
    """Prompts of one length.

    Attributes:
        clean, corrupt: token ids.
        correct, wrong: ids of the tokens that count as right and as wrong, filled up by `NO_ANSWER`.
        positions: index of the token that ends the word of each role; only roles that all prompts have.
        prompts: the prompts, in the same order.
    """

    clean: Int[Tensor, "n pos"]
    corrupt: Int[Tensor, "n pos"]
    correct: Int[Tensor, "n right"]
    wrong: Int[Tensor, "n wrong"]
    positions: Mapping[str, Int[Tensor, " n"]]
    prompts: tuple[Prompt, ...]

    def __len__(self) -> int:
        return len(self.prompts)

    def __getitem__(self, rows: slice) -> Contrast:
        return Contrast(
            clean=self.clean[rows],
            corrupt=self.corrupt[rows],
            correct=self.correct[rows],
            wrong=self.wrong[rows],
            positions={role: index[rows] for role, index in self.positions.items()},
            prompts=self.prompts[rows],
        )

    @property
    def forms(self) -> tuple[str, ...]:
        """The form of each prompt, by which means are taken and tables are made."""
        return tuple(prompt.form for prompt in self.prompts)

    def chunks(self, rows: int) -> Iterator[Contrast]:
        """Give the prompts in parts of at most so many rows."""
        for start in range(0, len(self), max(rows, 1)):
            yield self[start : start + max(rows, 1)]


@dataclass(frozen=True, eq=False, kw_only=True)
class Contrasts:
    """A task for one model.

    Attributes:
        task: its name.
        metric: the name of its metric.
        groups: the prompts, one contrast for each length, the shortest first.
        dropped: prompts that were left out, counted by the reason.
    """

    task: str
    metric: MetricName
    groups: tuple[Contrast, ...]
    dropped: Mapping[str, int]

    def __len__(self) -> int:
        return sum(map(len, self.groups))

    def __iter__(self) -> Iterator[Contrast]:
        return iter(self.groups)

    def within(self, rows: int) -> Contrasts:
        """Return the same prompts, in groups of at most so many."""
        return replace(self, groups=tuple(part for group in self.groups for part in group.chunks(rows)))

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """All prompts, in the order of all figures by prompt."""
        return tuple(prompt for group in self.groups for prompt in group.prompts)


def contrasts(task: Task, model: LanguageModel) -> Contrasts:
    """Read a task's prompts with a model's tokenizer, beginning as the model expects texts to begin.

    Raises:
        InputError: fewer than half of the prompts can be used; names the first that can't, and why.
    """
    device, rows, dropped, first = model.device, [], dict[str, int](), ""
    for prompt in task:
        row = read_pair(prompt, model)
        if isinstance(row, str):
            reason, _, about = row.partition(": ")
            dropped[reason] = dropped.get(reason, 0) + 1
            first = first or f"{reason}: {about}"
        else:
            rows.append(row)
    if 2 * len(rows) < len(task) or not rows:
        raise InputError(
            f"Only {len(rows)} of {len(task)} prompts of {task.name!r} can be used with the tokenizer of "
            f"{model.name!r}; the first that can't: {first or 'there is none'}. Use words that are "
            "single tokens for this model, in clean and corrupted prompts alike."
        )
    by_length: dict[int, list[Pair]] = {}
    for row in rows:
        by_length.setdefault(len(row.clean), []).append(row)
    groups = tuple(_group(by_length[length], device) for length in sorted(by_length))
    return Contrasts(task=task.name, metric=task.metric, groups=groups, dropped=dropped)


def _group(rows: Sequence[Pair], device: torch.device) -> Contrast:
    shared = set.intersection(*({*row.positions} for row in rows))
    order = [role for role in rows[0].positions if role in shared]
    return Contrast(
        clean=torch.tensor([row.clean for row in rows], device=device),
        corrupt=torch.tensor([row.corrupt for row in rows], device=device),
        correct=_answers([row.correct for row in rows], device),
        wrong=_answers([row.wrong for row in rows], device),
        positions={role: torch.tensor([row.positions[role] for row in rows], device=device) for role in order},
        prompts=tuple(row.prompt for row in rows),
    )


def _answers(ids: Sequence[Sequence[int]], device: torch.device) -> Int[Tensor, "n most"]:
    most = max(map(len, ids))
    return torch.tensor([[*row, *[NO_ANSWER] * (most - len(row))] for row in ids], device=device)
