"""Scorers: the protocol that each one follows, and the session in which several of them score explanations.

A scorer is a class with `info` and `score`, registered in one line by `register_scorer`:

    class Brevity:
        info = ScorerInfo("brevity", "is the explanation short?", chance=0.5, unit="share of short words")

        def score(self, explanations, session):
            return [self.info.table({latent: Estimate(…) for latent in explanations}, absent={})]

    register_scorer(Brevity)

It is then a scorer of `monosema score --scorers`, of recipes (`score.scorers`, where it scores rules), of the
comparison and of the report.

Each score has a control. For most scorers this is the same score for another latent's explanation; the session
computes it. It also makes a latent absent some of whose answers are still to come: with some of its answers a latent
would have another score than with all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from monosema.atlas import Explanation
from monosema.atlas.layout import mix
from monosema.core import Estimate, InputError
from monosema.core.groups import ranks
from monosema.interpretation.protocol import Predictor, Subject
from monosema.interpretation.rules import RulePredictor
from monosema.interpretation.samples import KINDS, Samples
from monosema.interpretation.scores import RESAMPLES, ScoreTable, area_under_curve, shuffled
from monosema.interpretation.simulator import Simulator, SimulatorConfig
from monosema.llm import Client, RequestStats
from monosema.models import LanguageModel, Tokenizer, load_model

PENDING = "not all answers have come"
ACTIVE_KINDS = tuple(KINDS.index(kind) for kind in ("random", *(f"q{tenth}" for tenth in range(10))))
"""Kinds of activating passages that stand for all of them: random ones, and those drawn from each tenth."""
_PASSAGES = 40
_T = TypeVar("_T")


@dataclass(frozen=True)
class ScorerInfo:
    """Facts about a scorer.

    Attributes:
        name: in the atlas and on the command line.
        title: the question it answers, for people.
        chance: score of an explanation without content.
        unit: name of the quantity on an axis.
        rank: preference where features' labels are compared by one scorer, the lowest first.
        asks: needs a language model to answer, unless rules predict.
        scores_rules: also scores rules, without a language model; a run does this for every feature.
        shuffles: its control is the score of another latent's explanation; otherwise chance.
        needs: options of the session that it can't do without, such as "encoder".
    """

    name: str
    title: str
    chance: float
    unit: str
    rank: int = 100
    asks: bool = False
    scores_rules: bool = False
    shuffles: bool = True
    needs: tuple[str, ...] = ()

    def table(self, estimates: Mapping[int, Estimate], absent: Mapping[int, str]) -> ScoreTable:
        """Return scores with these facts."""
        return ScoreTable(self.name, estimates, absent, {}, self.chance, self.unit, self.rank)


@runtime_checkable
class Scorer(Protocol):
    """Scores explanations. Classes are made without arguments, or with settings of a recipe that have their name."""

    info: ScorerInfo

    def score(self, explanations: Mapping[int, Explanation], session: ScoringSession) -> list[ScoreTable]:
        """Score explanations on the test split of the session's samples.

        Returns:
            The scorer's own metric first, then others beside it. Each explained latent is in `estimates` or `absent`.
        """
        ...


@dataclass(frozen=True)
class ScoringSession:
    """Everything that scorers work with; objects that don't depend on explanations are made once.

    Attributes:
        samples: passages of all latents that are explained.
        tokenizer: of the subject's model; None where only rules are scored.
        predictor: predicts from explanations.
        client: the language model that is asked, if any.
        subject: the latents themselves; None where samples are all that is known.
        base: base model of surprisal; None for the subject's own.
        encoder: encoder of embedding.
        device: for models that are loaded; None for the best available.
        spare_tokens: tokens that a reply may have beyond its answer, hidden reasoning included.
        log_probabilities: weigh judgements by log-probabilities where the provider gives them.
        controls: score shuffled explanations too. With scorers that ask, that doubles the cost.
        intervals: compute bootstrap intervals; not needed of controls.
        seed: decides what is drawn.
        folder: keeps samples that were made for scorers; None for memory only.
        stats: requests and failures so far.
        made: objects made so far, by name.
    """

    samples: Samples
    tokenizer: Tokenizer | None = None
    predictor: Predictor = field(default_factory=RulePredictor)
    client: Client | None = None
    subject: Subject | None = None
    base: str | None = None
    encoder: str | None = None
    device: str | None = None
    spare_tokens: int = 32
    log_probabilities: bool = True
    controls: bool = True
    intervals: bool = True
    seed: int = 0
    folder: Path | None = None
    stats: RequestStats = field(default_factory=RequestStats)
    made: dict[str, Any] = field(default_factory=dict)

    def asking(self, client: Client) -> ScoringSession:
        """Return the same session with a language model as predictor, and counts of its own."""
        assert self.tokenizer is not None
        config = SimulatorConfig(spare_tokens=self.spare_tokens)
        if not self.log_probabilities:
            config = config.replace(log_probabilities=0)
        stats = RequestStats()
        return replace(self, client=client, stats=stats, predictor=Simulator(client, self.tokenizer, config, stats))

    def scores(self, explanations: Mapping[int, Explanation], scorers: Sequence[Scorer]) -> list[ScoreTable]:
        """Score explanations by all scorers, with controls."""
        tables = []
        for scorer in scorers:
            # Counts of its own tell which latents this scorer awaits answers about.
            session = self.asking(self.client) if self.client is not None else replace(self, stats=RequestStats())
            tables += [
                one.without(session.stats.pending, PENDING) for one in _controlled(scorer, explanations, session)
            ]
            self.stats.include(session.stats)
        return tables

    def once(self, name: str, make: Callable[[], _T]) -> _T:
        """Return what was made under a name; make it first where needed."""
        if name not in self.made:
            self.made[name] = make()
        made: _T = self.made[name]
        return made

    def samples_once(self, name: str, make: Callable[[], Samples]) -> Samples:
        """Return samples as `once` does, from the session's folder where they were kept there."""

        def read() -> Samples:
            if self.folder is None:
                return make()
            path = self.folder / f"{name}.safetensors"
            if not path.exists():
                make().save(path)
            return Samples.load(path)

        return self.once(name, read)

    def base_model(self) -> LanguageModel:
        """Return the base model. Raises InputError without one."""
        if self.base is None and self.subject is not None:
            return self.subject.model
        if self.base is None and "base" not in self.made:
            raise InputError("There is no base model to score with: name one.")
        return self.once("base", lambda: load_model(self.base or "", self.device))

    def passages(self, explanations: Mapping[int, Explanation]) -> Int[NDArray[np.int64], " n"]:
        """Return test entries of the explained latents: as many activating as inactive ones, those with an active
        neighbour included."""
        entries = self.once("passages", lambda: balanced_entries(self.samples, _PASSAGES, self.seed))
        return entries[np.isin(self.samples.latents[self.samples.row[entries]], list(explanations))]

    def texts(
        self, explanations: Mapping[int, Explanation]
    ) -> tuple[list[str], Int[NDArray[np.int64], " n"], Bool[NDArray[np.bool_], " n"]]:
        """Return the passages of the explained latents as texts, with the latent of each, and a mask of active ones."""
        assert self.tokenizer is not None
        entries = self.passages(explanations)
        texts = [self.tokenizer.decode(self.samples.tokens_of(entry)) for entry in entries.tolist()]
        return texts, self.samples.latents[self.samples.row[entries]], self.samples.active[entries]

    def areas(
        self,
        info: ScorerInfo,
        explanations: Collection[int],
        values: Float[np.ndarray, " n"],
        latents: Int[np.ndarray, " n"],
        positive: Bool[np.ndarray, " n"],
        reason: str,
    ) -> list[ScoreTable]:
        """Score each explained latent by the area under the curve of values, NaN where there is none.

        Args:
            latents, positive: of each value.
            reason: given for latents without positives or without negatives.
        """
        resamples = RESAMPLES if self.intervals else 0
        areas = {
            latent: area_under_curve(values[latents == latent], positive[latents == latent], self.seed, resamples)
            for latent in explanations
        }
        estimates = {latent: estimate for latent, estimate in areas.items() if estimate is not None}
        return [info.table(estimates, {latent: reason for latent in areas if latent not in estimates})]


def _controlled(scorer: Scorer, explanations: Mapping[int, Explanation], session: ScoringSession) -> list[ScoreTable]:
    tables = scorer.score(explanations, session)
    if not scorer.info.shuffles:
        chance = scorer.info.chance
        return [replace(one, controls=dict.fromkeys(one.estimates, chance)) for one in tables]
    different = len({(one.text, one.program) for one in explanations.values()}) > 1
    others = shuffled(explanations, session.seed) if session.controls and different else {}
    if not others:
        return tables
    controls = {table.scorer: table for table in scorer.score(others, replace(session, intervals=False))}
    return [one.controlled_by(controls[one.scorer]) for one in tables]


def pick(
    samples: Samples, allowed: Bool[np.ndarray, " entries"], most: int, seed: int = 0
) -> Int[NDArray[np.int64], " n"]:
    """Return at most so many of the allowed test entries of each latent, ascending; a hash decides which."""
    entries = np.flatnonzero(allowed & samples.test)
    row = samples.row[entries]
    salt = mix(np.array([seed % 2**64], np.uint64))
    ticket = mix(samples.hashes[samples.passage[entries]] ^ mix(samples.latents[row].astype(np.uint64) ^ salt))
    order = np.lexsort((ticket, row))
    return np.sort(entries[order[ranks(row[order]) < most]])


def balanced_entries(samples: Samples, passages: int, seed: int = 0) -> Int[NDArray[np.int64], " n"]:
    """Return at most so many test entries of each latent: half activate it; of the others half are random, a quarter
    near by decoder, a quarter near by firing."""
    half, eighth = passages // 2, max(1, passages // 4 // 2)
    near = [samples.kind == KINDS.index(f"inactive near {kind}") for kind in ("decoder", "firing")]
    parts = [pick(samples, np.isin(samples.kind, ACTIVE_KINDS), half, seed)]
    parts += [pick(samples, allowed, eighth, seed) for allowed in near]
    parts.append(pick(samples, samples.kind == KINDS.index("inactive"), half - 2 * eighth, seed))
    return np.sort(np.concatenate(parts))
