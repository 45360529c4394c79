"""Sweeps: many candidates and seeds written in one batch, and measured alike.

Candidates are a steering at several strengths, several steerings, or words before the prompt. Every candidate writes on
from the same prompts with the same seeds, and rows of one prompt and seed draw with the same noise as the unsteered row
beside them, so that differences are those of the candidate. Figures come with intervals over prompts, or over seeds
where there is one prompt.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import Field

from monosema.core import Config, Estimate, InputError
from monosema.models import GenerationConfig, LanguageModel, Prompt, read_prompt
from monosema.models.row import Finish
from monosema.steering.candidates import Candidate, Prefix
from monosema.steering.edits import Steering
from monosema.steering.figures import Figures
from monosema.steering.metrics.effect import Effect
from monosema.steering.metrics.likelihood import Written, likelihoods
from monosema.steering.metrics.measures import MeasuredText
from monosema.steering.metrics.skills import Skills
from monosema.steering.steered import steered

UNSTEERED = "unsteered"


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
    """What one candidate gave.

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
class SweepResult:
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
        """The point of a candidate."""
        return next(point for point in (*self.points, self.base) if point.name == name)

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
    """How far a sweep is: units of work done, of all; a unit is a token of a row, written or read again."""

    done: int
    total: int


def sweep(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    candidates: Mapping[str, Candidate | Sequence[Candidate]],
    config: SweepConfig | None = None,
    effect: Effect | None = None,
) -> SweepResult:
    """Write on from all prompts under all candidates, and measure the texts; see `sweep_steps`."""
    steps = sweep_steps(model, prompts, candidates, config, effect)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: SweepResult = end.value
            return result


def sweep_steps(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    candidates: Mapping[str, Candidate | Sequence[Candidate]],
    config: SweepConfig | None = None,
    effect: Effect | None = None,
) -> Generator[SweepStep, None, SweepResult]:
    """Do a sweep token by token; its return value is the result, and to close it is to cancel it.

    Args:
        prompts: texts, or chats.
        candidates: by name. Several for one name are draws of one kind, such as random latents, which the prompts take
            in turn. The unsteered texts are written besides.
        effect: how much of a concept a text shows.

    Raises:
        InputError: no prompts or no candidates, an edit that matches no token, or no such task.
    """
    if not prompts or not candidates:
        raise InputError(f"A sweep needs prompts and candidates, and got {len(prompts)} and {len(candidates)}.")
    config, began = config or SweepConfig(), time.monotonic()
    named = {UNSTEERED: (None,)} | {name: _draws(one) for name, one in candidates.items() if name != UNSTEERED}
    rows = [
        _Row(name, draws[index % len(draws)], index, prompt, seed)
        for name, draws in named.items()
        for index, prompt in enumerate(prompts)
        for seed in config.seeds
    ]
    skills = Skills(model, config.skills, config.skill_prompts) if config.skill_prompts else None
    # Reading a text again costs less than writing it; both count as one, so that progress needs no clock.
    total = len(rows) * config.max_new_tokens * 2 + (len(named) * len(skills.questions) if skills else 0)
    done = 0
    for chunk in _chunks(model, rows, config):
        written = 0
        for _ in _write(model, chunk, config):
            written += len(chunk)
            yield SweepStep(done + written, total)
        done += len(chunk) * config.max_new_tokens
        yield SweepStep(done, total)
    figures, read = Figures(effect), {}
    for number, likelihood in likelihoods(model, [row.written(model) for row in rows], config.memory_mb):
        read[number] = likelihood
        done += config.max_new_tokens
        yield SweepStep(done, total)
    right = {}
    for name, draws in named.items():
        if skills is not None:
            right[name] = skills.right(draws)
            done += len(skills.questions)
            yield SweepStep(done, total)
    for number, row in enumerate(rows):
        unit = row.index if len(prompts) > 1 else row.seed
        figures.add(row.name, MeasuredText(row.text, tuple(row.tokens), read[number]), unit)
    tasks = [question.task for question in skills.questions] if skills else []
    points = {}
    for name, draws in named.items():
        found = figures.of(name, UNSTEERED)
        if skills is not None:
            found |= figures.of_skills(tasks, right[name], right[UNSTEERED])
        own = [row for row in rows if row.name == name]
        effects = figures.effects(name)
        samples = tuple(row.sample(one) for row, one in zip(own, effects, strict=True))
        first = draws[0] if len(draws) == 1 else None
        points[name] = SweepPoint(name, first.strength if isinstance(first, Steering) else None, found, samples)
    texts = tuple(read_prompt(prompt, model.tokenizer, GenerationConfig()).text for prompt in prompts)
    base = points.pop(UNSTEERED)
    return SweepResult(config, texts, base, tuple(points.values()), time.monotonic() - began)


def _draws(candidate: Candidate | Sequence[Candidate]) -> tuple[Candidate, ...]:
    if candidate is None or isinstance(candidate, (Steering, Prefix)):
        return (candidate,)
    if not candidate:
        raise InputError("A candidate that is a list of draws needs one at least.")
    return tuple(candidate)


@dataclass
class _Row:
    """A text that is being written."""

    name: str
    candidate: Candidate
    index: int
    prompt: Prompt
    seed: int
    text: str = ""
    tokens: list[int] = field(default_factory=list)
    finish: Finish = "length"

    @property
    def given(self) -> Prompt:
        return self.candidate.before(self.prompt) if isinstance(self.candidate, Prefix) else self.prompt

    @property
    def steering(self) -> Steering | None:
        return self.candidate if isinstance(self.candidate, Steering) else None

    def written(self, model: LanguageModel) -> Written:
        plain, given = (read_prompt(one, model.tokenizer, GenerationConfig()) for one in (self.prompt, self.given))
        return Written(plain, given, tuple(self.tokens), self.steering)

    def sample(self, effect: float | None) -> Sample:
        return Sample(self.index, self.seed, self.text, len(self.tokens), self.finish, effect)


def _chunks(model: LanguageModel, rows: Sequence[_Row], config: SweepConfig) -> list[list[_Row]]:
    """Divide rows into batches whose keys, values and logits stay within the memory; seldom more than one."""
    longest = max(len(read_prompt(row.given, model.tokenizer, GenerationConfig()).ids) for row in rows)
    positions = longest + config.max_new_tokens
    a_row = 2 * model.n_layers * model.d_model * model.dtype.itemsize * positions + 16 * model.vocab
    size = max(1, config.memory_mb * 2**20 // a_row)
    return [list(rows[start : start + size]) for start in range(0, len(rows), size)]


def _write(model: LanguageModel, rows: Sequence[_Row], config: SweepConfig) -> Generator[None]:
    """Write the texts of some rows; yields after each token of all."""
    settings = config.model_dump(include={"max_new_tokens", "temperature", "top_k", "top_p"})
    last = -1
    with steered(model, [row.steering for row in rows]):
        for piece in model.stream([row.given for row in rows], seed=tuple(row.seed for row in rows), **settings):
            if piece.row <= last:
                yield
            last = piece.row
            row = rows[piece.row]
            row.text += piece.text
            row.tokens.append(piece.token)
            row.finish = piece.finish or row.finish
