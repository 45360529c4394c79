"""Search by meaning: labels as vectors of the packaged sentence encoder, nearest first.

Vectors are computed once, in the background, and kept beside the atlas; a label that is given later costs its own
vector only. Where the encoder isn't installed there is none, and searches by meaning fall back to words.
"""

from __future__ import annotations

import contextlib
import hashlib
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monosema.core import DiskFullError, atomic_path
from monosema.server.encoder import Encoder
from monosema.server.listing import Found

FILE = "label-vectors.npz"
LEAST = 0.15
"""Cosine below which a label has nothing to do with what was asked."""
MOST = 2000
"""Features found at most."""
_BATCH = 256


class LabelVectors:
    """Vectors of an atlas's labels: equal labels have one.

    Attributes:
        ready: True once all are there.
    """

    def __init__(self, labels: Sequence[str], encoder: Encoder) -> None:
        self.encoder = encoder
        self.ready = False
        self._texts = sorted({text for text in labels if text})
        place = {text: number for number, text in enumerate(self._texts)}
        self._place = np.array([place.get(text, -1) for text in labels], np.int64)
        self._vectors = np.zeros((0, 0), np.float16)

    def read(self, folder: Path, wanted: Callable[[], bool] = lambda: True) -> None:
        """Take the vectors that were kept in a folder, compute the others as long as it is wanted, and keep them."""
        keys = np.array([_key(text) for text in self._texts], np.uint64)
        known, kept = _kept(folder / FILE)
        at = np.searchsorted(known, keys)
        there = np.zeros(keys.size, np.bool_)
        if known.size:
            there = known[np.minimum(at, known.size - 1)] == keys
        missing = np.flatnonzero(~there)
        vectors = np.zeros((keys.size, kept.shape[1]), np.float16)
        if there.any():
            vectors[there] = kept[at[there]]
        for start in range(0, missing.size, _BATCH):
            if not wanted():
                return
            part = missing[start : start + _BATCH]
            found = self.encoder.vectors([self._texts[i] for i in part.tolist()])
            if vectors.shape[1] != found.shape[1]:
                vectors = np.zeros((keys.size, found.shape[1]), np.float16)
            vectors[part] = found
        self._vectors = vectors
        if missing.size:
            order = np.argsort(keys)
            with (
                contextlib.suppress(OSError, DiskFullError),
                atomic_path(folder / FILE) as path,
                open(path, "wb") as file,
            ):
                np.savez(file, keys=keys[order], vectors=vectors[order])
        self.ready = True

    def find(self, text: str) -> Found:
        """Find the features whose labels mean the nearest to a text; `fit` is the cosine."""
        import torch

        asked = torch.from_numpy(self.encoder.vectors([text])[0]).half()
        # torch multiplies half-precision vectors as they are; NumPy would copy all of them to float32 first.
        cosine = (torch.from_numpy(self._vectors) @ asked).numpy() if len(self._vectors) else np.zeros(0, np.float16)
        fit = np.append(cosine, np.float16(-1))[self._place].astype(np.float64)  # place -1, the last, has no label
        rows = np.flatnonzero(fit > LEAST)
        if rows.size > MOST:
            rows = np.sort(rows[np.argpartition(-fit[rows], MOST)[:MOST]])
        return Found(rows, fit[rows], "meaning", lambda row: f"its label is near: {fit[row]:.2f}")


def _key(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _kept(path: Path) -> tuple[NDArray[np.uint64], NDArray[np.float16]]:
    """Return keys, sorted, and vectors that were kept; none where the file is not there or is no such file."""
    try:
        with np.load(path, allow_pickle=False) as found:
            keys, vectors = found["keys"], found["vectors"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return np.zeros(0, np.uint64), np.zeros((0, 0), np.float16)
    if keys.dtype != np.uint64 or vectors.ndim != 2 or len(keys) != len(vectors):
        return np.zeros(0, np.uint64), np.zeros((0, 0), np.float16)
    return keys, vectors.astype(np.float16)
