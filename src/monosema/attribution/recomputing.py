"""Backward passes of long prompts: only the input of each block is kept, and what is within it is computed again.

Gradient checkpointing (Chen et al. 2016, arXiv:1604.06174): memory for one block in the place of all, for one more
forward pass.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

from torch.utils.checkpoint import checkpoint

from monosema.models import Transformer


@contextlib.contextmanager
def recomputed_blocks(model: Transformer) -> Iterator[None]:
    """Keep the inputs of blocks alone in passes of the block; go back within it too, while all edits are attached."""
    for block in model.blocks:
        whole = functools.partial(checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False)
        block.forward = whole
    try:
        yield
    finally:
        for block in model.blocks:
            del block.forward
