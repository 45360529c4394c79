"""The sparse coder: encoder × activation × decoder.

    z = W_enc (N(x) − b) + b_enc,   c = activation(z),   ŷ = N⁻¹(W_decᵀ c + b_dec) + W_skip x

An autoencoder reads x and writes y = x. What else a coder is are facts of it, the same with every activation:

- centring: b is b_dec, or 0;
- transcoding: y is another site than x, such as an MLP's output (Dunefsky et al. 2024, arXiv:2406.11944), with a skip
  connection W_skip or without (Paulo et al. 2025, arXiv:2501.18823). A row of the training stream is x followed by y;
- several sites, layers of one model or one site of two models (crosscoders: Lindsey et al. 2024, "Sparse Crosscoders
  for Cross-Layer Features and Model Diffing", Transformer Circuits). Rows hold all sites side by side; all of a
  latent's decoder rows together have norm 1, where the activation asks for unit norms;
- nested prefixes (Matryoshka; `losses`);
- normalisation N of each row, which foreign dictionaries come with (`normalisation`).

Departures. At the start decoder rows point towards data points, with some noise, and the encoder is their transpose
times the factor that reconstructs a sample best. A transcoder's encoder row points towards x of a data point and its
decoder row towards y of the same; its b_enc is −W_enc x̄, as though x was centred. W_skip starts at 0. A crosscoder's
b_s is taken from the input, which changes what b_enc means and not what can be learned.

The file is longer than others: a start and a folding must know every one of these facts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from monosema.core import ConfigError, VectorError, torch_generator
from monosema.dictionaries.activation_functions.activation import ACTIVATIONS, Activation, Batch
from monosema.dictionaries.coder_config import CoderConfig, Normalisation, require_fit
from monosema.dictionaries.codes import Codes, Vectors, rows_of
from monosema.dictionaries.initialisation import (
    data_directions,
    directions_from,
    geometric_median,
    orthogonal_directions,
    random_directions,
    unit_rows_,
)
from monosema.dictionaries.losses import batch_variance, combine_losses, prefix_errors
from monosema.dictionaries.normalisation import normalise
from monosema.dictionaries.protocol import Losses, Metadata, StepContext, in_a_line
from monosema.dictionaries.resampling import at_a_point
from monosema.kernels import Grid, decode_active

GAIN_ROWS = 1024
"""Rows of the sample that the encoder's scale at the start is fitted to."""
BLOCK = 2048
"""Rows of a matrix that are worked on at once where a whole copy would be made otherwise."""


class SparseCoder(nn.Module):
    """A sparse coder; see the module's equation.

    Attributes:
        W_enc: the encoder, one row per latent.
        b_enc: bias of the encoder.
        W_dec: the decoder, one row per latent; the same tensor as W_enc where weights are tied.
        b_dec: bias of the decoder.
        skip: W_skip, [d_out, d_in]; None without a skip connection.
        activation: the activation function; its own tensors stand beside the weights (`own`).
        silent_tokens: vectors since each latent was last active in training.
        given: directions that `start="weights"` starts from; whoever holds the model sets them.
    """

    W_enc: Tensor
    b_enc: Tensor
    W_dec: Tensor
    b_dec: Tensor
    skip: Tensor | None
    silent_tokens: Tensor
    given: Tensor | None

    def __init__(
        self,
        d_in: int,
        n_latents: int,
        activation: Activation,
        config: CoderConfig | None = None,
        *,
        d_out: int | None = None,
        n_sites: int = 1,
        normalisation: Normalisation = "none",
        metadata: Metadata | None = None,
        seed: int = 0,
        shards: int = 1,
    ) -> None:
        """Make a coder with a random start; `start` initialises from data.

        Args:
            d_in: width of an input row; of all sites together.
            config: facts and start; None is the default of all.
            d_out: width of the target, where that is another site than the input; None is an autoencoder.
            n_sites: sites of one width that stand side by side in a row.
            shards: equal parts that processes divide the latents into, of which this coder is one.

        Raises:
            ConfigError: sizes or facts that don't go together.
        """
        super().__init__()
        self.activation, self.config = activation, config or CoderConfig()
        self.d_in, self.n_latents, self.n_sites = d_in, n_latents, n_sites
        self.d_out = d_in if d_out is None else d_out
        self.has_separate_target = d_out is not None
        self.normalisation, self.metadata, self.given = normalisation, metadata or Metadata(), None
        require_fit(self, shards)
        rows = random_directions(n_latents, d_in, torch_generator(seed, "dictionary"))
        written = rows
        if self.has_separate_target:
            written = random_directions(n_latents, self.d_out, torch_generator(0, "written"))
        self.W_enc = nn.Parameter(rows if activation.ties else rows.clone())
        self.b_enc = nn.Parameter(torch.zeros(n_latents))
        self.W_dec = self.W_enc if activation.ties else nn.Parameter(written)
        b_dec = torch.zeros(self.d_out)
        self.keep("b_dec", nn.Parameter(b_dec) if activation.learns_b_dec else b_dec)
        self.skip = nn.Parameter(torch.zeros(self.d_out, d_in)) if self.config.skip else None
        self.keep("silent_tokens", torch.zeros(n_latents, dtype=torch.int64))
        weights = {name for name, _ in (*self.named_parameters(), *self.named_buffers())}
        activation.add_tensors(self)
        tensors = (name for name, _ in (*self.named_parameters(), *self.named_buffers()))
        self.own_names = tuple(name for name in tensors if name not in weights)

    # ------------------------------------------------------------------------------------------ facts, tensors, copies

    @property
    def title(self) -> str:
        """Name of the coder's kind in reports."""
        if self.has_separate_target or self.n_sites > 1:
            return "Transcoder" if self.has_separate_target else "Crosscoder"
        if not self.config.prefixes:
            return self.activation.title
        return "Matryoshka" if self.activation.name == "batch_topk" else f"Matryoshka {self.activation.title}"

    @property
    def row_width(self) -> int:
        """Values in a row of the training stream: x, and y where that is another site."""
        return self.d_in + self.d_out if self.has_separate_target else self.d_in

    @property
    def site_width(self) -> int:
        """Width of each site in a row."""
        return self.d_in // self.n_sites

    @property
    def expected_l0(self) -> float:
        """Active latents a row, as far as the activation says it."""
        return self.activation.expected_l0

    @property
    def reconstructs_once(self) -> bool:
        """True where the loss looks at one reconstruction of one site."""
        plain = not (self.has_separate_target or self.n_sites > 1 or self.config.prefixes)
        return plain and self.activation.reconstructs_once

    @property
    def centre(self) -> Float[Tensor, " d_in"] | None:
        """b: b_dec with its gradient, or None where nothing is taken from the input."""
        return None if self.has_separate_target or not self.config.centre_input else self.b_dec

    @property
    def directions(self) -> Float[Tensor, "n_latents d_out"]:
        """Decoder rows, without gradient."""
        return self.W_dec.detach()

    @property
    def coefficient(self) -> float | None:
        """Weight of the sparsity penalty; None where k sets sparsity."""
        name = self.activation.coefficient
        return None if name is None else float(getattr(self.activation, name))

    @coefficient.setter
    def coefficient(self, value: float) -> None:
        self.activation = self.activation.replace(**{str(self.activation.coefficient): value})

    def __repr__(self) -> str:
        return in_a_line(self.title, self)

    def description(self) -> dict[str, Any]:
        """Plain values that say what the coder is."""
        facts: dict[str, Any] = {"activation": self.activation.name, **self.config.to_dict()}
        sizes = {"d_in": self.d_in, "d_out": self.d_out, "n_latents": self.n_latents, "n_sites": self.n_sites}
        return {**facts, **self.activation.to_dict(), **sizes, "transcodes": self.has_separate_target}

    def require_saveable(self) -> None:
        """Raise FormatError where no format can hold the coder."""
        from monosema.dictionaries.formats.parts import require_saveable

        require_saveable(self)

    def own(self, name: str) -> Tensor:
        """Return a tensor that the activation added."""
        return self.get_parameter(name) if name in self._parameters else self.get_buffer(name)

    def keep(self, name: str, tensor: Tensor) -> None:
        """Add a tensor: a parameter is trained, another tensor is kept in checkpoints."""
        if isinstance(tensor, nn.Parameter):
            self.register_parameter(name, tensor)
        else:
            self.register_buffer(name, tensor)

    def shard(self, shards: int) -> SparseCoder:
        """Make an untrained part of the coder, with one of `shards` equal parts of its latents.

        Raises ConfigError where its latents can't be divided.
        """
        if shards > 1 and not self.activation.divisible:
            able = ", ".join(one.title for one in ACTIVATIONS.values() if one.divisible)
            raise ConfigError(
                f"--latent-shards: the latents of {self.title} can't be divided, only those of {able}. Let the "
                "processes share the batch alone."
            )
        return SparseCoder(
            self.d_in,
            self.n_latents // shards,
            self.activation,
            self.config,
            d_out=self.d_out if self.has_separate_target else None,
            n_sites=self.n_sites,
            normalisation=self.normalisation,
            metadata=self.metadata,
            shards=shards,
        )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """Convert or move tensors; some keep float32."""
        kept = {name: self.own(name).data for name in self.activation.keep_in_float32}
        super()._apply(fn, recurse)
        for name, values in kept.items():
            tensor = self.own(name)
            tensor.data = values.to(tensor.device)
        return self

    # ------------------------------------------------------------------------------------------------ encode, decode

    def encode(self, x: Vectors, matmul_dtype: torch.dtype | None = None, grid: Grid | None = None) -> Codes:
        """Compute the codes of vectors of any leading shape, with gradients through their values.

        Args:
            x: of torch or numpy, [d_in], [n, d_in], [batch, pos, d_in], …; their shape is kept in the codes.
            matmul_dtype: precision of the encoder's product; None keeps that of `x`.
            grid: processes that share the latents; the codes are those of this one's that stay beside the others'.

        Raises:
            VectorError: rows of another width.
        """
        given, shape = rows_of(x, self.W_dec)
        given = self._checked(given)
        rows, scale, shift = normalise(given, self.normalisation)
        codes = self.activation.encode(self, rows, matmul_dtype, grid)
        return codes.with_bypass(scale, shift if self.skip is None else given @ self.skip.T).in_shape(shape)

    def decode(self, codes: Codes | Vectors, grid: Grid | None = None) -> Float[Tensor, "*rows d_out"]:
        """Compute vectors from codes, sparse or dense, in the leading shape of what was encoded; with gradients.

        Raises:
            VectorError: codes that lack what brings back a normalised row, or the output of the skip connection.
        """
        codes = Codes.of(codes, self.n_latents, self.W_dec)
        y = decode_active(codes.values, codes.active, self.W_dec, grid) + self.b_dec
        if (self.skip is not None or self.normalisation == "layer_norm") and codes.shift is None:
            what = "has a skip connection" if self.skip is not None else "normalises each row"
            raise VectorError(
                f"This dictionary {what}, and these codes don't say what that gives. Decode what encode() gave, or "
                "give the codes its scale and shift (`Codes.with_bypass`)."
            )
        if self.normalisation != "none" and codes.scale is None:
            raise VectorError(
                "This dictionary normalises each row, and these codes don't say how theirs were. Decode what encode() "
                "gave, or give the codes its scale and shift (`Codes.with_bypass`)."
            )
        y = y if codes.scale is None else y * codes.scale
        return codes.arranged(y if codes.shift is None else y + codes.shift)

    def forward(self, x: Vectors) -> Float[Tensor, "*rows d_out"]:
        """Compute the reconstruction, with gradients."""
        return self.decode(self.encode(x))

    def _checked(self, x: Tensor) -> Tensor:
        if x.shape[-1] != self.d_in:
            site = f" of {self.metadata.site.short}" if self.metadata.site else ""
            raise VectorError(
                f"This dictionary{site} takes vectors of width {self.d_in}, but was given width {x.shape[-1]}. "
                "Give it activations of the site it was trained on, or train a dictionary of that width."
            )
        return x

    # ------------------------------------------------------------------------------------------------------- one step

    def inputs_and_targets(self, rows: Float[Tensor, "n row_width"]) -> tuple[Tensor, Tensor]:
        """Split rows of the training stream into x and y: the same rows twice, where they are one site.

        Raises:
            VectorError: rows that don't hold both.
        """
        if not self.has_separate_target:
            rows = self._checked(rows)
            return rows, rows
        if rows.shape[-1] != self.row_width:
            raise VectorError(
                f"This transcoder is trained on rows of width {self.row_width}, {self.d_in} that it reads and "
                f"{self.d_out} that it writes, but was given width {rows.shape[-1]}. `JoinedStream` gives such rows."
            )
        read, written = rows.split([self.d_in, self.d_out], dim=1)
        return read.contiguous(), written.contiguous()

    def losses(self, x: Float[Tensor, "n row_width"], context: StepContext) -> Losses:
        """Compute the loss and its terms; changes no state.

        Raises ConfigError for a coder that normalises rows, which can't be trained.
        """
        if self.normalisation != "none":
            raise ConfigError(f"A dictionary behind {self.normalisation} can't be trained. Train one without.")
        inputs, targets = self.inputs_and_targets(x)
        variance, rows = batch_variance(targets, context), context.rows(len(inputs))
        targets = targets if self.skip is None else targets - inputs @ self.skip.T
        batch = Batch(inputs, targets, variance, rows, context)
        made = self.activation.activate(self, batch)
        if self.config.prefixes:
            error, residual = prefix_errors(self, self.config.prefixes, targets, made.values, made.active, context)
        else:
            decoded = decode_active(made.values, made.active, self.W_dec, context.grid)
            residual = targets - (decoded + self.b_dec)
            error = residual.square().sum()
        units: dict[str, Tensor | float] = {"variance": variance, "row": rows, "value": rows * self.d_out}
        unit = units[self.activation.error_per]
        later = self.activation.later_terms(self, batch, residual.detach())
        codes = Codes.from_entries(made.values.detach(), made.active)
        return combine_losses({"mse": error / unit, **made.terms, **later}, codes, residual, variance)

    def decoder_norms(self) -> Float[Tensor, " n_latents"]:
        """Compute the norm of each decoder row, summed over sites (Lindsey et al. 2024)."""
        if self.n_sites == 1:
            return torch.linalg.vector_norm(self.W_dec, dim=1)
        return torch.linalg.vector_norm(self._by_site(self.W_dec), dim=2).sum(dim=1)

    def dead(self, context: StepContext) -> Int[Tensor, " dead"]:
        """Find latents that have been silent for `dead_after` vectors of training, or for a third of a short run."""
        patience = min(self.config.dead_after, max(1, context.vectors // 3))
        return (self.silent_tokens >= patience).nonzero().squeeze(1)

    @torch.no_grad()
    def project_gradients(self) -> None:
        """Remove from the gradient of each decoder row the part along it, where rows have norm 1."""
        self.activation.before_step(self)
        if not self.activation.unit_rows or self.W_dec.grad is None:
            return
        for gradient, rows in zip(self.W_dec.grad.split(BLOCK), self.W_dec.split(BLOCK), strict=True):
            along = torch.linalg.vecdot(gradient, rows, dim=1)
            gradient.addcmul_(rows, along.unsqueeze(1), value=-1)

    @torch.no_grad()
    def constrain(self) -> None:
        """Scale decoder rows to norm 1, where the activation asks for that."""
        if self.activation.unit_rows:
            unit_rows_(self.W_dec)
        self.activation.after_step(self)

    @torch.no_grad()
    def observe(self, codes: Codes, context: StepContext) -> None:
        """Count the batch's vectors for every latent that none of them activated."""
        self.silent_tokens += len(codes)
        self.silent_tokens[codes.indices[codes.values > 0]] = 0
        self.activation.observe(self, codes, context)

    def restarts_at(self, context: StepContext) -> bool:
        """True at steps after which latents may be given a new start."""
        return at_a_point(context, self.activation.restart_points())

    @torch.no_grad()
    def resample(self, x: Float[Tensor, "n row_width"], context: StepContext) -> Int[Tensor, " latents"]:
        """After a step where `restarts_at` says so: give latents a new start, and return which, so that the trainer
        clears what the optimiser remembers of them."""
        return self.activation.restart(self, *self.inputs_and_targets(x), context)

    # ------------------------------------------------------------------------------------------------ start, folding

    @torch.no_grad()
    def start(self, sample: Float[Tensor, "n row_width"], seed: int) -> None:
        """Initialise all parameters from rows of the training stream, as the configuration says."""
        x, y = self.inputs_and_targets(sample)
        generator, n = torch_generator(seed, "start"), self.n_latents
        if self.config.start == "data":
            written = data_directions(y, self._first_centre(y), n, 0.5, generator)
        elif self.config.start == "orthogonal":
            written = orthogonal_directions(n, self.d_in, generator)
        elif self.config.start == "weights":
            written = directions_from(self._given(), n, generator)
        else:
            written = random_directions(n, self.d_out, generator)
        read = written
        if self.has_separate_target and self.config.start == "data":
            # The same seed again: both rows of a latent are of the same data point.
            read = data_directions(x, x.mean(dim=0), n, 0.5, torch_generator(seed, "start"))
        elif self.has_separate_target:
            read = random_directions(n, self.d_in, generator)
        self.start_from(written, sample, read)

    @torch.no_grad()
    def start_from(
        self,
        rows: Float[Tensor, "n_latents d_out"],
        sample: Float[Tensor, "n row_width"],
        read: Float[Tensor, "n_latents d_in"] | None = None,
    ) -> None:
        """Initialise with given decoder rows (see `directions_from`), the encoder as their transpose, or other rows,
        times the factor that reconstructs a sample of the data best, and b_dec from the sample.

        Raises:
            ConfigError: the rows are not as many, or not as wide, as the dictionary's.
        """
        if rows.shape != self.W_dec.shape:
            raise ConfigError(
                f"A start needs {self.n_latents} directions of width {self.d_out}, but was given "
                f"{rows.shape[0]} of width {rows.shape[1]}. `directions_from` makes the right number of them."
            )
        x, y = self.inputs_and_targets(sample)
        self.b_dec.copy_(self._first_centre(y))
        self.W_dec.copy_(rows)
        self.W_enc.copy_(rows if read is None else read)
        self.b_enc.zero_()
        if self.has_separate_target:
            self.b_enc.sub_(self.W_enc @ x.mean(dim=0))
        if self.skip is not None:
            self.skip.zero_()
        self.silent_tokens.zero_()
        self.activation.fit(self, x)
        self._multiply_codes(self._best_gain(x[:GAIN_ROWS], y[:GAIN_ROWS]))

    def _given(self) -> Float[Tensor, "rows d_in"]:
        if self.given is None:
            raise ConfigError(
                'start = "weights" needs directions of a model: set `given` (see `weight_directions`), train within a '
                'run, or choose start = "data".'
            )
        return self.given

    def _first_centre(self, y: Float[Tensor, "n d_out"]) -> Float[Tensor, " d_out"]:
        if not self.activation.learns_b_dec:
            return torch.zeros_like(self.b_dec)
        return geometric_median(y) if self.config.centre == "median" else y.mean(dim=0)

    def _multiply_codes(self, gain: float) -> None:
        """Multiply all codes by a factor, through the encoder; where weights are tied it has no scale of its own."""
        if not self.activation.ties:
            self.W_enc.mul_(gain)
            self._multiply_units(gain)

    def _multiply_units(self, factor: float | Tensor) -> None:
        """Multiply all that is in units of codes, but for W_enc."""
        for tensor in (self.b_enc, *(self.own(name) for name in self.activation.in_units_of_codes)):
            tensor.mul_(factor)

    def _best_gain(self, x: Float[Tensor, "n d_in"], y: Float[Tensor, "n d_out"]) -> float:
        """The factor on the encoder that reconstructs a sample best, by least squares; 1 where none is above 0."""
        codes = self.activation.first_codes(self, x)
        wanted = y - self.b_dec
        given = (decode_active(codes.values, codes.active, self.W_dec) + self.b_dec) - self.b_dec
        gain = float((wanted * given).sum() / given.square().sum().clamp_min(torch.finfo(y.dtype).tiny))
        return gain if gain > 0 else 1.0

    @torch.no_grad()
    def folded(self, mean: Float[Tensor, " row_width"], scale: float | Float[Tensor, " row_width"]) -> SparseCoder:
        """Make the coder of rows x (and y) whose training form was (x − mean) · scale, with a scale for each site.

        Codes come out divided by the scale, the mean one of the sites that are written. Where scales differ, a site's
        decoder rows change by s̄ / s_s and its encoder rows by s_s / s̄; `relative_norms` stay as they were. Biases take
        up what is left.

        Raises:
            VectorError: the scale is not constant within a site.
        """
        factors = torch.as_tensor(scale, device=mean.device, dtype=mean.dtype).expand_as(mean)
        of_x, of_y = self.inputs_and_targets(factors.unsqueeze(0))
        mean_x, mean_y = (side.squeeze(0) for side in self.inputs_and_targets(mean.unsqueeze(0)))
        sites = self._by_site(of_y) if self.n_sites > 1 else of_y.unsqueeze(1)
        if bool((sites != sites[..., :1]).any()) or bool((of_x != of_x[0, 0]).any() and self.n_sites == 1):
            raise VectorError("The scale of activations must be one value within each site.")
        of_sites = sites[0, :, 0]
        unit = of_sites[0] if self.n_sites == 1 else of_sites.mean()
        out = self.shard(1).to(self.W_dec.device)
        out.load_state_dict(self.state_dict())
        if self.n_sites > 1:
            out.config = self.config.replace(scales=tuple((self.site_scales * of_sites).tolist()))
        if not self.activation.ties:
            out.W_enc.mul_(of_x / unit)
            out.W_dec.mul_(unit / of_y)
        out._multiply_units(1 / unit)
        out.b_dec.div_(of_y.squeeze(0)).add_(mean_y)
        if out.centre is None:
            out.b_enc.sub_(out.W_enc @ mean_x)
        if out.skip is not None:
            out.skip.mul_(of_x / of_y.T)
            out.b_dec.sub_(out.skip @ mean_x)
        return out

    # -------------------------------------------------------------------------------------------------- several sites

    @property
    def site_directions(self) -> Float[Tensor, "n_latents n_sites width"]:
        """The vector that each latent adds at each site when its activation is 1."""
        return self._by_site(self.directions)

    @property
    def site_scales(self) -> Float[Tensor, " n_sites"]:
        """Factor of each site's activations in training units."""
        return self.W_dec.new_tensor(self.config.scales or [1.0] * self.n_sites)

    def relative_norms(self) -> Float[Tensor, "n_latents n_sites"]:
        """Compute each site's share of the sum of a latent's decoder norms, in training units, where sites are alike in
        size.

        Near 1 / n_sites: shared; near 1 at one site: exclusive to it. A latent without any norm has equal shares.
        """
        norms = torch.linalg.vector_norm(self.site_directions, dim=2) * self.site_scales
        total = norms.sum(dim=1, keepdim=True)
        return torch.where(total > 0, norms / total, 1 / self.n_sites)

    @torch.no_grad()
    def fvu_of_sites(self, rows: Float[Tensor, "n row_width"]) -> Float[Tensor, " n_sites"]:
        """Compute the share of variance left unexplained at each site: Σ‖x_s − x̂_s‖² / Σ‖x_s − x̄_s‖²."""
        error = self._by_site(rows - self(rows)).square().sum(dim=(0, 2))
        return error / torch.stack([batch_variance(site) for site in self._by_site(rows).unbind(dim=1)])

    def _by_site(self, rows: Float[Tensor, "n row_width"]) -> Float[Tensor, "n n_sites width"]:
        return rows.view(len(rows), self.n_sites, self.site_width)
