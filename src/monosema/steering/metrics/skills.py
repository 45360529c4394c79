"""Side skills: what steering costs elsewhere, as accuracy on tasks that have nothing to do with the concept.

A prompt of a task is right where the best correct answer has a higher logit than the best wrong one; where the task
goes by probability, where the correct answers have more of it together. An answer is its first token; prompts whose
correct and wrong answers begin alike are left out. Where a steering leaves prompts alone, a task's prompt counts as
text that the model wrote, since otherwise nothing would be steered.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from monosema.core import InputError, derive_seed, nearest
from monosema.data.tasks import ALL_TASKS, Prompt
from monosema.models import GenerationConfig, LanguageModel, Role, read_prompt
from monosema.models.context import padded
from monosema.steering.candidates import Candidate, Prefix
from monosema.steering.edits import Steering
from monosema.steering.steered import SteeredBatch, SteeredRow

_ROWS = 64


@dataclass(frozen=True)
class Question:
    """A held-out prompt of a task.

    Attributes:
        task: its name.
        text: the prompt.
        right, wrong: first tokens of the answers.
        by_probability: true where answers of one kind count together.
    """

    task: str
    text: str
    right: tuple[int, ...]
    wrong: tuple[int, ...]
    by_probability: bool


class Skills:
    """Held-out prompts of some tasks, the same for everything that is compared.

    Attributes:
        questions: all prompts, of one task after the other.
    """

    def __init__(self, model: LanguageModel, tasks: Iterable[str] | None = None, n: int = 50, seed: int = 0) -> None:
        """Draw n prompts of each task; None takes all tasks on text. Raises InputError for a task there is not."""
        self._model = model
        self.questions: list[Question] = []
        for name in ALL_TASKS if tasks is None else tasks:
            if name not in ALL_TASKS:
                raise InputError(f"There is no task {name!r}.{nearest(name, ALL_TASKS)} Tasks: {', '.join(ALL_TASKS)}.")
            task = ALL_TASKS[name].prompts(random.Random(derive_seed(seed, "skills", name)), n, "test")
            made = [self._question(name, prompt, task.metric == "probability_difference") for prompt in task]
            self.questions += [one for one in made if not set(one.right) & set(one.wrong)]

    def _question(self, task: str, prompt: Prompt, by_probability: bool) -> Question:
        return Question(
            task, prompt.clean, self._first_tokens(prompt.correct), self._first_tokens(prompt.wrong), by_probability
        )

    def _first_tokens(self, answers: Sequence[str]) -> tuple[int, ...]:
        encoded = self._model.tokenizer.encode_batch(list(answers), bos=False)
        return tuple(dict.fromkeys(ids[0] for ids in encoded))

    @torch.inference_mode()
    def right(self, draws: Sequence[Candidate] = (None,)) -> Bool[np.ndarray, " questions"]:
        """Say which questions are answered right; several candidates take them in turn."""
        given = [draws[number % len(draws)] for number in range(len(self.questions))]
        order = sorted(range(len(given)), key=lambda number: len(self.questions[number].text))
        found = np.zeros(len(given), dtype=np.bool_)
        for start in range(0, len(order), _ROWS):
            chunk = order[start : start + _ROWS]
            logits = self._logits(
                [self.questions[number].text for number in chunk], [given[number] for number in chunk]
            )
            found[chunk] = [_is_right(row, self.questions[number]) for row, number in zip(logits, chunk, strict=True)]
        return found

    def _logits(self, texts: Sequence[str], given: Sequence[Candidate]) -> Float[Tensor, "n vocab"]:
        tokenizer, device = self._model.tokenizer, self._model.device
        put = [one.before(text) if isinstance(one, Prefix) else text for one, text in zip(given, texts, strict=True)]
        ids = [read_prompt(text, tokenizer, GenerationConfig()).ids for text in put]
        tokens = padded(ids, tokenizer.pad_id or 0).to(device)
        roles = padded([[_role(one)] * len(row) for one, row in zip(given, ids, strict=True)], Role.PADDING).to(device)
        with SteeredBatch(self._model) as batch:
            batch.rows = [SteeredRow(one) if isinstance(one, Steering) else None for one in given]
            logits = self._model(tokens, attention_mask=roles != Role.PADDING, roles=roles)
        ends = torch.tensor([len(row) - 1 for row in ids], device=device)
        return logits[torch.arange(len(ids), device=device), ends].float()


def _role(candidate: Candidate) -> Role:
    leaves_prompts = isinstance(candidate, Steering) and all(edit.where.prompt is None for edit in candidate.edits)
    return Role.GENERATED if leaves_prompts else Role.PROMPT


def _is_right(logits: Float[Tensor, " vocab"], question: Question) -> bool:
    right, wrong = logits[list(question.right)], logits[list(question.wrong)]
    if question.by_probability:
        return bool(right.logsumexp(0) > wrong.logsumexp(0))
    return bool(right.max() > wrong.max())
