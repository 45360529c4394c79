"""Base class of activation functions, and the open list of them.

An activation function is a frozen configuration with a few methods: which latents are active, with which loss terms it
is trained, and what it keeps in the coder besides the weights. To add one, write a subclass with a `name`, a `title`
and `activate`, and register it in one line:

    @register_activation
    class Mine(Activation): …

From then on recipes, sweeps, files, atlases and reports know it by its name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monosema.core import Config, ConfigError, nearest
from monosema.dictionaries.codes import Codes
from monosema.dictionaries.protocol import Coder, StepContext
from monosema.dictionaries.resampling import resample_towards_residuals
from monosema.kernels import Active, Grid, encode_entries

USUAL_L0 = 32.0
"""Expected active latents a row where nothing is said."""
Kind = Literal["relu", "topk", "batch_topk", "jumprelu", "gated"]


@dataclass(frozen=True)
class Batch:
    """Rows of a training step.

    Attributes:
        x: input rows.
        y: target rows, less the output of a skip connection.
        variance: Σ ‖y − ȳ‖² over the batch.
        rows: divisor that makes sums over rows means.
        context: the step.
    """

    x: Float[Tensor, "n d_in"]
    y: Float[Tensor, "n d_out"]
    variance: Float[Tensor, ""]
    rows: float
    context: StepContext


@dataclass(frozen=True)
class Activated:
    """Codes of a training step, with gradients.

    Attributes:
        values: activations; see `monosema.kernels.Active` for the layouts.
        active: which latents the values belong to.
        terms: weighted loss terms besides the error.
    """

    values: Tensor
    active: Active
    terms: dict[str, Float[Tensor, ""]]


class Activation(Config, ABC):
    """An activation function; see the module. Configuration fields of a subclass are keys of recipes."""

    name: ClassVar[str]
    """Its name in recipes and files."""
    title: ClassVar[str]
    """Its name in reports."""
    aliases: ClassVar[tuple[str, ...]] = ()
    """Other names that recipes and files may say."""
    kind: ClassVar[Kind | None] = None
    """Its kind in foreign formats; None where monosema's own layout alone can hold it."""
    coefficient: ClassVar[str | None] = None
    """The field with the weight of the sparsity penalty; None where `k` sets sparsity."""
    error_per: ClassVar[Literal["variance", "row", "value"]] = "variance"
    """Unit of the error in the loss: a share of the batch's variance, a mean over rows, or over rows and values."""
    keep_in_float32: ClassVar[tuple[str, ...]] = ()
    """Tensors of the coder that stay float32 when it is converted to another precision."""
    in_units_of_codes: ClassVar[tuple[str, ...]] = ()
    """Tensors of the coder, besides b_enc, that are multiplied where codes are: thresholds, say."""
    averaged: ClassVar[tuple[str, ...]] = ()
    """Tensors of the coder of which a latent with a new start gets the living ones' mean."""
    depends_on: ClassVar[Literal["itself", "rank", "all"]] = "all"
    """The values that a latent's activation depends on outside training, by which a few latents are encoded alone:
    "itself", its own pre-activation; "rank", that too, if it is above 0 and among the `kept` largest, and 0 else;
    "all", anything."""
    divisible: ClassVar[bool] = False
    """True where processes can share the latents: all it asks of other latents goes through the grid."""
    learns_b_dec: ClassVar[bool] = True
    """False where b_dec is 0 in training."""

    def check(self, n_latents: int) -> None:
        """Raise ConfigError for fields that a coder with so many latents can't have."""
        if self.kept > n_latents:
            raise ConfigError(
                f"k = {self.kept} is not valid: there are only {n_latents:,} latents. Lower --k or raise --latents."
            )

    @property
    def kept(self) -> int:
        """Latents kept per row; 0 where that is not fixed."""
        return int(getattr(self, "k", 0))

    @property
    def expected_l0(self) -> float:
        """Active latents a row: k, or those of the start; 32 where the configuration says neither."""
        return float(self.kept or getattr(self, "start_l0", None) or USUAL_L0)

    @property
    def unit_rows(self) -> bool:
        """True where rows of W_dec are kept at norm 1."""
        return True

    @property
    def ties(self) -> bool:
        """True where one matrix encodes and decodes."""
        return False

    @property
    def reconstructs_once(self) -> bool:
        """True where the loss looks at one reconstruction, so that another objective can take its error's place."""
        return True

    def add_tensors(self, coder: Coder) -> None:
        """Give the coder the parameters and buffers that the activation has besides the weights."""

    @abstractmethod
    def activate(self, coder: Coder, batch: Batch) -> Activated:
        """Compute codes as training does, and loss terms besides the error; changes no state."""

    def encode(
        self,
        coder: Coder,
        x: Float[Tensor, "n d_in"],
        matmul_dtype: torch.dtype | None = None,
        grid: Grid | None = None,
    ) -> Codes:
        """Compute codes outside of training: pre-activations above the floor.

        Args:
            grid: processes that share the latents.
        """
        values, active = encode_entries(x, coder.centre, coder.W_enc, coder.b_enc, self.floor(coder), matmul_dtype)
        return Codes.from_entries(values, active).padded()

    def floor(self, coder: Coder) -> Float[Tensor, " n_latents"] | None:
        """The pre-activation that each latent must exceed, not below 0; None is 0."""
        return None

    def later_terms(
        self, coder: Coder, batch: Batch, residual: Float[Tensor, "n d_out"]
    ) -> dict[str, Float[Tensor, ""]]:
        """Compute weighted loss terms that depend on what is left unexplained, given without gradient."""
        return {}

    def fit(self, coder: Coder, x: Float[Tensor, "n d_in"]) -> None:
        """At the start: set biases and thresholds by a sample of inputs, without gradient."""

    def first_codes(self, coder: Coder, x: Float[Tensor, "n d_in"]) -> Codes:
        """Compute the codes that the encoder's scale at the start is fitted with."""
        return coder.encode(x)

    def before_step(self, coder: Coder) -> None:
        """Before the optimiser's step: note what the constraint needs."""

    def after_step(self, coder: Coder) -> None:
        """After the optimiser's step: constrain what the activation has besides the weights, without gradient."""

    def observe(self, coder: Coder, codes: Codes, context: StepContext) -> None:
        """Once per training batch: follow what the batch says, such as a threshold."""

    def restart_points(self) -> Sequence[float]:
        """Shares of the run after which `restart` gives latents a new start: the field `resample_at`, where it is."""
        points: Sequence[float] = getattr(self, "resample_at", ())
        return points

    def restart(
        self, coder: Coder, x: Float[Tensor, "n d_in"], y: Float[Tensor, "n d_out"], context: StepContext
    ) -> Int[Tensor, " latents"]:
        """After `observe`, at each of `restart_points`: give silent latents a new start, towards residuals, and return
        which."""
        return resample_towards_residuals(coder, x, y, context, tuple(self.restart_points()), self.averaged)


ACTIVATIONS: dict[str, type[Activation]] = {}
"""All registered activations by name."""
_Kind = TypeVar("_Kind", bound=type[Activation])


def register_activation(activation: _Kind) -> _Kind:
    """Register an activation under its name; works as a decorator.

    Raises:
        ConfigError: the name, or an alias, belongs to another class.
    """
    for name in (activation.name, *activation.aliases):
        there = ACTIVATIONS.get(_named(name) or "")
        if there is not None and there.__qualname__ != activation.__qualname__:
            raise ConfigError(f"There is an activation {name!r} already: {there.__module__}.{there.__qualname__}.")
    ACTIVATIONS[activation.name] = activation
    return activation


def activation_named(name: Any) -> type[Activation]:
    """Look an activation up by its name or an alias.

    Raises:
        ConfigError: there is none of that name.
    """
    known = _named(str(name))
    if known is None:
        hint = nearest(str(name), ACTIVATIONS)
        raise ConfigError(
            f"There is no activation {str(name)[:60]!r}.{hint} There are: {', '.join(ACTIVATIONS)}; one of your own "
            "needs its module imported, which registers it (`register_activation`)."
        )
    return ACTIVATIONS[known]


def _named(name: str) -> str | None:
    return next((key for key, one in ACTIVATIONS.items() if name in (key, *one.aliases)), None)
