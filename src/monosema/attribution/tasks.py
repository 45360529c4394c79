"""Questions of a task: its held-out prompts as pairs that a model can read."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

from monosema.attribution.pairs import Pair, read_pair
from monosema.attribution.question import Question, question_of
from monosema.core import InputError, nearest
from monosema.data.tasks import ALL_TASKS, Task, read_task
from monosema.models import LanguageModel


def task_pairs(model: LanguageModel, name: str, n: int, seed: int = 0) -> tuple[list[Pair], Mapping[str, int]]:
    """Return held-out prompts of a task, or those of a file of one's own, and the number left out by the reason.

    Raises InputError for a task that there is not, or where no prompt can be used.
    """
    pairs, dropped, first = list[Pair](), dict[str, int](), ""
    for prompt in named_task(name, n, seed):
        pair = read_pair(prompt, model)
        if isinstance(pair, str):
            reason = pair.partition(": ")[0]
            dropped[reason] = dropped.get(reason, 0) + 1
            first = first or pair
        else:
            pairs.append(pair)
    if not pairs:
        raise InputError(f"No prompt of {name!r} can be used with the tokenizer of {model.name!r}: {first}")
    return pairs, dropped


def first_question(model: LanguageModel, task: str, seed: int = 0) -> Question:
    """Return the first held-out prompt of a task that a model can read, with its answers and its twin.

    Raises InputError as `task_pairs`.
    """
    pairs, _ = task_pairs(model, task, 8, seed)
    return question_of(pairs[0], model)


def named_task(name: str, n: int, seed: int = 0) -> Task:
    """Return n held-out prompts of a task by its name, or at most n of a file of one's own pairs.

    Raises InputError for a name that is neither, or a file that is no task.
    """
    if name in ALL_TASKS:
        return ALL_TASKS[name].prompts(random.Random(seed), n, "test")
    if Path(name).suffix in (".jsonl", ".json") or Path(name).exists():
        whole = read_task(name)
        return Task(name=whole.name, metric=whole.metric, split=whole.split, prompts=whole.prompts[:n])
    raise InputError(
        f"There is no task {name!r}.{nearest(name, ALL_TASKS)} Tasks: {', '.join(ALL_TASKS)}; or a .jsonl file of "
        "your own pairs."
    )
