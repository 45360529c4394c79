"""BatchTopK (Bussmann et al. 2024, arXiv:2412.06410) with AuxK.

    z = ReLU(W_enc (x − b_dec) + b_enc),   c = the n · k largest of z over all n rows,   x̂ = W_decᵀ c + b_dec
    L = (‖x − x̂‖² + α ‖e − ê‖²) / Σ ‖x − x̄‖²

The auxiliary term is TopK's (`auxiliary`). Outside training a row doesn't know its batch: `encode` keeps what lies
above a threshold, which training follows: the mean of each batch's smallest kept activation, moving with weight 0.001.
Rows of W_dec have norm 1; the part of their gradient along them is removed.

Departures. In the first ten thousand steps the mean moves faster, over about the last tenth of all steps so far: a
short run would otherwise end with the threshold of its beginning. Starts, resampling, and the parts that AuxK looks at,
as for TopK.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from monosema.dictionaries.activation_functions.activation import Activated, Batch, register_activation
from monosema.dictionaries.activation_functions.auxiliary import AuxK
from monosema.dictionaries.codes import Codes
from monosema.dictionaries.protocol import Coder, StepContext
from monosema.kernels import encode_batch

SLOWEST = 0.001
"""Weight of a new batch in the threshold's moving mean (0.999 of what was)."""
LATEST = 10
"""The mean is taken over the last part of all steps so far, one of so many, while that is faster."""


@register_activation
class BatchTopK(AuxK):
    """The n · k largest of a batch; see the module's equation. The coder gets

    threshold: what activations must exceed outside training; float32.
    thresholds_seen: batches that it was taken from.
    """

    name = "batch_topk"
    title = "BatchTopK"
    kind = "batch_topk"
    depends_on = "itself"
    keep_in_float32 = ("threshold",)
    in_units_of_codes = ("threshold",)
    divisible = True

    k: int = Field(32, gt=0)
    """Latents kept per row, on average over a batch."""

    def add_tensors(self, coder: Coder) -> None:
        """Add the threshold."""
        coder.keep("threshold", torch.zeros((), dtype=torch.float32))
        coder.keep("thresholds_seen", torch.zeros((), dtype=torch.int64))

    def floor(self, coder: Coder) -> Float[Tensor, " n_latents"]:
        """The threshold, the same for all latents."""
        return coder.own("threshold").clamp_min(0).to(coder.W_enc.dtype).expand(coder.n_latents)

    def activate(self, coder: Coder, batch: Batch) -> Activated:
        """Compute the n · k largest of the batch."""
        context = batch.context
        values, active = encode_batch(
            batch.x,
            coder.centre,
            coder.W_enc,
            coder.b_enc,
            self.k,
            context.matmul_dtype,
            context.grid,
            context.mean_rows,
        )
        return Activated(values, active, {})

    def observe(self, coder: Coder, codes: Codes, context: StepContext) -> None:
        """Move the threshold towards the batch's smallest kept activation."""
        kept = codes.values[codes.values > 0]
        smallest = float(kept.min()) if len(kept) else math.inf
        if context.grid is not None:
            smallest = context.grid.lowest(smallest)
        if math.isfinite(smallest):
            threshold, seen = coder.own("threshold"), coder.own("thresholds_seen")
            seen += 1
            threshold += max(SLOWEST, min(1.0, LATEST / int(seen))) * (smallest - threshold)

    def first_codes(self, coder: Coder, x: Float[Tensor, "n d_in"]) -> Codes:
        """Compute codes as in training; their smallest is the first threshold."""
        values, active = encode_batch(x, coder.centre, coder.W_enc, coder.b_enc, self.k)
        coder.own("threshold").copy_(values.min() if len(values) else torch.zeros(()))
        coder.own("thresholds_seen").zero_()
        return Codes.from_entries(values, active)
