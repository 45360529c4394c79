"""Scores of explanations through a Batch service, in steps that survive a kill.

    send      explanations, passages ─► written down ─► requests about them ─► sent
    status, retrieve                    see `monosema.llm`: they are the same for all requests
    parse     what was written down + what has come ─► scores ─► the atlas

Requests follow from the explanations, the passages, the prompts and the settings alone. All but the prompts are written
down before anything is sent, in a folder of its own for each job, so `parse` can make the same requests again, and is
given the answers that came. Some requests depend on answers (a simulation whose lines are not those of the passage is
requested anew): a further `send` sends those, and nothing twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from monosema.atlas import Atlas, Explanation
from monosema.atlas.feature import Identity
from monosema.core import InputError, Log, RunError, digest, read_json, write_json
from monosema.data import TokenBatch
from monosema.interpretation import prompts
from monosema.interpretation.model_explanations import draw_chosen
from monosema.interpretation.model_scores import (
    ScoreOptions,
    explanations_to_score,
    latents_in,
    lines_of_scores,
    record_tables,
    rehearse,
)
from monosema.interpretation.protocol import Subject
from monosema.interpretation.samples import Samples
from monosema.interpretation.sampling import SampleConfig
from monosema.interpretation.scoring import ScoringSession
from monosema.llm import (
    Batches,
    ClientConfig,
    Reply,
    Request,
    RequestStats,
    open_batches,
    price_line,
)


class ReplayClient:
    """A client that asks nobody: it has the answers that came; other requests are pending.

    Attributes:
        requests: all requests that were made of it.
    """

    def __init__(self, batches: Batches) -> None:
        self.batches = batches
        self.requests: list[Request] = []

    @property
    def model(self) -> str:
        """Name of the model."""
        return self.batches.model

    def complete(self, requests: Sequence[Request], progress: object = None) -> list[Reply]:
        """See `Client`."""
        self.requests += requests
        return [reply for _, reply in self.batches.replies(requests)]


def send_scores(
    subject: Subject,
    text: Iterable[TokenBatch],
    samples: SampleConfig,
    client: ClientConfig,
    options: ScoreOptions,
    folder: Path,
    name: str,
    log: Log,
) -> dict[str, Any]:
    """Send requests that scores need, that have no answer and are not under way.

    Args:
        name: of the dictionary, in its run.

    Raises:
        InputError: no such explanations, or a scorer that asks nobody.
        CostCapError: it might cost more than the cap leaves; nothing was sent.
        ProviderError: sending failed; what was sent is kept, and the rest follows when called again.
    """
    if silent := [one for one in options.scorers if one not in options.asking]:
        raise InputError(
            f"These scorers ask no language model, so there is nothing to send: {', '.join(silent)}. "
            f"Score with them at once: monosema score RUN --scorers {','.join(silent)}"
        )
    with open_batches(client, folder) as batches:

        def draw(latents: Sequence[int]) -> Samples:
            return draw_chosen(subject, text, samples, latents, None, options.seed)

        job = _write_job(subject.atlas, batches, options, folder, name, draw)
        replay = ReplayClient(batches)
        rehearse(job.session(subject), job.explained, replay, job.options)
        log(price_line(client, batches.estimate(replay.requests)))
        return asdict(batches.send(replay.requests))


def parse_scores(subject: Subject, client: ClientConfig, folder: Path, name: str) -> dict[str, Any]:
    """Read what has come, and record the scores in the atlas. Sends nothing.

    A feature is scored by a scorer when all answers about it have come. An explanation that is no longer in the atlas
    gets no score.

    Returns:
        Means by explanation and scorer, counts of requests, dollars spent, the number of requests that are still to be
        sent, and jobs that can't be read any more, by reason.

    Raises:
        RunError: nothing was ever sent to this model from this run to score it.
    """
    stats, unread, unsent = RequestStats(), dict[str, int](), 0
    lines: list[dict[str, Any]] = []
    atlas = subject.atlas
    with open_batches(client, folder) as batches:
        jobs = sorted(_read_jobs(batches, folder, name), key=lambda job: float(job.facts["sent"]))
        if not jobs:
            raise RunError(f"Nothing was sent to {client.client} to score this run. Send it: monosema score RUN send …")
        current = _current_texts(atlas)
        for job in jobs:
            if (reason := job.outdated(atlas)) is not None:
                unread[reason] = unread.get(reason, 0) + 1
                continue
            replay = ReplayClient(batches)
            session = job.session(subject).asking(replay)
            tables = {}
            for identity, explanations in job.explained.items():
                gone = [n for n, one in explanations.items() if current.get((*identity, n), "") != one.text]
                some = session.scores(explanations, job.options.made())
                tables[identity] = [one.without(gone, "explained anew since it was sent") for one in some]
            record_tables(atlas, tables, job.explained, {})
            lines += lines_of_scores(tables, {})
            unsent += batches.estimate(replay.requests).requests
            stats.include(session.stats)
        more = {"to_send": unsent, "unread": unread, "spent_dollars": batches.store.spent()}
        more |= stats.keep_replies(folder / "replies-score.jsonl")
    return {"scores": lines, **stats.to_dict(), **more}


@dataclass(frozen=True)
class _Job:
    """Everything that was written down of one sending: its facts, and samples in its folder."""

    folder: Path
    facts: Mapping[str, Any]

    @property
    def options(self) -> ScoreOptions:
        return ScoreOptions(**self.facts["settings"])

    @property
    def explained(self) -> dict[Identity, dict[int, Explanation]]:
        explained: dict[Identity, dict[int, Explanation]] = {}
        for one in self.facts["explanations"]:
            author, method, model, version = one["identity"]
            explained[author, method, model, version] = {
                int(n): Explanation(author, method, model, version, text) for n, text in one["texts"].items()
            }
        return explained

    def session(self, subject: Subject) -> ScoringSession:
        samples = Samples.load(self.folder / "samples.safetensors")
        return self.options.session(subject, samples, folder=self.folder)

    def outdated(self, atlas: Atlas) -> str | None:
        """Say why the answers can't be read: the requests can't be made as they were, or are of another dictionary."""
        if self.facts["prompt_version"] != prompts.VERSION:
            version = self.facts["prompt_version"]
            return f"asked with prompts of version {version}; these are of version {prompts.VERSION}"
        return "the atlas is of another dictionary by now" if self.facts["atlas"] != atlas.meta["id"] else None


def _write_job(
    atlas: Atlas,
    batches: Batches,
    options: ScoreOptions,
    folder: Path,
    name: str,
    draw: Callable[[Sequence[int]], Samples],
) -> _Job:
    """Write down a job with its passages, before anything is sent."""
    explained = explanations_to_score(atlas, options)
    latents = latents_in(explained)
    facts = {
        "dictionary": name,
        "atlas": atlas.meta["id"],
        "passages": atlas.meta["tables"]["examples"]["sha256"],
        "provider": batches.identity,
        "prompt_version": prompts.VERSION,
        "settings": {**asdict(options), "scorers": list(options.scorers), "latents": latents},
        "explanations": [
            {"identity": list(identity), "texts": {str(latent): one.text for latent, one in some.items()}}
            for identity, some in explained.items()
        ],
    }
    home = folder / f"score-{digest(facts)}"
    if not (path := home / "samples.safetensors").exists():
        draw(latents).save(path)
    write_json(home / "errand.json", {**facts, "sent": time.time()})
    return _Job(home, facts)


def _read_jobs(batches: Batches, folder: Path, name: str) -> Iterator[_Job]:
    """Return the jobs of this provider for this dictionary."""
    for path in sorted(folder.glob("score-*/errand.json")):
        job = _Job(path.parent, read_json(path))
        if job.facts["provider"] == batches.identity and job.facts["dictionary"] == name:
            yield job


def _current_texts(atlas: Atlas) -> dict[tuple[Any, ...], str]:
    """Return the explanations that are in the atlas now, by identity and latent."""
    rows = atlas.sql("select author, method, model, prompt_version, latent, text from explanations")
    return {tuple(list(row.values())[:-1]): row["text"] for row in rows}
