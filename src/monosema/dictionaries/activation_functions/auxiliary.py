"""AuxK: dead latents reconstruct what the living leave over (Gao et al. 2024, arXiv:2406.04093, appendix A.2).

    L_aux = α ‖e − ê‖² / Σ ‖x − x̄‖²,   e = x − x̂ (detached)

where ê is decoded, without b_dec, from the k_aux largest pre-activations among the dead latents. Departure: by default
it looks at every eighth vector of a batch, and at an eighth of the latents at most, in turn; `aux_every = 1` and
`aux_latents` at the number of latents are the paper's form.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from monosema.dictionaries.activation_functions.activation import Activation, Batch
from monosema.dictionaries.protocol import Coder, StepContext
from monosema.dictionaries.resampling import OFTEN
from monosema.kernels import decode_active, encode_codes

FEW_DEAD = 64
"""Dead latents up to which AuxK looks at all of them, whatever their number."""


class AuxK(Activation):
    """An activation that keeps the largest, and whose dead latents AuxK revives."""

    k_aux: int | None = Field(None, ge=0)
    """Dead latents that reconstruct the residual; None is half of d_in (Gao et al., A.2); 0 switches AuxK off."""
    aux_coefficient: float = Field(1 / 32, ge=0)
    """Weight α of the auxiliary loss (Gao et al., appendix A.2)."""
    aux_every: int = Field(8, gt=0)
    """AuxK looks at every so many-th vector of a batch, others in the next step: cheaper, and the same on average."""
    aux_latents: int | None = Field(None, gt=0)
    """Dead latents that AuxK looks at in one step, at most, all in turn; None is an eighth of all latents."""
    resample_at: tuple[float, ...] = OFTEN
    """Shares of the run after which silent latents start anew towards residuals (ours); empty is the papers' form."""

    def later_terms(
        self, coder: Coder, batch: Batch, residual: Float[Tensor, "n d_out"]
    ) -> dict[str, Float[Tensor, ""]]:
        """Compute the auxiliary loss, where a latent is dead."""
        error = self._auxiliary_error(coder, batch.x, residual, batch.context)
        return {} if error is None else {"aux": error * self.aux_coefficient / batch.variance}

    def _auxiliary_error(
        self, coder: Coder, x: Float[Tensor, "n d_in"], residual: Float[Tensor, "n d_out"], context: StepContext
    ) -> Float[Tensor, ""] | None:
        """‖e − ê‖² summed over the batch, not yet weighted; None where no latent is dead or AuxK is off."""
        if self.k_aux == 0:
            return None
        dead, number = self._dead_in_turn(coder, context)
        if number == 0:
            return None
        every = min(self.aux_every, max(1, len(x)))
        chosen = slice(context.step % every, None, every)
        rows, target = x[chosen], residual[chosen]
        k = min(self.k_aux if self.k_aux is not None else max(1, coder.d_in // 2), number)
        values, active = encode_codes(
            rows, coder.centre, coder.W_enc[dead], coder.b_enc[dead], k, context.matmul_dtype, context.grid
        )
        error = (target - decode_active(values, active, coder.W_dec[dead], context.grid)).square().sum()
        return error * (len(x) / max(1, len(rows)))

    def _dead_in_turn(self, coder: Coder, context: StepContext) -> tuple[Int[Tensor, " chosen"], int]:
        """The dead latents to look at in this step, and their number; where processes share the latents, those of this
        process, and the number of all."""
        dead, grid = coder.dead(context), context.grid
        most = self.aux_latents or max(1, coder.n_latents * context.shards // 8)
        if grid is None or grid.shards == 1:
            dead = in_turn(dead, context.step, most) if len(dead) else dead
            return dead, len(dead)
        counts = grid.numbers_of_shards(len(dead))
        if sum(counts) == 0:
            return dead, 0
        chosen = in_turn(torch.arange(sum(counts), device=dead.device), context.step, most)
        own = chosen - sum(counts[: grid.shard])
        return dead[own[(own >= 0) & (own < len(dead))]], len(chosen)


def in_turn(dead: Int[Tensor, " dead"], step: int, most: int) -> Int[Tensor, " chosen"]:
    """Choose the dead latents to look at in this step: all of a few, otherwise a power of two of them.

    Matrix libraries keep what they prepare for each size of a product: sizes that differ in every step would take
    more and more memory.
    """
    number = min(len(dead), most)
    if number > FEW_DEAD:
        number = 1 << (number.bit_length() - 1)
    if number == len(dead):
        return dead
    return dead.roll(-(step * number) % len(dead))[:number]
