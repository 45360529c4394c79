"""A task of bytes for random models, told so that they do it."""

from __future__ import annotations

import random

from monosema.circuits import Contrasts, LogitDifference, contrasts, end_metrics
from monosema.data.tasks import Prompt, Span, Task
from monosema.models import Transformer

METRIC = LogitDifference()


def task_of_letters(n: int = 6, lengths: int = 2) -> Task:
    """Prompts of three bytes or more, in some lengths, whose answers are bytes."""
    rng, prompts = random.Random(0), []
    for index in range(n):
        end = "xy"[: 1 + index % lengths]
        first, other, right, wrong = rng.sample("abcdefgh", 4)
        spans = (Span(role="FIRST", start=0, end=1), Span(role="END", start=1 + len(end), end=2 + len(end)))
        prompts.append(
            Prompt(
                clean=f"{first}q{end}",
                corrupt=f"{other}q{end}",
                correct=(right,),
                wrong=(wrong,),
                spans=spans,
                form=end,
            )
        )
    return Task(name="letters", metric="logit_difference", split="test", prompts=tuple(prompts))


def letters(model: Transformer, n: int = 6, lengths: int = 2) -> Contrasts:
    """Read prompts of bytes whose ends differ by their metric as they are told, the larger one clean."""
    task = task_of_letters(n, lengths)
    clean, corrupt = end_metrics(model, contrasts(task, model), METRIC)
    order = [row for group in contrasts(task, model) for row in group.prompts]
    better = {prompt: bool(gain > 0) for prompt, gain in zip(order, clean - corrupt, strict=True)}

    def turned(prompt: Prompt) -> Prompt:
        right, wrong = (prompt.correct, prompt.wrong) if better[prompt] else (prompt.wrong, prompt.correct)
        return Prompt(
            clean=prompt.clean, corrupt=prompt.corrupt, correct=right, wrong=wrong, spans=prompt.spans, form=prompt.form
        )

    turned_task = Task(name="letters", metric=task.metric, split="test", prompts=tuple(map(turned, task)))
    return contrasts(turned_task, model)
