"""Perplexity with reconstructions in place, layer by layer: what a sparse dictionary keeps of a model's predictions
(Cunningham et al. 2023, arXiv:2309.08600, who found 25 → 40 in layer 2 of Pythia-70M).

Beside each dictionary stand as many principal components as it has active latents, random directions, and the mean
activation in place of all.
"""

from __future__ import annotations

import math
from typing import Any

from monosema.circuits.memory import megabytes
from monosema.core import Site
from monosema.evaluation import EvaluationConfig, evaluate, fit_controls
from monosema.pages.charts import Axis, Series, xy
from monosema.pages.experiment import ExperimentPage, Figure, Table
from monosema.runs.experiments.experiment import Experiment, Work, register_experiment
from monosema.runs.experiments.trained import Member, captured, sample_of, sparse_name, text_of, trained

TOKENS = 10_000
"""Held-out tokens that perplexity is measured on."""
CLEAN, MEAN = "untouched", "mean activation"
NAMES = {"pca": "PCA, as many components as L0", "random": "random directions"}

Row = dict[str, Any]


def run(work: Work) -> ExperimentPage:
    """Train a dictionary at each layer and α, and run the model on its reconstructions of held-out text."""
    sites = work.sites(tuple(range(work.model.n_layers)))
    choice = work.config.training.replace(seeds=1)
    store = captured(work.reader, sites, choice, work.folder / "activations")
    members = trained(store, choice, work.folder / "dictionaries", work.device)
    rows = []
    for member in members:

        def measured(member: Member = member) -> Row:
            dictionary = member.open().to(work.model.device)
            k = max(1, round(member.l0 or 32))
            controls = fit_controls(
                sample_of(store, member.site), dictionary.n_latents, min(k, store.width(member.site))
            )
            batches = text_of(work.model, choice, TOKENS, "heldout")
            allowed = EvaluationConfig(memory_mb=max(16, int(megabytes())))
            found = evaluate(work.model, dictionary, member.site, batches, allowed, controls)
            figures = {row.name: {key: one.to_dict() for key, one in row.metrics.items()} for row in found.rows}
            return {"rows": figures, "documents": found.units, "unit": found.unit, "tokens": found.tokens}

        part = work.part(f"{member.site.short}-{member.alpha:g}", measured)
        rows.append({"site": member.site.short, "alpha": member.alpha, "l0": member.l0, "fvu": member.fvu, **part})
    return _page(work, sites, rows)


def _page(work: Work, sites: tuple[Site, ...], rows: list[Row]) -> ExperimentPage:
    table, lines = [], dict[str, dict[int, float]]()
    for row in rows:
        own, layer = row["rows"]["dictionary"], Site.parse(row["site"]).layer or 0
        shown = {CLEAN: own["ce_clean"], sparse_name(row["alpha"]): own["ce_spliced"]}
        shown |= {title: row["rows"][name]["ce_spliced"] for name, title in NAMES.items()} | {MEAN: own["ce_mean"]}
        for name, one in shown.items():
            lines.setdefault(name, {})[layer] = math.exp(one["value"])
        about = [row["site"], f"{row['alpha']:g}", f"{row['l0']:.1f}", f"{row['fvu']:.3f}"]
        table.append([*about, *map(_said, shown.values())])
    penalised = [row for row in rows if row["alpha"] > 0] or rows
    beats = [row for row in penalised if _ends(row, "dictionary")[1] < _ends(row, "pca")[0]]
    worst = max(penalised, key=lambda row: row["rows"]["dictionary"]["ce_spliced"]["value"])
    clean = math.exp(worst["rows"]["dictionary"]["ce_clean"]["value"])
    series = [
        Series(name, sorted(points.items()), [f"{name}: {y:.1f}" for _, y in sorted(points.items())])
        for name, points in lines.items()
    ]
    title, axes = "Perplexity with the reconstruction in place", (Axis("Layer"), Axis("Perplexity", logarithmic=True))
    figure = Figure(
        "perplexity",
        xy(title, *axes, series, size=(520, 340)),
        "Perplexity by layer; controls are those of the largest α; intervals are in the table.",
    )
    head = ["site", "α", "L0", "FVU", CLEAN, "sparse", *NAMES.values(), MEAN]
    return ExperimentPage(
        title=f"Perplexity with reconstructions in place: {work.model.name}",
        question="How much worse does a model predict where a layer's activations are what a dictionary makes of them?",
        verdict=(
            f"Untouched the perplexity is {clean:.1f}; with a sparse reconstruction in place it is at worst "
            f"{_said(worst['rows']['dictionary']['ce_spliced'])}, at {worst['site']} with α = {worst['alpha']:g}. It "
            f"lies below that of PCA with as many components as active latents at {len(beats)} of {len(penalised)} "
            "layers and weights, intervals apart."
        ),
        method=(
            f"{rows[0]['tokens']:,} held-out tokens of {rows[0]['documents']} {rows[0]['unit']}; dictionaries with "
            f"{work.config.training.ratio} latents for each dimension, trained on {work.config.training.tokens:,} "
            "tokens."
        ),
        figures=[figure],
        tables=[Table("Perplexity, with 95 % intervals.", head, table)],
        values={
            "model": work.model.name,
            "sites": [str(site) for site in sites],
            "rows": rows,
            "settings": work.config.to_dict(),
        },
    )


def _said(one: dict[str, float]) -> str:
    return f"{math.exp(one['value']):.1f} [{math.exp(one['low']):.1f}, {math.exp(one['high']):.1f}]"


def _ends(row: Row, name: str) -> tuple[float, float]:
    one = row["rows"][name]["ce_spliced"]
    return one["low"], one["high"]


register_experiment(Experiment("perplexity", "what a model predicts on reconstructions, layer by layer", run))
