"""Tokenised documents to rows: packed windows, or one sentence a row.

A row is an integer array ``[3, n]``: token ids, document ids, positions in the document. Tokens that no document holds
(BOS, EOS) have document and position -1.

Each window begins with BOS. Heads that have nothing to say attend to the first position of the sequence, which gives
it an extreme norm; with a BOS there, this *sink* falls on a token that means nothing and is left out of dictionary
training, instead of spoiling a word at a random place of a document. The price is one position in each window.
Documents follow each other as they did when such models were trained: document, EOS, BOS, document. Attention is not
cut between the documents of a window.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from jaxtyping import Int64

Row = Int64[np.ndarray, "3 _"]


def _row(ids: Sequence[int], document: int, first_position: int) -> Row:
    row = np.empty((3, len(ids)), np.int64)
    row[0] = ids
    row[1] = document
    row[2] = np.arange(first_position, first_position + len(ids))
    return row


def _added(*ids: int | None) -> Row:
    present = [token for token in ids if token is not None]
    return np.array([present, [-1] * len(present), [-1] * len(present)], np.int64)


def pack_windows(
    documents: Iterable[tuple[int, Sequence[int]]], window: int, bos: int | None, eos: int | None
) -> Iterator[Row]:
    """Pack documents one after the other into windows of `window` tokens; the last window may be shorter.

    Args:
        documents: (document id, its token ids), without special tokens added.
        bos: id that begins windows and documents; where it is None, EOS does so, and where that is None too, nothing.
        eos: id that ends documents, unless it is what begins them.

    Every token of every document is in exactly one window.
    """
    begin = eos if bos is None else bos
    end = eos if eos != begin else None
    opening, closing = _added(begin), _added(end)
    pending: list[Row] = []
    waiting = 0
    for document, ids in documents:
        if not ids:
            continue
        parts = (opening, _row(ids, document, 0), closing)
        pending += parts
        waiting += sum(part.shape[1] for part in parts)
        if waiting >= 64 * window:
            *windows, rest = _cut(np.concatenate(pending, axis=1), window, opening, complete=False)
            yield from windows
            pending, waiting = [rest], rest.shape[1]
    if waiting:
        yield from _cut(np.concatenate(pending, axis=1), window, opening, complete=True)


def _cut(stream: Row, window: int, opening: Row, *, complete: bool) -> Iterator[Row]:
    """Windows from the stream; unless `complete`, the last item is what is left over for the next call."""
    start, length = 0, stream.shape[1]
    while start < length:
        missing = opening.shape[1] and (stream[0, start] != opening[0, 0] or stream[1, start] != -1)
        stop = start + window - (1 if missing else 0)
        if stop > length and not complete:
            break
        piece = stream[:, start:stop]
        yield np.concatenate((opening, piece), axis=1) if missing else piece
        start = stop
    if not complete:
        yield stream[:, start:]


def sentence_rows(
    documents: Iterable[tuple[int, Sequence[Sequence[int]]]], longest: int, bos: int | None, eos: int | None
) -> Iterator[Row]:
    """One sentence a row, BOS first (EOS where there is no BOS, nothing where there is neither).

    Args:
        documents: (document id, token ids of each of its sentences).
        longest: most tokens in a row, BOS included; a longer sentence goes on in the next row.

    Departure from the Llama-3.2 pipeline, which drops what is beyond the limit.
    """
    opening = _added(eos if bos is None else bos)
    room = longest - opening.shape[1]
    for document, sentences in documents:
        position = 0
        for ids in sentences:
            for start in range(0, len(ids), room):
                piece = ids[start : start + room]
                yield np.concatenate((opening, _row(piece, document, position)), axis=1)
                position += len(piece)
