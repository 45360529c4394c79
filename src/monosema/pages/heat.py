"""Token heat maps: one passage, each token shaded by its activation. For notebooks and for pages made in Python."""

from __future__ import annotations

import contextlib
import math
import re
import unicodedata
from collections.abc import Sequence
from html import escape

_HEAT = "249,115,22"
_STYLE = (
    "font:14px/1.9 ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono','D2Coding','Noto Sans Mono CJK KR',"
    "monospace;white-space:pre-wrap;overflow-wrap:anywhere"
)
_BYTE = re.compile(r"(<0x[89A-F][0-9A-F]>)")
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


def readable(tokens: Sequence[str]) -> list[str]:
    """Tokens as read in their place: bytes that only together make a character (``<0xEC>``, ``<0x95>``, ``<0x88>``)
    show that character on the token where it begins, and a dot on those that only continue it."""
    pieces = [(owner, text) for owner, token in enumerate(tokens) for text in _BYTE.split(token) if text]
    shown = [""] * len(tokens)
    i = 0
    while i < len(pieces):
        owner, text = pieces[i]
        size = _size(text)
        run = [piece for _, piece in pieces[i : i + size]]
        if size and len(run) == size and all(_BYTE.fullmatch(piece) for piece in run):
            with contextlib.suppress(UnicodeDecodeError):
                text = bytes(int(piece[3:5], 16) for piece in run).decode("utf-8")
                i += size - 1
        shown[owner] += text
        i += 1
    return [text or ("·" if token else "") for text, token in zip(shown, tokens, strict=True)]


def _size(piece: str) -> int:
    """Bytes of the character that a piece like ``<0xEC>`` begins; 0 where it begins none."""
    if not _BYTE.fullmatch(piece):
        return 0
    byte = int(piece[3:5], 16)
    return 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 0


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
        _cell(token, value, top, index == peak)
        for index, (token, value) in enumerate(zip(readable(tokens), values, strict=True))
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
