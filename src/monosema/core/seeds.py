"""Random state: every generator is derived from the run's one seed and a name, so that no two share a stream."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def derive_seed(seed: int, *names: object) -> int:
    """A seed of 63 bits for the part of the work that the names say."""
    text = "/".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def numpy_generator(seed: int, *names: object) -> np.random.Generator:
    """A numpy generator for the part of the work that the names say."""
    return np.random.default_rng(derive_seed(seed, *names))


def torch_generator(seed: int, *names: object) -> torch.Generator:
    """A torch generator on the CPU for the part of the work that the names say."""
    import torch

    return torch.Generator().manual_seed(derive_seed(seed, *names))
