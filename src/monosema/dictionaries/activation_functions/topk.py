"""TopK (Gao et al. 2024, arXiv:2406.04093).

    z = top-k(W_enc (x − b_dec) + b_enc),   c = ReLU(z),   x̂ = W_decᵀ c + b_dec
    L = (‖x − x̂‖² + α ‖e − ê‖²) / Σ ‖x − x̄‖²,   e = x − x̂ (detached)

where ê is decoded, without b_dec, from the k_aux largest pre-activations among the latents that have been silent for
`dead_after` vectors. Rows of W_dec have norm 1; the part of their gradient along them is removed. Multi-TopK (their
section 5.4), where `multi_coefficient` is above 0, adds that multiple of the same error at 4k, so that codes can be cut
off at another k, or at a threshold, than was trained.

Departures from the paper. Decoder rows start towards data points, with some noise, and the encoder as their transpose
times the factor that reconstructs a sample best: less is left unexplained, and more latents live, than from random rows
(measured on all-MiniLM activations). AuxK looks at a part of each batch, and at a part of the dead
latents where there are many. In short runs a latent is dead after a third of the run, and at seventeen points of a run
silent latents start anew towards residuals (`resampling`): AuxK alone leaves more latents dead than no revival at all
there, where Adam gives a latent that has no other gradient steps of full size, whatever α (measured with ε = 1e-12).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from monosema.dictionaries.activation_functions.activation import Activated, Batch, register_activation
from monosema.dictionaries.activation_functions.auxiliary import AuxK
from monosema.dictionaries.codes import Codes
from monosema.dictionaries.protocol import Coder
from monosema.kernels import Active, Grid, Selection, decode_active, encode_codes
from monosema.kernels.sharing import kept_of_rows

MULTI = 4
"""Multi-TopK's second number of latents, as a multiple of k (Gao et al. 2024, section 5.4)."""


@register_activation
class TopK(AuxK):
    """The k largest of each row; see the module's equation."""

    name = "topk"
    title = "TopK"
    kind = "topk"
    depends_on = "rank"
    divisible = True

    k: int = Field(32, gt=0)
    """Latents kept per row."""
    multi_coefficient: float = Field(0.0, ge=0)
    """Weight of the error with 4k latents (1/8 in Gao et al.); 0 is plain TopK."""

    @property
    def reconstructs_once(self) -> bool:
        """False for Multi-TopK."""
        return self.multi_coefficient == 0

    def encode(
        self,
        coder: Coder,
        x: Float[Tensor, "n d_in"],
        matmul_dtype: torch.dtype | None = None,
        grid: Grid | None = None,
    ) -> Codes:
        """Compute codes: the k largest of each row, over all processes that share the latents."""
        values, active = encode_codes(x, coder.centre, coder.W_enc, coder.b_enc, self.k, matmul_dtype, grid)
        return Codes.from_entries(values, active)

    def activate(self, coder: Coder, batch: Batch) -> Activated:
        """Compute the k largest of each row, and the error at 4k where that is asked for."""
        context, k = batch.context, self.k
        multi = self.multi_coefficient > 0
        several = min(MULTI * k, coder.n_latents * context.shards) if multi else k
        values, selection = encode_codes(
            batch.x, coder.centre, coder.W_enc, coder.b_enc, several, context.matmul_dtype, context.grid
        )
        active: Active = selection
        if not multi:
            return Activated(values, active, {})
        more = batch.y - (decode_active(values, selection, coder.W_dec, context.grid) + coder.b_dec)
        terms = {"multi": more.square().sum() * self.multi_coefficient / batch.variance}
        if several > k:
            columns = values.detach().topk(min(k, values.shape[1]), dim=1, sorted=False).indices
            values = kept_of_rows(values.gather(1, columns), k, context.grid)
            active = Selection(selection.indices.gather(1, columns), coder.n_latents)
        return Activated(values, active, terms)
