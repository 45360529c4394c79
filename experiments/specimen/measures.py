"""What the embedded model can do, measured: loss on text, loss on repeats, and a score for every task."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn

from monosema.core import bf16_is_fast
from monosema.core.errors import InputError
from monosema.data.tasks import ALL_TASKS, Task
from monosema.data.tasks.induction import repeated
from specimen.text import BOS, SPECIAL, VOCABULARY, Corpus, token_id


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Scores of one task.

    Attributes:
        n: number of prompts.
        accuracy: share of prompts where the right answers beat the wrong ones.
        metric: mean of the task's own metric.
        metric_deviation: standard deviation of the metric over prompts.
        hits: number of prompts that were right.
    """

    n: int
    accuracy: float
    metric: float
    metric_deviation: float
    hits: int


@torch.no_grad()
def last_logits(model: nn.Module, tokenizer: Tokenizer, texts: Sequence[str], rows: int = 64) -> Tensor:
    """Logits after each text, n × vocabulary; texts are padded on the right, which a causal model does not see."""
    bos = token_id(tokenizer, BOS)
    encoded = [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]
    order = sorted(range(len(encoded)), key=lambda index: len(encoded[index]))
    out = torch.empty(len(encoded), VOCABULARY)
    device = next(model.parameters()).device
    for start in range(0, len(order), rows):
        chosen = order[start : start + rows]
        width = max(len(encoded[index]) for index in chosen)
        tokens = torch.tensor([encoded[index] + [bos] * (width - len(encoded[index])) for index in chosen])
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16_is_fast(device)):
            logits = model(input_ids=tokens.to(device)).logits.float().cpu()
        ends = torch.tensor([len(encoded[index]) - 1 for index in chosen])
        out[torch.tensor(chosen)] = logits[torch.arange(len(chosen)), ends]
    return out


def answer_id(tokenizer: Tokenizer, answer: str) -> int:
    """Token of an answer; raises `InputError` if it is not a single token."""
    ids = tokenizer.encode(answer, add_special_tokens=False).ids
    if len(ids) != 1:
        raise InputError(f"answer {answer!r} is {len(ids)} tokens; answers must be single tokens of the tokenizer.")
    return ids[0]


def score(model: nn.Module, tokenizer: Tokenizer, task: Task) -> Scores:
    """Score a task: right if the best right answer (or their summed probability) beats the wrong ones."""
    logits = last_logits(model, tokenizer, task.clean)
    values = []
    for row, prompt in zip(logits, task.prompts, strict=True):
        good = torch.tensor([answer_id(tokenizer, answer) for answer in prompt.correct])
        bad = torch.tensor([answer_id(tokenizer, answer) for answer in prompt.wrong])
        if task.metric == "probability_difference":
            chances = row.softmax(-1)
            values.append(float(chances[good].sum() - chances[bad].sum()))
        else:
            values.append(float(row[good].max() - row[bad].max()))
    array = np.array(values)
    hits = int((array > 0).sum())
    return Scores(
        n=len(values),
        hits=hits,
        accuracy=hits / len(values),
        metric=float(array.mean()),
        metric_deviation=float(array.std(ddof=1)),
    )


def task_scores(
    model: nn.Module, tokenizer: Tokenizer, rng: random.Random, *, n: int, only: Sequence[str] | None = None
) -> dict[str, Scores]:
    """Scores on n held-out prompts of every task, or of those named."""
    return {
        name: score(model, tokenizer, family.prompts(rng, n, "test"))
        for name, family in ALL_TASKS.items()
        if only is None or name in only
    }


@torch.no_grad()
def token_losses(model: nn.Module, tokens: Tensor) -> Tensor:
    """Loss in nats of every token but the first, rows × (length − 1)."""
    device = next(model.parameters()).device
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16_is_fast(device)):
        logits = model(input_ids=tokens[:, :-1].to(device)).logits.float().cpu()
    return nn.functional.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction="none")


def repeat_token_losses(model: nn.Module, corpus: Corpus, *, n: int, length: int, natural: bool, seed: int) -> Tensor:
    """Loss of every token of `n` sequences whose random first half occurs twice, n × length."""
    tokens, _ = repeated(
        np.random.default_rng([7, seed]),
        n,
        length,
        periods=(length // 2, length // 2),
        vocabulary=np.arange(len(SPECIAL), VOCABULARY),
        probabilities=corpus.frequencies[len(SPECIAL) :] if natural else None,
    )
    bos = np.full((n, 1), corpus.bos)
    return token_losses(model, torch.from_numpy(np.concatenate([bos, tokens], axis=1)))


def repeat_losses(
    model: nn.Module, corpus: Corpus, *, n: int, length: int, natural: bool, seed: int
) -> tuple[float, float]:
    """Mean loss on the first half and on the second; the second's first token cannot be foreseen and is left out."""
    losses = repeat_token_losses(model, corpus, n=n, length=length, natural=natural, seed=seed)
    half = length // 2
    return float(losses[:, :half].mean()), float(losses[:, half + 1 :].mean())


def windows_of(tokens: NDArray[np.uint16], *, windows: int, context: int, bos: int) -> NDArray[np.int64]:
    """Evenly spaced windows of `context` tokens that do not overlap, each with a bos in front."""
    windows = min(windows, len(tokens) // context)
    starts = np.linspace(0, len(tokens) - context, windows).astype(np.int64)
    return np.stack([np.concatenate([[bos], tokens[start : start + context]]) for start in starts]).astype(np.int64)


def loss_on_tokens(model: nn.Module, tokens: NDArray[np.uint16], *, windows: int, context: int, bos: int = 0) -> float:
    """Mean loss on evenly spaced windows of text."""
    rows = windows_of(tokens, windows=windows, context=context, bos=bos)
    return float(token_losses(model, torch.from_numpy(rows)).mean())
