"""Scores of a run's explanations through a Batch service, in steps that survive a kill.

    send      explanations, passages ─► written down ─► what is asked about them ─► sent
    status, retrieve                     see `monosema.llm`: they are the same whatever was asked
    parse     what was written down + what has come ─► scores ─► the atlas

What is asked follows from the explanations, the passages, the prompts and the settings alone. All but the prompts are
written down before anything is sent, in a folder of its own for each errand, so `parse` can ask the same questions
again, and is given the answers that came. Some questions depend on answers (a simulation whose lines are not those of
the passage is asked anew): a further `send` sends those, and nothing twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from monosema.atlas import open_atlas, record
from monosema.core import InputError, Log, RunError, digest, read_json, write_json
from monosema.interpretation import prompts
from monosema.interpretation.protocol import Explained
from monosema.interpretation.samples import Samples
from monosema.llm import (
    Batches,
    ClientConfig,
    Reply,
    Request,
    RequestStats,
    llm_dir,
    open_batches,
    price_line,
    sent_summary,
    spent_dollars,
)
from monosema.runs.context import RunContext
from monosema.runs.explaining import draw
from monosema.runs.language_model_scores import (
    ASKING,
    LanguageModelScoring,
    ScorersAtWork,
    explanations_to_score,
    means,
    score_rows,
)


class Received:
    """A client that asks nobody: it has the answers that came, and says of the others that they are pending.

    Attributes:
        requests: all that it was asked.
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


def send_scores(ctx: RunContext, client: ClientConfig, config: LanguageModelScoring, log: Log) -> dict[str, Any]:
    """Send what scores need that has no answer and is not under way.

    Args:
        log: receives a line about the cost before anything is sent.

    Raises:
        InputError: no such explanations, or a scorer that asks nobody.
        CostCapError: it might cost more than the cap leaves; nothing was sent.
        ProviderError: sending failed; what was sent is kept, and the rest follows when called again.
    """
    if silent := [name for name in config.scorers if name not in ASKING]:
        raise InputError(
            f"These scorers ask no language model, so there is nothing to send: {', '.join(silent)}. "
            f"Score with them at once: monosema score {ctx.folder} --scorers {','.join(silent)}"
        )
    with open_batches(client, llm_dir(ctx.folder)) as batches:
        errand = _written_down(ctx, batches, config)
        work, received = _work(ctx, errand), Received(batches)
        for explained in errand["explained"].values():
            work.rehearse(explained, received)
        log(price_line(client, asdict(batches.estimate(received.requests))))
        return sent_summary(batches.send(received.requests))


def parse_scores(ctx: RunContext, client: ClientConfig) -> dict[str, Any]:
    """Read what has come, and record the scores in the atlas. Asks nobody.

    A feature is scored by a scorer when all answers about it have come. An explanation that is no longer in the atlas
    gets no score.

    Returns:
        Means by explanation and scorer, what was asked and spent, how many questions are to be sent, and the errands
        that can't be read any more, by reason.

    Raises:
        RunError: nothing was ever sent to this model from this run to score it.
    """
    tally, unread, unsent = RequestStats(), dict[str, int](), 0
    lines: list[dict[str, Any]] = []
    with open_batches(client, llm_dir(ctx.folder)) as batches:
        errands = sorted(_errands(ctx, batches), key=lambda errand: errand["sent"])
        if not errands:
            raise RunError(
                f"Nothing was sent to {client.client} to score this run. Send it: monosema score {ctx.folder} send …"
            )
        current = _texts(ctx)
        for errand in errands:
            if (reason := _outdated(ctx, errand)) is not None:
                unread[reason] = unread.get(reason, 0) + 1
                continue
            work, received = _work(ctx, errand), Received(batches)
            scored = {}
            for identity, explained in errand["explained"].items():
                gone = [latent for latent, one in explained.items() if current.get((*identity, latent), "") != one.text]
                found = work.scores(explained, received)
                scored[identity] = [one.without(gone, "explained anew since it was sent") for one in found]
            record(ctx.atlas_dir, scores=score_rows(scored))
            lines += [line for identity, found in scored.items() for line in means(identity, found)]
            unsent += batches.estimate(received.requests).requests
            tally.include(work.tally)
        more = {"to_send": unsent, "unread": unread, "spent_dollars": spent_dollars(batches.store)}
    return {"scores": lines, **tally.to_dict(), **more}


def _home(ctx: RunContext, key: str) -> Path:
    return llm_dir(ctx.folder) / f"score-{key}"


def _written_down(ctx: RunContext, batches: Batches, config: LanguageModelScoring) -> dict[str, Any]:
    """The errand of these settings, on disk with its passages before anything is sent."""
    said = explanations_to_score(ctx, config)
    latents = sorted({latent for explained in said.values() for latent in explained})
    meta = open_atlas(ctx.atlas_dir).meta
    errand = {
        "dictionary": ctx.recipe.dictionary_name,
        "atlas": meta["id"],
        "passages": meta["tables"]["examples"]["sha256"],
        "provider": batches.identity,
        "prompt_version": prompts.VERSION,
        "settings": {**asdict(config), "scorers": list(config.scorers), "latents": latents},
        "explanations": [
            {"identity": list(identity), "texts": {str(latent): one.text for latent, one in explained.items()}}
            for identity, explained in said.items()
        ],
    }
    key = digest(errand)
    folder = _home(ctx, key)
    samples = _once(folder / "samples.safetensors", lambda: draw(ctx, latents, None, config.seed))
    if "intervention" in config.scorers:
        _once(folder / "continuations.safetensors", ScorersAtWork(ctx, samples, config).continuations)
    write_json(folder / "errand.json", {**errand, "sent": time.time()})
    return _read(folder)


def _once(path: Path, make: Callable[[], Samples]) -> Samples:
    """What a file holds; made where there is none. So a repeated command asks the very same questions."""
    if not path.exists():
        make().save(path)
    return Samples.load(path)


def _errands(ctx: RunContext, batches: Batches) -> Iterator[dict[str, Any]]:
    """What was written down of requests to this provider about this dictionary."""
    for path in sorted(llm_dir(ctx.folder).glob("score-*/errand.json")):
        errand = _read(path.parent)
        if errand["provider"] == batches.identity and errand["dictionary"] == ctx.recipe.dictionary_name:
            yield errand


def _read(folder: Path) -> dict[str, Any]:
    errand = read_json(folder / "errand.json")
    explained = {
        tuple(one["identity"]): {int(latent): Explained(int(latent), text) for latent, text in one["texts"].items()}
        for one in errand["explanations"]
    }
    return {**errand, "folder": folder, "explained": explained}


def _work(ctx: RunContext, errand: Mapping[str, Any]) -> ScorersAtWork:
    folder: Path = errand["folder"]
    written = folder / "continuations.safetensors"
    continuations = Samples.load(written) if written.exists() else None
    config = LanguageModelScoring(**errand["settings"])
    return ScorersAtWork(ctx, Samples.load(folder / "samples.safetensors"), config, continuations)


def _outdated(ctx: RunContext, errand: Mapping[str, Any]) -> str | None:
    """Why what came can't be read: the questions can no longer be asked as they were, or are of another dictionary."""
    if errand["prompt_version"] != prompts.VERSION:
        return f"asked with prompts of version {errand['prompt_version']}; these are of version {prompts.VERSION}"
    if errand["atlas"] != open_atlas(ctx.atlas_dir).meta["id"]:
        return "the atlas is of another dictionary by now"
    return None


def _texts(ctx: RunContext) -> dict[tuple[Any, ...], str]:
    """The explanations that are in the atlas now."""
    rows = open_atlas(ctx.atlas_dir).sql("select author, method, model, prompt_version, latent, text from explanations")
    return {tuple(list(row.values())[:-1]): row["text"] for row in rows}
