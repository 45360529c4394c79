"""What text batches need of a tokenizer; `monosema.models.Tokenizer` is one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable


@runtime_checkable
class TextEncoder(Protocol):
    """Turns texts into token ids."""

    @property
    def bos_id(self) -> int | None:
        """Id of the token that begins a sequence."""
        ...

    @property
    def eos_id(self) -> int | None:
        """Id of the token that ends a sequence."""
        ...

    @property
    def pad_id(self) -> int | None:
        """Id of the padding token."""
        ...

    def encode_batch(self, texts: Sequence[str], bos: bool = ...) -> list[list[int]]:
        """Token ids of each text."""
        ...
