"""Values as a notebook shows them: HTML for one output cell, drawn by the modules of the pages.

A cell holds its data, the script and the style; it fetches nothing. Where scripts are not run (on a website that shows
notebooks, say) it shows the value's text.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from monosema.core.language import ENGLISH, language
from monosema.pages.features import FeatureTables, rounded
from monosema.pages.modules import join, static
from monosema.pages.packing import script_json
from monosema.pages.svg import variables
from monosema.pages.words import languages

if TYPE_CHECKING:
    from monosema.atlas import Atlas, Example, Feature, Score, TokenWeight
    from monosema.evaluation.side_by_side import SideBySide
    from monosema.steering.sweep import SweepResult

SHOWN = 12
"""Features of an atlas that are shown."""


_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"
_PAGE = """<!doctype html>
<html lang="{spoken}">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="monosema">
<title>{title}</title>
<style>:root {{ color-scheme: light dark }} body {{ margin: 0 }}</style>
</head>
<body>
{body}
</body>
</html>
"""


def page(view: str, data: Any, title: str, spoken: str) -> bytes:
    """Return a page that opens without a server and fetches nothing: one cell, in the language of this code."""
    body = cell(view, data, title, spoken)
    shown = _PAGE.format(spoken=spoken, policy=_POLICY, title=html.escape(title), body=body)
    return shown.encode("utf-8", "replace")


def cell(view: str, data: Any, text: str, spoken: str | None = None) -> str:
    """Return HTML that draws `data` by a view of `static/notebook.js`; `text` stands there until it is drawn.

    Without the code of a language it speaks that of the environment.
    """
    here = f"monosema-{uuid4().hex[:12]}"
    spoken = spoken or language()
    known = {
        "view": view,
        "data": data,
        "style": variables(":host") + static("pages.css").replace(":root", ":host"),
        "languages": {} if spoken == ENGLISH else languages()["languages"],
        "language": spoken,
    }
    return (
        f'<div id="{here}" class="monosema"><pre>{html.escape(text)}</pre>'
        f'<script type="application/json">{script_json(known)}</script></div>\n'
        f'<script>(() => {{\n{join("notebook.js")}\n$notebook.draw("{here}");\n}})();</script>'
    )


@dataclass(frozen=True)
class HeatMap:
    """Tokens shaded by activations, as a notebook shows them.

    Attributes:
        tokens: their texts.
        activations: one for each; those of at most 0 are not shaded.
    """

    tokens: Sequence[str]
    activations: Sequence[float]

    def _repr_html_(self) -> str:
        values = [float(value) for value in self.activations]
        peak = max(range(len(values)), key=values.__getitem__, default=0)
        most = max(values, default=0.0)
        one = {"tokens": list(self.tokens), "activations": values, "peak": peak, "maximum": most}
        return cell("heat", {"passages": [one]}, "".join(self.tokens))


def of_feature(feature: Feature) -> str:
    """Return a feature at a glance."""
    text = f"Feature {feature.latent}: {feature.label or 'no label'}\n" + " ".join(w.token for w in feature.top_tokens)
    return cell("feature", {"feature": plain(feature)}, text)


def of_example(example: Example) -> str:
    """Return a passage as a heat map."""
    return cell("heat", {"passages": [_passage(example)]}, "".join(example.tokens))


def of_atlas(atlas: Atlas) -> str:
    """Return the first features of an atlas as rows: those whose labels are best above their controls, or else the most
    common."""
    tables = FeatureTables(atlas)
    rows = atlas.features(sort="label_margin", limit=SHOWN)
    lines = [tables.line(tables.row_of(row["latent"])) for row in rows]
    return cell("features", {"features": lines, "said": repr(atlas)}, repr(atlas))


def of_texts(found: SideBySide) -> str:
    """Return texts of several versions of a model side by side."""
    text = "\n\n".join(f"{row.name}: {one.text}" for row in found.rows for one in row.texts)
    return cell("texts", found.to_dict(), text)


def of_sweep(found: SweepResult) -> str:
    """Return what a sweep's strengths gave."""
    text = "\n\n".join(f"{one.name}: {one.samples[0].text}" for one in (found.base, *found.points) if one.samples)
    return cell("sweep", found.to_dict(), text)


def plain(feature: Feature) -> dict[str, Any]:
    """Return a feature as the plain values that the pages draw: what `FeatureTables.feature` gives,
    but for its row and its share of a crosscoder's sides."""
    score = next((one for one in feature.scores if _is_labels(one, feature)), None)
    histogram = feature.histogram
    told = {name: getattr(feature, name) for name in ("latent", "alive", "density", "n_active", "mean", "max")}
    return {
        **told,
        "mean_active": feature.mean_active,
        "label": feature.label or "",
        "label_author": feature.label_author or "",
        "label_method": feature.label_method or "",
        "label_scorer": feature.label_scorer or "",
        "label_score": score and score.estimate.value,
        "label_low": score and score.estimate.low,
        "label_high": score and score.estimate.high,
        "label_control": score and score.control,
        "label_random": score and score.random and score.random.value,
        "label_margin": score and score.margin,
        "histogram": asdict(histogram) if histogram else {"low": 0.0, "high": 0.0, "counts": []},
        "top_tokens": _pairs(feature.top_tokens),
        "promoted": _pairs(feature.promoted),
        "suppressed": _pairs(feature.suppressed),
        "position_profile": [value or 0.0 for value in feature.position_profile],
        "neighbours": {
            kind: [{"other": one.other, "value": one.value} for one in feature.neighbours if one.kind == kind]
            for kind in ("decoder", "coactivation")
        },
        "explanations": [_known(asdict(one)) for one in feature.explanations],
        "scores": [_score(one) for one in feature.scores],
        "votes": [_known(asdict(one)) for one in feature.votes],
        "passages": [_passage(one) for one in feature.examples],
    }


def _is_labels(score: Score, feature: Feature) -> bool:
    """Return True for the label's score by the scorer that labels are compared by."""
    made = (score.author, score.method) == (feature.label_author, feature.label_method)
    return made and score.scorer == feature.label_scorer


def _score(score: Score) -> dict[str, Any]:
    random = score.random
    beside = {"random": random.value, "random_low": random.low, "random_high": random.high} if random else {}
    made = {name: getattr(score, name) for name in ("author", "method", "model", "prompt_version", "scorer", "control")}
    figures = {"value": score.estimate.value, "low": score.estimate.low, "high": score.estimate.high}
    return _known({**made, **figures, "n": score.estimate.n, "margin": score.margin, **beside})


def _passage(example: Example) -> dict[str, Any]:
    kept = {name: getattr(example, name) for name in ("kind", "rank", "document", "position", "peak", "maximum")}
    activations = rounded(np.array(example.activations, np.float32), np.array(example.maximum, np.float32))
    return {**kept, "tokens": list(example.tokens), "activations": activations.tolist()}


def _pairs(weights: Sequence[TokenWeight]) -> list[tuple[str, float]]:
    return [(one.token, one.weight) for one in weights]


def _known(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None and name not in ("program", "latent")}
