"""Passages share their text: each stretch of a document is kept once, whatever the number of passages cut from it.

Features fire on overlapping parts of the same documents, so most of an atlas's passage text is repeated. Passages of
one document that overlap are laid over each other into one *span*; a passage is then an offset and a length.
Where two passages disagree about the text at one place (contexts that ran over a document's edge), the one that lost
gets a span of its own, so that what is read back is always exactly what was put in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SharedText:
    """Text that many passages share.

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
    """Lay passages over each other.

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
    base = np.cumsum(lengths) - lengths
    offsets = np.empty_like(start)
    offsets[order] = base[span] + place
    own = np.cumsum(length) - length
    flat = np.repeat(offsets - own, length) + np.arange(tokens.size)
    shared = np.zeros(int(lengths.sum()), dtype=np.int64)
    shared[flat] = tokens
    opens = np.concatenate([[True], span[1:] != span[:-1]])
    span_document, span_position = document[order][opens], start[order][opens]

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
    """Group overlapping passages: their order, and in that order span and place in it; and the spans' lengths."""
    order = np.lexsort((start, document))
    sorted_document, sorted_start, sorted_length = document[order], start[order], length[order]
    rank = np.cumsum(np.concatenate([[0], (np.diff(sorted_document) != 0).astype(np.int64)]))
    room = int(start.max() - start.min() + length.max()) + 2
    begin = rank * room + (sorted_start - start.min())
    end = np.maximum.accumulate(begin + sorted_length)
    opens = np.concatenate([[True], begin[1:] > end[:-1]])
    span = np.cumsum(opens) - 1
    closes = np.concatenate([opens[1:], [True]])
    return order, span, begin - begin[opens][span], end[closes] - begin[opens]
