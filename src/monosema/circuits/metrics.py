"""Metrics: a figure for each prompt from the logits after its last token.

A metric takes logits of any number of versions, [..., n, vocab], and the contrast whose prompts they answer. Means over
prompts come last, outside: a ratio of means is no mean of ratios (Miller et al. 2024, arXiv:2407.08734).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monosema.circuits.contrast import NO_ANSWER, Contrast, Contrasts
from monosema.core import InputError
from monosema.models import LanguageModel, Transformer


@runtime_checkable
class Metric(Protocol):
    """A differentiable figure for each prompt; larger where the model does the task better."""

    name: str

    def __call__(self, logits: Float[Tensor, "*versions n vocab"], contrast: Contrast) -> Float[Tensor, "*versions n"]:
        """Return the figure of each prompt."""
        ...


class LogitDifference:
    """Log odds of the right answers against the wrong ones; of one each, logit(right) − logit(wrong).

    Several answers of a kind count together: log Σ exp. Source of the metric: Wang et al. 2022, arXiv:2211.00593.
    """

    name = "logit_difference"

    def __call__(self, logits: Float[Tensor, "*versions n vocab"], contrast: Contrast) -> Float[Tensor, "*versions n"]:
        """Return the figure of each prompt, in nats."""
        return _log_odds(logits, contrast.correct) - _log_odds(logits, contrast.wrong)


class ProbabilityDifference:
    """Probability of the right answers less that of the wrong ones (Hanna et al. 2023, arXiv:2305.00586)."""

    name = "probability_difference"

    def __call__(self, logits: Float[Tensor, "*versions n vocab"], contrast: Contrast) -> Float[Tensor, "*versions n"]:
        """Return the figure of each prompt, from −1 to 1."""
        whole = logits.float().logsumexp(-1)
        right, wrong = (_log_odds(logits, ids) - whole for ids in (contrast.correct, contrast.wrong))
        return right.exp() - wrong.exp()


class NegativeDivergence:
    """−KL(P_clean ‖ P): 0 where the model's whole answer is that of the untouched one on the clean prompt, else less.

    Source: Conmy et al. 2023, arXiv:2304.14997. It needs no answers, and sees every change of the distribution.
    """

    name = "kl_divergence"

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self._clean: dict[tuple[int, ...], Tensor] = {}

    def __call__(self, logits: Float[Tensor, "*versions n vocab"], contrast: Contrast) -> Float[Tensor, "*versions n"]:
        """Return the figure of each prompt, in nats."""
        clean = self._reference(contrast)
        return -(clean.exp() * (clean - logits.float().log_softmax(-1))).sum(-1)

    @torch.no_grad()
    def _reference(self, contrast: Contrast) -> Float[Tensor, "n vocab"]:
        key = (len(contrast), *contrast.clean.flatten().tolist())
        if key not in self._clean:
            self._clean = {key: last_logits(self._model, contrast.clean).float().log_softmax(-1)}
        return self._clean[key]


METRICS: dict[str, Callable[[], Metric]] = {
    "logit_difference": LogitDifference,
    "probability_difference": ProbabilityDifference,
}


def metric_of(contrasts: Contrasts, model: LanguageModel, name: str | None = None) -> Metric:
    """Return the metric of a task, or the named one. Raises InputError for a name that there is not."""
    name = contrasts.metric if name is None else name
    if name == NegativeDivergence.name:
        return NegativeDivergence(model)
    if name not in METRICS:
        names = ", ".join([*METRICS, NegativeDivergence.name])
        raise InputError(f"There is no metric {name!r}. Metrics: {names}.")
    return METRICS[name]()


def last_logits(model: LanguageModel, tokens: Int[Tensor, "n pos"]) -> Float[Tensor, "n vocab"]:
    """Return the logits after the last position, without those of the others where the model allows it."""
    return model(tokens, last=True)[:, -1] if isinstance(model, Transformer) else model(tokens)[:, -1]


def _log_odds(logits: Float[Tensor, "*versions n vocab"], ids: Int[Tensor, "n answers"]) -> Float[Tensor, "..."]:
    index = ids.clamp_min(0).expand(*logits.shape[:-1], -1)
    values = logits.float().gather(-1, index)
    return values.masked_fill(ids == NO_ANSWER, float("-inf")).logsumexp(-1)
