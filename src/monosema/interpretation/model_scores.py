"""Scores of explanations by any scorers, at once.

All requests are rehearsed first with a client that only counts them, so that the cost is known to the last request.
`score_batches` does the same through a Batch service.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from monosema.atlas import PERSON, Atlas, Explanation, record
from monosema.atlas.feature import Identity
from monosema.core import ConfigError, InputError, Log, Progress, progress_bar
from monosema.data import TokenBatch
from monosema.interpretation.controls import RANDOM_SAMPLES, random_rules, score_values
from monosema.interpretation.model_explanations import draw_chosen
from monosema.interpretation.protocol import BASELINE, Subject
from monosema.interpretation.samples import Samples
from monosema.interpretation.sampling import SampleConfig
from monosema.interpretation.scorers import make_scorers
from monosema.interpretation.scores import RandomScores, ScoreTable, atlas_scores, spread
from monosema.interpretation.scoring import Scorer, ScoringSession
from monosema.llm import (
    Client,
    ClientConfig,
    Failure,
    Reply,
    Request,
    check_client,
    open_client,
    price_line,
    require_an_answer,
)

BASELINE_LATENTS = 20
"""Most features that the empty answer is scored on: only its mean is of interest."""
Explained = Mapping[Identity, Mapping[int, Explanation]]
"""Explanations by author, method, model and prompt version, and by latent."""


@dataclass(frozen=True)
class ScoreOptions:
    """Explanations that are scored, and scorers.

    Attributes:
        scorers: names of scorers.
        method: of the explanations; None for all that a language model or a person wrote.
        latents: None for `most` of those that have such explanations.
        most: most latents; None for all.
        controls: also score shuffled explanations, and the empty answer on a few features. With scorers that ask, that
            at least doubles the cost.
        base, encoder, spare_tokens, log_probabilities, seed: as for a `ScoringSession`.
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
        for scorer in self.made():
            for need in scorer.info.needs:
                if getattr(self, need) is None:
                    raise ConfigError(f"The scorer {scorer.info.name} needs --{need}.")

    def made(self) -> list[Scorer]:
        """Make the scorers."""
        return make_scorers(self.scorers)

    @property
    def asking(self) -> list[str]:
        """Names of the scorers that ask a language model."""
        return [scorer.info.name for scorer in self.made() if scorer.info.asks]

    def session(self, subject: Subject, samples: Samples, **more: Any) -> ScoringSession:
        """Open a session with these options."""
        shared = {"controls", "base", "encoder", "spare_tokens", "log_probabilities", "seed"}
        options = {field.name: getattr(self, field.name) for field in fields(self) if field.name in shared}
        return ScoringSession(samples, subject.model.tokenizer, subject=subject, **options, **more)


def score_with(
    subject: Subject,
    text: Iterable[TokenBatch],
    samples: SampleConfig,
    client: ClientConfig | None,
    options: ScoreOptions,
    folder: Path,
    log: Log,
    device: str | None = None,
    home: Path | None = None,
) -> dict[str, Any]:
    """Score explanations that are in the atlas, and record the scores there.

    Args:
        text: held-out text that passages come from.
        samples: numbers of passages.
        client: the language model that is asked; None where no scorer asks.
        folder: keeps answers and costs.
        log: receives a line about the cost before anything is asked.
        home: of the run's tables of scores, where its random latents are; None for no such control.

    Returns:
        Means by explanation and scorer, counts of requests, dollars spent, and absent scores by reason.

    Raises:
        InputError: no such explanations, or a scorer that asks and no client.
    """
    if client is None and options.asking:
        raise InputError(f"These scorers ask a language model: {', '.join(options.asking)}. Say which, with --client.")
    if client is not None:
        check_client(client)
    explained = explanations_to_score(subject.atlas, options)
    drawn = draw_chosen(subject, text, samples, latents_in(explained), None, options.seed)
    session = options.session(subject, drawn, device=device)
    spent: dict[str, Any] = {}
    with ExitStack() as stack:
        if client is not None:
            answering, store = stack.enter_context(open_client(client, folder, device))
            rehearsal = DryRunClient(answering.model)
            rehearse(session, explained, rehearsal, options)
            if rehearsal.requests:
                log(price_line(client, answering.estimate(rehearsal.requests)))
            bar = stack.enter_context(progress_bar("score", len(rehearsal.requests), "requests"))
            session = session.asking(CountingClient(answering, bar))
        tables = {identity: session.scores(some, options.made()) for identity, some in explained.items()}
        random = _random_scores(session, options, explained, home)
        if client is not None:
            require_an_answer(client, session.stats)
            spent = {
                "spent_dollars": store.spent(),
                **session.stats.keep_replies(folder / "replies-score.jsonl"),
            }
    record_tables(subject.atlas, tables, explained, random)
    return {"scores": lines_of_scores(tables, random), **session.stats.to_dict(), **spent}


def _random_scores(
    session: ScoringSession, options: ScoreOptions, explained: Explained, home: Path | None
) -> RandomScores:
    """Score rules of random latents by scorers that ask nobody and need no more of latents than samples."""
    if home is None or not (home / RANDOM_SAMPLES).exists():
        return {}
    scorers = [scorer for scorer in options.made() if not scorer.info.asks]
    rules = random_rules(home)
    made = {name: one for name, one in session.made.items() if name in ("base", "encoder")}
    beside = replace(session, samples=Samples.load(home / RANDOM_SAMPLES), controls=False, client=None, made=made)
    methods = {method for _, method, _, _ in explained} & rules.keys()
    return {method: score_values(beside.scores(rules[method], scorers)) for method in methods if scorers}


@dataclass(frozen=True)
class CountingClient:
    """A client whose answers advance a bar."""

    client: Client
    bar: Progress

    @property
    def model(self) -> str:
        """Name of the model."""
        return self.client.model

    def complete(self, requests: Sequence[Request], progress: object = None) -> list[Reply]:
        """See `Client`."""
        return self.client.complete(requests, self.bar)


class DryRunClient:
    """A client that answers nothing, and keeps the requests."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.requests: list[Request] = []

    def complete(self, requests: Sequence[Request], progress: object = None) -> list[Reply]:
        """See `Client`."""
        self.requests += requests
        return [Reply(failure=Failure(kind="pending", detail="it was only counted"))] * len(requests)


def rehearse(session: ScoringSession, explained: Explained, client: Client, options: ScoreOptions) -> None:
    """Make all requests of the scorers that ask, without counting them."""
    asking = [scorer for scorer in options.made() if scorer.info.asks]
    for explanations in explained.values():
        session.asking(client).scores(explanations, asking)


def explanations_to_score(atlas: Atlas, options: ScoreOptions) -> dict[Identity, dict[int, Explanation]]:
    """Return explanations of features that ever fire, by identity; with controls, the empty answer, too.

    Where there is room for some features only, those that people have labelled come first.

    Raises:
        InputError: there are no such explanations.
    """
    where = f"(model is not null or method = '{PERSON}')" if options.method is None else "method = ?"
    rows = atlas.sql(
        f"select latent, author, method, model, prompt_version, text, program from explanations where {where} "
        f"and latent in (select latent from features where alive) order by method <> '{PERSON}', latent, author",
        [] if options.method is None else [options.method],
    )
    latents = list(dict.fromkeys(row["latent"] for row in rows))
    wanted = set(latents[: options.most] if options.latents is None else options.latents)
    explained: dict[Identity, dict[int, Explanation]] = {}
    for row in rows:
        if (latent := row.pop("latent")) in wanted:
            explanation = Explanation(**row)
            explained.setdefault(explanation.identity, {})[latent] = explanation
    if not explained:
        method = f"by the method {options.method!r}"
        what = "that a language model or a person wrote" if options.method is None else method
        raise InputError(
            f"The atlas has no explanation {what}, of a feature that ever fires. Make some: monosema explain RUN "
            '--client …, or monosema label RUN FEATURE "text"'
        )
    if options.controls:
        explained[BASELINE.identity] = dict.fromkeys(latents_in(explained)[:BASELINE_LATENTS], BASELINE)
    return explained


def latents_in(explained: Explained) -> list[int]:
    """Return the latents that are explained, ascending."""
    return sorted({latent for explanations in explained.values() for latent in explanations})


def record_tables(
    atlas: Atlas, tables: Mapping[Identity, Sequence[ScoreTable]], explained: Explained, random: RandomScores
) -> None:
    """Record scores in the atlas, but for those of the empty answer."""
    for identity, some in tables.items():
        if identity != BASELINE.identity:
            record(atlas.path, scores=atlas_scores(some, explained[identity], random=random.get(identity[1])))


def lines_of_scores(tables: Mapping[Identity, Sequence[ScoreTable]], random: RandomScores) -> list[dict[str, Any]]:
    """Return the means over features of each scorer and kind of explanation beside their controls, as plain values."""
    lines = []
    for (author, method, _, _), some in tables.items():
        for table in some:
            mean, control = table.mean, table.control
            beside, count = spread(random.get(method, {}).get(table.scorer, ())), len(table.estimates)
            lines.append(
                {
                    "author": author,
                    "method": method,
                    "scorer": table.scorer,
                    "features": len(table.estimates),
                    "mean": mean and mean.value,
                    "interval": mean and [mean.low, mean.high],
                    "control": control and control.value,
                    "random": beside and beside.value,
                    "above": len(table.above()) / count if count and control else None,
                    "above_random": len(table.above(beside.value)) / count if count and beside else None,
                    "absent": table.failures,
                }
            )
    return lines
