"""attention: where heads look, and what their weights make them do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from monosema.cli.common import DEFAULTS, Common, deliver, errors_console
from monosema.core import InputError
from monosema.core.language import translate

if TYPE_CHECKING:
    from monosema.attribution.attention import AttentionReading, HeadCircuits, LearnedPositions, RotaryPhases
    from monosema.models import Transformer

_MAP = 16
"""Tokens of a heat map in the terminal, the last of a text."""
_WARM = (194, 65, 12)


def attention(
    prompt: str,
    /,
    *,
    model: str = "specimen",
    head: str | None = None,
    weighted: Annotated[bool, Parameter(negative="")] = False,
    circuits: Annotated[bool, Parameter(negative="")] = False,
    positions: Annotated[bool, Parameter(negative="")] = False,
    distance: int = 1,
    top: int = 12,
    out: Path | None = None,
    common: Common = DEFAULTS,
) -> int:
    """Show where attention heads look on a text, what their weights make them do, and what positions encode.

    Without --head: entropy, distance and sink of every head. Of one head: its heat map and its token graph, and with
    --circuits what the weights alone say, which tokens look for which and which they raise. Where a head looks is no
    proof that it matters: `monosema heads` ablates.

    ```
    monosema attention "When Mary and John went to the store, John gave a drink to"
    monosema attention "When Mary and John went to the store, John gave a drink to" --head a1.h2 --weighted
    monosema attention "the cat sat" --head a0.h3 --circuits
    monosema attention "When Mary and John went to the store" --positions
    ```

    Parameters
    ----------
    prompt
        The text to read.
    model
        `specimen`, the embedded model; `smollm2`; a Hugging Face directory; a GGUF file; or a name on the hub.
    head
        The head, such as a1.h2.
    weighted
        Weigh attention by the size of what is taken from each token.
    circuits
        The strongest pairs of tokens of the head's QK and OV circuits.
    positions
        Rotary phases by layer, or the geometry of learned vectors.
    distance
        Positions between query and key for --circuits.
    top
        Edges and pairs that are listed.
    out
        Folder for a page with the head's heat map and token graph, as SVG too.
    """
    from monosema.models import load_model, require_decoder

    if top < 1:
        raise InputError(f"--top {top} is not valid: give 1 or more.")
    if head is None and (circuits or weighted or out is not None):
        raise InputError("--weighted, --circuits and --out are about one head: name it with --head, such as a1.h2.")
    opened = require_decoder(load_model(model, dtype="float32", device=common.device))
    ids = opened.tokenizer.encode(prompt)
    if positions:
        return _positions(opened, ids, common)
    layer, number = (None, None) if head is None else _place(head, opened)
    if circuits and layer is not None and number is not None:
        from monosema.attribution.attention import head_circuits

        found = head_circuits(opened, layer, number, distance=distance, n=top)
        return deliver(found.to_dict(opened), common, lambda console: _show_circuits(found, opened, console))
    from monosema.attribution.attention import read_attention

    reading = read_attention(opened, ids)
    if layer is None or number is None:
        return deliver(reading.to_dict(), common, lambda console: _show_heads(reading, console))
    if out is not None:
        from monosema.pages.attended import attention_page

        page = attention_page(reading, layer, number, weighted).write(out)
        errors_console().out(str(page.resolve()), style="dim")
    shares = (reading.weighted if weighted else reading.pattern)[layer, number]
    edges = reading.edges(layer, number, weighted=weighted)
    plain = {"head": head, "tokens": list(reading.tokens), "shares": shares.tolist(), "edges": edges}
    return deliver(plain, common, lambda console: _show_head(reading, layer, number, weighted, top, console))


def _place(head: str, model: Transformer) -> tuple[int, int]:
    found = re.fullmatch(r"a(\d+)\.h(\d+)", head)
    layer, number = (int(part) for part in found.groups()) if found else (-1, -1)
    if not (0 <= layer < model.n_layers and 0 <= number < model.n_heads):
        raise InputError(
            f"--head {head} is not valid: {model.name} has a0.h0 to a{model.n_layers - 1}.h{model.n_heads - 1}."
        )
    return layer, number


def _positions(model: Transformer, ids: Sequence[int], common: Common) -> int:
    from monosema.attribution.attention import learned_positions, rotary_phases

    if model.pos_embed is not None:
        learned = learned_positions(model)
        return deliver(learned.to_dict(), common, lambda console: _show_learned(learned, console))
    found = rotary_phases(model, ids)
    if not found:
        raise InputError(
            f"{model.name} turns no queries and keys and has no vectors of positions: order is all it has."
        )
    plain = {"context": model.context, "layers": [one.to_dict() for one in found]}
    return deliver(plain, common, lambda console: _show_phases(found, model.context, len(ids), console))


def _cell(value: float, share: float) -> Text:
    red, green, blue = (round(255 + (part - 255) * 0.7 * min(max(share, 0.0), 1.0)) for part in _WARM)
    style = f"black on rgb({red},{green},{blue})" if share > 0.05 else "dim"
    return Text(f"{value:.2f}" if value < 10 else f"{value:.0f}", style=style)


def _show_heads(reading: AttentionReading, console: Console) -> None:
    about = {
        "entropy": "entropy of attention, nats",
        "distance": "mean distance looked back, tokens",
        "sink": "share of attention on the first token",
        "moved": "share of what is taken that comes from the first token",
    }
    for name, values in reading.figures().items():
        console.print(Text(translate(about[name]), style="bold"))
        table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
        table.add_column("layer", justify="right")
        for head in range(values.shape[1]):
            table.add_column(f"h{head}", justify="right")
        most = max(float(values.max()), 1e-6)
        for layer, row in enumerate(values.tolist()):
            table.add_row(str(layer), *(_cell(value, value / most) for value in row))
        console.print(table)


def _show_head(reading: AttentionReading, layer: int, head: int, weighted: bool, top: int, console: Console) -> None:
    from monosema.models import visible

    shares = (reading.weighted if weighted else reading.pattern)[layer, head]
    first = max(0, len(reading.tokens) - _MAP)
    table = Table(box=None, padding=(0, 0), pad_edge=False)
    table.add_column("%", no_wrap=True, justify="right")
    for key in range(first, len(reading.tokens)):
        table.add_column(Text(str(key)), justify="right", no_wrap=True, min_width=4)
    for query in range(first, len(reading.tokens)):
        cells = [_percent(float(shares[query, key])) for key in range(first, query + 1)]
        table.add_row(Text(f"{visible(reading.tokens[query])} {query:>2} "), *cells)
    console.print(table)
    edges = reading.edges(layer, head, weighted=weighted)
    graph = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("token", "", "looks at", "share"):
        graph.add_column(heading, justify="right" if heading == "share" else "left", no_wrap=True)
    for query, key, share in edges[:top]:
        tokens = (f"{visible(reading.tokens[at])} ({at})" for at in (query, key))
        graph.add_row(next(tokens), "→", next(tokens), f"{share:.0%}")
    console.print(graph)
    if len(edges) > top:
        console.print(Text(translate(f"{len(edges) - top:,} others"), style="dim"))


def _percent(share: float) -> Text:
    red, green, blue = (round(255 + (part - 255) * 0.7 * share) for part in _WARM)
    return Text(f"{100 * share:4.0f}", style=f"black on rgb({red},{green},{blue})" if share >= 0.05 else "dim")


def _show_circuits(found: HeadCircuits, model: Transformer, console: Console) -> None:
    from monosema.models import visible

    said = f"matching {found.matching:+.2f}, copying {found.copying:+.2f}"
    console.print(Text.assemble((f"a{found.layer}.h{found.head}", "bold"), f": {translate(said)}"))
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for heading in ("QK: token", "looks for", "score", "OV: token", "raises", "logit"):
        table.add_column(heading, justify="right" if heading in ("score", "logit") else "left", no_wrap=True)
    for looks, writes in zip(found.looks, found.writes, strict=True):
        cells = list[str]()
        for one, other, score in (looks, writes):
            cells += [*(visible(token) for token in model.tokenizer.tokens([one, other])), f"{score:.1f}"]
        table.add_row(*map(Text, cells))
    console.print(table)


def _show_phases(found: Sequence[RotaryPhases], context: int, length: int, console: Console) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("layer", justify="right")
    bounds = [bound for bound in (8, 64, 512, 4096) if bound < context] + [context]
    for bound in bounds:
        table.add_column(Text(f"≤ {bound:,}"), justify="right")
    table.add_column("longer", justify="right")
    table.add_column("not turned", justify="right")
    for one in found:
        within = [one.within(bound) for bound in bounds]
        parts = [now - before for now, before in zip(within, [0.0, *within], strict=False)]
        turned = float(one.shares.sum())
        table.add_row(str(one.layer), *(f"{abs(part):.0%}" for part in (*parts, turned - within[-1], 1 - turned)))
    console.print(table)
    said = f"Share of scores by the positions of one turn of a rotary pair, on {length} tokens; context {context:,}."
    console.print(Text(translate(said), style="dim"))


def _show_learned(found: LearnedPositions, console: Console) -> None:
    listed = ", ".join(f"{share:.0%}" for share in found.explained.tolist())
    norms = f"{float(found.norms[0]):.2f}, {float(found.norms[1:].mean()):.2f}"
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    table.add_row("norm of the first vector, mean of the others", norms)
    table.add_row("variance in 1, 2, … dimensions", Text(listed))
    for step, cosine in found.alike.items():
        table.add_row(Text(translate(f"cosine {step} apart")), f"{cosine:.2f}")
    console.print(table)
