"""The one exception tree.

    MonosemaError                    exit code 1: something failed
    ├── DamagedFileError             a file does not match its checksum, or ends too early
    ├── DiskFullError                nothing was lost; make room and run the same command again
    ├── AnomalyError                 training met NaN, an exploding norm, or only dead latents
    ├── MissingExtraError            an optional library is not installed
    ├── ProviderError                a language model's provider can't answer anything as things are
    └── InputError                   exit code 2: what was asked for can't be done as asked
        ├── ConfigError              a key or a value of a configuration
        ├── UnknownModelError        no such model
        ├── UnsupportedModelError    a model whose computation we would get wrong
        ├── SiteError                no such site in this model
        ├── CorpusError              text that can't be read, or too little of it
        ├── CostCapError             more might be spent than was allowed
        ├── VectorError              vectors that can't be trained on
        ├── FormatError              a file that is not what it is taken for
        └── RunError                 a run folder that doesn't fit the request

Every message says what was wrong, where, and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MonosemaError(Exception):
    """Root of all errors that are meant for people."""

    exit_code = 1


class DamagedFileError(MonosemaError):
    """A file does not match its checksum, or ends too early."""


class DiskFullError(MonosemaError):
    """The disk is full. What was finished before is intact."""


class AnomalyError(MonosemaError):
    """Training met NaN, an exploding norm, or only dead latents."""


class MissingExtraError(MonosemaError):
    """An optional library is not installed."""

    def __init__(self, library: str, extra: str) -> None:
        super().__init__(f"This needs the library {library!r}. Install it with: pip install 'monosema[{extra}]'")


class ProviderError(MonosemaError):
    """A language model's provider can't answer anything as things are: a wrong key, no such model, out of reach."""


class InputError(MonosemaError):
    """A request that can't be done as asked."""

    exit_code = 2


class ConfigError(InputError):
    """A key or a value of a configuration."""


class UnknownModelError(InputError):
    """No model of this name or path."""


class UnsupportedModelError(InputError):
    """A model whose computation we would get wrong; the message names the field."""


class SiteError(InputError):
    """No such site in this model."""


class CorpusError(InputError):
    """Text that can't be read, or too little of it."""


class EmptySplitError(CorpusError):
    """No document in a split."""


class CostCapError(InputError):
    """More might be spent than was allowed."""


class VectorError(InputError):
    """Vectors that can't be trained on."""


class FormatError(InputError):
    """A file that is not what it is taken for."""


class RunError(InputError):
    """A run folder that doesn't fit the request."""


def nearest(word: str, known: Iterable[str], n: int = 3) -> str:
    """Say which of the known words are nearest: ``" Did you mean 'a' or 'b'?"``, or ``""`` if none is near."""
    matches = difflib.get_close_matches(word, list(known), n=n, cutoff=0.5)
    return f" Did you mean {' or '.join(repr(match) for match in matches)}?" if matches else ""
