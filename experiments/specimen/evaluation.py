"""The full measurement of the embedded model: loss on held-out text beside a trigram, and every skill."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from monosema.core import wilson
from monosema.data.tasks import ALL_TASKS, Task, ioi
from specimen.measures import (
    Scores,
    answer_id,
    last_logits,
    repeat_token_losses,
    score,
    token_losses,
    windows_of,
)
from specimen.text import SOURCES, VOCABULARY, Corpus, review_documents
from specimen.trigram import Trigram


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured figure.

    Attributes:
        name: what was measured.
        value: the estimate.
        low: lower end of its 95 % confidence interval.
        high: upper end.
        n: number of prompts, sequences or windows it rests on.
        unit: `share`, `logit`, `probability` or `nats`.
    """

    name: str
    value: float
    low: float
    high: float
    n: int
    unit: str


def share(name: str, hits: int, n: int) -> Figure:
    """A proportion with its Wilson interval."""
    found = wilson(hits, n)
    return Figure(name=name, value=found.value, low=found.low, high=found.high, n=n, unit="share")


def mean(name: str, values: NDArray[np.floating], unit: str) -> Figure:
    """A mean with its normal interval over independent values (prompts, sequences, windows)."""
    half = 1.96 * float(values.std(ddof=1)) / np.sqrt(len(values))
    value = float(values.mean())
    return Figure(name=name, value=value, low=value - half, high=value + half, n=len(values), unit=unit)


def _of_scores(name: str, scores: Scores, metric: str) -> list[Figure]:
    unit = "probability" if metric == "probability_difference" else "logit"
    half = 1.96 * scores.metric_deviation / np.sqrt(scores.n)
    difference = Figure(
        name=f"{name}: mean {unit} difference",
        value=scores.metric,
        low=scores.metric - half,
        high=scores.metric + half,
        n=scores.n,
        unit=unit,
    )
    return [share(f"{name}: accuracy", scores.hits, scores.n), difference]


def skill_figures(model: nn.Module, corpus: Corpus, *, prompts: int, seed: int) -> list[Figure]:
    """Accuracy and metric of every task on held-out prompts; IOI by template set and order."""
    figures: list[Figure] = []
    rng = random.Random(f"evaluation {seed}")
    tasks: dict[str, Task] = {}
    for templates, words in ioi.TEMPLATE_SETS.items():
        for order in ioi.ORDERS:
            made = ioi.prompts(rng, prompts, "test", templates=templates, order=order)
            tasks[f"ioi {order}, {words}"] = made
    tasks |= {name: family.prompts(rng, prompts, "test") for name, family in ALL_TASKS.items() if name != "ioi"}
    for name, task in tasks.items():
        figures += _of_scores(name, score(model, corpus.tokenizer, task), task.metric)
    return figures


def repeat_figures(model: nn.Module, corpus: Corpus, *, n: int, seed: int) -> list[Figure]:
    """Loss on the first and the second half of random sequences that occur exactly twice."""
    figures = []
    for natural, words in ((False, "uniform random tokens"), (True, "tokens by natural frequency")):
        for period in (32, 100):
            losses = repeat_token_losses(model, corpus, n=n, length=2 * period, natural=natural, seed=seed)
            halves = (("first", losses[:, :period]), ("second", losses[:, period + 1 :]))
            for half, part in halves:
                name = f"repeats of {words}, period {period}: {half} half"
                figures.append(mean(name, part.mean(1).numpy(), "nats"))
    return figures


def text_figures(model: nn.Module, corpus: Corpus, *, windows: int, context: int) -> list[Figure]:
    """Loss on held-out books and code, and the trigram's loss on the same tokens with the same context."""
    trigram = Trigram.fit(np.concatenate([corpus.sources[source] for source in SOURCES]), VOCABULARY)
    figures = []
    for source, words in (("books_validation", "held-out books"), ("code_validation", "held-out code")):
        rows = windows_of(corpus.sources[source], windows=windows, context=context, bos=corpus.bos)
        parts = [token_losses(model, torch.from_numpy(part)).mean(1).numpy() for part in np.array_split(rows, 16)]
        figures.append(mean(f"{words}: loss", np.concatenate(parts), "nats"))
        figures.append(mean(f"{words}: loss of a Kneser–Ney trigram", trigram.losses(rows).mean(1), "nats"))
    return figures


def review_figure(model: nn.Module, corpus: Corpus, folder: Path) -> Figure:
    """Accuracy of the verdict on the ends of real reviews that were held out of training."""
    texts, labels = [], []
    for text, positive in review_documents(folder, held_out=True):
        texts.append(text.strip()[-900:] + "\n\nThe review is")
        labels.append(positive)
    good, bad = (answer_id(corpus.tokenizer, word) for word in (" positive", " negative"))
    logits = last_logits(model, corpus.tokenizer, texts, rows=16)
    hits = int(((logits[:, good] > logits[:, bad]) == torch.tensor(labels)).sum())
    return share("verdict on real reviews, held out: accuracy", hits, len(labels))


def evaluate(
    model: nn.Module, corpus: Corpus, folder: Path, *, prompts: int = 1000, windows: int = 400, seed: int = 0
) -> list[Figure]:
    """Every figure of the model card; `folder` is the corpus folder."""
    model.eval()
    figures = text_figures(model, corpus, windows=windows, context=511)
    figures += skill_figures(model, corpus, prompts=prompts, seed=seed)
    figures += repeat_figures(model, corpus, n=200, seed=seed)
    figures.append(review_figure(model, corpus, folder))
    return figures


def as_records(figures: list[Figure]) -> list[dict[str, object]]:
    """Figures as plain records for JSON, rounded to four places."""
    return [
        {key: round(value, 4) if isinstance(value, float) else value for key, value in asdict(figure).items()}
        for figure in figures
    ]
