"""ReLU under an L1 penalty, by the recipe of 2023 or of 2024.

    c = ReLU(W_enc (x − b_dec) + b_enc),   x̂ = W_decᵀ c + b_dec,   means over rows:

    2023   L = ‖x − x̂‖² + α Σ_i c_i                    rows of W_dec have norm 1 (Bricken et al. 2023)
    2024   L = ‖x − x̂‖² + α Σ_i c_i ‖W_dec,i‖          free norms (Conerly et al., Circuits Updates of April 2024)

2023: the part of the decoder's gradient along its rows is removed, b_dec starts at the geometric median where
`centre="median"`, and dead latents are resampled (`resampling`). 2024: α rises linearly over the first twentieth of the
run, and nothing is resampled. Both take activations of mean norm √d, as the stream gives them; α is in these units.
Where a coder writes several sites, ‖W_dec,i‖ is the sum of the norms at each (Lindsey et al. 2024).

Departures. 2024 doesn't take b_dec from the input; doing so changes what b_enc means and not what can be learned.
Decoder rows start towards data points, `start="random"` is the papers' way; the encoder starts as their transpose times
the factor that reconstructs best. Transcoders (Dunefsky et al. keep norm 1) weigh by norms too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from monosema.dictionaries.activation_functions.activation import Activated, Batch, register_activation
from monosema.dictionaries.activation_functions.rectified import Rectified
from monosema.dictionaries.protocol import Coder, StepContext
from monosema.dictionaries.resampling import RESAMPLE_AT, resample


@register_activation
class ReLU(Rectified):
    """All above 0, under an L1 penalty; see the module's equation."""

    name = "l1"
    title = "L1"
    aliases = ("relu",)
    kind = "relu"
    coefficient = "l1_coefficient"
    error_per = "row"

    recipe: Literal["2023", "2024"] = "2024"
    """Unit decoder rows and resampling, or an L1 norm weighted by the norms of decoder rows."""
    l1_coefficient: float = Field(5.0, ge=0)
    """α (Circuits Updates of April 2024, for activations of mean norm √d)."""
    warmup: float | None = Field(None, ge=0, le=1)
    """Share of the run over which α rises linearly; None is the recipe's: 0 for 2023, 1/20 for 2024."""
    resample_at: tuple[float, ...] = RESAMPLE_AT
    """Shares of the run after which dead latents are resampled; 2023 only. Empty switches it off."""

    @property
    def unit_rows(self) -> bool:
        """True by the recipe of 2023."""
        return self.recipe == "2023"

    def activate(self, coder: Coder, batch: Batch) -> Activated:
        """Compute what lies above 0, and the penalty."""
        pre, active = self.entries(coder, batch)
        codes = pre.relu()
        weighted = codes if self.unit_rows else codes * active.spread(coder.decoder_norms())
        usual = 0.0 if self.unit_rows else 0.05
        alpha = self.l1_coefficient * batch.context.warm_up(usual if self.warmup is None else self.warmup)
        return Activated(codes, active, {"l1": weighted.sum() * (alpha / batch.rows)})

    def restart_points(self) -> Sequence[float]:
        """The chosen points of the run, 2023; none, 2024."""
        return self.resample_at if self.recipe == "2023" else ()

    def restart(
        self, coder: Coder, x: Float[Tensor, "n d_in"], y: Float[Tensor, "n d_out"], context: StepContext
    ) -> Int[Tensor, " latents"]:
        """2023: give dead latents a new start at the chosen points of the run."""
        return resample(coder, x, y, context, tuple(self.restart_points()))
