"""Scores of a run's explanations by what needs a language model, or an encoder, to read them.

Before anything is asked, the whole work is rehearsed with a client that only counts what it is asked, so that the cost
is known to the last request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import torch

from monosema.atlas import PERSON, Score, open_atlas, record
from monosema.core import ConfigError, InputError, Log, bootstrap_mean, nearest
from monosema.interpretation.explaining import AUTHOR
from monosema.interpretation.protocol import Explained
from monosema.interpretation.readers.language_model import LanguageModelReader, LanguageModelReaderConfig
from monosema.interpretation.samples import Samples
from monosema.interpretation.scorers.classification import Classified
from monosema.interpretation.scorers.detection import DetectionConfig, detection_entries, score_detection
from monosema.interpretation.scorers.embedding import score_embedding
from monosema.interpretation.scorers.fuzzing import score_fuzzing
from monosema.interpretation.scorers.intervention import score_intervention, write_continuations
from monosema.interpretation.scorers.intruder import IntruderConfig, score_intruder
from monosema.interpretation.scorers.scored import Scored, shuffled
from monosema.interpretation.scorers.simulation import score_simulation
from monosema.interpretation.scorers.surprisal import score_surprisal
from monosema.interpretation.scorers.texts import Texts
from monosema.llm import (
    Client,
    ClientConfig,
    Failure,
    Reply,
    Request,
    RequestStats,
    check_client,
    llm_dir,
    open_client,
    price_line,
    require_an_answer,
)
from monosema.models import AdaptedModel, LanguageModel, load_model
from monosema.runs.context import RunContext
from monosema.runs.explaining import draw, loaded_dictionary
from monosema.runs.meaning import EMPTY

ASKING = ("simulation", "detection", "fuzzing", "intervention", "intruder")
"""Scorers that ask a language model."""
SCORERS = (*ASKING, "surprisal", "embedding")
EMPTY_LATENTS = 20
"""Features that the empty answer is scored on, at most: its mean is all that is asked of it."""
_BEGINNINGS, _BEGINNING_TOKENS = 8, 8
_AWAITED = "not all answers have come"


@dataclass(frozen=True)
class LanguageModelScoring:
    """What is scored, and how.

    Attributes:
        scorers: some of `SCORERS`.
        method: of the explanations; None for all that a language model or a person wrote.
        latents: which; None for `most` of those that have such explanations.
        most: at most so many; None for all.
        controls: whether shuffled explanations are scored, too, and the empty answer on a few features. With scorers
            that ask, that at least doubles the cost.
        base: base model of surprisal; None for the run's own.
        encoder: encoder of embedding.
        spare_tokens: tokens that a reply may have beyond its answer, hidden reasoning included.
        log_probabilities: whether judgements are weighed by them where the provider gives them.
        seed: decides what is drawn.
    """

    scorers: Sequence[str]
    method: str | None = None
    latents: Sequence[int] | None = None
    most: int | None = None
    controls: bool = True
    base: str | None = None
    encoder: str | None = None
    spare_tokens: int = 32
    log_probabilities: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        for name in self.scorers:
            if name not in SCORERS:
                raise ConfigError(
                    f"There is no scorer {name!r}.{nearest(name, SCORERS)} Use some of: {', '.join(SCORERS)}."
                )
        if "embedding" in self.scorers and self.encoder is None:
            raise ConfigError("The scorer embedding needs an encoder, such as --encoder all-MiniLM-L6-v2.")


Identity = tuple[str, str, str | None, str | None]
"""Author, method, model and prompt version of explanations."""
NOBODY: Identity = (AUTHOR, EMPTY, None, None)
"""The empty answer: it is scored beside explanations as a control, and is no explanation in the atlas."""


def score_with(ctx: RunContext, client: ClientConfig | None, config: LanguageModelScoring, log: Log) -> dict[str, Any]:
    """Score explanations that are in the atlas, and record the scores there.

    Args:
        client: who answers; None where no scorer asks.
        log: receives a line about the cost before anything is asked.

    Returns:
        Means by explanation and scorer, what was asked and spent, and what has no score, by reason.

    Raises:
        InputError: no such explanations, or a scorer that asks and no client.
    """
    if client is None and (asking := [name for name in config.scorers if name in ASKING]):
        raise InputError(f"These scorers ask a language model: {', '.join(asking)}. Say which, with --client.")
    if client is not None:
        check_client(client)
    said = explanations_to_score(ctx, config)
    latents = sorted({latent for explained in said.values() for latent in explained})
    work = ScorersAtWork(ctx, draw(ctx, latents, None, config.seed), config)
    with ExitStack() as stack:
        if client is None:
            scored = {identity: work.scores(explained, None) for identity, explained in said.items()}
            spent = None
        else:
            purse = stack.enter_context(open_client(client, llm_dir(ctx.folder), ctx.device))
            rehearsal = Rehearsal(purse.client.model)
            for explained in said.values():
                work.rehearse(explained, rehearsal)
            if rehearsal.requests:
                log(price_line(client, asdict(purse.estimate(rehearsal.requests))))
            scored = {identity: work.scores(explained, purse.client) for identity, explained in said.items()}
            require_an_answer(client, work.tally)
            spent = purse.spent()
    record(ctx.atlas_dir, scores=score_rows(scored))
    table = [line for identity, found in scored.items() for line in means(identity, found)]
    return {"scores": table, **work.tally.to_dict()} | ({} if spent is None else {"spent_dollars": spent})


class Rehearsal:
    """A client that answers nothing, and keeps what it is asked."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.requests: list[Request] = []

    def complete(self, requests: Sequence[Request], progress: object = None) -> list[Reply]:
        """See `Client`."""
        self.requests += requests
        return [Reply(failure=Failure(kind="pending", detail="it was only counted"))] * len(requests)


class ScorersAtWork:
    """All scorers on one set of samples; what does not depend on the explanations is made once.

    Args:
        ctx: the run.
        samples: passages of all latents that are explained.
        config: which scorers, and how they ask.
        continuations: what the scorer intervention judges; written by the run's model when first needed.

    Attributes:
        tally: what was asked so far.
    """

    def __init__(
        self,
        ctx: RunContext,
        samples: Samples,
        config: LanguageModelScoring,
        continuations: Samples | None = None,
    ) -> None:
        self.ctx, self.samples, self.config = ctx, samples, config
        self.tally = RequestStats()
        self.tokenizer = ctx.model.tokenizer
        self.entries = detection_entries(samples, DetectionConfig(seed=config.seed))
        self.base: LanguageModel | None = None
        self.encoder: AdaptedModel | None = None
        self._written = continuations

    def rehearse(self, explained: Mapping[int, Explained], client: Client) -> None:
        """Ask all that is asked, and count nothing."""
        kept, self.tally = self.tally, RequestStats()
        self.scores(explained, client, only=ASKING)
        self.tally = kept

    def scores(
        self, explained: Mapping[int, Explained], client: Client | None, only: Sequence[str] = SCORERS
    ) -> list[Scored]:
        """The figures of all scorers, with controls. A latent that an answer is awaited of has none."""
        found = []
        whole = self.tally
        for name in self.config.scorers:
            if name in only:
                self.tally = RequestStats()
                # With some of its answers a latent would have another figure than with all of them.
                measured = self._controlled(name, explained, client)
                found += [one.without(self.tally.pending, _AWAITED) for one in measured]
                whole.include(self.tally)
        self.tally = whole
        return found

    def _controlled(self, name: str, explained: Mapping[int, Explained], client: Client | None) -> list[Scored]:
        measured = self._score(name, explained, client)
        own = name in ("surprisal", "embedding", "intervention", "intruder")
        alike = len({one.text for one in explained.values()}) < 2
        if own or alike or not self.config.controls or not (others := shuffled(explained, self.config.seed)):
            return measured
        controls = {scored.scorer: scored for scored in self._score(name, others, client)}
        return [_with_controls(scored, controls[scored.scorer]) for scored in measured]

    def _score(self, name: str, explained: Mapping[int, Explained], client: Client | None) -> list[Scored]:
        samples, tokenizer, seed = self.samples, self.tokenizer, self.config.seed
        if name == "surprisal":
            return [score_surprisal(self._base(), explained, self._texts(explained))]
        if name == "embedding":
            return [score_embedding(self._encoder(), explained, self._texts(explained))]
        if client is None:
            raise InputError(f"The scorer {name} asks a language model: say which, with --client.")
        if name == "intruder":
            if not any(one.text for one in explained.values()):
                return []  # It is about features: without an explanation it would say the same again.
            intruder = IntruderConfig(seed=seed, spare_tokens=self.config.spare_tokens)
            return [score_intruder(client, samples, self._own(explained), tokenizer, intruder, self.tally)]
        reading = LanguageModelReaderConfig(spare_tokens=self.config.spare_tokens)
        if not self.config.log_probabilities:
            reading = reading.replace(log_probabilities=0)
        reader = LanguageModelReader(client, tokenizer, reading)
        reader.tally = self.tally
        if name == "simulation":
            return list(score_simulation(reader, explained, samples))
        if name == "intervention":
            return [score_intervention(reader, explained, self.continuations(), seed)]
        scorer: Callable[..., Classified] = score_detection if name == "detection" else score_fuzzing
        return scorer(reader, explained, samples).scored(name)

    def _own(self, explained: Mapping[int, Explained]) -> Any:
        """Entries of the latents that are explained."""
        row = self.samples.latents[self.samples.row[self.entries]]
        return self.entries[[latent in explained for latent in row.tolist()]]

    def _texts(self, explained: Mapping[int, Explained]) -> Texts:
        return Texts.of(self.samples, self._own(explained), self.tokenizer)

    def _base(self) -> LanguageModel:
        if self.base is None:
            base: Any = self.ctx.model
            self.base = base if self.config.base is None else load_model(self.config.base, self.ctx.device)
        return self.base

    def _encoder(self) -> AdaptedModel:
        if self.encoder is None:
            loaded: Any = load_model(self.config.encoder or "", self.ctx.device)
            if not isinstance(loaded, AdaptedModel):
                raise InputError(f"{self.config.encoder} is no encoder: it continues text. Give one that embeds texts.")
            self.encoder = loaded
        return self.encoder

    def continuations(self) -> Samples:
        """What the model writes when latents are pushed."""
        if self._written is None:
            ids = self.samples.ids[self.samples.passage[self.samples.test]]
            whole = ids[(ids[:, :_BEGINNING_TOKENS] >= 0).all(axis=1)][:_BEGINNINGS, :_BEGINNING_TOKENS]
            dictionary = loaded_dictionary(self.ctx)
            latents = self.samples.latents.tolist()
            beginnings = torch.from_numpy(whole.astype("int64"))
            # A latent's direction belongs to the site that the dictionary writes.
            site = self.ctx.recipe.sites[-1]
            self._written = write_continuations(latents, self.ctx.model, dictionary, site, beginnings)
        return self._written


def _with_controls(scored: Scored, controls: Scored) -> Scored:
    values = {latent: one.value for latent, one in controls.estimates.items() if latent in scored.estimates}
    return Scored(scored.scorer, scored.estimates, values, scored.absent)


def explanations_to_score(ctx: RunContext, config: LanguageModelScoring) -> dict[Identity, dict[int, Explained]]:
    """Explanations of features that ever fire, by who made them; with controls, the empty answer, too.

    Where there is room for some features only, those that people have labelled come first.

    Raises:
        InputError: there are no such explanations.
    """
    where = f"(model is not null or method = '{PERSON}')" if config.method is None else "method = ?"
    rows = open_atlas(ctx.atlas_dir).sql(
        f"select latent, author, method, model, prompt_version, text from explanations where {where} "
        f"and latent in (select latent from features where alive) order by method <> '{PERSON}', latent, author",
        [] if config.method is None else [config.method],
    )
    latents = list(dict.fromkeys(row["latent"] for row in rows))
    wanted = set(latents[: config.most] if config.latents is None else config.latents)
    found: dict[Identity, dict[int, Explained]] = {}
    for row in rows:
        if row["latent"] in wanted:
            identity = (row["author"], row["method"], row["model"], row["prompt_version"])
            found.setdefault(identity, {})[row["latent"]] = Explained(row["latent"], row["text"])
    if not found:
        method = f"by the method {config.method!r}"
        what = "that a language model or a person wrote" if config.method is None else method
        raise InputError(
            f"The atlas has no explanation {what}, of a feature that ever fires. Make some: monosema explain "
            f'{ctx.folder} --client …, or monosema label {ctx.folder} FEATURE "text"'
        )
    if config.controls:
        explained = sorted({latent for one in found.values() for latent in one})
        found[NOBODY] = {latent: Explained(latent, "") for latent in explained[:EMPTY_LATENTS]}
    return found


def score_rows(scored: Mapping[Identity, Sequence[Scored]]) -> dict[int, list[Score]]:
    """Scores as an atlas keeps them, by latent; those of the empty answer are left out."""
    rows: dict[int, list[Score]] = {}
    for identity, found in scored.items():
        for one in found if identity != NOBODY else ():
            for latent, estimate in one.estimates.items():
                rows.setdefault(latent, []).append(Score(*identity, one.scorer, estimate, one.controls.get(latent)))
    return rows


def means(identity: Identity, found: Sequence[Scored]) -> list[dict[str, Any]]:
    """What each scorer says of explanations of one kind, as plain values: the mean over features, with an interval."""
    author, method = identity[:2]
    lines = []
    for one in found:
        mean = bootstrap_mean([each.value for each in one.estimates.values()]) if one.estimates else None
        lines.append(
            {
                "author": author,
                "method": method,
                "scorer": one.scorer,
                "features": len(one.estimates),
                "mean": mean and mean.value,
                "interval": mean and [mean.low, mean.high],
                "control": fmean(one.controls.values()) if one.controls else None,
                "absent": one.failures,
            }
        )
    return lines
