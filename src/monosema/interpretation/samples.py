"""Samples of latents for explainers and scorers: passages of text, with each latent's activations on them.

Every entry is one latent on one passage. Entries of the train split are for explainers; scorers see the test split
alone. No passage is in both splits of a latent, told by the hash of its tokens. Inactive entries are verified: the
latent's activation was computed there, and is 0 on every token.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int, UInt64
from numpy.typing import NDArray

from monosema.core import DamagedFileError, atomic_path
from monosema.models import Tokenizer

KINDS = (*(f"q{i}" for i in range(10)), "top", "random", "inactive", "inactive near decoder", "inactive near firing")
"""Origins of passages: drawn from a tenth of the activating passages of the whole text by their maximum, among the
strongest of it, at random among the activating passages of a pool drawn before any latent was looked at; or inactive:
at random from that pool, or where a latent fires whose direction is near, or that often fires together with this
one."""
INACTIVE = KINDS.index("inactive")
"""Kinds from here on are inactive."""


@dataclass(frozen=True)
class Passage:
    """A stretch of text, and one latent's activations on it.

    Attributes:
        kind: one of `KINDS`.
        ids, tokens: the text.
        activations: of the latent on each token; 0 where it is inactive.
        hash: equal for equal tokens.
    """

    kind: str
    ids: tuple[int, ...]
    tokens: tuple[str, ...]
    activations: tuple[float, ...]
    hash: int

    @property
    def active(self) -> bool:
        """True where the latent is active anywhere in it."""
        return any(value > 0 for value in self.activations)


@dataclass(frozen=True)
class Sample:
    """All passages of one latent.

    Attributes:
        latent: its number.
        maximum: its largest activation in the whole text.
        train: passages for explainers, inactive ones included.
        test: passages for scorers, likewise.
    """

    latent: int
    maximum: float
    train: tuple[Passage, ...]
    test: tuple[Passage, ...]


@dataclass(frozen=True)
class Samples:
    """Entries of many latents as arrays, sorted by latent.

    Attributes:
        ids: tokens of each passage, filled with -1 on the right; every passage is there once.
        hashes: of the passages.
        latents: the latents of the samples, ascending.
        maximum: the largest activation of each of them in the whole text.
        first: entries of `latents[i]` are first[i] … first[i + 1] − 1.
        passage: passage of each entry.
        kind: index into `KINDS`.
        test: mask of entries of the test split.
        activations: of the entry's latent on the passage's tokens; 0 beyond its end.
    """

    ids: Int[np.ndarray, "passages width"]
    hashes: UInt64[np.ndarray, " passages"]
    latents: Int[np.ndarray, " latents"]
    maximum: Float[np.ndarray, " latents"]
    first: Int[np.ndarray, " latents+1"]
    passage: Int[np.ndarray, " entries"]
    kind: Int[np.ndarray, " entries"]
    test: Bool[np.ndarray, " entries"]
    activations: Float[np.ndarray, "entries width"]

    @property
    def row(self) -> NDArray[np.int64]:
        """Index into `latents` of each entry."""
        return np.repeat(np.arange(len(self.latents)), np.diff(self.first))

    @property
    def active(self) -> NDArray[np.bool_]:
        """Mask of entries of an activating kind."""
        return self.kind < INACTIVE

    def save(self, path: Path) -> None:
        """Write all arrays to one file, atomically."""
        from safetensors.numpy import save_file

        arrays = {field.name: np.ascontiguousarray(getattr(self, field.name)) for field in fields(self)}
        with atomic_path(path) as temporary:
            save_file(arrays, temporary)

    @classmethod
    def load(cls, path: Path) -> Samples:
        """Read what `save` wrote. Raises DamagedFileError where the file can't be read."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            return cls(**load_file(path))
        except (SafetensorError, OSError, TypeError) as error:
            raise DamagedFileError(f"{path} can't be read ({error}). Remove it: samples are drawn again.") from None

    def part(self, start: int, stop: int) -> Samples:
        """Return the samples of latents[start:stop]."""
        low, high = int(self.first[start]), int(self.first[stop])
        names = ("passage", "kind", "test", "activations")
        return replace(
            self,
            latents=self.latents[start:stop],
            maximum=self.maximum[start:stop],
            first=self.first[start : stop + 1] - low,
            **{name: getattr(self, name)[low:high] for name in names},
        )

    def entries(self, latent: int) -> NDArray[np.int64]:
        """Return the entries of one latent; none where the samples lack it."""
        index = int(np.searchsorted(self.latents, latent))
        if index == len(self.latents) or self.latents[index] != latent:
            return np.zeros(0, np.int64)
        return np.arange(self.first[index], self.first[index + 1])

    def tokens_of(self, entry: int) -> list[int]:
        """Return the token ids of an entry's passage."""
        ids = self.ids[self.passage[entry]]
        return list(ids[ids >= 0].tolist())

    def passage_of(self, entry: int, tokenizer: Tokenizer) -> Passage:
        """Return one entry as a value."""
        ids = self.ids[self.passage[entry]]
        ids = ids[ids >= 0]
        return Passage(
            kind=KINDS[self.kind[entry]],
            ids=tuple(ids.tolist()),
            tokens=tuple(tokenizer.tokens(ids.tolist())),
            activations=tuple(self.activations[entry, : len(ids)].tolist()),
            hash=int(self.hashes[self.passage[entry]]),
        )

    def sample(self, latent: int, tokenizer: Tokenizer) -> Sample:
        """Return all entries of one latent as values."""
        entries = self.entries(latent)
        made = [(bool(self.test[entry]), self.passage_of(int(entry), tokenizer)) for entry in entries]
        index = int(np.searchsorted(self.latents, latent))
        return Sample(
            latent=latent,
            maximum=float(self.maximum[index]) if len(entries) else 0.0,
            train=tuple(passage for test, passage in made if not test),
            test=tuple(passage for test, passage in made if test),
        )
