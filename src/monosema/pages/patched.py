"""Tables of effects as heat maps, and as pages."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

from monosema.circuits import Patching, PatchTable, Ranked
from monosema.circuits.tables import percents
from monosema.pages.charts import _chart, _spec
from monosema.pages.experiment import ExperimentPage, Figure, Table
from monosema.pages.svg import HEAT, INK, SERIES, Spec

_CELL, _STRONGEST = 44, 0.8


def heat_map(
    title: str,
    rows: tuple[str, ...],
    columns: tuple[str, ...],
    shares: Float[Tensor, "rows columns"],
    marked: Bool[Tensor, "rows columns"],
) -> Spec:
    """Return shares as cells: warm where positive, cold where negative, a number where told from chance."""
    import altair as alt

    cells = [
        {
            "row": row,
            "column": column,
            "share": float(shares[i, j]),
            "size": min(abs(float(shares[i, j])), 1.0),
            "text": f"{100 * float(shares[i, j]):.0f}" if bool(marked[i, j]) else "",
            "label": f"{row}, {column}: {100 * float(shares[i, j]):.1f} %"
            + ("" if bool(marked[i, j]) else ", not told from chance"),
        }
        for i, row in enumerate(rows)
        for j, column in enumerate(columns)
    ]
    largest = max(max(cell["size"] for cell in cells if isinstance(cell["size"], float)), 1e-6)
    across = alt.X("column:N", sort=None, title=None, axis=alt.Axis(labelAngle=0, orient="top", ticks=False))
    down = alt.Y("row:N", sort=None, title=None)
    colour = alt.condition("datum.share >= 0", alt.value(HEAT), alt.value(SERIES[0]))
    strength = alt.Opacity("size:Q", scale=alt.Scale(domain=[0, largest], range=[0.03, _STRONGEST]), legend=None)
    base = _chart(cells).encode(across, down)
    squares = base.mark_rect(aria=True).encode(color=colour, opacity=strength, description="label:N")
    words = base.mark_text(fontSize=11).encode(text="text:N", color=alt.value(INK))
    widest = max(map(len, columns))
    return _spec(
        alt.layer(squares, words),
        title,
        title=title,
        width=len(columns) * max(_CELL, 8 * widest + 8),
        height=22 * len(rows),
    )


def patch_page(found: PatchTable) -> ExperimentPage:
    """Return a table of effects as a page, with the largest effects and their intervals."""
    table, result, about = found.table, found.result, found.table.about
    title = f"{table.what}, {found.contrasts.task}, {about.model}"
    figures = [] if isinstance(result, Ranked) or table.what == "paths" else [_figure(table)]
    apart = table.told_apart
    listed = [
        (
            table.rows[row],
            table.columns[column],
            percents(table.share(row, column)),
            "yes" if apart[row, column] else "no",
        )
        for row, column in table.largest(found.config.top)
    ]
    tables = [_ranked(result)] if isinstance(result, Ranked) else []
    if not isinstance(result, Ranked):
        head = ("row", "column", "share of the difference", "told from chance")
        tables.append(Table("The largest effects", head, listed))
    asked = (
        "the metric on clean prompts, less that with the place as on the corrupted ones"
        if table.direction == "noising"
        else "the metric on corrupted prompts with the place as on the clean ones, less that without"
    )
    return ExperimentPage(
        title=title,
        question=f"Effects, as shares of the difference between clean and corrupted prompts: {asked}.",
        verdict=found.verdict,
        method=(
            f"{about.n} held-out prompts, {found.accuracy.value:.0%} of them answered rightly; metric {about.metric}, "
            f"difference {float(table.gap.mean()):.3g}; ablation {about.ablation}; {about.seconds:.1f} s. Intervals "
            "draw prompts. Numbers in cells are effects told from chance: larger than the largest of the table is in "
            "95 % of draws of the prompts' signs."
        ),
        figures=figures,
        tables=tables,
        values=result.to_dict(),
    )


def _figure(table: Patching) -> Figure:
    title = f"{table.what}, {table.direction}"
    spec = heat_map(title, table.rows, table.columns, table.shares, table.told_apart)
    return Figure(table.what, spec, "Per cent of the difference between clean and corrupted prompts.")


def _ranked(ranked: Ranked) -> Table:
    head = ("unit", "chosen", "measured", "estimated")
    rows = [
        (name, kind_of(ranked, row), percents(ranked.table.share(row, 0)), percents(ranked.table.share(row, 1)))
        for row, name in enumerate(ranked.table.rows)
    ]
    agrees = ranked.agreement
    said = "not defined, since all are equal" if agrees is None else f"{agrees.pearson:.3f}"
    return Table(f"Estimates against measurements: correlation {said}", head, rows)


def kind_of(ranked: Ranked, row: int) -> str:
    """Return how a row of ranked units was chosen."""
    if row < ranked.largest:
        return "by estimate"
    return "at random" if row < ranked.largest + ranked.drawn else "together"
