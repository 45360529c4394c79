"""The report: a run and its features in one HTML file that opens without a server and without a network."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from monosema.atlas import Atlas, Score
from monosema.core import Estimate, atomic_path
from monosema.evaluation import EvaluationRow
from monosema.pages.bundle import ReportBundle, bundle
from monosema.pages.glossary import METRICS, TERMS, Metric, duration, interval_of, number, spoken, text_of
from monosema.pages.packing import script_json
from monosema.pages.pictures import density_histogram, feature_map, loss_bars, share_histogram, training_curves
from monosema.pages.svg import svg, variables

if TYPE_CHECKING:
    import jinja2

SCRIPTS = ("data.js", "heatmap.js", "plots.js", "table.js", "feature.js", "page.js")
"""Scripts of the report, in the order in which they must be read. All but page.js serve the web app too."""


@dataclass(frozen=True, kw_only=True)
class StageRow:
    """One stage of the run: its name, how long it took, and a few words about it ("reused", "1,000,000 tokens")."""

    name: str
    seconds: float | int | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """A run's facts for its report; the features themselves come from the atlas. Only `title` is needed.

    Attributes:
        title: headline of the page.
        model_name, site, architecture, corpus: names for the opening sentence.
        tokens, heldout_tokens, sinks_left_out: tokens trained on, tokens evaluated on, and tokens left out as
            attention sinks.
        evaluation: the dictionary's row first, controls after it, named as they are shown.
        training: lines of metrics.jsonl.
        stages, recipe, model: tables; recipe and model may be nested.
        notes: further sentences that an honest reader should see.
        controls: scores that stand beside those of explanations, such as those of random latents.
        pictures: further charts as SVG.
        created: when the run was made, as shown.
    """

    title: str
    model_name: str = ""
    site: str = ""
    architecture: str = ""
    corpus: str = ""
    tokens: int | None = None
    heldout_tokens: int | None = None
    sinks_left_out: int | None = None
    evaluation: Sequence[EvaluationRow] = ()
    training: Sequence[Mapping[str, Any]] = ()
    stages: Sequence[StageRow] = ()
    recipe: Mapping[str, Any] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()
    controls: Sequence[Score] = ()
    pictures: Sequence[str] = ()
    created: str = ""


def write_report(data: ReportData, atlas: Atlas | str | Path, path: str | Path, limit_mb: float | int = 14.0) -> Path:
    """Write the report, in one step: after a failure, `path` is what it was before.

    Args:
        data: the run's facts.
        atlas: an open atlas, or the path of its folder.
        path: the HTML file.
        limit_mb: aim for the size of the file; fewer passages a feature are kept where all don't fit, and the page
            says so.

    Returns:
        The path that was written.

    Raises:
        FormatError: the folder holds no atlas, or one that contradicts itself.
    """
    page = render(data, bundle(atlas, limit_mb))
    path = Path(path)
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def render(data: ReportData, packed: ReportBundle) -> str:
    """Return the page as text."""
    script = "\n".join(_static(name) for name in SCRIPTS)
    drawn = feature_map(packed)
    charts = {
        "axes": drawn.spec if drawn else None,
        "losses": loss_bars(data.evaluation),
        "densities": density_histogram(packed),
        "shares": share_histogram(packed),
    }
    facts = {"title": data.title, "sides": packed.sides, "map": drawn.to_dict() if drawn else None}
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            data=data,
            bundle=packed,
            style=style(),
            script=script,
            script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            lede=_lede(data, packed),
            headline=_headline(data),
            table=_table(data),
            notes=_notes(data, packed),
            stages=_stages(data.stages),
            recipe=_flat(data.recipe),
            model=_flat(data.model),
            terms=[(metric.name, metric.means) for metric in METRICS if not metric.key.startswith("ce_")] + list(TERMS),
            map=drawn,
            curves=[svg(spec) for spec in training_curves(data.training)],
            charts={name: svg(spec) if spec else "" for name, spec in charts.items()},
            scores=_scores([*packed.by_method, *data.controls]),
            facts=script_json(facts),
        )
    )


@cache
def _static(name: str) -> str:
    return (files("monosema.pages") / "static" / name).read_text(encoding="utf-8")


def style() -> str:
    """Return the style sheet of all pages, with the charts' palette."""
    return variables(":root") + _static("pages.css")


@cache
def environment() -> jinja2.Environment:
    """Return Jinja2 over `pages/templates`, everything escaped unless marked safe, an unknown name an error."""
    import jinja2

    def load(name: str) -> str | None:
        source = files("monosema.pages") / "templates" / name
        return source.read_text(encoding="utf-8") if source.is_file() else None

    return jinja2.Environment(
        loader=jinja2.FunctionLoader(load),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _metrics(data: ReportData, kind: str) -> Mapping[str, Estimate]:
    """Return the metrics of the first row of this kind; none where there is no such row."""
    return next((row.figures for row in data.evaluation if row.kind == kind), {})


def _lede(data: ReportData, packed: ReportBundle) -> str:
    kind = f"{data.architecture} dictionary" if data.architecture else "dictionary"
    article = "an" if kind[0].lower() in "aeiou" else "a"
    sentence = f"{packed.n_features:,} features of {data.model_name or 'a language model'}"
    if data.site:
        sentence += f", read at {data.site}"
    sentence += f" by {article} {kind}"
    if data.tokens:
        sentence += f" trained on {data.tokens:,} tokens"
        if data.corpus:
            sentence += " of the built-in corpus" if data.corpus == "builtin" else f" of {data.corpus}"
    return f"{sentence}. {spoken(_metrics(data, 'dictionary'), _metrics(data, 'pca'))}".strip()


def _headline(data: ReportData) -> list[dict[str, str]]:
    """Return large metrics: name, value, interval."""
    found = _metrics(data, "dictionary")
    return [
        {
            "name": metric.name,
            "value": text_of(found[metric.key].value, metric.unit),
            "interval": interval_of(found[metric.key], metric.unit),
        }
        for metric in METRICS
        if metric.headline and metric.key in found
    ]


def _table(data: ReportData) -> dict[str, Any]:
    """Return metrics downwards, dictionary and controls across; metrics that no row has are left out."""
    keys = {key for row in data.evaluation for key in (*row.figures, *row.absent)}
    known = [metric for metric in METRICS if metric.key in keys]
    other = [Metric(key, key, "", "", "") for key in sorted(keys - {metric.key for metric in METRICS})]
    lines = []
    for metric in [*known, *other]:
        found = [row.figures.get(metric.key) for row in data.evaluation]
        cells = [
            {"absent": row.absent.get(metric.key, "not measured")} if value is None else _cell(value, metric.unit)
            for row, value in zip(data.evaluation, found, strict=True)
        ]
        points = [_point(value) for value in found]
        # A row of equal values shows nothing as a strip.
        differ = len({point[0] for point in points if point}) > 1
        lines.append({"metric": metric, "cells": cells, "strip": _strip(points, metric.unit) if differ else None})
    return {"heads": [(row.name, row.kind) for row in data.evaluation], "lines": lines}


def _cell(value: Estimate, unit: str) -> dict[str, str]:
    n = f"n = {value.n:,} ({value.method})"
    return {"value": text_of(value.value, unit), "interval": interval_of(value, unit), "n": n}


def _point(value: Estimate | None) -> list[float] | None:
    """Return value and ends of an estimate as JSON can hold them."""
    if value is None:
        return None
    return [value.value, *(end if math.isfinite(end) else value.value for end in (value.low, value.high))]


def _strip(points: Sequence[list[float] | None], unit: str) -> dict[str, Any]:
    """Return values on one line, the first of which is ours, and the line's ends."""
    ends = [end for point in points if point for end in point]
    return {"points": list(points), "domain": [min(0.0, *ends), max(1.0 if unit == "share" else 0.0, *ends) or 1.0]}


def _scores(scores: Sequence[Score]) -> list[dict[str, Any]]:
    """Return for each scorer the mean score of each method's explanations, beside its control."""
    groups: dict[str, list[Score]] = {}
    for score in scores:
        groups.setdefault(score.scorer, []).append(score)
    return [
        {
            "scorer": scorer,
            "lines": [
                {"score": score, "strip": _strip([_point(score.estimate), _bare(score.control)], "share")}
                for score in group
            ],
        }
        for scorer, group in groups.items()
    ]


def _bare(value: float | None) -> list[float] | None:
    """Return a value without an interval as a point of a strip."""
    return None if value is None else [value] * 3


def _notes(data: ReportData, packed: ReportBundle) -> list[str]:
    notes = list(data.notes)
    if data.heldout_tokens:
        notes.append(
            f"All figures are measured on {data.heldout_tokens:,} tokens of text that was held out from training."
        )
    if data.sinks_left_out is not None:
        notes.append(
            f"{data.sinks_left_out:,} tokens were left out as attention sinks (the beginning-of-text token and its "
            "like), whose activations say nothing about the text."
        )
    if packed.text_tokens:
        notes.append(f"Passages, densities and labels come from {packed.text_tokens:,} tokens of text.")
    if dead := packed.n_features - packed.n_alive:
        notes.append(
            f"{dead:,} of {packed.n_features:,} features never fired on the text of the atlas; the list shows them "
            "when asked for dead ones."
        )
    scored, controls = packed.known("label_score"), packed.known("label_control")
    if scored.size:
        control = f"; their controls have a median of {np.median(controls):.2f}" if controls.size else ""
        notes.append(
            f"The labels of {scored.size:,} features are scored by {packed.scorer}: the median is "
            f"{np.median(scored):.2f}{control}."
        )
    top, quantile = packed.passages_per_feature
    kept = f"up to {top} of its strongest passages and {quantile} from each tenth of all, from strong to weak"
    if packed.complete:
        notes.append(f"Each feature comes with {kept}: {packed.n_passages:,} passages in all.")
    else:
        notes.append(
            f"To keep this file small, each feature comes with {kept} ({packed.n_passages:,} passages in all); "
            "the atlas has more."
        )
    notes += [f"Not made: {part}, because {reason}" for part, reason in packed.absent.items()]
    notes.append("Activations of single tokens are rounded to 1/255 of the strongest in their passage.")
    return notes


def _stages(stages: Sequence[StageRow]) -> list[dict[str, Any]]:
    longest = max((stage.seconds or 0 for stage in stages), default=0) or 1
    return [
        {
            "name": stage.name,
            "time": "" if stage.seconds is None else duration(stage.seconds),
            "share": (stage.seconds or 0) / longest,
            "note": stage.note,
        }
        for stage in stages
    ]


def _flat(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return a nested table as lines of (dotted key, value as text); keys without a value are left out."""
    lines: list[tuple[str, str]] = []
    for key, value in table.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            lines += _flat(value, f"{name}.")
        elif isinstance(value, (list, tuple)):
            lines.append((name, ", ".join(_plain(item) for item in value)))
        elif value is not None:
            lines.append((name, _plain(value)))
    return lines


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return number(value) if math.isfinite(value) else str(value)
    return str(value)
