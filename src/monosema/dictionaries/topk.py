"""TopK sparse autoencoder with AuxK (Gao et al. 2024, arXiv:2406.04093).

    z = top-k(W_enc (x − b_dec) + b_enc),   c = ReLU(z),   x̂ = W_decᵀ c + b_dec
    L = (‖x − x̂‖² + α ‖e − ê‖²) / Σ ‖x − x̄‖²,   e = x − x̂ (detached)

where ê is decoded, without b_dec, from the k_aux largest pre-activations among the latents that have been silent for
`dead_after` vectors. Rows of W_dec have norm 1; the part of their gradient along them is removed.

Departures from the paper. Decoder rows start towards data points, with some noise, and the encoder as their transpose
times the factor that reconstructs a sample best: less is left unexplained, and more latents live, than from random rows
(measured on all-MiniLM activations). AuxK looks at a part of each batch, and at a part of the dead
latents where there are many. In short runs a latent is dead after a tenth of the run.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from monosema.core import Config, ConfigError, VectorError, torch_generator
from monosema.dictionaries.codes import Codes
from monosema.dictionaries.initialisation import data_directions, geometric_median, random_directions, unit_rows_
from monosema.dictionaries.protocol import Losses, Metadata, Moment
from monosema.kernels import decode_codes, encode_codes, encode_top_k, sparse_decode

__all__ = ["TopK", "TopKConfig"]


GAIN_ROWS = 1024
"""Rows of the sample that the encoder's scale at the start is fitted to."""


BLOCK = 2048
"""Rows of a matrix that are worked on at once where a whole copy would be made otherwise."""
FEW_DEAD = 64
"""Dead latents up to which AuxK looks at all of them, whatever their number."""


class TopKConfig(Config):
    """What a TopK dictionary is."""

    d_in: int = Field(gt=0)
    """Width of the activations."""
    n_latents: int = Field(gt=0)
    """Number of latents."""
    k: int = Field(32, gt=0)
    """Latents kept per row."""
    k_aux: int | None = Field(None, ge=0)
    """Dead latents that reconstruct the residual; None is half of d_in (Gao et al., A.2); 0 switches AuxK off."""
    aux_coefficient: float = Field(1 / 32, ge=0)
    """Weight α of the auxiliary loss (Gao et al., appendix A.2)."""
    aux_every: int = Field(8, gt=0)
    """AuxK looks at every so many-th vector of a batch, others in the next step: cheaper, and the same on average."""
    aux_latents: int | None = Field(None, gt=0)
    """Dead latents that AuxK looks at in one step, at most, all in turn; None is an eighth of all latents."""
    dead_after: int = Field(10_000_000, gt=0)
    """Vectors without activity after which a latent counts as dead (Gao et al., appendix A.2)."""
    start: Literal["data", "random"] = "data"
    """Decoder rows at first: towards data points, or random. The encoder starts as their transpose in either case."""
    centre: Literal["mean", "median"] = "mean"
    """What b_dec is at first: the mean of a sample, or its geometric median."""


class TopK(nn.Module):
    """A TopK dictionary; see the module's equation.

    Attributes:
        encoder: W_enc, one row per latent.
        encoder_bias: b_enc.
        decoder: W_dec, one row of norm 1 per latent.
        decoder_bias: b_dec.
        silent_tokens: vectors since each latent was last active in training.
    """

    silent_tokens: Tensor

    def __init__(self, config: TopKConfig, metadata: Metadata | None = None, seed: int = 0) -> None:
        """Random start; `start` initialises from data.

        Raises ConfigError where more latents are to be kept than there are.
        """
        super().__init__()
        if config.k > config.n_latents:
            raise ConfigError(f"TopKConfig.k = {config.k} is not valid: there are only {config.n_latents} latents.")
        self.config = config
        self.metadata = metadata or Metadata()
        self.d_in = self.d_out = config.d_in
        self.n_latents = config.n_latents
        rows = random_directions(config.n_latents, config.d_in, torch_generator(seed, "dictionary"))
        self.encoder = nn.Parameter(rows.clone())
        self.encoder_bias = nn.Parameter(torch.zeros(config.n_latents))
        self.decoder = nn.Parameter(rows)
        self.decoder_bias = nn.Parameter(torch.zeros(config.d_in))
        self.register_buffer("silent_tokens", torch.zeros(config.n_latents, dtype=torch.int64))

    @property
    def directions(self) -> Float[Tensor, "n_latents d_out"]:
        """Decoder rows."""
        return self.decoder.detach()

    def encode(self, x: Float[Tensor, "n d_in"], product: torch.dtype | None = None) -> Codes:
        """Codes of rows, without gradient; `product` as for the kernel."""
        with torch.no_grad():
            centred = self._checked(x) - self.decoder_bias
            values, indices = encode_top_k(centred, self.encoder, self.encoder_bias, self.config.k, product)
        return Codes(values, indices, self.n_latents)

    def decode(self, codes: Codes) -> Float[Tensor, "n d_out"]:
        """Rows from codes, without gradient."""
        with torch.no_grad():
            return sparse_decode(codes.values, codes.indices, self.decoder) + self.decoder_bias

    def forward(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_out"]:
        """The reconstruction, without gradient."""
        return self.decode(self.encode(x))

    def start(self, sample: Float[Tensor, "n d_in"], seed: int) -> None:
        """Initialise b_dec and both matrices from a sample of the data, as the configuration says."""
        self._checked(sample)
        generator = torch_generator(seed, "start")
        with torch.no_grad():
            centre = geometric_median(sample) if self.config.centre == "median" else sample.mean(dim=0)
            self.decoder_bias.copy_(centre)
            if self.config.start == "data":
                self.decoder.copy_(data_directions(sample, centre, self.n_latents, 0.5, generator))
            else:
                self.decoder.copy_(random_directions(self.n_latents, self.d_in, generator))
            self.encoder.copy_(self.decoder)
            self.encoder_bias.zero_()
            self.encoder.mul_(self._best_gain(sample[:GAIN_ROWS]))
            self.silent_tokens.zero_()

    def _best_gain(self, sample: Float[Tensor, "n d_in"]) -> float:
        """The factor on the encoder that reconstructs a sample best, by least squares; 1 where none is above 0."""
        wanted, given = sample - self.decoder_bias, self(sample) - self.decoder_bias
        gain = float((wanted * given).sum() / given.square().sum().clamp_min(torch.finfo(sample.dtype).tiny))
        return gain if gain > 0 else 1.0

    def losses(self, x: Float[Tensor, "n d_in"], moment: Moment) -> Losses:
        """Forward pass and loss terms; changes no state."""
        values, selection = encode_codes(
            self._checked(x), self.decoder_bias, self.encoder, self.encoder_bias, self.config.k, moment.product
        )
        residual = x - (decode_codes(values, selection, self.decoder) + self.decoder_bias)
        variance = (x - x.mean(dim=0)).square().sum().clamp_min(torch.finfo(x.dtype).tiny)
        error = residual.square().sum() / variance
        terms = {"mse": error}
        dead = self.dead(moment)
        if len(dead) and self.config.k_aux != 0:
            terms["aux"] = self._auxiliary(x, residual.detach(), dead, moment) * self.config.aux_coefficient / variance
        codes = Codes(values.detach(), selection.indices, self.n_latents)
        return Losses(
            torch.stack(list(terms.values())).sum(), {n: t.detach() for n, t in terms.items()}, codes, error.detach()
        )

    def dead(self, moment: Moment) -> Int[Tensor, " dead"]:
        """Latents that have been silent for `dead_after` vectors of training, or for a tenth of a short run."""
        patience = min(self.config.dead_after, max(1, moment.vectors // 10))
        return (self.silent_tokens >= patience).nonzero().squeeze(1)

    def _auxiliary(
        self,
        x: Float[Tensor, "n d_in"],
        residual: Float[Tensor, "n d_in"],
        dead: Int[Tensor, " dead"],
        moment: Moment,
    ) -> Float[Tensor, ""]:
        """‖e − ê‖², with ê decoded from the k_aux largest pre-activations among the dead latents."""
        dead = self._in_turn(dead, moment.step)
        every = min(self.config.aux_every, max(1, len(x)))
        chosen = slice(moment.step % every, None, every)
        rows, wanted = x[chosen], residual[chosen]
        k = min(self.config.k_aux if self.config.k_aux is not None else max(1, self.d_in // 2), len(dead))
        values, selection = encode_codes(
            rows, self.decoder_bias, self.encoder[dead], self.encoder_bias[dead], k, moment.product
        )
        error = (wanted - decode_codes(values, selection, self.decoder[dead])).square().sum()
        return error * (len(x) / max(1, len(rows)))

    def _in_turn(self, dead: Int[Tensor, " dead"], step: int) -> Int[Tensor, " chosen"]:
        """The dead latents to look at in this step: all of a few, otherwise a power of two of them.

        Matrix libraries keep what they prepare for each size of a product: sizes that differ in every step would take
        more and more memory.
        """
        most = self.config.aux_latents or max(1, self.n_latents // 8)
        number = min(len(dead), most)
        if number > FEW_DEAD:
            number = 1 << (number.bit_length() - 1)
        if number == len(dead):
            return dead
        return dead.roll(-(step * number) % len(dead))[:number]

    def project_gradients(self) -> None:
        """Remove from the gradient of each decoder row the part along it."""
        if self.decoder.grad is None:
            return
        with torch.no_grad():
            for gradient, rows in zip(self.decoder.grad.split(BLOCK), self.decoder.split(BLOCK), strict=True):
                along = torch.linalg.vecdot(gradient, rows, dim=1)
                gradient.addcmul_(rows, along.unsqueeze(1), value=-1)

    def constrain(self) -> None:
        """Scale decoder rows to norm 1."""
        with torch.no_grad():
            unit_rows_(self.decoder)

    def observe(self, codes: Codes) -> None:
        """Count the batch's vectors for every latent that none of them activated."""
        self.silent_tokens += len(codes)
        self.silent_tokens[codes.indices[codes.values > 0]] = 0

    def folded(self, mean: Float[Tensor, " d_in"], scale: float) -> TopK:
        """The dictionary for inputs x whose training form was (x − mean) · scale.

        Codes come out in the units of x (divided by the scale), so that decoder rows keep norm 1:
        b_enc / scale, b_dec / scale + mean, W_enc and W_dec as they are.
        """
        out = TopK(self.config, self.metadata)
        with torch.no_grad():
            out.load_state_dict(self.state_dict())
            out.encoder_bias.div_(scale)
            out.decoder_bias.div_(scale).add_(mean)
        return out

    def _checked(self, x: Any) -> Any:
        if x.shape[-1] != self.d_in:
            site = f" of {self.metadata.site.short}" if self.metadata.site else ""
            raise VectorError(
                f"This dictionary{site} takes vectors of width {self.d_in}, but was given width {x.shape[-1]}. "
                "Give it activations of the site it was trained on, or train a dictionary of that width."
            )
        return x
