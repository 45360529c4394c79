"""Explanations by a language model: at once, or in batches in steps that survive a kill.

    send      draw samples ─► write down which request is about which latent ─► send
    status    ask for the state of the batches
    retrieve  fetch the results that have come
    parse     read what has come, and record the explanations in the atlas

Each step can be repeated, and goes on from where it was. Requests follow from the samples, the prompt and the settings
alone, and equal requests are sent once; so a repeated `send` sends what is missing. The latent of each request is
written down before anything is sent, together with the explanation's method and prompt version, so that `parse` reads
answers to an earlier prompt for what they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from monosema.atlas import Atlas, Explanation, record
from monosema.core import InputError, Log, RunError, Site, digest, progress_bar, read_json, write_json
from monosema.data import TokenBatch
from monosema.interpretation import prompts
from monosema.interpretation.explainers.language_model import (
    LanguageModelExplainer,
    LanguageModelExplainerConfig,
    explanation_requests,
    read_explanations,
)
from monosema.interpretation.explainers.self_explanation import SelfExplainer
from monosema.interpretation.explaining import by_latent
from monosema.interpretation.protocol import Subject
from monosema.interpretation.samples import Samples
from monosema.interpretation.sampling import SampleConfig, draw_samples, latents_of
from monosema.llm import (
    ClientConfig,
    Failure,
    Reply,
    RequestStats,
    Store,
    open_batches,
    open_client,
    price_line,
    require_an_answer,
)

_BLOCK = 16
_UNSENT = Reply(failure=Failure(kind="pending", detail="it has not been sent"))


def choose_latents(atlas: Atlas, latents: Sequence[int] | None, most: int | None, seed: int = 0) -> list[int]:
    """Return the named latents; without names, `most` of those that ever fire, drawn at random, or all of them.

    Raises:
        InputError: no such latent, or one that never fires.
    """
    if latents is None:
        return list(latents_of(atlas, most, seed).tolist())
    alive = latents_of(atlas)
    if unknown := sorted(set(latents) - set(alive.tolist())):
        raise InputError(
            f"Of these features the atlas has no passages: {', '.join(map(str, unknown[:8]))}. Either there is no such "
            f"feature, or it never fires. {len(alive)} of {atlas.n_latents} do."
        )
    return list(latents)


def draw_chosen(
    subject: Subject,
    text: Iterable[TokenBatch],
    config: SampleConfig,
    latents: Sequence[int] | None,
    most: int | None,
    seed: int = 0,
) -> Samples:
    """Draw passages of latents that `choose_latents` chooses, from the atlas and from held-out text."""
    chosen = choose_latents(subject.atlas, latents, most, seed)
    return draw_samples(subject, text, config.replace(seed=seed), chosen)


def explain_live(
    subject: Subject,
    samples: Samples,
    client: ClientConfig,
    config: LanguageModelExplainerConfig,
    folder: Path,
    log: Log,
    device: str | None = None,
) -> dict[str, Any]:
    """Ask at once, and record the explanations in the atlas.

    Args:
        folder: keeps answers and costs.
        log: receives a line about the cost before anything is asked.

    Returns:
        Counts of requests and explanations, dollars spent, and failures by kind.
    """
    tokenizer = subject.model.tokenizer
    requests = list(explanation_requests(samples, tokenizer, config).values())
    with open_client(client, folder, device) as (answering, store):
        log(price_line(client, answering.estimate(requests)))
        explainer = LanguageModelExplainer(answering, tokenizer, config)
        with progress_bar("explain", len(requests), "latents") as bar:
            explanations = explainer.explain(samples, bar)
        require_an_answer(client, explainer.stats)
        record(subject.atlas.path, by_latent(explanations))
        return _summary(explanations, explainer.stats, store, folder)


def explain_itself(subject: Subject, latents: Sequence[int], site: str | None, log: Log) -> dict[str, Any]:
    """Let the model itself say what directions in it mean, and record that in the atlas.

    Latents that it was asked about at this site before are left alone. Explanations are recorded after every few, so
    that a kill loses little.

    Args:
        site: receives the directions; None for the dictionary's own.

    Raises:
        InputError: the model has no chat template.
    """
    where = subject.direction_site if site is None else Site.parse(site)
    explainer = SelfExplainer(subject.model, subject.dictionary, where)
    author, method, _, version = explainer.identity
    rows = subject.atlas.sql(
        "select latent from explanations where author = ? and method = ? and prompt_version = ?",
        [author, method, version],
    )
    before = {row["latent"] for row in rows}
    asked = [latent for latent in latents if latent not in before]
    log(f"{author} is asked about {len(asked)} of its own directions at {explainer.site.short}")
    explanations: dict[int, Explanation] = {}
    with progress_bar("explain", len(asked), "latents") as bar:
        for start in range(0, len(asked), _BLOCK):
            some = explainer.explain_latents(asked[start : start + _BLOCK], bar)
            record(subject.atlas.path, by_latent(some))
            explanations |= some
    counts = {"explained": len(explanations), "silent": len(asked) - len(explanations)}
    counts["before"] = len(latents) - len(asked)
    return {"author": author, "method": method, **counts, **_texts(explanations)}


def send_explanations(
    subject: Subject,
    samples: Samples,
    client: ClientConfig,
    config: LanguageModelExplainerConfig,
    folder: Path,
    name: str,
    log: Log,
) -> dict[str, Any]:
    """Send requests that have no answer and are not under way.

    Args:
        folder: keeps answers and costs.
        name: of the dictionary, in its run.

    Raises:
        CostCapError: it might cost more than the cap leaves; nothing was sent.
        ProviderError: sending failed; what was sent is kept, and the rest follows when called again.
    """
    requests = explanation_requests(samples, subject.model.tokenizer, config)
    with open_batches(client, folder) as batches:
        log(price_line(client, batches.estimate(requests.values())))
        job = {
            "dictionary": name,
            "provider": batches.identity,
            "model": batches.model,
            "method": config.method,
            "prompt_version": prompts.VERSION,
            "latents": {str(latent): batches.custom_id(request) for latent, request in requests.items()},
        }
        write_json(folder / f"explain-{digest(job)[:16]}.json", job)
        return asdict(batches.send(requests.values()))


def parse_explanations(atlas: Path, client: ClientConfig, folder: Path, name: str) -> dict[str, Any]:
    """Read what has come, and record the explanations in the atlas. Sends nothing.

    Args:
        atlas: folder of the atlas.
        folder, name: as for `send_explanations`.

    Raises:
        RunError: nothing was ever sent to this model from this run.
    """
    stats, explanations = RequestStats(), dict[int, Explanation]()
    explained = 0
    with open_batches(client, folder) as batches:
        jobs = [read_json(path) for path in sorted(folder.glob("explain-*.json"))]
        provider = batches.identity
        jobs = [job for job in jobs if job["provider"] == provider and job["dictionary"] == name]
        if not jobs:
            raise RunError(f"Nothing was sent to {client.client} from this run. Send it: monosema explain RUN send …")
        answers = dict(batches.replies())
        # Answers to requests that were asked at once are in the store, too.
        lookup = batches.store.lookup
        for job in jobs:
            replies = {int(n): answers.get(id_) or lookup(id_) or _UNSENT for n, id_ in job["latents"].items()}
            identity = (job["model"], job["method"], job["model"], job["prompt_version"])
            some = read_explanations(replies, identity, stats)
            if some:
                record(atlas, by_latent(some))
            explanations |= some
            explained += len(some)
        return {**_summary(explanations, stats, batches.store, folder), "explained": explained}


def _summary(
    explanations: Mapping[int, Explanation], stats: RequestStats, store: Store, folder: Path
) -> dict[str, Any]:
    return {
        "explained": len(explanations),
        **stats.to_dict(),
        "spent_dollars": store.spent(),
        **stats.keep_replies(folder / "replies-explain.jsonl"),
        **_texts(explanations),
    }


def _texts(explanations: Mapping[int, Explanation]) -> dict[str, Any]:
    return {"explanations": {str(latent): one.text for latent, one in explanations.items()}} if explanations else {}
