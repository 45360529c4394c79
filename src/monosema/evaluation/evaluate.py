"""Evaluate a dictionary on held-out text, beside controls that would expose a metric that says nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from monosema.activations import activations_at
from monosema.atlas import dictionary_digest
from monosema.core import (
    Config,
    ConfigError,
    CorpusError,
    Progress,
    SilentProgress,
    Site,
    UnsupportedModelError,
    digest,
)
from monosema.data import TokenBatch
from monosema.dictionaries import Dictionary, reads_elsewhere, title_of
from monosema.evaluation.losses import Losses
from monosema.evaluation.next_token import NextToken
from monosema.evaluation.parts import Parts
from monosema.evaluation.passes import Passes, pieces
from monosema.evaluation.reconstruction import Reconstruction, add_activations
from monosema.evaluation.result import Evaluation, EvaluationRow
from monosema.evaluation.units import UnitSums
from monosema.models import LanguageModel, resolve_site, unembed_of, vector_width

_OWN = "dictionary"


class EvaluationConfig(Config):
    """Settings of an evaluation, and the memory it may take."""

    loss: bool = True
    """Also run the model on the reconstructions: cross-entropies, loss recovered, KL."""
    memory_mb: int = Field(512, ge=16)
    """Memory beside model, dictionaries and one batch; batches are run in pieces that fit."""
    seed: int = 0
    """Of the bootstrap."""


@torch.inference_mode()
def evaluate(
    model: LanguageModel,
    dictionary: Dictionary,
    site: Site | str,
    batches: Iterable[TokenBatch],
    config: EvaluationConfig | None = None,
    controls: Mapping[str, Dictionary] | None = None,
    progress: Progress | None = None,
    read: Site | str | Sequence[Site | str] | None = None,
    *,
    mean: Float[Tensor, " d"] | None = None,
    parts: Path | None = None,
) -> Evaluation:
    """All metrics of a dictionary on a text that it was not trained on.

    What a transcoder writes is put in the place of the site it writes; its metrics are about that site, as are those of
    controls, which read the site itself. Of a crosscoder see `evaluate_crosscoder`.

    Args:
        model: where the activations come from, and what runs on the reconstructions.
        dictionary: what is evaluated.
        site: where the dictionary reads and writes; of a transcoder, where it writes.
        batches: held-out text, read as it is needed; without a mean its tokens are kept in memory.
        controls: dictionaries that get the same metrics, by name: "pca" with as many components as L0, "random".
        progress: advanced by kept tokens.
        read: where a transcoder reads, or the sites that stand side by side in what an `AtSite` reads. Costs one more
            pass, as far as the last of them.
        mean: what mean ablation puts in the place of each activation, such as the mean of training rows; None for the
            mean of the text itself, which costs one more pass, as far as the site.
        parts: folder for what is summed up so far, so that the same call goes on after a kill, to the same metrics.
            Remove it once the result is safe.

    Returns:
        One row for the dictionary, then one for each control.

    Raises:
        ConfigError: a dictionary does not fit the site, or `read` is missing for one that reads elsewhere.
        CorpusError: the text has no kept tokens.
        DiskFullError: no room for the parts.
    """
    site, config = Site.parse(site), config or EvaluationConfig()
    progress = progress or SilentProgress()
    dictionaries = {_OWN: dictionary, **(controls or {})}
    sources = tuple(map(Site.parse, [read] if isinstance(read, (Site, str)) else read or ()))
    _check_widths(model, site, sources, dictionaries)
    why = _why_no_loss(resolve_site(model, site)[0]) if config.loss else "it was not asked for"
    about = mean
    if about is None:
        batches = list(batches)
        about = _mean(model, site, batches)
    sums = UnitSums(config.seed)
    rows = [Reconstruction(name, one, sums) for name, one in dictionaries.items()]
    # Half of the memory for a block of the model, half for logits.
    half = config.memory_mb / 2
    losses = None if why else NextToken(sums, Losses(model.vocab, unembed_of(model, site), half))
    passes = Passes(model, site, sources, sums, rows, losses, about.to(model.device), is_mean=mean is None)
    saved = Parts(parts, "" if parts is None else _key(model, site, sources, config, dictionaries, mean))
    for group in saved.cut(saved.go_on(batches, sums, progress)):
        for batch in group:
            for piece in pieces(batch, model, site, len(rows) + 3, half) if losses else [batch]:
                passes.add(piece)
            kept, tokens = int(batch.keep.sum()), int(batch.attention_mask.sum())
            sums.count("tokens", torch.tensor([kept, tokens - kept]))
            progress.advance(kept)
        saved.end(sums, group)
    tokens, left_out = sums.total("tokens").tolist() if len(sums) else (0, 0)
    if not tokens:
        raise CorpusError("The held-out text has no tokens to evaluate on: all are padding or attention sinks.")
    notes = (
        (f"{left_out:,} attention-sink tokens (BOS and the like) were neither scored nor edited.",) if left_out else ()
    )
    finished = tuple(_row(row, losses, why) for row in rows)
    return Evaluation(finished, tokens, left_out, sums.unit, len(sums), model.name, str(site), notes)


def _key(
    model: LanguageModel,
    site: Site,
    read: Sequence[Site],
    config: EvaluationConfig,
    dictionaries: Mapping[str, Dictionary],
    mean: Tensor | None,
) -> str:
    """All that the sums depend on, apart from the text."""
    own = {name: dictionary_digest(one) for name, one in dictionaries.items()}
    about = None if mean is None else mean.tolist()
    places = [str(one) for one in (site, *read)]
    return digest([model.digest, str(model.dtype), places, config.to_dict(), own, about])


def _row(row: Reconstruction, losses: NextToken | None, why: str | None) -> EvaluationRow:
    metrics, absent = row.metrics()
    if losses is None:
        names = ("ce_clean", "ce_spliced", "ce_zero", "ce_mean", "kl", "loss_recovered")
        absent = {**absent, **dict.fromkeys(names, str(why))}
    else:
        more, missing = losses.metrics(row.name)
        metrics, absent = {**metrics, **more}, {**absent, **missing}
    return EvaluationRow(row.name, row.name, row.dictionary.n_latents, metrics, absent, row.density())


def _mean(model: LanguageModel, site: Site, text: Sequence[TokenBatch]) -> Float[Tensor, " d"]:
    """Mean of the kept activations in float64, in a pass of its own that stops at the site."""
    total, n = torch.zeros(vector_width(model, site), dtype=torch.float64, device=model.device), 0
    for batch in text:
        if bool(batch.keep.any()):
            kept = activations_at(model, [site], batch)[batch.keep.to(model.device)]
            total += kept.double().sum(dim=0)
            n += len(kept)
    return total / max(n, 1)


def _why_no_loss(model: LanguageModel) -> str | None:
    """Why no next-token loss can be had; None if it can."""
    tokens = torch.zeros(1, 1, dtype=torch.int64, device=model.device)
    try:
        getattr(model, "next_logits", model)(tokens, torch.ones_like(tokens, dtype=torch.bool))
    except UnsupportedModelError as error:
        return str(error)
    return None


def _check_widths(
    model: LanguageModel, site: Site, read: Sequence[Site], dictionaries: Mapping[str, Dictionary]
) -> None:
    for name, dictionary in dictionaries.items():
        elsewhere = reads_elsewhere(dictionary)
        if elsewhere and not read:
            kind = title_of(dictionary).lower()
            raise ConfigError(f"The {name} is a {kind}: say which site it reads (read=) beside {site.short}.")
        for sites, width, does in (
            (read if elsewhere else (site,), dictionary.d_in, "reads"),
            ((site,), dictionary.d_out, "writes"),
        ):
            has = sum(vector_width(model, place) for place in sites)
            if width != has:
                places = ", ".join(place.short for place in sites)
                raise ConfigError(f"The {name} {does} {width} values and {places} of {model.name} has {has}.")


@torch.inference_mode()
def evaluate_vectors(
    dictionary: Dictionary,
    vectors: Float[Tensor, "n d"],
    controls: Mapping[str, Dictionary] | None = None,
    seed: int = 0,
    batch: int = 4096,
) -> Evaluation:
    """The metrics that need no model, on a matrix of held-out vectors; each vector is a unit of its own.

    Raises:
        ConfigError: a dictionary does not fit the vectors.
        CorpusError: there are no vectors.
    """
    dictionaries = {_OWN: dictionary, **(controls or {})}
    for name, one in dictionaries.items():
        if reads_elsewhere(one):
            raise ConfigError(f"The {name} is a transcoder, and these vectors are of one site: use held_out_metrics.")
        if one.d_in != vectors.shape[1]:
            raise ConfigError(f"The {name} reads {one.d_in} values and the vectors have {vectors.shape[1]}.")
    if not len(vectors):
        raise CorpusError("There are no held-out vectors to evaluate on.")
    sums = UnitSums(seed)
    rows = [Reconstruction(name, one, sums) for name, one in dictionaries.items()]
    mean = vectors.mean(dim=0, dtype=torch.float64)
    for start in range(0, len(vectors), batch):
        x = vectors[start : start + batch].float()
        sums.begin_rows(len(x))
        add_activations(sums, x, mean, is_mean=True)
        for row in rows:
            row.add(x)
    finished = tuple(_row(row, None, "there is no model") for row in rows)
    return Evaluation(finished, len(vectors), 0, sums.unit, len(sums))
