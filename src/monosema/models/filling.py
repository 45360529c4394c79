"""A model fills in forms: it writes nothing but what goes into the slots, many forms at once.

Where one of several values can stand, the texts that are possible are laid side by side token by token. As long as they
agree they are written for the model; where they part, it chooses among their next tokens. What follows a value belongs
to its text, so that 1 and 10 part at what comes after the 1. Words end at a closing quote, a line end, or the limit.

The beginning that all prompts share is read once, and every token after it once: keys and values are kept.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.core import torch_generator
from monosema.models.batch import require_finite
from monosema.models.context import KVCache, Role
from monosema.models.forms import Form, Slot
from monosema.models.generation import TextGeneration
from monosema.models.tokenizer import Tokenizer

_QUOTE = '"'
_WITHIN = re.compile(r'(?:[^"\\\n]|\\[^\n]|\\\Z)*')


@dataclass(frozen=True)
class Value:
    """A text that stands in a form, or the value of a slot.

    Attributes:
        text: as JSON.
        log_probability: of its tokens where they were chosen; 0 elsewhere.
        others: texts of other values, where a single token told them from it, with their log-probabilities.
        chosen: number of tokens that the model chose.
        cut: True if the words were ended by the limit.
    """

    text: str
    log_probability: float = 0.0
    others: tuple[tuple[str, float], ...] = ()
    chosen: int = 0
    cut: bool = False


_Form = tuple[Value, ...]
_Pick = Callable[[Tensor], int]
_Asking = Generator[list[int], Tensor, tuple[Value, list[int]]]
"""Yields tokens that are to be read, and receives the logits after them. Returns a value, and the tokens of it and of
the text after it that are yet to be read."""


@torch.no_grad()
def fill(
    model: TextGeneration,
    prompts: Sequence[list[int]],
    form: Form,
    *,
    most: int,
    temperature: float = 0.0,
    seed: int = 0,
) -> list[tuple[Value, ...]]:
    """Fill in a form after each prompt.

    Args:
        model: continues text.
        prompts: token ids.
        form: what is filled in.
        most: most tokens of the words in a slot.
        temperature: of sampling; 0 takes the most likely token always.
        seed: of sampling.

    Returns:
        For each prompt, the form's texts and values in their order.

    Raises:
        AnomalyError: the model's logits are not finite.
    """
    pages = _Pages(model, len(prompts))
    rows = [_writing(form, model.tokenizer, _pick(temperature, seed), most) for _ in prompts]
    filled: list[_Form | None] = [None] * len(rows)
    unread = [list(prompt) for prompt in prompts]
    logits: Tensor | None = None
    while True:
        for number, row in enumerate(rows):
            try:
                if filled[number] is None:
                    unread[number] += next(row) if logits is None else row.send(logits[number])
            except StopIteration as end:
                filled[number], unread[number] = end.value, []
        if all(filled):
            return [one for one in filled if one is not None]
        logits = pages.read(unread)
        require_finite(logits, [done is None for done in filled])
        unread = [[] for _ in rows]


def form_length(form: Form, tokenizer: Tokenizer, most: int) -> int:
    """Return the most tokens that a form can have when it is filled in."""
    texts = [*form.texts, *(max(slot.values, key=len, default="") for slot in form.slots)]
    lengths = [len(tokenizer.encode(f" {text}", bos=False)) for text in texts]
    return sum(lengths) + (most + 2) * sum(slot.words for slot in form.slots)


class _Pages:
    """Rows of tokens that a model reads bit by bit."""

    def __init__(self, model: TextGeneration, rows: int) -> None:
        self._model = model
        self._cache = KVCache() if model.can_cache else None
        self._read: list[list[int]] = [[] for _ in range(rows)]

    def read(self, new: list[list[int]]) -> Float[Tensor, "batch vocab"]:
        """Return the logits after new tokens of each row; those of rows without new ones mean nothing."""
        if self._cache is None:
            self._read = [old + more for old, more in zip(self._read, new, strict=True)]
            return self._step(self._read)
        # A row needs a token of its own after the beginning that is shared.
        alike = takewhile(lambda tokens: len(set(tokens)) == 1, zip(*new, strict=False))
        shared = 0 if self._cache.length else min(sum(1 for _ in alike), min(map(len, new)) - 1)
        if shared > 0 and len(new) > 1:
            self._step([new[0][:shared]])
            self._cache.repeat(len(new))
            new = [row[shared:] for row in new]
        return self._step(new)

    def _step(self, rows: list[list[int]]) -> Tensor:
        width = max(map(len, rows))
        device = self._model.device
        tokens = torch.tensor([[0] * (width - len(row)) + row for row in rows], device=device)
        roles = [[Role.PADDING] * (width - len(row)) + [Role.PROMPT] * len(row) for row in rows]
        return self._model.next_logits(tokens, None, self._cache, torch.tensor(roles, device=device))


def _pick(temperature: float, seed: int) -> _Pick:
    """Return a choice of one of some logits."""
    if not temperature:
        return lambda logits: int(logits.argmax())
    generator = torch_generator(seed, "fill")
    return lambda logits: int(torch.multinomial((logits.cpu() / temperature).softmax(-1), 1, generator=generator))


def _writing(form: Form, tokenizer: Tokenizer, pick: _Pick, most: int) -> Generator[list[int], Tensor, _Form]:
    """Fill in one form."""
    pieces = [Value(form.texts[0])]
    unread = tokenizer.encode(form.texts[0].rstrip(), bos=False) if form.texts[0] else []
    for before, slot, after in zip(form.texts, form.slots, form.texts[1:], strict=False):
        # A tokenizer writes the space before a value with the value.
        lead = before[len(before.rstrip()) :]
        value, unread = yield from _value(slot, lead, after.rstrip(), unread, tokenizer, pick, most)
        pieces += [value, Value(after)]
    return tuple(pieces)


def _value(
    slot: Slot, lead: str, after: str, unread: list[int], tokenizer: Tokenizer, pick: _Pick, most: int
) -> _Asking:
    """Let the model fill a slot."""
    # Where nothing follows, a line end tells 1 from 10.
    texts = {value: f"{lead}{value}{after or chr(10)}" for value in slot.values}
    if slot.words:
        texts[_QUOTE] = lead + _QUOTE
    options = [(value, tokenizer.encode(text, bos=False)) for value, text in texts.items()]
    value, unread = yield from _chosen(options, unread, pick)
    if not slot.words or value.text != _QUOTE:
        return value, unread
    words, unread = yield from _words(unread, after, tokenizer, pick, most)
    return replace(words, chosen=words.chosen + value.chosen), unread


def _chosen(options: list[tuple[str, list[int]]], unread: list[int], pick: _Pick) -> _Asking:
    """Let the model choose one of several texts."""
    unread, depth, chosen, log = list(unread), 0, 0, 0.0
    others: list[tuple[str, float]] = []
    while len(options) > 1 and all(len(ids) > depth for _, ids in options):
        tokens = sorted({ids[depth] for _, ids in options})
        token = tokens[0]
        if len(tokens) > 1:
            logits = (yield unread).float()
            logs = logits.log_softmax(-1)[tokens]
            place = pick(logits[tokens])
            token, unread, chosen = tokens[place], [], chosen + 1
            for other, value in zip(tokens, logs.tolist(), strict=True):
                apart = [text for text, ids in options if ids[depth] == other]
                others += [(apart[0], log + value)] if len(apart) == 1 and other != token else []
            log += float(logs[place])
        unread.append(token)
        options, depth = [(text, ids) for text, ids in options if ids[depth] == token], depth + 1
    text, ids = min(options, key=lambda option: len(option[1]))
    return Value(text, log, tuple(others), chosen), unread + ids[depth:]


def _words(unread: list[int], after: str, tokenizer: Tokenizer, pick: _Pick, most: int) -> _Asking:
    """Let the model write a string, of which the opening quote stands already."""
    written: list[int] = []
    said, tail, cut = "", "", True
    ends = tokenizer.end_ids | tokenizer.special_ids
    while len(written) < most:
        token = pick((yield unread).float())
        unread = [token]
        whole = "" if token in ends else tokenizer.decode([*written, token])
        within = _WITHIN.match(whole)
        kept = within[0] if within and token not in ends else said
        if token in ends or kept != whole:
            # The token may have a full stop before the quote.
            said, tail, cut, unread = kept, kept[len(said) :], False, []
            break
        written.append(token)
        said = whole
    text = json.dumps(_plain(said.strip("\ufffd ") + (" …" if cut else "")), ensure_ascii=False)
    rest = tokenizer.encode(f"{tail}{_QUOTE}{after}", bos=False)
    return Value(text, chosen=len(written) + (not cut), cut=cut), unread + rest


def _plain(raw: str) -> str:
    """Return a model's text between quotes, with its escapes read where they are valid."""
    try:
        said = str(json.loads(f'"{raw}"', strict=False))
    except ValueError:
        said = raw
    return said.encode("utf-8", "replace").decode()
