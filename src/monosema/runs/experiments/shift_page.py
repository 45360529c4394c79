"""The page of shift: how the worst group does after each way of taking a cue out, with intervals over texts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from monosema.core import Estimate, Site, bootstrap_mean, numpy_generator
from monosema.pages.charts import Axis, Series, xy
from monosema.pages.experiment import ExperimentPage, Figure, Table
from monosema.runs.experiments.biased import BIASES, Bias
from monosema.runs.experiments.experiment import Work

UNTOUCHED, DELETED, DIFFERENCE, LEACE, NEURONS, FAIR = (
    "untouched",
    "tokens deleted",
    "mean difference",
    "LEACE",
    "neurons, by rule",
    "balanced training",
)
RULE, CHANCE, HAND = "by rule", "at random", "by hand"
_DRAWS = 2000


@dataclass(frozen=True)
class Row:
    """Results of the classifier, over seeds."""

    taken: float
    accuracy: Estimate
    worst: Estimate
    cue: Estimate
    anew: Estimate | None
    choice: float

    def said(self) -> list[str]:
        """Words of the table."""
        return [f"{self.taken:g}", *("–" if one is None else _share(one) for one in
                                     (self.accuracy, self.worst, self.cue, self.anew))]  # fmt: skip


def _row(parts: Sequence[Mapping[str, Any]]) -> Row:
    right = np.mean([one["as it is"] for one in parts], axis=0)
    # Texts come in fours: both label and cue, the label alone, … (see `balanced`).
    follows = np.where(np.isin(np.arange(len(right)) % 4, (0, 3)), right, 1 - right)
    anew = [one["trained anew"] for one in parts if "trained anew" in one]
    return Row(
        taken=float(np.mean([one["taken"] for one in parts])),
        accuracy=bootstrap_mean(right),
        worst=worst_group(right),
        cue=bootstrap_mean(follows),
        anew=worst_group(np.mean(anew, axis=0)) if anew else None,
        choice=float(np.mean([np.reshape(one["chosen with"], (-1, 4)).mean(0).min() for one in parts]))
        if anew
        else 1.0,
    )


def worst_group(right: Float[np.ndarray, " n"], seed: int = 0) -> Estimate:
    """Return the smallest of the four groups' shares of right answers, with an interval that draws texts of each."""
    groups = np.asarray(right, dtype=np.float64).reshape(-1, 4)
    draws = numpy_generator(seed, "worst group").integers(0, len(groups), (_DRAWS, len(groups), 4))
    drawn = np.take_along_axis(groups[None], draws, axis=1).mean(1).min(1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    value = float(groups.mean(0).min())
    return Estimate(value, min(float(low), value), max(float(high), value), groups.size, "bootstrap within groups")


def shift_page(
    work: Work, sites: Sequence[Site], read: Site, found: Mapping[str, Mapping[str, Any]], method: str
) -> ExperimentPage:
    """Return the page of what was found, by bias and by what was taken out."""
    tables, figures, says, values = [], [], [], {}
    for bias in BIASES:
        by_name: dict[str, list[Mapping[str, Any]]] = {}
        for name, one in found[bias.name].items():
            by_name.setdefault(re.sub(r" \(seed \d+\)$", "", name), []).append(one)
        rows = {name: _row(parts) for name, parts in by_name.items()}
        tables.append(_table(bias, rows))
        figures.append(_figure(bias, rows))
        says.append(_sentence(bias, rows))
        values[bias.name] = {
            name: {key: one.to_dict() if isinstance(one, Estimate) else one for key, one in vars(row).items()}
            for name, row in rows.items()
        }
    tables += [_shown(bias, found[bias.name]) for bias in BIASES]
    return ExperimentPage(
        title=f"Removal of a bias: {work.model.name}, classifier at {read.short}",
        question="Can the features that answer to an unwanted cue be taken out of a classifier that learnt the cue?",
        verdict=" ".join(says),
        method=method,
        figures=figures,
        tables=tables,
        notes=[
            "The weight of the penalty in a sentence is the one whose worst group is best on other balanced texts.",
            "The share of answers that follow the cue is 50 % where the cue is ignored.",
            "A token counts as the cue's where the twin has it not: of a cue that is an order there are none.",
        ],
        values={"model": work.model.name, "sites": [str(site) for site in sites], "read": str(read), "biases": values,
                "settings": work.config.to_dict()},
    )  # fmt: skip


def _best(rows: Mapping[str, Row]) -> str:
    penalised = [name for name in rows if name.endswith(RULE) and name.startswith("sparse") and "α = 0," not in name]
    return max(penalised, key=lambda name: rows[name].choice)


def _sentence(bias: Bias, rows: Mapping[str, Row]) -> str:
    best = _best(rows)
    mine, chance = rows[best], rows[best.replace(RULE, CHANCE)]
    helps = mine.worst.low > max(rows[UNTOUCHED].worst.high, chance.worst.high)
    others = "; ".join(
        f"{name} {rows[name].worst.value:.0%}" for name in (DELETED, NEURONS, DIFFERENCE, LEACE, FAIR) if name in rows
    )
    return (
        f"Label {bias.label}, cue {bias.cue}: the worst group goes from {_share(rows[UNTOUCHED].worst)} to "
        f"{_share(mine.worst)} without {mine.taken:g} latents ({best}), and to {_share(chance.worst)} without as many "
        f"at random: ablating judged latents {'helps' if helps else 'does not help'} here. Others: {others}."
    )


def _table(bias: Bias, rows: Mapping[str, Row]) -> Table:
    head = ["taken out", "parts", "right", "worst group", "follows the cue", "worst group, trained anew"]
    about = f"Label: {bias.label}. Cue: {bias.cue}. Balanced texts, with 95 % intervals; the mean over seeds."
    return Table(about, head, [[name, *row.said()] for name, row in rows.items()])


def _shown(bias: Bias, found: Mapping[str, Any]) -> Table:
    name = next(name for name in found if name.endswith(f"{RULE} (seed 0)") and "α = 0," not in name)
    rows = [
        [
            f"{Site.parse(one['site']).layer}.{one['latent']}",
            *(f"{one[key]:.3f}" for key in ("effect", "by cue", "by label")),
            "✓" if one["unwanted"] else "–",
            " ".join(token.strip() for token in one["tokens"]),
        ]
        for one in found[name]["shown"][:20]
    ]
    head = ["latent", "effect", "moved by the cue", "moved by the label", "unwanted", "most active on"]
    return Table(f"Label: {bias.label}. The latents that were judged, by effect: {name}.", head, rows)


def _figure(bias: Bias, rows: Mapping[str, Row]) -> Figure:
    groups: dict[str, list[tuple[str, Row]]] = {}
    for name, row in rows.items():
        how = name.partition(", ")[2].partition(", ")[2] if name.startswith("sparse") else ""
        groups.setdefault(f"latents, {how}" if how else name, []).append((name, row))
    series = [
        Series(
            group,
            [(row.cue.value, row.worst.value) for _, row in members],
            [f"{name}: follows the cue {_share(row.cue)}, worst group {_share(row.worst)}" for name, row in members],
            line=False,
        )
        for group, members in groups.items()
    ]
    axes = Axis("Follows the cue"), Axis("Worst group right")
    spec = xy(f"Label: {bias.label}", *axes, series, size=(520, 340))
    return Figure(bias.name, spec, "Up and to the left, at 50 %, is better.")


def _share(one: Estimate) -> str:
    return f"{one.value:.0%} [{one.low:.0%}, {one.high:.0%}]"
