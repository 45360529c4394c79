"""Transcoder: reads one site and writes another, such as an MLP's input and output (Dunefsky et al. 2024,
arXiv:2406.11944); with a skip connection Paulo et al. 2025, arXiv:2501.18823.

    c = activation(W_enc x + b_enc),   ŷ = W_decᵀ c + b_dec (+ W_skip x)

A row of the training stream is x followed by y; what is unexplained is a share of y's variance. For activations and
losses see `several_sites`. W_skip starts at 0, b_dec at the mean of y.

Departures. topk (Paulo et al.) has AuxK and new starts for silent latents: decoder rows towards a residual y − ŷ,
encoder rows towards x − x̄ of the same row. relu weighs its penalty by norms of decoder rows, where Dunefsky et al. keep
norm 1. At the start a latent's encoder row points towards x of a data point and its decoder row towards y of the same,
with some noise; b_enc is −W_enc x̄, as though x was centred. `start="random"` draws both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from monosema.core import ConfigError, VectorError, torch_generator
from monosema.dictionaries.codes import Codes
from monosema.dictionaries.initialisation import data_directions, random_directions
from monosema.dictionaries.protocol import StepContext
from monosema.dictionaries.resampling import resample_towards_residuals
from monosema.dictionaries.several_sites import SeveralSites, SeveralSitesConfig


@dataclass(frozen=True)
class SkippedCodes(Codes):
    """Codes, and what a skip connection gives past them.

    Attributes:
        skipped: W_skip x of each row.
    """

    skipped: Float[Tensor, "n d_out"]


class TranscoderConfig(SeveralSitesConfig):
    """What a transcoder is."""

    d_out: int = Field(gt=0)
    """Width of the site that is written."""
    skip: bool = False
    """Whether a linear map of x is added to the output."""


class Transcoder(SeveralSites):
    """A transcoder; see the module's equation.

    Attributes:
        skip: W_skip, [d_out, d_in]; None without a skip connection.
    """

    def __init__(self, config: TranscoderConfig, *arguments: Any, **named: Any) -> None:
        """Random start. Raises ConfigError where `start` is none that a transcoder has."""
        if config.start not in ("data", "random"):
            raise ConfigError(f"TranscoderConfig.start = {config.start!r} is not valid: choose data or random.")
        super().__init__(config, *arguments, **named)

    def _make_parameters(self, rows: Float[Tensor, "n_latents d_in"]) -> None:
        """The encoder from the rows, the decoder random, biases and skip 0."""
        self.d_out = self.config.d_out
        self.W_enc = nn.Parameter(rows)
        self.b_enc = nn.Parameter(torch.zeros(self.n_latents))
        self.W_dec = nn.Parameter(random_directions(self.n_latents, self.d_out, torch_generator(0, "written")))
        self.b_dec = nn.Parameter(torch.zeros(self.d_out))
        self.skip = nn.Parameter(torch.zeros(self.d_out, self.d_in)) if self.config.skip else None

    @property
    def row_width(self) -> int:
        """Values in a row of the training stream: x and y."""
        return self.d_in + self.d_out

    @property
    def centres_input(self) -> bool:
        """Nothing is taken from the input."""
        return False

    @property
    def input_bias(self) -> Float[Tensor, " d_in"]:
        """0."""
        return self.W_enc.new_zeros(self.d_in)

    def sides(self, rows: Float[Tensor, "n row_width"]) -> tuple[Float[Tensor, "n d_in"], Float[Tensor, "n d_out"]]:
        """x and y. Raises VectorError where rows don't hold both."""
        if rows.shape[-1] != self.row_width:
            raise VectorError(
                f"This transcoder is trained on rows of width {self.row_width}, {self.d_in} that it reads and "
                f"{self.d_out} that it writes, but was given width {rows.shape[-1]}. `JoinedStream` gives such rows."
            )
        read, written = rows.split([self.d_in, self.d_out], dim=1)
        return read.contiguous(), written.contiguous()

    def encode(self, x: Float[Tensor, "n d_in"], matmul_dtype: torch.dtype | None = None) -> Codes:
        """Codes of rows of the site that is read; with a skip connection, what it gives is carried along."""
        codes = super().encode(x, matmul_dtype)
        if self.skip is None:
            return codes
        return SkippedCodes(codes.values, codes.indices, codes.n_latents, x @ self.skip.T)

    def decode(self, codes: Codes) -> Float[Tensor, "n d_out"]:
        """Rows of the site that is written. Raises VectorError for codes that lack what the skip connection gives."""
        if self.skip is None:
            return super().decode(codes)
        if not isinstance(codes, SkippedCodes):
            raise VectorError(
                "This transcoder has a skip connection, and these codes don't say what it gives. Decode what encode() "
                "gave, or make SkippedCodes with x @ transcoder.skip.T."
            )
        return super().decode(codes) + codes.skipped

    def start(self, sample: Float[Tensor, "n row_width"], seed: int) -> None:
        """Initialise all parameters from rows of the training stream, as the configuration says."""
        read, written = self.sides(sample)
        centre, mean = read.mean(dim=0), written.mean(dim=0)
        with torch.no_grad():
            if self.config.start == "data":
                # The same seed twice: both rows of a latent are of the same data point.
                x, y = (
                    data_directions(side, middle, self.n_latents, 0.5, torch_generator(seed, "start"))
                    for side, middle in ((read, centre), (written, mean))
                )
            else:
                generator = torch_generator(seed, "start")
                x, y = (random_directions(self.n_latents, width, generator) for width in (self.d_in, self.d_out))
            self.W_enc.copy_(x)
            self.W_dec.copy_(y)
            self.b_enc.copy_(-(self.W_enc @ centre))
            self.b_dec.copy_(self._first_centre(written))
            if self.skip is not None:
                self.skip.zero_()
            self.silent_tokens.zero_()
            self._fit_start(sample)

    def resample(self, x: Float[Tensor, "n row_width"], context: StepContext) -> Int[Tensor, " latents"]:
        """But for relu: give silent latents a new start at the chosen points of the run."""
        points = self.config.resample_at if self._unit else ()
        read, written = self.sides(x)
        return resample_towards_residuals(self, read, context, points, self._averaged, written)

    def folded(self, mean: Float[Tensor, " row_width"], scale: float | Float[Tensor, " row_width"]) -> Transcoder:
        """The transcoder for x and y whose training forms were (x − mean_x) · s_x and (y − mean_y) · s_y.

        Codes come out divided by s_y, so that decoder rows keep their norm; W_enc and W_skip take up s_x / s_y, the
        biases what is left.

        Raises:
            VectorError: the scale is not constant within a site.
        """
        factors = torch.as_tensor(scale, device=mean.device, dtype=mean.dtype).expand_as(mean)
        (of_x, of_y), (mean_x, mean_y) = (each.split([self.d_in, self.d_out]) for each in (factors, mean))
        if bool((of_x != of_x[0]).any()) or bool((of_y != of_y[0]).any()):
            raise VectorError("The scale of activations must be one value within each site of a transcoder.")
        out = type(self)(self.config, self.metadata).to(self.W_dec.device)
        with torch.no_grad():
            out.load_state_dict(self.state_dict())
            out.W_enc.mul_(of_x[0] / of_y[0])
            if out.threshold is not None:
                out.threshold.div_(of_y[0])
            out.b_enc.div_(of_y[0]).sub_(out.W_enc @ mean_x)
            out.b_dec.div_(of_y[0]).add_(mean_y)
            if out.skip is not None:
                out.skip.mul_(of_x[0] / of_y[0])
                out.b_dec.sub_(out.skip @ mean_x)
        return out

    def _skipped(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_out"] | None:
        return None if self.skip is None else x @ self.skip.T

    def _decoder_norms(self) -> Float[Tensor, " n_latents"]:
        return torch.linalg.vector_norm(self.W_dec, dim=1)
