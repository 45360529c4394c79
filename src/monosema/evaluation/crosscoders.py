"""Evaluate a crosscoder: at each of its sites, its reconstruction put in the place of that site alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from monosema.core import ConfigError, Progress, Site
from monosema.data import TokenBatch
from monosema.dictionaries import AtSite, Dictionary, SparseCoder, sites_read, written_at
from monosema.evaluation.evaluate import EvaluationConfig, evaluate
from monosema.evaluation.result import Evaluation
from monosema.models import LanguageModel


def evaluate_crosscoder(
    model: LanguageModel,
    crosscoder: SparseCoder,
    batches: Iterable[TokenBatch],
    config: EvaluationConfig | None = None,
    controls: Mapping[str, Dictionary] | None = None,
    progress: Progress | None = None,
    *,
    mean: Float[Tensor, " d"] | None = None,
    parts: Path | None = None,
) -> Evaluation:
    """All metrics of a crosscoder at each of its sites, on a text that it was not trained on.

    L0 and the share of live latents are the same at all sites, as the code is one; FVU, cross-entropies and loss
    recovered are each site's own. Costs as much as evaluating a dictionary at each site.

    Args:
        model: of a crosscoder over two models, both as a `ModelPair`; at each site the model that has it runs on.
        crosscoder: its metadata names its sites.
        batches: held-out text; its tokens are kept in memory.
        controls: dictionaries of rows of all sites side by side, such as a PCA of them.
        progress: advanced by kept tokens, once for each site.
        mean: as for `evaluate`, of all sites side by side.
        parts: as for `evaluate`.

    Returns:
        Rows for the crosscoder and each control at the last site, then at the one before, and so on; each row says its
        site.

    Raises:
        ConfigError: the metadata does not name the sites, a site is of another width, or a control is.
        CorpusError: the text has no kept tokens.
    """
    sites, width = sites_read(crosscoder, Site(None, "none")), crosscoder.site_width
    for name, control in (controls or {}).items():
        if control.d_out != crosscoder.d_out:
            raise ConfigError(f"The {name} writes {control.d_out} values and the crosscoder {crosscoder.d_out}.")
    text, found = list(batches), []
    for number, site in reversed(list(enumerate(sites))):
        part = slice(number * width, (number + 1) * width)
        own = {name: AtSite(control, part) for name, control in (controls or {}).items()}
        at, _ = written_at(crosscoder, site)
        where = None if parts is None else parts / str(number)
        about = None if mean is None else mean[part]
        one = evaluate(model, at, site, text, config, own, progress, read=sites, mean=about, parts=where)
        found.append(replace(one, rows=tuple(replace(row, site=site.short) for row in one.rows)))
    rows = tuple(row for one in found for row in one.rows)
    return replace(found[0], rows=rows, site=", ".join(map(str, sites)))
