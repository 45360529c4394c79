"""Explanations of a run's latents by a language model: at once, or in batches in steps that survive a kill.

    send      draw samples ─► write down which request asks about which latent ─► send
    status    ask how far the batches are
    retrieve  fetch what has come
    parse     read what has come, and record the explanations in the atlas

Each step can be repeated, and goes on from where it was. What is asked is decided by the samples, the prompt and the
settings alone, and equal requests are sent once; so a repeated `send` sends what is missing. Which latent each request
asks about is written down before anything is sent, together with the explanation's method and prompt version, so that
`parse` reads answers to an earlier prompt for what they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from monosema.atlas import Explanation, open_atlas, record
from monosema.core import InputError, Log, RunError, digest, progress_bar, read_json, write_json
from monosema.dictionaries import Dictionary, load_dictionary
from monosema.interpretation import prompts
from monosema.interpretation.explainers.language_model import (
    LanguageModelExplainerConfig,
    explanation_requests,
    read_explanation,
)
from monosema.interpretation.explainers.self_explanation import SelfExplainer
from monosema.interpretation.protocol import Explained
from monosema.interpretation.samples import Samples
from monosema.interpretation.sampling import draw_samples, latents_of
from monosema.llm import (
    ClientConfig,
    Failure,
    Reply,
    RequestStats,
    llm_dir,
    open_batches,
    open_client,
    price_line,
    require_an_answer,
    sent_summary,
    spent_dollars,
)
from monosema.runs.context import RunContext

_BLOCK = 16
_EXAMPLES = 10


def draw(ctx: RunContext, latents: Sequence[int] | None, most: int | None, seed: int = 0) -> Samples:
    """Passages of latents, from the atlas and from held-out text.

    Args:
        latents: which; None for `most` of those that ever fire, drawn at random, or all of them.

    Raises:
        InputError: no such latent, or one that never fires.
    """
    chosen = choose(ctx, latents, most, seed)
    config = ctx.recipe.samples.replace(seed=seed)
    text = ctx.recipe.text.replace(split="heldout", tokens=config.tokens)
    atlas = open_atlas(ctx.atlas_dir)
    return draw_samples(atlas, ctx.model, loaded_dictionary(ctx), ctx.batches(text), config, chosen)


def choose(ctx: RunContext, latents: Sequence[int] | None, most: int | None, seed: int = 0) -> Sequence[int]:
    """The latents themselves; None for `most` of those that ever fire, drawn at random, or all of them.

    Raises:
        InputError: no such latent, or one that never fires.
    """
    atlas = open_atlas(ctx.atlas_dir)
    if latents is None:
        return list(latents_of(atlas, most, seed).tolist())
    alive = latents_of(atlas)
    if unknown := sorted(set(latents) - set(alive.tolist())):
        raise InputError(
            f"Of these features the atlas has no passages: {', '.join(map(str, unknown[:8]))}. Either there is no such "
            f"feature, or it never fires. {len(alive)} of {ctx.recipe.dictionary.n_latents} do."
        )
    return latents


def loaded_dictionary(ctx: RunContext) -> Dictionary:
    """The run's dictionary, on the device of its model."""
    dictionary = load_dictionary(ctx.dictionary_dir)
    return dictionary.to(ctx.model.device)


def explain_live(
    ctx: RunContext,
    samples: Samples,
    client: ClientConfig,
    config: LanguageModelExplainerConfig,
    log: Log,
) -> dict[str, Any]:
    """Ask at once, and record the explanations in the atlas.

    Args:
        log: receives a line about the cost before anything is asked.

    Returns:
        What was asked, explained and spent, and failures by kind.
    """
    requests = explanation_requests(samples, ctx.model.tokenizer, config)
    tally = RequestStats()
    with open_client(client, llm_dir(ctx.folder), ctx.device) as purse:
        log(price_line(client, asdict(purse.estimate(list(requests.values())))))
        with progress_bar("explain", len(requests), "latents") as bar:
            replies = purse.client.complete(list(requests.values()), bar)
        found = [read_explanation(latent, reply, tally) for latent, reply in zip(requests, replies, strict=True)]
        require_an_answer(client, tally)
        _record(ctx, found, purse.client.model, config.method, prompts.VERSION)
        return _summary(found, tally, spent=purse.spent())


def explain_itself(ctx: RunContext, latents: Sequence[int], site: str | None, log: Log) -> dict[str, Any]:
    """Let the run's own model say what directions in it mean, and record that in the atlas.

    Latents that it was asked about at this site before are left alone. What it says is recorded after every few, so
    that a kill loses little.

    Args:
        site: where the directions are put; None for the dictionary's own.
        log: receives a line about what is about to be done.

    Raises:
        InputError: the model has no chat template.
    """
    # A latent's direction belongs to the site that the dictionary writes.
    explainer = SelfExplainer(ctx.model, loaded_dictionary(ctx), site or ctx.recipe.sites[-1])
    rows = open_atlas(ctx.atlas_dir).sql(
        "select latent from explanations where author = ? and method = ? and prompt_version = ?",
        [explainer.author, explainer.method, explainer.version],
    )
    before = {row["latent"] for row in rows}
    asked = [latent for latent in latents if latent not in before]
    log(f"{explainer.author} is asked about {len(asked)} of its own directions at {explainer.site.short}")
    found: list[Explained] = []
    with progress_bar("explain", len(asked), "latents") as bar:
        for start in range(0, len(asked), _BLOCK):
            said = explainer.explain_latents(asked[start : start + _BLOCK], bar)
            _record(ctx, said, explainer.author, explainer.method, explainer.version)
            found += said
    counts = {"explained": len(found), "silent": len(asked) - len(found), "before": len(latents) - len(asked)}
    return {"author": explainer.author, "method": explainer.method, **counts, **_examples(found)}


def send(
    ctx: RunContext,
    samples: Samples,
    client: ClientConfig,
    config: LanguageModelExplainerConfig,
    log: Log,
) -> dict[str, Any]:
    """Send what has no answer and is not under way.

    Raises:
        CostCapError: it might cost more than the cap leaves; nothing was sent.
        ProviderError: sending failed; what was sent is kept, and the rest follows when called again.
    """
    requests = explanation_requests(samples, ctx.model.tokenizer, config)
    with open_batches(client, llm_dir(ctx.folder)) as batches:
        log(price_line(client, asdict(batches.estimate(requests.values()))))
        asked = {str(latent): batches.custom_id(request) for latent, request in requests.items()}
        errand = {
            "dictionary": ctx.recipe.dictionary_name,
            "provider": batches.identity,
            "model": batches.model,
            "method": config.method,
            "prompt_version": prompts.VERSION,
            "latents": asked,
        }
        write_json(llm_dir(ctx.folder) / f"explain-{digest(errand)[:16]}.json", errand)
        sent = batches.send(requests.values())
    return sent_summary(sent)


def parse(ctx: RunContext, client: ClientConfig) -> dict[str, Any]:
    """Read what has come, and record the explanations in the atlas. Asks nobody.

    Raises:
        RunError: nothing was ever sent to this model from this run.
    """
    tally, found = RequestStats(), list[Explained | None]()
    with open_batches(client, llm_dir(ctx.folder)) as batches:
        errands = list(_errands(ctx, batches.identity))
        if not errands:
            raise RunError(
                f"Nothing was sent to {client.client} from this run. Send it: monosema explain {ctx.folder} send …"
            )
        replies = dict(batches.replies())
        # Answers to requests that were asked at once are in the store, too.
        lookup = batches.store.lookup
        for errand in errands:
            read = [
                read_explanation(int(latent), replies.get(id) or lookup(id) or _UNSENT, tally)
                for latent, id in errand["latents"].items()
            ]
            _record(ctx, read, errand["model"], errand["method"], errand["prompt_version"])
            found += read
        return _summary(found, tally, spent=spent_dollars(batches.store))


_UNSENT = Reply(failure=Failure(kind="pending", detail="it has not been sent"))


def _errands(ctx: RunContext, provider: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    """What was written down of requests to this provider about this dictionary."""
    for path in sorted(llm_dir(ctx.folder).glob("explain-*.json")):
        errand = read_json(path)
        if errand["provider"] == provider and errand["dictionary"] == ctx.recipe.dictionary_name:
            yield errand


def _record(ctx: RunContext, found: Iterable[Explained | None], model: str, method: str, prompt_version: str) -> None:
    rows = {
        explained.latent: [Explanation(model, method, model, prompt_version, explained.text)]
        for explained in found
        if explained is not None
    }
    if rows:
        record(ctx.atlas_dir, rows)


def _summary(found: Iterable[Explained | None], tally: RequestStats, spent: Mapping[str, float]) -> dict[str, Any]:
    said = [one for one in found if one is not None]
    return {"explained": len(said), **tally.to_dict(), "spent_dollars": dict(spent), **_examples(said)}


def _examples(found: Sequence[Explained]) -> dict[str, Any]:
    """The first few explanations, to be looked at."""
    return {"explanations": {str(one.latent): one.text for one in found[:_EXAMPLES]}} if found else {}
