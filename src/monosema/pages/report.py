"""The report: a run and its features in one HTML file that opens without a server and without a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from monosema.atlas import Atlas
from monosema.attribution.answers import KeptAnswer
from monosema.circuits import ShownGraph
from monosema.core import atomic_path
from monosema.core.language import translate
from monosema.evaluation import EvaluationRow
from monosema.items import Items
from monosema.pages import sections
from monosema.pages.bundle import ReportBundle, bundle
from monosema.pages.glossary import METRICS, TERMS, TERMS_OF_TEXT
from monosema.pages.modules import digest, join, static
from monosema.pages.packing import script_json
from monosema.pages.pictures import density_histogram, feature_map, loss_bars, share_histogram, training_curves
from monosema.pages.svg import svg, variables
from monosema.pages.words import ITEMS, languages, of_script, rewording, say

if TYPE_CHECKING:
    import jinja2

EDGES = 600
"""Edges of a circuit that a report holds."""


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
        run: path of the run, as commands that the page names take it.
        pictures: further charts as SVG.
        created: when the run was made, as shown.
        items: what the tokens are, of a run over items; None where they are tokens.
        circuits: graphs of circuits that were found in the model.
        answers: questions about a next token, answered by many methods.
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
    run: str = "RUN"
    pictures: Sequence[str] = ()
    created: str = ""
    items: Items | None = None
    circuits: Sequence[ShownGraph] = ()
    answers: Sequence[KeptAnswer] = ()


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
    packed = bundle(atlas, limit_mb, data.items, data.circuits)
    if data.items is not None:
        for part, why in packed.absent.items():
            said = translate(f"Left out of the page: {part}, because {why}.")
            Console(stderr=True, highlight=False).print(said, style="yellow", soft_wrap=True)
    page = render(data, packed)
    path = Path(path)
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def render(data: ReportData, packed: ReportBundle) -> str:
    """Return the page as text."""
    with rewording(() if data.items is None else ITEMS):
        return _render(data, packed)


def _render(data: ReportData, packed: ReportBundle) -> str:
    script = join("report.js")
    page = said(data, packed) | _drawn(data, packed)
    facts = {"title": data.title, **languages(), **page["facts"], "words": of_script()}
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            **{**page, "facts": script_json(facts)},
            style=style(),
            script=script,
            script_digest=digest(script),
        )
    )


def said(data: ReportData, packed: ReportBundle) -> dict[str, Any]:
    """Return what the template of a run says, by name, in the report and in the app: sentences and tables."""
    return {
        "data": data,
        "bundle": packed,
        "say": say,
        "lede": sections.lede(data, packed),
        "headline": sections.headline(data.evaluation, packed),
        "table": sections.metrics(data.evaluation),
        "scores": sections.scores(packed.scored),
        "notes": sections.notes(data, packed),
        "stages": sections.stages(data.stages),
        "recipe": sections.flat(data.recipe),
        "model": sections.flat(data.model),
        "terms": _terms(data),
    }


def _drawn(data: ReportData, packed: ReportBundle) -> dict[str, Any]:
    """Return what the template of plots draws, by name; `facts` is what the scripts read."""
    drawn = feature_map(packed)
    charts = {
        "losses": loss_bars(data.evaluation),
        "densities": density_histogram(packed),
        "shares": share_histogram(packed),
    }
    return {
        "map": drawn,
        "maps": [(svg(spec), area) for spec, area in drawn.views] if drawn else [],
        "curves": [svg(spec) for spec in training_curves(data.training)],
        "charts": {name: svg(spec) if spec else "" for name, spec in charts.items()},
        "facts": {
            "sides": packed.sides,
            "map": drawn.to_dict() if drawn else None,
            "view": "passages" if data.items is None else "items",
            "circuits": [asdict(one.first(EDGES)) for one in data.circuits],
            "answers": [{"name": one.name, **one.values} for one in data.answers],
        },
    }


def _terms(data: ReportData) -> list[tuple[str, str]]:
    """Return what is explained: of a run over items nothing that is about a text or a model's output."""
    keys = {key for row in data.evaluation for key in row.metrics}
    metrics = [one for one in METRICS if not one.key.startswith("ce_") and (data.items is None or one.key in keys)]
    terms = [term for term in TERMS if data.items is None or term[0] not in TERMS_OF_TEXT]
    return [*((metric.name, metric.means) for metric in metrics), *terms]


def style() -> str:
    """Return the style sheet of all pages, with the charts' palette."""
    return variables(":root") + static("pages.css") + static("why.css")


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
