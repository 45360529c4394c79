"""Codecs that write rows of activations as bytes, and the error that each costs.

===========  ==============  ==================================================================
kind         bytes a value   largest error of a value x in a row whose largest value is a
===========  ==============  ==================================================================
float32      4               none
bfloat16     2               2⁻⁸ |x|; none where the model computes in bfloat16
float16      2               2⁻¹¹ |x| + 2⁻²⁵; values beyond 65,504 are refused
int8         1               a / 254, with one float32 scale a row
===========  ==============  ==================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from monosema.core import VectorError

CodecKind = Literal["bfloat16", "float32", "float16", "int8"]

DTYPES: dict[CodecKind, torch.dtype] = {"bfloat16": torch.bfloat16, "float32": torch.float32, "float16": torch.float16}
BYTES: dict[CodecKind, float] = {"bfloat16": 2.0, "float32": 4.0, "float16": 2.0, "int8": 1.0}
"""Bytes a value; int8 has four more a row."""


@dataclass(frozen=True, slots=True)
class Coded:
    """Rows as they are stored.

    Attributes:
        values: of a floating type, or int8.
        scale: with int8, what a step of one means in each row; otherwise None.
    """

    values: Shaped[Tensor, "n width"]
    scale: Float[Tensor, " n"] | None = None

    def decode(self) -> Float[Tensor, "n width"]:
        """The rows in float32, contiguous."""
        rows = self.values.to(torch.float32)
        return rows if self.scale is None else rows.mul_(self.scale[:, None])

    def select(self, index: Int[Tensor, " m"]) -> Coded:
        """The rows of these indices, in their order."""
        scale = None if self.scale is None else self.scale.index_select(0, index)
        return Coded(self.values.index_select(0, index), scale)


def encode(rows: Float[Tensor, "n width"], kind: CodecKind) -> Coded:
    """Write rows in a kind. Raises VectorError where a finite value has no float16."""
    if kind == "int8":
        scale = rows.abs().amax(dim=1).to(torch.float32) / 127
        steps = rows.to(torch.float32) / scale.clamp_min(torch.finfo(torch.float32).tiny)[:, None]
        return Coded(steps.round_().clamp_(-127, 127).to(torch.int8), scale)
    coded = rows.to(DTYPES[kind])
    if kind == "float16" and rows.dtype != torch.float16 and (lost := int(torch.isinf(coded).sum())):
        raise VectorError(
            f"{lost} values are beyond float16's range (65,504; the largest is {float(rows.abs().max()):.3g}). "
            "Store them as bfloat16, which has the range of float32."
        )
    return Coded(coded)


def is_plain(dtype: torch.dtype, kind: CodecKind) -> bool:
    """True if coding values of this type is a plain conversion, without a check or a scale."""
    return kind != "int8" and (kind != "float16" or dtype == torch.float16)


def coding_error(rows: Float[Tensor, "n width"], kind: CodecKind) -> dict[str, float | str]:
    """Measure the error that a kind would cost these rows.

    Returns ``relative``: ‖x − x̂‖ / ‖x‖ over all rows together, and ``worst_row``: the largest of the same for one row;
    or ``refused``: why the kind can't hold them.
    """
    try:
        decoded = encode(rows, kind).decode()
    except VectorError as error:
        return {"refused": str(error)}
    exact = rows.to(torch.float32)
    error_norms, norms = (exact - decoded).norm(dim=1), exact.norm(dim=1)
    tiny = torch.finfo(torch.float32).tiny
    return {
        "relative": float(error_norms.norm() / norms.norm().clamp_min(tiny)),
        "worst_row": float((error_norms / norms.clamp_min(tiny)).max()) if len(rows) else 0.0,
    }
