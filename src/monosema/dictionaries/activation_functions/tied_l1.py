"""ReLU with tied weights under an L1 penalty (Cunningham et al. 2023, arXiv:2309.08600).

    c = ReLU(M x + b),   x̂ = Mᵀ c,   L = ‖x − x̂‖² / d + α ‖c‖₁,   rows of M of norm 1;   means over rows

Nothing is taken from the input and nothing added to the output. `tied=False` is the paper's variant for MLP
activations: the encoder is a matrix of its own, of free norms, and M only decodes.

The paper writes ‖x − x̂‖² without the division by d; its code, which its values of α belong to, takes the mean over
coordinates. Departures: norms are kept by removing the gradient along each row and scaling after each step, instead of
a division within the forward pass, whose gradient is the same; and M starts towards data points, unless
`start="random"` or `"orthogonal"`. A folded dictionary keeps the centre of its training data in b_dec, taken
from the input and added to the output; in training it is 0.
"""

from __future__ import annotations

from pydantic import Field

from monosema.dictionaries.activation_functions.activation import Activated, Batch, register_activation
from monosema.dictionaries.activation_functions.rectified import Rectified
from monosema.dictionaries.protocol import Coder


@register_activation
class TiedL1(Rectified):
    """All above 0, with one matrix M = W_enc = W_dec; see the module's equation."""

    name = "tied_l1"
    title = "Tied L1"
    kind = "relu"
    coefficient = "l1_coefficient"
    error_per = "value"
    learns_b_dec = False

    l1_coefficient: float = Field(8.6e-4, ge=0)
    """α (2309.08600, for the residual stream; 3.2e-4 for MLP activations)."""
    tied: bool = True
    """True where one matrix encodes and decodes."""

    @property
    def ties(self) -> bool:
        """True where one matrix encodes and decodes."""
        return self.tied

    def activate(self, coder: Coder, batch: Batch) -> Activated:
        """Compute what lies above 0, and the penalty."""
        pre, active = self.entries(coder, batch)
        codes = pre.relu()
        return Activated(codes, active, {"l1": codes.sum() * (self.l1_coefficient / batch.rows)})
