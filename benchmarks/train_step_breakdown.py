"""Where the milliseconds of monosema's step go: what ``train_step.py --breakdown`` prints."""

from __future__ import annotations

import argparse
import time
from typing import Any

from train_step_contestants import monosema

__all__ = ["breakdown"]


def breakdown(a: argparse.Namespace) -> str:
    """Where the milliseconds of monosema's step go: a table over one step's calls of each part."""
    import numpy as np
    import torch

    import monosema.kernels.encode as encode
    import monosema.kernels.functions as functions

    x = torch.from_numpy(np.load(a.vectors, mmap_mode="c"))
    scale = x.shape[1] ** 0.5 / x[:65_536].norm(dim=1).mean()
    spent: dict[str, float] = {}

    def timed(owner: Any, name: str, label: str) -> None:
        inner = getattr(owner, name)
        spent[label] = 0.0

        def outer(*arguments: Any, **named: Any) -> Any:
            begin = time.perf_counter()
            out = inner(*arguments, **named)
            spent[label] += time.perf_counter() - begin
            return out

        setattr(owner, name, outer)

    step, _ = monosema(a, x)
    (member,) = step.trainer.runs  # type: ignore[attr-defined]
    batches = [batch * scale for batch in x[: a.batch * 24].split(a.batch)]
    for number, batch in enumerate(batches[:4]):
        step(number, batch)
    timed(functions, "encode_top_k", "encode (product and top-k)")
    timed(encode, "top_k", "— of it: top-k")
    timed(encode, "rounded", "— of it: rounding to 8 bits")
    timed(encode, "candidates_of_rows", "— of it: candidates, by 8-bit integers")
    timed(encode, "ragged_value_products", "— of it: their values, in float32")
    timed(functions, "sparse_decode", "sparse decode")
    timed(functions, "value_products", "gradient of the codes")
    timed(functions, "row_sums", "gradients of both matrices")
    timed(member.dictionary, "project_gradients", "projection")
    timed(member.optimisers, "step", "Adam")
    timed(member.dictionary, "constrain", "unit norms")
    timed(member.dictionary, "observe", "counting silence")
    whole = []
    for number, batch in enumerate(batches[4:]):
        begin = time.perf_counter()
        step(number, batch)
        whole.append(time.perf_counter() - begin)
    total = 1e3 * sum(whole) / len(whole)
    rows = {label: 1e3 * seconds / len(whole) for label, seconds in spent.items()}
    rows["the rest (loss, autograd)"] = total - sum(ms for label, ms in rows.items() if not label.startswith("—"))
    lines = ["| part | ms | share |", "|---|---|---|"]
    shown = [(label, ms) for label, ms in rows.items() if ms > 0]
    lines += [f"| {label} | {ms:.1f} | {ms / total:.0%} |" for label, ms in [*shown, ("whole step", total)]]
    return "\n".join(lines)
