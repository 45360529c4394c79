"""Attention of a head as a page: heat map and token graph."""

from __future__ import annotations

from monosema.attribution.attention import AttentionReading
from monosema.models import visible
from monosema.pages.charts import _chart, _spec
from monosema.pages.experiment import ExperimentPage, Figure, Table
from monosema.pages.patched import heat_map
from monosema.pages.svg import HEAT, INK, Spec

_SHOWN = 0.1
_LISTED = 20


def attention_page(reading: AttentionReading, layer: int, head: int, weighted: bool = False) -> ExperimentPage:
    """Return a head's attention on a text as a page."""
    shares = (reading.weighted if weighted else reading.pattern)[layer, head]
    names = tuple(f"{at} {visible(token)}" for at, token in enumerate(reading.tokens))
    edges = reading.edges(layer, head, _SHOWN, weighted)
    figures = {name: float(values[layer, head]) for name, values in reading.figures().items()}
    name = f"a{layer}.h{head}"
    query, key, share = max((edge for edge in edges if edge[0]), key=lambda edge: edge[2])
    return ExperimentPage(
        title=f"Attention of {name}" + (", weighed by values" if weighted else ""),
        question="Where does this head look?",
        verdict=(
            f"{names[query]} looks at {names[key]} with {share:.0%} of its attention; "
            f"{figures['sink']:.0%} of all goes to the first token."
        ),
        method=(
            "Rows are tokens that look, columns tokens that are looked at. "
            + ("Shares are attention times the size of what is taken. " if weighted else "")
            + "Where a head looks is no proof that it matters."
        ),
        figures=[
            Figure("pattern", heat_map(name, names, names, shares, shares >= _SHOWN), "Per cent; below 10 unnamed."),
            Figure("graph", token_graph(name, names, edges), "Each line is a look of 10 % or more, as thick as it."),
        ],
        tables=[
            Table(
                "The largest shares",
                ["token", "looks at", "share"],
                [[names[one], names[other], f"{value:.0%}"] for one, other, value in edges[:_LISTED]],
            )
        ],
        values={"head": name, "tokens": list(reading.tokens), "shares": shares.tolist(), **figures},
    )


def token_graph(title: str, names: tuple[str, ...], edges: list[tuple[int, int, float]]) -> Spec:
    """Return tokens at two sides, joined where the one on the left looks at the one on the right."""
    import altair as alt

    lines = [
        {"edge": number, "side": side, "at": at, "share": share, "label": f"{names[one]} → {names[other]}: {share:.0%}"}
        for number, (one, other, share) in enumerate(edges)
        for side, at in ((0, one), (1, other))
    ]
    words = [{"side": side, "at": at, "text": name} for at, name in enumerate(names) for side in (0, 1)]
    across = alt.X("side:Q", axis=None, scale=alt.Scale(domain=[-0.6, 1.6]))
    down = alt.Y("at:Q", axis=None, scale=alt.Scale(reverse=True))
    joined = (
        _chart(lines)
        .mark_line(color=HEAT)
        .encode(
            across,
            down,
            detail="edge:N",
            opacity=alt.Opacity("share:Q", scale=alt.Scale(domain=[0, 1], range=[0.1, 1]), legend=None),
            strokeWidth=alt.StrokeWidth("share:Q", scale=alt.Scale(domain=[0, 1], range=[0.5, 4]), legend=None),
        )
    )
    left, right = (
        _chart([word for word in words if word["side"] == side])
        .mark_text(align="right" if side == 0 else "left", dx=-6 if side == 0 else 6, fontSize=11)
        .encode(across, down, text="text:N", color=alt.value(INK))
        for side in (0, 1)
    )
    return _spec(alt.layer(joined, left, right), title, title=title, width=360, height=20 * len(names))
