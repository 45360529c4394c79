"""The wrong answers of a task, each debugged, and what the same repair does to answers that were right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from monosema.circuits.contrast import NO_ANSWER, Contrast, Contrasts
from monosema.circuits.debugging import Debugged, debugged, place_of, sinks_at
from monosema.circuits.metrics import last_logits
from monosema.core import Estimate, InputError, Site, wilson
from monosema.core.estimate import wilson_ends
from monosema.dictionaries import Dictionary
from monosema.models import Fork, LanguageModel, Transformer, require_decoder

BESIDE = 32
"""Prompts of each length that side effects are measured on at most."""


@dataclass(frozen=True, kw_only=True)
class TakenOut:
    """A latent, the number of wrong answers that it was taken out of, and how many of them that flipped."""

    latent: int
    cases: int
    flipped: int


@dataclass(frozen=True, kw_only=True)
class WrongAnswers:
    """The wrong answers of a task, each debugged.

    Attributes:
        task: its name.
        right: share of prompts that were answered rightly.
        cases: wrong answers, the surest first.
        alone: share of them that one feature flips.
        together: share that the culprits together flip.
        chance: share of draws of as many features of equal size that flip them, over all cases.
        harmed: share of right answers that the latents of a case turn wrong where they are taken out at all positions,
            the mean over cases; None without right answers.
    """

    task: str
    right: Estimate
    cases: tuple[Debugged, ...]
    alone: Estimate
    together: Estimate
    chance: Estimate
    harmed: Estimate | None

    @property
    def verdict(self) -> str:
        """The findings, in sentences."""
        said = (
            f"{self.right.value:.0%} of {self.right.n} prompts are answered rightly. Of {len(self.cases)} wrong ones "
            f"one feature taken out flips {_share(self.alone)}, the culprits together {_share(self.together)}; as many "
            f"features of equal size at random, {_share(self.chance)}."
        )
        if self.harmed is None:
            return said
        return f"{said} Of the right answers the same latents, taken out, turn {_share(self.harmed)} wrong."

    @property
    def latents(self) -> list[TakenOut]:
        """Latents that were taken out, the most frequent first; of equals, those of the most flipped answers."""
        cases = [({one.latent for one in case.removed}, case.together is not None) for case in self.cases]
        every, flipped = (
            Counter(latent for latents, flips in cases if flips or not only for latent in latents)
            for only in (False, True)
        )
        found = [TakenOut(latent=latent, cases=n, flipped=flipped[latent]) for latent, n in every.items()]
        return sorted(found, key=lambda one: (-one.cases, -one.flipped))


def debug_task(
    model: LanguageModel,
    dictionary: Dictionary,
    prompts: Contrasts,
    *,
    site: Site | str | None = None,
    most: int = 20,
    cases: int = 20,
    seed: int = 0,
) -> WrongAnswers:
    """Find the prompts that a model answers wrongly, each counted once, and debug them.

    An answer is wrong where a wrong one is likelier than all right ones; the likeliest of each kind are compared.

    Args:
        cases: wrong answers that are debugged at most, the surest first.

    Raises:
        InputError: there is no wrong answer.
    """
    decoder = require_decoder(model)
    place = place_of(decoder, dictionary, site)
    rows = [*{row.ids: row for group in prompts for row in _judged(decoder, group)}.values()]
    wrongly = sorted((row for row in rows if row.difference < 0), key=lambda row: row.difference)
    right = wilson(len(rows) - len(wrongly), len(rows))
    if not wrongly:
        raise InputError(
            f"{model.name!r} answers all {len(rows)} prompts of {prompts.task!r} rightly: there is nothing to debug. "
            "Take more prompts, or a task that it does worse."
        )
    found = tuple(
        debugged(decoder, dictionary, place, row.ids, row.right, row.wrong, most, seed) for row in wrongly[:cases]
    )
    draws = [one for case in found for one in case.chance]
    harmed = _harmed(decoder, dictionary, place, prompts, found)
    return WrongAnswers(
        task=prompts.task,
        right=right,
        cases=found,
        alone=wilson(sum(any(one.flips for one in case.culprits) for case in found), len(found)),
        together=wilson(sum(case.together is not None for case in found), len(found)),
        chance=wilson(sum(one > 0 for one in draws), len(draws)),
        harmed=harmed,
    )


@dataclass(frozen=True)
class _Row:
    """A prompt with its likeliest right and wrong answer."""

    ids: tuple[int, ...]
    right: int
    wrong: int
    difference: float


@torch.no_grad()
def _judged(model: Transformer, group: Contrast) -> list[_Row]:
    right, wrong, gaps = _compared(last_logits(model, group.clean), group)
    rows = zip(map(tuple, group.clean.tolist()), right.tolist(), wrong.tolist(), gaps.tolist(), strict=True)
    return [_Row(*row) for row in rows]


def _share(figure: Estimate) -> str:
    return f"{figure.value:.0%} [{100 * figure.low:.0f}, {100 * figure.high:.0f}]"


def _compared(logits: Float[Tensor, "n vocab"], group: Contrast) -> tuple[Tensor, Tensor, Float[Tensor, " n"]]:
    """Return the likeliest right and wrong answer of each prompt, and logit(right) − logit(wrong)."""
    best = list[Tensor]()
    for ids in (group.correct, group.wrong):
        values = logits.gather(1, ids.clamp_min(0)).masked_fill(ids == NO_ANSWER, float("-inf"))
        best.append(ids.gather(1, values.argmax(1, keepdim=True)))
    right, wrong = best
    return right[:, 0], wrong[:, 0], (logits.gather(1, right) - logits.gather(1, wrong)).float()[:, 0]


@torch.no_grad()
def _harmed(
    model: Transformer, dictionary: Dictionary, site: Site, prompts: Contrasts, cases: Sequence[Debugged]
) -> Estimate | None:
    """Return the share of right answers that turn wrong without a case's latents, wherever these are active.

    The mean over cases, with Wilson's interval for as many trials as there are right answers: 0 of few is no certain 0.
    """
    sets = [sorted({one.latent for one in case.removed}) for case in cases]
    lost, right = [0] * len(sets), 0
    for group in (one[:BESIDE] for one in prompts):
        fork = Fork(model, site, group.clean)
        x = fork.activation
        codes = dictionary.to(model.device).encode(x.float())
        there = codes.dense() * ~sinks_at(model, group.clean)[..., None]
        there = there if codes.scale is None else there * codes.scale

        def wins(version: Tensor | None, fork: Fork = fork, group: Contrast = group) -> Bool[Tensor, " n"]:
            (out,) = fork.run([version])
            return _compared(model.logits(out[:, -1]), group)[2] > 0

        was = wins(None)
        right += int(was.sum())
        for row, latents in enumerate(sets):
            removed = there[..., latents] @ dictionary.directions[latents].to(there)
            lost[row] += int((was & ~wins(x - removed.to(x.dtype))).sum())
    if not right:
        return None
    share = sum(lost) / (right * len(lost))
    (low,), (high,) = wilson_ends(np.array([share]), np.array([float(right)]))
    return Estimate(share, float(low), float(high), right, "wilson")
