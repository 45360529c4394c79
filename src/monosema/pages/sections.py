"""Sections of a report besides its features: opening sentences, tables of metrics and scores, notes, stages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from monosema.core import Estimate
from monosema.evaluation import EvaluationRow
from monosema.pages.bundle import ReportBundle
from monosema.pages.glossary import METRICS, Metric, duration, interval_of, number, spoken, text_of
from monosema.pages.scored import LABELS, Scored
from monosema.pages.words import say

if TYPE_CHECKING:
    from monosema.pages.report import ReportData, StageRow


def _metrics_of(rows: Sequence[EvaluationRow], kind: str) -> Mapping[str, Estimate]:
    """Return the metrics of the first row of this kind; none where there is no such row."""
    return next((row.metrics for row in rows if row.kind == kind), {})


def lede(data: ReportData, packed: ReportBundle) -> str:
    """Return the opening sentences: what was looked at, how well it is rebuilt, and what its labels are worth."""
    kind = f"{data.architecture} dictionary" if data.architecture else "dictionary"
    article = "an" if kind[0].lower() in "aeiou" else "a"
    place = f", read at {data.site}" if data.site else ""
    found = f"{packed.n_features:,} features of {data.model_name or 'a language model'}{place} by {article} {kind}."
    text = "the built-in corpus" if data.corpus == "builtin" else data.corpus
    learnt = f"It was trained on {data.tokens:,} tokens{f' of {text}' if text else ''}." if data.tokens else ""
    rebuilt = spoken(_metrics_of(data.evaluation, "dictionary"), _metrics_of(data.evaluation, "pca"))
    return " ".join(say(part) for part in (found, learnt, rebuilt, _spoken_labels(packed)) if part)


def _spoken_labels(packed: ReportBundle) -> str:
    """Return what share of the labels stands above the controls, by each scorer. Empty without scores."""
    shares = [(one.scorer, share.value) for one in packed.labels if (share := one.above_controls)]
    if not shares:
        return ""
    (scorer, first), *others = shares
    rest = "".join(f" By {name} {100 * share:.0f} %." for name, share in others)
    if any(one.random for one in packed.labels):
        controls = "shuffled labels and random directions"
        return f"By {scorer} {100 * first:.0f} % of the labels stand above their controls, {controls}.{rest}"
    untold = "With random directions they were not compared."
    return f"By {scorer} {100 * first:.0f} % of the labels stand above shuffled ones.{rest} {untold}"


def headline(rows: Sequence[EvaluationRow], packed: ReportBundle) -> list[dict[str, str]]:
    """Return large metrics: name, value, interval; and the share of labels above the controls, by each scorer."""
    found = _metrics_of(rows, "dictionary")
    cards = [
        {
            "name": say(metric.name),
            "value": text_of(found[metric.key].value, metric.unit),
            "interval": interval_of(found[metric.key], metric.unit),
        }
        for metric in METRICS
        if metric.headline and metric.key in found
    ]
    shares = [(one.scorer, share) for one in packed.labels if (share := one.above_controls)]
    if shares:
        (scorer, first), *others = shares
        compared = "Labels above controls" if any(one.random for one in packed.labels) else "Labels above shuffled ones"
        name = f"{say(compared)}, {scorer}"
        rest = ", ".join(f"{other} {text_of(share.value, 'share')}" for other, share in others)
        cards.append({"name": name, "value": text_of(first.value, "share"), "interval": rest})
    return cards


def metrics(rows: Sequence[EvaluationRow]) -> dict[str, Any]:
    """Return metrics downwards, dictionary and controls across; metrics that no row has are left out."""
    keys = {key for row in rows for key in (*row.metrics, *row.absent)}
    known = [metric for metric in METRICS if metric.key in keys]
    other = [Metric(key, key, "", "", "") for key in sorted(keys - {metric.key for metric in METRICS})]
    lines = []
    for metric in [*known, *other]:
        found = [row.metrics.get(metric.key) for row in rows]
        cells = [
            {"absent": row.absent.get(metric.key, "not measured")} if value is None else _cell(value, metric.unit)
            for row, value in zip(rows, found, strict=True)
        ]
        points = [_point(value) for value in found]
        # A row of equal values shows nothing as a strip.
        differ = len({point[0] for point in points if point}) > 1
        lines.append({"metric": metric, "cells": cells, "strip": _strip(points, metric.unit) if differ else None})
    return {"heads": [(row.name, row.kind) for row in rows], "lines": lines}


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


def scores(rows: Sequence[Scored]) -> list[dict[str, Any]]:
    """Return for each scorer how the labels and the explanations of each method do, beside their controls."""
    groups: dict[str, list[Scored]] = {}
    for one in rows:
        groups.setdefault(one.scorer, []).append(one)
    return [
        {"scorer": scorer, "chance": group[0].chance, "lines": [_score_line(one) for one in group]}
        for scorer, group in groups.items()
    ]


def _score_line(one: Scored) -> dict[str, Any]:
    return {
        "name": say("labels") if one.method == LABELS else one.method,
        "labels": one.method == LABELS,
        "strip": _strip([_point(value) for value in (one.mean, one.shuffled, one.random)], "share"),
        "values": [value and _cell(value, "score") for value in (one.mean, one.shuffled, one.random)],
        "shares": [value and _cell(value, "share") for value in (one.above_shuffled, one.above)],
    }


def notes(data: ReportData, packed: ReportBundle) -> list[str]:
    """Return what an honest reader should know besides, a sentence or two each."""
    found = list(data.notes)
    if data.heldout_tokens:
        found.append(
            f"All metrics are measured on {data.heldout_tokens:,} tokens of text that was held out from training."
            if data.tokens
            else f"All metrics are measured on {data.heldout_tokens:,} tokens of text."
        )
    if data.sinks_left_out is not None:
        found.append(
            f"{data.sinks_left_out:,} tokens were left out as attention sinks (the beginning-of-text token and its "
            "like), whose activations say nothing about the text."
        )
    if packed.text_tokens:
        found.append(f"Passages, densities and labels come from {packed.text_tokens:,} tokens of text.")
    if dead := packed.n_features - packed.n_alive:
        found.append(
            f"{dead:,} of {packed.n_features:,} features never fired on the text of the atlas; the list shows them "
            "when asked for dead ones."
        )
    found += _unscored(data, packed)
    top, quantile = packed.passages_per_feature
    kept = f"up to {top} of its strongest passages and {quantile} from each tenth of all, from strong to weak"
    if packed.complete:
        found.append(f"Each feature comes with {kept}: {packed.n_passages:,} passages in all.")
    else:
        found.append(
            f"To keep this file small, each feature comes with {kept} ({packed.n_passages:,} passages in all); "
            "the atlas has more."
        )
    found += [f"Not made: {part}, because {reason}" for part, reason in packed.absent.items()]
    if data.items is None:
        found.append("Activations of single tokens are rounded to 1/255 of the strongest in their passage.")
    return [say(note) for note in found]


def _unscored(data: ReportData, packed: ReportBundle) -> list[str]:
    """Return what is missing of explanations, scores and controls, and the command that makes it."""
    if not packed.explained:
        return [
            "Nothing has been explained yet: a feature is called by the tokens that it fires on. To explain features: "
            f"monosema explain {data.run}"
        ]
    if not packed.scored:
        return [f"No explanation has been scored yet: labels are guesses. To score them: monosema score {data.run}"]
    if not any(one.random for one in packed.scored):
        return [
            "Labels are compared with shuffled ones only: this run has no random directions that were explained and "
            f"scored alike. To have them: monosema run {data.run} --update --score.random-latents 100"
        ]
    return []


def stages(rows: Sequence[StageRow]) -> list[dict[str, Any]]:
    """Return the stages with the share of the longest one's time that each took."""
    longest = max((stage.seconds or 0 for stage in rows), default=0) or 1
    return [
        {
            "name": stage.name,
            "time": "" if stage.seconds is None else duration(stage.seconds),
            "share": (stage.seconds or 0) / longest,
            "note": stage.note,
        }
        for stage in rows
    ]


def flat(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return a nested table as lines of (dotted key, value as text); keys without a value are left out."""
    lines: list[tuple[str, str]] = []
    for key, value in table.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            lines += flat(value, f"{name}.")
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
