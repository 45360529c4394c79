"""Arrays and JSON in one compressed block of text that a browser can open without a library; passages share text.

A block is ``base64(zlib(head_length:u32 | head:JSON, padded to 8 | arrays, each padded to 8))``; the head names each
array with its type, place and length and carries any JSON beside them. `static/data.js` reads the same form
with DecompressionStream, so what Python's `unpack` gives back is what the page sees.

Features fire on overlapping parts of the same documents, so most of an atlas's passage text is repeated. Passages of
one document that overlap are laid over each other into one *span*; a passage is then an offset and a length. Where two
passages disagree about the text at one place (contexts that ran over a document's edge), the later one gets a span of
its own, so that a passage reads back exactly as it was put in.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ALIGN = 8
_TYPES = ("uint8", "uint16", "uint32", "int32", "float32", "float64")
_LEVEL = 9


def pack(arrays: Mapping[str, NDArray[Any]], extra: Any = None, level: int = _LEVEL) -> str:
    """Pack named vectors and one JSON value into text that is safe inside an HTML script element.

    Args:
        arrays: vectors of the types a page can map directly: uint8, uint16, uint32, int32, float32,
            float64.
        extra: anything JSON can hold; not-a-number is refused.
        level: zlib's effort, 1 to 9.

    Raises:
        ValueError: an array of another type or with more than one dimension.
    """
    places: list[tuple[str, str, int, int]] = []
    parts: list[bytes] = []
    at = 0
    for name, array in arrays.items():
        if array.ndim != 1 or array.dtype.name not in _TYPES:
            raise ValueError(
                f"Array {name!r} has {array.ndim} dimensions of type {array.dtype}; want a vector of {_TYPES}."
            )
        raw = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        places.append((name, array.dtype.name, at, array.size))
        padding = -len(raw) % _ALIGN
        parts += [raw, b"\0" * padding]
        at += len(raw) + padding
    head = json.dumps({"arrays": places, "extra": extra}, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    head_bytes = head.encode("utf-8", "replace")
    head_bytes += b" " * (-(len(head_bytes) + 4) % _ALIGN)
    block = len(head_bytes).to_bytes(4, "little") + head_bytes + b"".join(parts)
    return base64.b64encode(zlib.compress(block, level)).decode("ascii")


def unpack(text: str) -> tuple[dict[str, NDArray[Any]], Any]:
    """Read a block of `pack`: its arrays by name, and its JSON value."""
    block = zlib.decompress(base64.b64decode(text))
    length = int.from_bytes(block[:4], "little")
    head = json.loads(block[4 : 4 + length])
    start = 4 + length
    arrays = {
        name: np.frombuffer(block, dtype=np.dtype(kind).newbyteorder("<"), count=count, offset=start + at)
        for name, kind, at, count in head["arrays"]
    }
    return arrays, head["extra"]


def smallest_uint(values: NDArray[Any]) -> NDArray[Any]:
    """Return whole numbers in the smallest unsigned type that holds them. Raises ValueError for a negative one."""
    if values.size and int(values.min()) < 0:
        raise ValueError(f"Negative value {int(values.min())} in an unsigned column.")
    top = int(values.max()) if values.size else 0
    kind = np.uint8 if top < 2**8 else np.uint16 if top < 2**16 else np.uint32
    return values.astype(kind)


def script_json(value: Any) -> str:
    """Return JSON that cannot end the script element it stands in, nor open a comment in it."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


@dataclass(frozen=True)
class SharedText:
    """Text shared by many passages.

    Attributes:
        tokens: token ids of all spans, one after the other, shape (n,).
        span_first: where each span begins in `tokens`, shape (spans,).
        span_document, span_position: the document of each span, and the position in it of the span's first token.
        offsets: where each passage begins in `tokens`, shape (passages,), in the order they were given.
    """

    tokens: NDArray[np.int64]
    span_first: NDArray[np.int64]
    span_document: NDArray[np.int64]
    span_position: NDArray[np.int64]
    offsets: NDArray[np.int64]


def share_text(document: NDArray[Any], start: NDArray[Any], length: NDArray[Any], tokens: NDArray[Any]) -> SharedText:
    """Lay overlapping passages over each other.

    Args:
        document: document of each passage, shape (passages,).
        start: position in the document of each passage's first token, shape (passages,); may be negative.
        length: number of tokens of each passage, shape (passages,).
        tokens: token ids of all passages, one passage after the other, shape (sum of lengths,).
    """
    document, start, length = (np.asarray(a, dtype=np.int64) for a in (document, start, length))
    tokens = np.asarray(tokens, dtype=np.int64)
    if document.size == 0:
        none = np.zeros(0, dtype=np.int64)
        return SharedText(none, none, none, none, none)
    order, span, place, lengths = _spans(document, start, length)
    base = np.cumsum(lengths) - lengths  # (spans,): where each begins in the shared text
    offsets = np.empty_like(start)
    offsets[order] = base[span] + place
    own = np.cumsum(length) - length  # (passages,): where each begins in `tokens`
    # (tokens,): for each token its place in the shared text. Of several passages on one place the last one wins.
    flat = np.repeat(offsets - own, length) + np.arange(tokens.size)
    shared = np.zeros(int(lengths.sum()), dtype=np.int64)
    shared[flat] = tokens
    opens = np.concatenate([[True], span[1:] != span[:-1]])
    span_document, span_position = document[order][opens], start[order][opens]

    # Passages that read something else than they put in get spans of their own at the end.
    wrong = np.zeros(document.size, dtype=bool)
    wrong[np.searchsorted(own, np.flatnonzero(shared[flat] != tokens), side="right") - 1] = True
    if wrong.any():
        extra = np.cumsum(length[wrong]) - length[wrong]
        offsets[wrong] = shared.size + extra
        shared = np.concatenate([shared, tokens[np.repeat(wrong, length)]])
        base = np.concatenate([base, offsets[wrong]])
        span_document = np.concatenate([span_document, document[wrong]])
        span_position = np.concatenate([span_position, start[wrong]])
    return SharedText(shared, base, span_document, span_position, offsets)


def _spans(
    document: NDArray[np.int64], start: NDArray[np.int64], length: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Group overlapping passages into spans.

    Returns:
        order (passages,), by document and start; in that order each passage's span and its place in it; and the length
        of each span.
    """
    order = np.lexsort((start, document))
    sorted_document, sorted_start, sorted_length = document[order], start[order], length[order]
    # Documents are laid behind each other on one line with gaps between, so that no span crosses their edges: a span
    # opens where a passage begins behind the furthest end so far.
    rank = np.cumsum(np.concatenate([[0], (np.diff(sorted_document) != 0).astype(np.int64)]))
    room = int(start.max() - start.min() + length.max()) + 2
    begin = rank * room + (sorted_start - start.min())
    end = np.maximum.accumulate(begin + sorted_length)
    opens = np.concatenate([[True], begin[1:] > end[:-1]])
    span = np.cumsum(opens) - 1
    closes = np.concatenate([opens[1:], [True]])
    return order, span, begin - begin[opens][span], end[closes] - begin[opens]
