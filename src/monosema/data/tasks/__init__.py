"""Prompt-pair tasks and the sentences that teach them: one file per skill, one frozen `Task` for all methods."""

from monosema.data.tasks import brackets, gender, greater_than, ioi, sentiment, truth, weekdays
from monosema.data.tasks.own import read_task
from monosema.data.tasks.task import (
    Metric,
    Prompt,
    Span,
    Split,
    Task,
    TaskFamily,
    fill,
    in_split,
    is_held_out,
    token_index,
)

ALL_TASKS: dict[str, TaskFamily] = {
    family.name: family
    for family in (
        ioi.FAMILY,
        greater_than.FAMILY,
        gender.FAMILY,
        truth.FAMILY,
        sentiment.FAMILY,
        weekdays.FAMILY,
        brackets.FAMILY,
    )
}
"""Every task on text by name; `induction` works on token ids and is called directly."""

__all__ = [
    "ALL_TASKS",
    "Metric",
    "Prompt",
    "Span",
    "Split",
    "Task",
    "TaskFamily",
    "fill",
    "in_split",
    "is_held_out",
    "read_task",
    "token_index",
]
