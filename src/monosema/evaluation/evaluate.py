"""Evaluate a dictionary on held-out text, beside controls that would expose a figure that says nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from monosema.core import (
    Config,
    ConfigError,
    CorpusError,
    Progress,
    SilentProgress,
    Site,
    UnsupportedModelError,
)
from monosema.data import TokenBatch
from monosema.dictionaries import Dictionary, Transcoder, reads_elsewhere
from monosema.evaluation.next_token import NextToken
from monosema.evaluation.reconstruction import Reconstruction, add_activations
from monosema.evaluation.result import Evaluation, EvaluationRow
from monosema.evaluation.splice import forked_logits
from monosema.evaluation.units import UnitSums
from monosema.models import LanguageModel, owner, vector_width

__all__ = ["EvaluationConfig", "evaluate", "evaluate_vectors"]

_BYTES_PER_LOGIT = 16
_OWN = "dictionary"


class EvaluationConfig(Config):
    """What is measured, and in how much memory."""

    loss: bool = True
    """Also run the model on the reconstructions: cross-entropies, loss recovered, KL."""
    memory_mb: int = Field(1024, ge=16)
    """Memory for logits; batches are cut into pieces that fit."""
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
) -> Evaluation:
    """All figures of a dictionary on a text that it was not trained on.

    What a transcoder writes is put in the place of the site it writes; its figures are about that site, as are those of
    controls, which read the site itself. Of a crosscoder see `evaluate_crosscoder`.

    Args:
        model: where the activations come from, and what runs on the reconstructions.
        dictionary: what is evaluated.
        site: where the dictionary reads and writes; of a transcoder, where it writes.
        batches: held-out text; its tokens are kept in memory, its activations are not.
        controls: dictionaries that get the same figures, by name: "pca" with as many components as L0, "random".
        progress: advanced by kept tokens.
        read: where a transcoder reads, or the sites that stand side by side in what an `AtSite` reads. Costs one more
            pass, as far as the last of them.

    Returns:
        One row for the dictionary, then one for each control.

    Raises:
        ConfigError: a dictionary does not fit the site, or `read` is missing for one that reads elsewhere.
        CorpusError: the text has no kept tokens.
    """
    site, config = Site.parse(site), config or EvaluationConfig()
    dictionaries = {_OWN: dictionary, **(controls or {})}
    sources = tuple(map(Site.parse, [read] if isinstance(read, (Site, str)) else read or ()))
    _check_widths(model, site, sources, dictionaries)
    text = [batch for batch in batches if bool(batch.keep.any())]
    if not text:
        raise CorpusError("The held-out text has no tokens to evaluate on: all are padding or attention sinks.")
    sums = UnitSums(config.seed)
    rows = [Reconstruction(name, one, sums) for name, one in dictionaries.items()]
    why = _why_no_loss(owner(model, site)[0], text[0]) if config.loss else "it was not asked for"
    losses = NextToken(sums) if why is None else None
    mean = _mean(model, site, text)
    for batch in text:
        for piece in _pieces(batch, model.vocab * (len(rows) + 3), config.memory_mb) if losses else [batch]:
            _measure(model, site, sources, piece, sums, rows, losses, mean)
        (progress or SilentProgress()).advance(int(batch.keep.sum()))
    tokens = sum(int(batch.keep.sum()) for batch in text)
    left_out = sum(int(batch.attention_mask.sum()) for batch in text) - tokens
    notes = (
        (f"{left_out:,} attention-sink tokens (BOS and the like) were neither scored nor edited.",) if left_out else ()
    )
    finished = tuple(_row(row, losses, why) for row in rows)
    return Evaluation(finished, tokens, left_out, sums.unit, len(sums), model.name, str(site), notes)


def _measure(
    model: LanguageModel,
    site: Site,
    read: Sequence[Site],
    batch: TokenBatch,
    sums: UnitSums,
    rows: Sequence[Reconstruction],
    losses: NextToken | None,
    mean: Tensor,
) -> None:
    """Add one piece of a batch to all sums, from one forward pass, or two where a site is read that isn't written."""
    sums.begin(batch)
    keep = batch.keep.to(model.device)
    before = _activations(model, read, batch)[keep].float() if read else None

    def versions(x: Tensor) -> list[Tensor]:
        kept = x[keep].flatten(1).float()
        add_activations(sums, kept, mean)
        rebuilt = [row.add(kept, before) for row in rows]
        if losses is None:
            return []
        return [_spliced(x, keep, new) for new in (torch.zeros_like(kept), mean.expand_as(kept), *rebuilt)]

    if losses is None:
        versions(_activations(model, [site], batch))
        return
    logits = forked_logits(model, site, batch, versions)
    losses.add(batch, dict(zip(("clean", "zero", "mean", *(row.name for row in rows)), logits, strict=True)))


def _spliced(x: Tensor, keep: Tensor, new: Tensor) -> Tensor:
    out = x.clone()
    out[keep] = new.to(x.dtype).view(-1, *x.shape[2:])
    return out


def _row(row: Reconstruction, losses: NextToken | None, why: str | None) -> EvaluationRow:
    figures, absent = row.figures()
    if losses is None:
        names = ("ce_clean", "ce_spliced", "ce_zero", "ce_mean", "kl", "loss_recovered")
        absent = {**absent, **dict.fromkeys(names, str(why))}
    else:
        more, missing = losses.figures(row.name)
        figures, absent = {**figures, **more}, {**absent, **missing}
    return EvaluationRow(row.name, row.name, row.dictionary.n_latents, figures, absent, row.density())


def _pieces(batch: TokenBatch, cells: int, memory_mb: int) -> list[TokenBatch]:
    """Rows of a batch in pieces whose logits fit in memory; a piece has one row at least."""
    row = batch.tokens.shape[1] * cells * _BYTES_PER_LOGIT
    size = max(1, int(memory_mb * 1e6 / row))
    parts = [
        TokenBatch(*(getattr(batch, name)[start : start + size] for name in TokenBatch.__slots__))
        for start in range(0, len(batch.tokens), size)
    ]
    return [part for part in parts if bool(part.keep.any())]


def _activations(model: LanguageModel, sites: Sequence[Site], batch: TokenBatch) -> Tensor:
    """Activations of all positions, of several sites side by side."""
    mask = None if bool(batch.attention_mask.all()) else batch.attention_mask.to(model.device)
    got = model.activations(batch.tokens.to(model.device), sites, mask)
    return torch.cat([got[site].flatten(2) for site in sites], dim=2)


def _mean(model: LanguageModel, site: Site, text: Sequence[TokenBatch]) -> Float[Tensor, " d"]:
    """Mean of the kept activations in float64, in a pass of its own that stops at the site."""
    total, n = torch.zeros(vector_width(model, site), dtype=torch.float64, device=model.device), 0
    for batch in text:
        kept = _activations(model, [site], batch)[batch.keep.to(model.device)]
        total += kept.double().sum(dim=0)
        n += len(kept)
    return total / n


def _why_no_loss(model: LanguageModel, batch: TokenBatch) -> str | None:
    """Why no next-token loss can be had; None if it can."""
    try:
        getattr(model, "next_logits", model)(
            batch.tokens[:1].to(model.device), batch.attention_mask[:1].to(model.device)
        )
    except UnsupportedModelError as error:
        return str(error)
    return None


def _check_widths(
    model: LanguageModel, site: Site, read: Sequence[Site], dictionaries: Mapping[str, Dictionary]
) -> None:
    for name, dictionary in dictionaries.items():
        elsewhere = reads_elsewhere(dictionary)
        if elsewhere and not read:
            kind = type(dictionary).__name__.lower()
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
    """The figures that need no model, on a matrix of held-out vectors; each vector is a unit of its own.

    Raises:
        ConfigError: a dictionary does not fit the vectors.
        CorpusError: there are no vectors.
    """
    dictionaries = {_OWN: dictionary, **(controls or {})}
    for name, one in dictionaries.items():
        if isinstance(one, Transcoder):
            raise ConfigError(f"The {name} is a transcoder, and these vectors are of one site: use held_out_figures.")
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
        add_activations(sums, x, mean)
        for row in rows:
            row.add(x)
    finished = tuple(_row(row, None, "there is no model") for row in rows)
    return Evaluation(finished, len(vectors), 0, sums.unit, len(sums))
