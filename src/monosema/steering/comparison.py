"""Comparison: what each choice of a latent gives for a concept, beside prompt, directions and chance, at equal KL.

Every steering is as strong as moves the model's next-token distribution by the same amount, on the text that the model
writes unsteered. Latents and strengths are found with one half of the concept's texts and beginnings; the table is made
with the other half. Words before the prompt have no strength: they stand once in the table, at their own divergence.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import Field

from monosema.core import Config, Estimate, InputError, Site, nearest
from monosema.data.tasks import ALL_TASKS
from monosema.dictionaries import Dictionary
from monosema.models import LanguageModel
from monosema.steering.baselines import BASELINES, push
from monosema.steering.candidates import Candidate
from monosema.steering.choice import CHOICES, Evidence, choose
from monosema.steering.concepts import Concept
from monosema.steering.edits import Steering
from monosema.steering.sweep import UNSTEERED, SweepConfig, SweepPoint, SweepStep, result_of, sweep_steps
from monosema.steering.unsteered import UnsteeredTexts
from monosema.steering.verdict import markdown, sentences

LATENT, OTHER = "latent", "baseline"


class ComparisonConfig(Config):
    """Settings of a comparison."""

    choices: tuple[str, ...] | None = None
    """Ways to choose a latent; None for all there are."""
    baselines: tuple[str, ...] | None = None
    """Baselines beside them; None for all there are."""
    kl: tuple[float, ...] = Field((0.25, 0.5, 1.0), min_length=1)
    """Divergences, in nats a token, at which all are compared."""
    chat: bool = False
    """True to begin with the concept's questions instead of its beginnings."""
    sweep: SweepConfig = SweepConfig(seeds=(0, 1), skill_prompts=50)
    """Settings of writing and measuring texts; skills that are not named are all but the concept's own tasks."""
    seed: int = 0
    """Seed of what is drawn at random."""


@dataclass(frozen=True)
class Entry:
    """A line of the table.

    Attributes:
        method: name of the choice or of the baseline.
        kind: "latent" for a choice, "baseline" for the others.
        about: which latent, for a choice.
        kl: the divergence that its strength was solved for; None for words before the prompt.
        point: what it gave.
    """

    method: str
    kind: str
    about: str
    kl: float | None
    point: SweepPoint

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, without the texts."""
        figures = {name: figure.to_dict() for name, figure in self.point.figures.items()}
        samples = [sample.text for sample in self.point.samples[:3]]
        return {
            "method": self.method,
            "kind": self.kind,
            "about": self.about,
            "kl": self.kl,
            "strength": self.point.strength,
            "figures": figures,
            "texts": samples,
        }


@dataclass(frozen=True)
class Comparison:
    """Choices of a latent for a concept, beside baselines.

    Attributes:
        concept: its name.
        model, site: where.
        chat: true where texts are answers.
        accuracy: of the measure of effect, on texts that it has not seen.
        base: the unsteered texts.
        entries: lines of the table.
        absent: what could not be done, with the reason, by method.
        prompts: number of beginnings.
        seconds: time of all of it.
    """

    concept: str
    model: str
    site: Site
    chat: bool
    accuracy: Estimate
    base: SweepPoint
    entries: tuple[Entry, ...]
    absent: Mapping[str, str]
    prompts: int
    seconds: float

    def best(self, kind: str, kl: float | None = None) -> Entry | None:
        """Return the line of the kind with the greatest gain of effect, at one divergence or at any; None for no line.

        Of ties, the first.
        """
        found = [one for one in self.entries if one.kind == kind and (kl is None or one.kl == kl)]
        return max(found, key=lambda one: one.point.figures["effect_gain"].value) if found else None

    def at(self, method: str, kl: float | None) -> Entry | None:
        """Return the line of a method at a divergence; None where there is none."""
        return next((one for one in self.entries if one.method == method and one.kl == kl), None)

    @property
    def sentences(self) -> list[str]:
        """Its findings, in words."""
        return sentences(self)

    def markdown(self) -> str:
        """Return it as a Markdown table below its sentences."""
        return markdown(self)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "concept": self.concept,
            "model": self.model,
            "site": self.site.short,
            "chat": self.chat,
            "accuracy": self.accuracy.to_dict(),
            "base": {name: figure.to_dict() for name, figure in self.base.figures.items()},
            "entries": [entry.to_dict() for entry in self.entries],
            "absent": dict(self.absent),
            "prompts": self.prompts,
            "sentences": self.sentences,
            "seconds": self.seconds,
        }


def compare_choices(
    model: LanguageModel,
    dictionary: Dictionary,
    concept: Concept,
    config: ComparisonConfig | None = None,
    *,
    at: Site | str | None = None,
) -> Comparison:
    """Compare all choices of a latent with the baselines; see `comparison_steps`."""
    return result_of(comparison_steps(model, dictionary, concept, config, at=at))


def comparison_steps(
    model: LanguageModel,
    dictionary: Dictionary,
    concept: Concept,
    config: ComparisonConfig | None = None,
    *,
    at: Site | str | None = None,
    keep: Path | None = None,
) -> Generator[SweepStep, None, Comparison]:
    """Compare step by step; the return value is the comparison, and to close it is to cancel it.

    Args:
        model, dictionary: of the latents.
        concept: what texts are steered towards.
        at: the site that the dictionary reads; None is that of its metadata.
        keep: a file of finished texts, as `sweep_steps` has it.

    Raises:
        InputError: a choice or a baseline that does not exist, or a concept with too few beginnings.
    """
    config = config or ComparisonConfig()
    evidence = Evidence(model, dictionary, concept, at, config.chat)
    judging, began = evidence.judging, time.monotonic()
    absent: dict[str, str] = {}
    lines: dict[str, _Line] = {}
    for line in itertools.chain(_choices(evidence, config, absent), _baselines(evidence, config, absent)):
        for one in _at_divergences(line, evidence.unsteered, config.kl, absent):
            lines[one.key] = one
        yield SweepStep(0, 1)
    candidates = {UNSTEERED: (None,)} | {key: line.draws for key, line in lines.items()}
    settings = config.sweep
    if settings.skills is None:
        settings = settings.replace(skills=tuple(name for name in ALL_TASKS if name not in concept.tasks))
    result = yield from sweep_steps(model, judging, candidates, settings, concept.effect, keep)
    entries = tuple(Entry(line.method, line.kind, line.about, line.kl, result[key]) for key, line in lines.items())
    return Comparison(
        concept.name,
        model.name,
        evidence.site,
        config.chat,
        concept.accuracy,
        result.base,
        entries,
        absent,
        len(judging),
        time.monotonic() - began,
    )


@dataclass(frozen=True)
class _Line:
    """Subject of a line of the table."""

    method: str
    kind: str
    about: str
    draws: tuple[Candidate, ...]
    kl: float | None = None

    @property
    def key(self) -> str:
        return self.method if self.kl is None else f"{self.method} at {self.kl:g}"


def _choices(evidence: Evidence, config: ComparisonConfig, absent: dict[str, str]) -> Iterator[_Line]:
    for name in CHOICES if config.choices is None else config.choices:
        try:
            (chosen,) = choose(evidence.model, evidence.dictionary, evidence.concept, name, evidence=evidence)
        except InputError as error:
            if name not in CHOICES:
                raise
            absent[name] = str(error)
        else:
            yield _Line(name, LATENT, f"latent {chosen.latent}", (push(evidence.latent(chosen.latent)),))


def _baselines(evidence: Evidence, config: ComparisonConfig, absent: dict[str, str]) -> Iterator[_Line]:
    for name in BASELINES if config.baselines is None else config.baselines:
        if name not in BASELINES:
            raise InputError(
                f"There is no baseline {name!r}.{nearest(name, BASELINES)} There are {', '.join(BASELINES)}."
            )
        draws = tuple(BASELINES[name].candidates(evidence, config.seed))
        if draws:
            yield _Line(name, OTHER, f"{len(draws)} draws" if len(draws) > 1 else "", draws)
        else:
            absent[name] = f"the concept {evidence.concept.name!r} has none"


def _at_divergences(
    line: _Line, texts: UnsteeredTexts, kls: Sequence[float], absent: dict[str, str]
) -> Iterator[_Line]:
    """Return the line at each divergence; draws that no strength takes there are left out."""
    steerings = [draw for draw in line.draws if isinstance(draw, Steering)]
    if len(steerings) < len(line.draws):
        yield line
        return
    for kl in kls:
        strengths = texts.strengths(steerings, kl)
        draws = [one.at(strength) for one, strength in zip(steerings, strengths, strict=True) if strength is not None]
        if draws:
            yield replace(line, draws=tuple(draws), kl=kl)
        else:
            absent[f"{line.method} at {kl:g}"] = f"no strength moves predictions by {kl:g} nats"
