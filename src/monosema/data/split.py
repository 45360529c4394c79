"""Training and held-out documents, told apart by a hash of their text alone."""

from __future__ import annotations

import hashlib
from typing import Literal

Split = Literal["train", "heldout", "all"]


def is_heldout(text: str, share: float) -> bool:
    """Whether a document belongs to the held-out split of about `share` of all documents.

    The hash is of the text, so the answer is the same in every corpus, order, seed and machine, a document that
    occurs twice is never on both sides, and a larger share holds out all that a smaller one does.
    """
    point = int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
    return point < share * 2.0**64


def in_split(text: str, split: Split, share: float) -> bool:
    """Whether a document belongs to `split`."""
    return split == "all" or is_heldout(text, share) == (split == "heldout")
