"""Pairs: a task's prompt and its corruption as token ids of the same number, with answers that are single tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from monosema.data.tasks import Prompt, token_index
from monosema.models import LanguageModel


@dataclass(frozen=True)
class Pair:
    """A task's prompt as a model reads it.

    Attributes:
        clean, corrupt: token ids, equally many.
        correct, wrong: ids of the tokens that count as right and as wrong.
        positions: index of the token that ends the word of each role.
        prompt: what was read.
    """

    clean: list[int]
    corrupt: list[int]
    correct: list[int]
    wrong: list[int]
    positions: Mapping[str, int]
    prompt: Prompt


def read_pair(prompt: Prompt, model: LanguageModel) -> Pair | str:
    """Read a prompt with a model's tokenizer; return the reason where it can't be used."""
    tokenizer = model.tokenizer
    clean, corrupt = tokenizer.encode_batch([prompt.clean, prompt.corrupt])
    if len(clean) != len(corrupt):
        return (
            f"clean and corrupted prompt differ in length: {prompt.clean!r} has {len(clean)} tokens, "
            f"{prompt.corrupt!r} has {len(corrupt)}"
        )
    answers = tokenizer.encode_batch([*prompt.correct, *prompt.wrong], bos=False)
    for text, ids in zip((*prompt.correct, *prompt.wrong), answers, strict=True):
        if len(ids) != 1:
            return f"an answer is not a single token: {text!r} is {tokenizer.tokens(ids)}"
    ids = [ids[0] for ids in answers]
    correct, wrong = ids[: len(prompt.correct)], ids[len(prompt.correct) :]
    if set(correct) & set(wrong):
        return f"an answer is both right and wrong: {prompt.clean!r}"
    plain, offsets = tokenizer.encode_with_spans(prompt.clean)
    before = len(clean) - len(plain)  # Tokens that begin a sequence, such as BOS.
    positions = {span.role: before + token_index(span, offsets) for span in prompt.spans}
    return Pair(clean, corrupt, correct, wrong, positions, prompt)
