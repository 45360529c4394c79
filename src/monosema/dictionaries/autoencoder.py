"""What all trained dictionaries with one encoder and one decoder share: parameters, start, counters, folding.

    z = W_enc (x − b) + b_enc,   c = activation(z),   ŷ = W_decᵀ c + b_dec

An autoencoder reads x and writes x, with b = b_dec; a transcoder reads one site and writes another, with b = 0. An
architecture is a final class: its activation (`_activate`) and its loss terms (`losses`), and its constraint where that
is not the unit norm of decoder rows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from monosema.core import Config, ConfigError, VectorError, torch_generator
from monosema.dictionaries.codes import Codes
from monosema.dictionaries.initialisation import (
    data_directions,
    directions_from,
    geometric_median,
    orthogonal_directions,
    random_directions,
    unit_rows_,
)
from monosema.dictionaries.protocol import Losses, Metadata, StepContext
from monosema.kernels import Selection, decode_codes

USUAL_L0 = 32.0
"""What is expected where nothing is said."""
GAIN_ROWS = 1024
"""Rows of the sample that the encoder's scale at the start is fitted to."""
OLD_NAMES = {"encoder": "W_enc", "encoder_bias": "b_enc", "decoder": "W_dec", "decoder_bias": "b_dec"}
"""Tensors' names in checkpoints that an earlier version wrote."""
BLOCK = 2048
"""Rows of a matrix that are worked on at once where a whole copy would be made otherwise."""


class AutoencoderConfig(Config):
    """What every architecture needs to know."""

    d_in: int = Field(gt=0)
    """Width of the activations."""
    n_latents: int = Field(gt=0)
    """Number of latents."""
    dead_after: int = Field(10_000_000, gt=0)
    """Vectors without activity after which a latent counts as dead (Gao et al. 2024, appendix A.2)."""
    start: Literal["data", "random", "orthogonal", "weights"] = "data"
    """Decoder rows at first: towards data points, random, random orthogonal in blocks of d_in, or along `given` ones,
    such as a model's own weights. The encoder starts as their transpose in any case."""
    centre: Literal["mean", "median"] = "mean"
    """What b_dec is at first: the mean of a sample, or its geometric median."""


class Autoencoder(nn.Module, ABC):
    """The shared part; see the module's equation.

    Attributes:
        W_enc: the encoder, one row per latent.
        b_enc: its bias.
        W_dec: the decoder, one row per latent.
        b_dec: its bias.
        silent_tokens: vectors since each latent was last active in training.
        exact: names of tensors that stay float32 when the dictionary is converted to another precision.
        given: directions that `start="weights"` starts from; whoever holds the model sets them.
    """

    exact: ClassVar[tuple[str, ...]] = ()
    given: Tensor | None
    silent_tokens: Tensor

    def __init__(self, config: AutoencoderConfig, metadata: Metadata | None = None, seed: int = 0) -> None:
        """Random start; `start` initialises from data."""
        super().__init__()
        self.config: Any = config
        self.given = None
        self.metadata = metadata or Metadata()
        self.d_in = self.d_out = config.d_in
        self.n_latents = config.n_latents
        rows = random_directions(config.n_latents, config.d_in, torch_generator(seed, "dictionary"))
        self._make_parameters(rows)
        self.register_buffer("silent_tokens", torch.zeros(config.n_latents, dtype=torch.int64))

    def _make_parameters(self, rows: Float[Tensor, "n_latents d_in"]) -> None:
        """Both matrices from the same rows, both biases 0."""
        self.W_enc = nn.Parameter(rows.clone())
        self.b_enc = nn.Parameter(torch.zeros(self.n_latents))
        self.W_dec = nn.Parameter(rows)
        self.b_dec = nn.Parameter(torch.zeros(self.d_in))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """What conversions and moves to another device go through."""
        kept = {name: tensor.data for name in self.exact if (tensor := getattr(self, name)) is not None}
        super()._apply(fn, recurse)
        for name, values in kept.items():
            tensor = getattr(self, name)
            tensor.data = values.to(tensor.device)
        return self

    @abstractmethod
    def _activate(self, centred: Float[Tensor, "n d_in"], matmul_dtype: torch.dtype | None) -> Codes:
        """Codes of centred rows, with gradients."""

    @abstractmethod
    def losses(self, x: Float[Tensor, "n row_width"], context: StepContext) -> Losses:
        """Forward pass and loss terms; changes no state."""

    @property
    def row_width(self) -> int:
        """Values in a row of the training stream."""
        return self.d_in

    @property
    def row_vectors(self) -> int:
        """Vectors that a row of the training stream holds."""
        return 1

    @property
    def expected_l0(self) -> float:
        """Active latents a row: k, or those of the start; 32 where the configuration says neither."""
        return float(getattr(self.config, "k", None) or getattr(self.config, "start_l0", None) or USUAL_L0)

    @property
    def centres_input(self) -> bool:
        """Whether b is b_dec; otherwise it is 0."""
        return True

    @property
    def input_bias(self) -> Float[Tensor, " d_in"]:
        """b, which is taken from the input: b_dec with its gradient, or 0."""
        return self.b_dec if self.centres_input else torch.zeros_like(self.b_dec)

    @property
    def directions(self) -> Float[Tensor, "n_latents d_out"]:
        """Decoder rows."""
        return self.W_dec.detach()

    def encode(self, x: Float[Tensor, "n d_in"], matmul_dtype: torch.dtype | None = None) -> Codes:
        """Codes of rows, with gradients through their values; `matmul_dtype` as for the kernel."""
        return self._activate(self._checked(x) - self.input_bias, matmul_dtype)

    def kept_of_all(self, codes: Codes) -> Codes:
        """Where processes share the latents: of this process's codes, those that stay beside the others'."""
        return codes

    def decode(self, codes: Codes) -> Float[Tensor, "n d_out"]:
        """Rows from codes, with gradients."""
        codes = codes.padded()
        return decode_codes(codes.values, Selection(codes.indices, self.n_latents), self.W_dec) + self.b_dec

    def forward(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_out"]:
        """The reconstruction, with gradients."""
        return self.decode(self.encode(x))

    def start(self, sample: Float[Tensor, "n row_width"], seed: int) -> None:
        """Initialise b_dec and both matrices from a sample of the data, as the configuration says."""
        self._checked(sample)
        generator = torch_generator(seed, "start")
        with torch.no_grad():
            if self.config.start == "data":
                rows = data_directions(sample, self._first_centre(sample), self.n_latents, 0.5, generator)
            elif self.config.start == "orthogonal":
                rows = orthogonal_directions(self.n_latents, self.d_in, generator)
            elif self.config.start == "weights":
                rows = directions_from(self._given(), self.n_latents, generator)
            else:
                rows = random_directions(self.n_latents, self.d_in, generator)
        self.start_from(rows, sample)

    def _given(self) -> Float[Tensor, "rows d_in"]:
        if self.given is None:
            raise ConfigError(
                'start = "weights" needs directions of a model: set `given` (see `weight_directions`), train within a '
                'run, or choose start = "data".'
            )
        return self.given

    def start_from(self, rows: Float[Tensor, "n_latents d_in"], sample: Float[Tensor, "n row_width"]) -> None:
        """Initialise with given decoder rows (see `directions_from`), the encoder as their transpose times the factor
        that reconstructs a sample of the data best, and b_dec from the sample.

        Raises:
            ConfigError: the rows are not as many, or not as wide, as the dictionary's.
        """
        if rows.shape != (self.n_latents, self.d_in):
            raise ConfigError(
                f"A start needs {self.n_latents} directions of width {self.d_in}, but was given "
                f"{rows.shape[0]} of width {rows.shape[1]}. `directions_from` makes the right number of them."
            )
        with torch.no_grad():
            self.b_dec.copy_(self._first_centre(sample))
            self.W_dec.copy_(rows)
            self.W_enc.copy_(rows)
            self.b_enc.zero_()
            self.silent_tokens.zero_()
            self._fit_start(sample)

    def _first_centre(self, sample: Float[Tensor, "n d_in"]) -> Float[Tensor, " d_in"]:
        return geometric_median(sample) if self.config.centre == "median" else sample.mean(dim=0)

    def _fit_start(self, sample: Float[Tensor, "n d_in"]) -> None:
        """Fit to the sample what else can be at the start: the encoder's scale."""
        self._scale_codes(self._best_gain(sample[:GAIN_ROWS]))

    def _scale_codes(self, gain: float) -> None:
        """Multiply all codes by a factor."""
        self.W_enc.mul_(gain)
        self.b_enc.mul_(gain)

    def _best_gain(self, sample: Float[Tensor, "n d_in"]) -> float:
        """The factor on the encoder that reconstructs a sample best, by least squares; 1 where none is above 0."""
        wanted, given = sample - self.b_dec, self.decode(self._first_codes(sample)) - self.b_dec
        gain = float((wanted * given).sum() / given.square().sum().clamp_min(torch.finfo(sample.dtype).tiny))
        return gain if gain > 0 else 1.0

    def _first_codes(self, sample: Float[Tensor, "n d_in"]) -> Codes:
        """The codes that the start is fitted with."""
        return self.encode(sample)

    def dead(self, context: StepContext) -> Int[Tensor, " dead"]:
        """Latents that have been silent for `dead_after` vectors of training, or for a third of a short run."""
        patience = min(self.config.dead_after, max(1, context.vectors // 3))
        return (self.silent_tokens >= patience).nonzero().squeeze(1)

    def project_gradients(self) -> None:
        """Remove from the gradient of each decoder row the part along it."""
        if self.W_dec.grad is None:
            return
        with torch.no_grad():
            for gradient, rows in zip(self.W_dec.grad.split(BLOCK), self.W_dec.split(BLOCK), strict=True):
                along = torch.linalg.vecdot(gradient, rows, dim=1)
                gradient.addcmul_(rows, along.unsqueeze(1), value=-1)

    def constrain(self) -> None:
        """Scale decoder rows to norm 1."""
        with torch.no_grad():
            unit_rows_(self.W_dec)

    def observe(self, codes: Codes) -> None:
        """Count the batch's vectors for every latent that none of them activated."""
        self.silent_tokens += len(codes)
        self.silent_tokens[codes.indices[codes.values > 0]] = 0

    def resample(self, x: Float[Tensor, "n row_width"], context: StepContext) -> Int[Tensor, " latents"]:
        """After a step: give latents a new start where the architecture does that; which ones, so that the trainer
        clears what the optimiser remembers of them. Most architectures give none."""
        return self.silent_tokens.new_empty(0)

    @torch.no_grad()
    def folded(self, mean: Float[Tensor, " row_width"], scale: float) -> Autoencoder:
        """The dictionary for inputs x whose training form was (x − mean) · scale.

        Codes come out in the units of x (divided by the scale), so that decoder rows keep their norm:
        b_enc / scale, b_dec / scale + mean, W_enc and W_dec as they are. Where b is 0, b_enc takes up W_enc · mean.
        """
        out = type(self)(self.config, self.metadata)
        with torch.no_grad():
            out.load_state_dict(self.state_dict())
            out.b_enc.div_(scale)
            out.b_dec.div_(scale).add_(mean)
            if not out.centres_input:
                out.b_enc.sub_(out.W_enc @ mean)
            out._fold(scale)
        return out

    def _fold(self, scale: float) -> None:
        """What an architecture has in units of activations besides: thresholds, for example."""

    def _checked(self, x: Any) -> Any:
        if x.shape[-1] != self.d_in:
            site = f" of {self.metadata.site.short}" if self.metadata.site else ""
            raise VectorError(
                f"This dictionary{site} takes vectors of width {self.d_in}, but was given width {x.shape[-1]}. "
                "Give it activations of the site it was trained on, or train a dictionary of that width."
            )
        return x
