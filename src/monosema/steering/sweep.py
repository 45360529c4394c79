"""Sweeps: many candidates and seeds written in one batch, and measured alike.

Candidates are a steering at several strengths, several steerings, or words before the prompt. Every candidate writes on
from the same prompts with the same seeds, and rows of one prompt and seed draw with the same noise as the unsteered row
beside them, so that differences are those of the candidate. Figures come with intervals over prompts, or over seeds
where there is one prompt.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field

from monosema.core import Config, Estimate, InputError
from monosema.core.display import Shown
from monosema.models import GenerationConfig, LanguageModel, Prompt, read_prompt, require_logits
from monosema.models.row import Finish
from monosema.steering.candidates import Candidate, Prefix
from monosema.steering.edits import Steering
from monosema.steering.figures import Figures
from monosema.steering.kept import KeptTexts
from monosema.steering.metrics.effect import Effect
from monosema.steering.metrics.skills import Skills
from monosema.steering.writing import SteeredText, measured_texts, write_texts

UNSTEERED = "unsteered"
Result = TypeVar("Result")


class SweepConfig(Config):
    """Settings of a sweep."""

    max_new_tokens: int = Field(40, gt=0)
    """Tokens of a text at most."""
    temperature: float = Field(1.0, ge=0)
    """Sampling temperature; 0 takes the likeliest token each time."""
    top_k: int | None = Field(None, gt=0)
    """Draw among so many likeliest tokens."""
    top_p: float | None = Field(None, gt=0, le=1)
    """Draw among the likeliest tokens that hold this probability."""
    seeds: tuple[int, ...] = Field((0,), min_length=1)
    """Seeds: each prompt is continued once for each."""
    skills: tuple[str, ...] | None = None
    """Tasks whose accuracy is the price; None for all on text."""
    skill_prompts: int = Field(0, ge=0)
    """Prompts of each task; 0 measures no skills."""
    memory_mb: int = Field(1024, gt=0)
    """Memory for the rows that are written at once."""


@dataclass(frozen=True)
class Sample:
    """A text that was written.

    Attributes:
        prompt: index of the prompt.
        seed: seed of its noise.
        text: what was written.
        tokens: number of tokens.
        finish: why it ended.
        effect: how much of the concept it shows; None where nothing measures it.
    """

    prompt: int
    seed: int
    text: str
    tokens: int
    finish: Finish
    effect: float | None = None


@dataclass(frozen=True)
class SweepPoint:
    """Figures and texts of one candidate.

    Attributes:
        name: the candidate's key.
        strength: its steering's strength; None where it is no steering.
        figures: estimates by name: those of `MEASURES`; perplexity, and perplexity_ratio to the unsteered texts;
            effect, and effect_gain over the unsteered texts; skills (share right), skills_lost, and one `skill:TASK`
            each. What could not be computed is left out.
        samples: the texts.
    """

    name: str
    strength: float | None
    figures: Mapping[str, Estimate]
    samples: tuple[Sample, ...]


@dataclass(frozen=True)
class SweepResult(Shown):
    """A sweep.

    Attributes:
        config: its settings.
        prompts: as the model read them.
        base: the unsteered texts.
        points: what the candidates gave, in their order.
        seconds: time of the whole sweep.
    """

    config: SweepConfig
    prompts: tuple[str, ...]
    base: SweepPoint
    points: tuple[SweepPoint, ...]
    seconds: float = field(compare=False)

    def __getitem__(self, name: str) -> SweepPoint:
        """The point of a candidate, or the unsteered one. Raises KeyError for another name."""
        return {point.name: point for point in (self.base, *self.points)}[name]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "config": self.config.to_dict(),
            "prompts": list(self.prompts),
            "base": _plain(self.base),
            "points": [_plain(point) for point in self.points],
            "seconds": self.seconds,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SweepResult:
        """Make the result of plain values again."""
        return cls(
            SweepConfig.from_dict(values["config"]),
            tuple(values["prompts"]),
            _point(values["base"]),
            tuple(map(_point, values["points"])),
            values["seconds"],
        )


def _plain(point: SweepPoint) -> dict[str, Any]:
    return {
        "name": point.name,
        "strength": point.strength,
        "figures": {name: figure.to_dict() for name, figure in point.figures.items()},
        "samples": [asdict(sample) for sample in point.samples],
    }


def _point(values: Mapping[str, Any]) -> SweepPoint:
    figures = {name: Estimate(**figure) for name, figure in values["figures"].items()}
    return SweepPoint(
        values["name"], values["strength"], figures, tuple(Sample(**sample) for sample in values["samples"])
    )


@dataclass(frozen=True)
class SweepStep:
    """Progress of a sweep: units of work done, of all; a unit is a token of a row, written or read again."""

    done: int
    total: int


def sweep(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    candidates: Mapping[str, Candidate | Sequence[Candidate]],
    config: SweepConfig | None = None,
    effect: Effect | None = None,
    keep: Path | None = None,
) -> SweepResult:
    """Write on from all prompts under all candidates, and measure the texts; see `sweep_steps`."""
    return result_of(sweep_steps(model, prompts, candidates, config, effect, keep))


def result_of(
    steps: Generator[SweepStep, None, Result], progress: Callable[[SweepStep], object] = lambda step: None
) -> Result:
    """Do all steps, each told to `progress`, and return their result."""
    while True:
        try:
            progress(next(steps))
        except StopIteration as end:
            result: Result = end.value
            return result


def sweep_steps(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    candidates: Mapping[str, Candidate | Sequence[Candidate]],
    config: SweepConfig | None = None,
    effect: Effect | None = None,
    keep: Path | None = None,
) -> Generator[SweepStep, None, SweepResult]:
    """Do a sweep token by token; its return value is the result, and to close it is to cancel it.

    Args:
        prompts: texts, or chats.
        candidates: by name. Several for one name are draws of one kind, such as random latents, which the prompts take
            in turn. The unsteered texts are written besides.
        effect: how much of a concept a text shows.
        keep: a file of finished texts, which are taken from it and added to it; None keeps none. Skills are measured
            anew.

    Raises:
        InputError: no prompts or no candidates, an edit that matches no token, no such task, or another kind of file.
        UnsupportedModelError: the model continues no text.
    """
    if not prompts or not candidates:
        raise InputError(f"A sweep needs prompts and candidates, and got {len(prompts)} and {len(candidates)}.")
    require_logits(model)
    config, began = config or SweepConfig(), time.monotonic()
    named = {UNSTEERED: (None,)} | {name: _draws(one) for name, one in candidates.items() if name != UNSTEERED}
    settings = GenerationConfig(**config.model_dump(include=set(GenerationConfig.model_fields)))
    texts = [
        SteeredText(model, name, draws[index % len(draws)], index, prompt, settings.replace(seed=seed))
        for name, draws in named.items()
        for index, prompt in enumerate(prompts)
        for seed in config.seeds
    ]
    skills = Skills(model, config.skills, config.skill_prompts) if config.skill_prompts else None
    # Reading a text again costs less than writing it; both count as one, so that progress needs no clock.
    total = len(texts) * config.max_new_tokens * 2 + (len(named) * len(skills.questions) if skills else 0)
    kept = KeptTexts(keep, model)
    done = (len(texts) - len(kept.restore(texts))) * config.max_new_tokens
    for finished in write_texts(model, texts, config.memory_mb, kept.wrote):
        done += finished
        yield SweepStep(done, total)
    read = {number: one for number, text in enumerate(texts) if (one := kept.likelihood(text)) is not None}
    done += len(read) * config.max_new_tokens
    unread = [number for number in range(len(texts)) if number not in read]
    for place, measured in measured_texts(model, [texts[number] for number in unread], config.memory_mb):
        kept.read(texts[unread[place]], measured)
        read[unread[place]] = measured
        done += config.max_new_tokens
        yield SweepStep(done, total)
    figures = Figures(effect)
    for number, text in enumerate(texts):
        figures.add(text.name, read[number], text.index if len(prompts) > 1 else text.seed)
    right = {}
    for name, draws in named.items():
        if skills is not None:
            right[name] = skills.right(draws)
            done += len(skills.questions)
            yield SweepStep(done, total)
    points = {}
    for name, draws in named.items():
        found = figures.of(name, UNSTEERED)
        if skills is not None:
            found |= figures.of_skills([one.task for one in skills.questions], right[name], right[UNSTEERED])
        own = [text for text in texts if text.name == name]
        samples = tuple(_sample(text, one) for text, one in zip(own, figures.effects(name), strict=True))
        first = draws[0] if len(draws) == 1 else None
        points[name] = SweepPoint(name, first.strength if isinstance(first, Steering) else None, found, samples)
    read_as = tuple(read_prompt(prompt, model.tokenizer, settings).text for prompt in prompts)
    return SweepResult(config, read_as, points.pop(UNSTEERED), tuple(points.values()), time.monotonic() - began)


def _sample(text: SteeredText, effect: float | None) -> Sample:
    row = text.row
    return Sample(text.index, text.seed, row.text, len(row.written), row.finish or "length", effect)


def _draws(candidate: Candidate | Sequence[Candidate]) -> tuple[Candidate, ...]:
    if candidate is None or isinstance(candidate, (Steering, Prefix)):
        return (candidate,)
    if not candidate:
        raise InputError("A candidate that is a list of draws needs one at least.")
    return tuple(candidate)
