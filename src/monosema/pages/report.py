"""The report: a run and its features in one HTML file that opens without a server and without a network."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monosema.atlas import Atlas
from monosema.core import Estimate, atomic_path
from monosema.pages.assets import environment, scripts, style
from monosema.pages.book import Book, fold
from monosema.pages.glossary import (
    FIGURES,
    TERMS,
    Figure,
    Value,
    duration,
    interval_of,
    number,
    spoken,
    text_of,
    value_of,
)
from monosema.pages.packing import script_json
from monosema.pages.scores import MethodScore


@dataclass(frozen=True, kw_only=True)
class EvaluationRow:
    """The figures of one dictionary, or of a control beside it.

    Attributes:
        name: as shown: "TopK, k = 32", "PCA, 32 components", "random dictionary".
        kind: "dictionary" for the run's own, else "pca", "random", or any other word for a control.
        figures: by key of `words.FIGURES` (fvu, variance_explained, l0, alive, loss_recovered, kl, ce_clean,
            ce_spliced, ce_zero, ce_mean): an Estimate, a bare number, or a string that says why the figure is absent.
            Others are shown under their own names.
    """

    name: str
    kind: str
    figures: Mapping[str, Value]


@dataclass(frozen=True, kw_only=True)
class StageRow:
    """One stage of the run: its name, how long it took, and a few words about it ("reused", "1,000,000 tokens")."""

    name: str
    seconds: float | int | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """What a report says about a run; the features themselves come from the atlas. Only `title` is needed.

    Attributes:
        title: headline of the page.
        model_name, site, architecture, corpus: names for the opening sentence.
        tokens, heldout_tokens, sinks_left_out: tokens trained on, tokens evaluated on, and tokens left out as
            attention sinks.
        evaluation: the dictionary's row first, controls after it.
        training: lines of metrics.jsonl; `tokens` (or `step`) against fvu, l0 and dead (a share) or alive are drawn.
        stages, recipe, model: tables; recipe and model may be nested.
        notes: further sentences that an honest reader should see.
        controls: scores of what is held against explanations, such as those of random latents.
        pictures: plots as SVG that stand below the page's own.
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
    controls: Sequence[MethodScore] = ()
    pictures: Sequence[str] = ()
    created: str = ""


def write_report(data: ReportData, atlas: Atlas | str | Path, path: str | Path, limit_mb: float | int = 14.0) -> Path:
    """Write the report, in one step: after a failure, `path` is what it was before.

    Args:
        data: what to say about the run.
        atlas: an open atlas, or the path of its folder.
        path: the HTML file.
        limit_mb: aim for the size of the file; fewer passages a feature are kept where all don't fit, and the page
            says so.

    Returns:
        The path that was written.

    Raises:
        FormatError: the folder holds no atlas, or one that contradicts itself.
    """
    book = fold(atlas, limit_mb)
    page = render(data, book)
    path = Path(path)
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def render(data: ReportData, book: Book) -> str:
    """The page as text."""
    script = scripts()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            data=data,
            book=book,
            style=style(),
            script=script,
            script_digest=digest,
            lede=_lede(data, book),
            headline=_headline(data),
            table=_table(data),
            notes=_notes(data, book),
            stages=_stages(data.stages),
            recipe=_flat(data.recipe),
            model=_flat(data.model),
            terms=[(figure.name, figure.means) for figure in FIGURES if not figure.key.startswith("ce_")] + list(TERMS),
            facts=script_json(_facts(data, book)),
        )
    )


def _main(data: ReportData) -> EvaluationRow | None:
    return next((row for row in data.evaluation if row.kind == "dictionary"), None)


def _lede(data: ReportData, book: Book) -> str:
    kind = f"{data.architecture} dictionary" if data.architecture else "dictionary"
    article = "an" if kind[0].lower() in "aeiou" else "a"
    sentence = f"{book.n_features:,} features of {data.model_name or 'a language model'}"
    if data.site:
        sentence += f", read at {data.site}"
    sentence += f" by {article} {kind}"
    if data.tokens:
        sentence += f" trained on {data.tokens:,} tokens"
        if data.corpus:
            sentence += " of the built-in corpus" if data.corpus == "builtin" else f" of {data.corpus}"
    sentence += "."
    row = _main(data)
    pca: Mapping[str, Value] = next((other.figures for other in data.evaluation if other.kind == "pca"), {})
    result = spoken(row.figures, pca) if row else ""
    return f"{sentence} {result}".strip()


def _headline(data: ReportData) -> list[dict[str, str]]:
    """Large figures: name, value, interval, the same for the best control."""
    row = _main(data)
    cards = []
    for figure in FIGURES:
        value = row.figures.get(figure.key) if row and figure.headline else None
        bare = value_of(value)
        if bare is None:
            continue
        cards.append(
            {"name": figure.name, "value": text_of(bare, figure.unit), "interval": interval_of(value, figure.unit)}
        )
    return cards


def _table(data: ReportData) -> dict[str, Any]:
    """Figures downwards, dictionary and controls across; figures that no row has are left out."""
    keys = {key for row in data.evaluation for key in row.figures}
    known = [figure for figure in FIGURES if figure.key in keys]
    other = [Figure(key, key, "", "", "") for key in sorted(keys - {figure.key for figure in FIGURES})]
    lines = []
    for figure in [*known, *other]:
        cells = [_cell(row.figures.get(figure.key), figure) for row in data.evaluation]
        points = [_point(row.figures.get(figure.key)) for row in data.evaluation]
        lines.append({"figure": figure, "cells": cells, "points": points})
    return {"heads": [(row.name, row.kind) for row in data.evaluation], "lines": lines}


def _cell(value: Value, figure: Figure) -> dict[str, str]:
    if isinstance(value, str):
        return {"absent": value}
    bare = value_of(value)
    if bare is None:
        return {"absent": "not measured"}
    n = f"n = {value.n:,} ({value.method})" if isinstance(value, Estimate) else ""
    return {"value": text_of(bare, figure.unit), "interval": interval_of(value, figure.unit), "n": n}


def _point(value: Value) -> list[float] | None:
    bare = value_of(value)
    if bare is None:
        return None
    ends = (value.low, value.high) if isinstance(value, Estimate) else (bare, bare)
    return [bare, *(end if math.isfinite(end) else bare for end in ends)]


def _notes(data: ReportData, book: Book) -> list[str]:
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
    if book.text_tokens:
        notes.append(f"Passages, densities and labels come from {book.text_tokens:,} tokens of text.")
    dead = book.n_features - book.n_alive
    if dead:
        notes.append(
            f"{dead:,} of {book.n_features:,} features never fired on the text of the atlas; the list shows them when "
            "asked for dead ones."
        )
    if book.score_median is not None:
        control = "" if book.control_median is None else f"; their controls have a median of {book.control_median:.2f}"
        notes.append(
            f"The labels of {book.n_scored:,} features are scored by {book.scorer}: the median is "
            f"{book.score_median:.2f}{control}."
        )
    top, quantile = book.passages_per_feature
    kept = f"up to {top} of its strongest passages and {quantile} from each tenth of all, from strong to weak"
    if book.complete:
        notes.append(f"Each feature comes with {kept}: {book.n_passages:,} passages in all.")
    else:
        notes.append(
            f"To keep this file small, each feature comes with {kept} ({book.n_passages:,} passages in all); "
            "the atlas has more."
        )
    notes += [f"Not made: {what}, because {reason}" for what, reason in book.absent.items()]
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
    """A nested table as lines of (dotted key, value as text); keys without a value are left out."""
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


def _facts(data: ReportData, book: Book) -> dict[str, Any]:
    """What the page's plots draw, as JSON."""
    losses: list[dict[str, Any]] = []
    row = _main(data)
    if row:
        for key, name in (
            ("ce_clean", "untouched model"),
            ("ce_spliced", row.name),
            ("ce_mean", "mean"),
            ("ce_zero", "erased (zero)"),
        ):
            _add_loss(losses, name, row.figures.get(key), key)
        for other in data.evaluation:
            if other is not row and _same_model(row, other):
                _add_loss(losses, other.name, other.figures.get("ce_spliced"), other.kind)
    return {
        "title": data.title,
        "features": book.n_features,
        "sides": book.sides,
        "training": _curves(data.training),
        "losses": sorted(losses, key=lambda loss: float(loss["point"][0])),
        "scores": _scores([*book.by_method, *data.controls]),
    }


def _same_model(row: EvaluationRow, other: EvaluationRow) -> bool:
    """Whether losses can stand side by side: of two models that are compared, each has its own when it is untouched."""
    clean, its = (value_of(one.figures.get("ce_clean")) for one in (row, other))
    return clean is None or its is None or clean == its


def _scores(by_method: Sequence[MethodScore]) -> list[dict[str, Any]]:
    """For each scorer, the mean score of each method's explanations beside its control."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for one in by_method:
        line = {"name": one.method, "point": _point(one.estimate), "control": one.control, "n": one.estimate.n}
        groups.setdefault(one.scorer, []).append(line)
    return [{"scorer": scorer, "lines": lines} for scorer, lines in groups.items()]


def _add_loss(losses: list[dict[str, Any]], name: str, value: Value, kind: str) -> None:
    point = _point(value)
    if point:
        losses.append({"name": name, "point": point, "kind": kind})


_CURVES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("FVU", ("fvu", "heldout_fvu", "held_out_fvu")),
    ("L0", ("l0",)),
    ("Dead features", ("dead", "dead_share", "dead_fraction")),
)


def _curves(lines: Sequence[Mapping[str, Any]], most: int = 400) -> list[dict[str, Any]]:
    """Training curves: name, x (tokens or steps), y; thinned to at most about `most` points by keeping every n-th."""
    curves = []
    for name, keys in _CURVES:
        points = []
        for line in lines:
            x = value_of(line.get("tokens", line.get("step")))
            y = next((value for key in keys if (value := value_of(line.get(key))) is not None), None)
            if y is None and name.startswith("Dead"):
                alive = value_of(line.get("alive", line.get("alive_share")))
                y = None if alive is None else 1 - alive
            if x is not None and y is not None:
                points.append((x, y))
        if len(points) > 1:
            every = math.ceil(len(points) / most)
            kept = points[:-1:every] + points[-1:]
            axis = "tokens" if any("tokens" in line for line in lines) else "steps"
            curves.append({"name": name, "x": [p[0] for p in kept], "y": [p[1] for p in kept], "axis": axis})
    return curves
