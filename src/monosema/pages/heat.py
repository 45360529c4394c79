"""Token heat maps: one passage, each token shaded by its activation. For notebooks and for pages made in Python."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from html import escape
from itertools import zip_longest

__all__ = ["heatmap_html", "visible"]

_HEAT = "249,115,22"
_STYLE = (
    "font:14px/1.9 ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono','D2Coding','Noto Sans Mono CJK KR',"
    "monospace;white-space:pre-wrap;overflow-wrap:anywhere"
)
_GLYPHS = {"\n": "↵", "\r": "␍", "\t": "⇥"}


def visible(token: str) -> str:
    """The token as a reader can see it: line ends and tabs as glyphs, a token of blanks as open boxes, and every
    character without a shape of its own (controls, direction marks, joiners standing alone) as its code point."""
    if token and token.isspace() and not any(character in _GLYPHS for character in token):
        return "␣" * len(token)
    return "".join(
        _GLYPHS.get(character) or (f"⟨U+{ord(character):04X}⟩" if _shapeless(character) else character)
        for character in token
    )


def heatmap_html(tokens: Sequence[str], activations: Sequence[float], maximum: float | None = None) -> str:
    """HTML of one passage as a heat map, safe whatever the tokens hold, for ``IPython.display.HTML``.

    Args:
        tokens: the passage's token strings.
        activations: one activation a token; not-a-number is shown as unknown and is not shaded.
        maximum: the activation that gets the full shade; the passage's own largest by default.

    Raises:
        ValueError: tokens and activations differ in number.
    """
    if len(tokens) != len(activations):
        raise ValueError(f"{len(tokens)} tokens but {len(activations)} activations; give one activation a token.")
    values = [float(value) for value in activations]
    known = [value for value in values if math.isfinite(value)]
    top = maximum if maximum is not None else max(known, default=0.0)
    peak = max(range(len(values)), key=lambda i: values[i] if math.isfinite(values[i]) else -math.inf, default=None)
    cells = [
        _cell(token, value, top, index == peak) for index, (token, value) in enumerate(zip_longest(tokens, values))
    ]
    return f'<div dir="auto" style="{_STYLE}">{"".join(cells)}</div>'


def _cell(token: str, value: float, top: float, is_peak: bool) -> str:
    share = min(1.0, value / top) if math.isfinite(value) and top > 0 and value > 0 else 0.0
    style = f"background:rgba({_HEAT},{0.08 + 0.84 * share:.3f});border-radius:2px;" if share else ""
    if is_peak and share:
        style += "box-shadow:inset 0 -2px #c2410c;"
    shown = f"{value:.4g}" if math.isfinite(value) else "unknown"
    attribute = f' style="{style}"' if style else ""
    return f'<span{attribute} title="{escape(visible(token))} · {shown}">{escape(visible(token))}</span>'


def _shapeless(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
