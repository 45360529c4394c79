"""End-to-end training (Braun et al. 2024, "Identifying Functionally Important Features with End-to-End Sparse
Dictionary Learning", arXiv:2405.12241): what the model does with the reconstruction counts, not the error at the site.

    L = KL(p(x) ‖ p(x̂)) + β mean_l ‖a_l − â_l‖² / Σ ‖a_l − ā_l‖² + what the architecture asks for besides its error

p(x) is the model's distribution of the next token, p(x̂) with x̂ in place at the site; a_l is the residual stream
after each later block, â_l the same with x̂ in place. β = 0 is their e2e, β > 0 their e2e + downstream. The KL is in
nats, a mean over kept tokens, and weighs 1; so a penalty's coefficient is in nats here, not in squared activations.

The architecture is any that reconstructs once: TopK, BatchTopK, L1, tied L1, JumpReLU, p-anneal. It computes its own
loss; its error is taken out of the sum and the model's loss put in its place. AuxK and new starts towards residuals
stay.

Departures. Later layers' errors are shares of variance; the papers' are squared errors. Decoder rows, starts and dead
latents are as the architecture has them. Tokens that are not kept (BOS and other attention sinks, padding) are left as
they are, and not scored. Several processes divide the windows, and weigh what they find by their kept tokens, so that
the loss is the whole batch's; AuxK looks at every eighth token of each process's part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from monosema.activations import Preprocessing, Windows, read_windows
from monosema.core import ConfigError
from monosema.dictionaries import (
    Codes,
    Dictionary,
    Losses,
    SparseCoder,
    StepContext,
    Trainable,
    batch_variance,
    title_of,
)
from monosema.interventions import ModelPass, SplicedModel

FULL = 0.9
"""Share of a stretch of the run that counts as all of it: windows differ in how many tokens they keep."""


class EndToEnd:
    """A dictionary whose training rows are windows of tokens (`read_windows`), and whose loss is the model's.

    The trainer trains it like any other; all that is not the loss is the dictionary's own.
    """

    def __init__(
        self,
        dictionary: Trainable,
        model: SplicedModel,
        preprocessing: Preprocessing,
        *,
        window: int,
        kept: float,
        downstream: float = 0.0,
        largest: float | None = None,
    ) -> None:
        """
        Args:
            dictionary: what is trained, in the units that `preprocessing` gives.
            model: the model and the site, and later sites where `downstream` is above 0.
            preprocessing: from the model's units to those of training.
            window: tokens of a window.
            kept: mean number of kept tokens of a window.
            downstream: β.
            largest: tokens whose activation has a larger norm are left as they are, as capture leaves them out.

        Raises:
            ConfigError: the architecture reconstructs more than once, or there is no later site.
        """
        if not isinstance(dictionary, SparseCoder) or not dictionary.reconstructs_once:
            raise ConfigError(
                f"End-to-end training puts one reconstruction in place, and {title_of(dictionary)} learns from "
                "several, or from other sites. It works with one site and one error, as TopK, BatchTopK, L1 or "
                "JumpReLU have; or take --objective reconstruction."
            )
        if downstream > 0 and not model.later:
            raise ConfigError(
                f"--downstream compares the residual stream after later blocks, and there is none after "
                f"{model.site.short}. Take an earlier site, or --downstream 0."
            )
        self.dictionary, self.model, self.preprocessing = dictionary, model, preprocessing
        self.downstream, self.largest = downstream, largest
        self.row_width, self.row_vectors = window, max(1, int(kept))
        self.metadata = dictionary.metadata
        self.d_in, self.d_out, self.n_latents = dictionary.d_in, dictionary.d_out, dictionary.n_latents
        self._latest: tuple[Tensor, Windows, ModelPass, Tensor] | None = None

    # ------------------------------------------------------------------------------------------------------- the loss

    def losses(self, x: Float[Tensor, "n row_width"], context: StepContext) -> Losses:
        """The model's loss with the reconstruction in place, and the dictionary's other terms; changes no state."""
        windows, clean, where = self._clean(x)
        wanted = self._rows(clean.x, where)
        context = context.uneven(wanted)
        own = self.dictionary.losses(wanted, context)
        return self._with_the_models(own, wanted, windows, clean, where, context)

    def _with_the_models(
        self,
        own: Losses,
        wanted: Float[Tensor, "n d_in"],
        windows: Windows,
        clean: ModelPass,
        where: Bool[Tensor, "batch pos"],
        context: StepContext,
    ) -> Losses:
        """The dictionary's own losses, with the model's in the place of its error."""
        if own.residual is None or own.error is None:
            raise ConfigError(f"{type(self.dictionary).__name__} does not say what it reconstructs.")
        # The model's graph ends at a copy of the reconstruction: its own parameters get no gradient, whatever they are.
        given = (wanted - own.residual).detach().requires_grad_()
        terms = self._of_the_model(windows, clean, where, given, context)
        value = torch.stack(list(terms.values())).sum()
        (gradient,) = torch.autograd.grad(value, given)
        pull = -(own.residual * gradient).sum()
        total = own.total - own.error + value.detach() + (pull - pull.detach())
        found = {name: term.detach() for name, term in terms.items()}
        others = {name: term for name, term in own.terms.items() if name != "mse"}
        return Losses(total, {**found, **others}, own.codes, own.fvu)

    def _of_the_model(
        self,
        windows: Windows,
        clean: ModelPass,
        where: Bool[Tensor, "batch pos"],
        given: Float[Tensor, "n d_in"],
        context: StepContext,
    ) -> dict[str, Float[Tensor, ""]]:
        """KL, and how far later layers are off, with gradients in what is given."""
        spliced = self.model.spliced(windows, where, self._in_the_model(given))
        wanted, found = (one.logits[where].float().log_softmax(dim=1) for one in (clean, spliced))
        divergence = torch.nn.functional.kl_div(found, wanted, log_target=True, reduction="sum")
        terms = {"kl": divergence / context.rows(len(given))}
        if self.downstream > 0:
            pairs = [(a[where].float(), b[where].float()) for a, b in zip(clean.later, spliced.later, strict=True)]
            off = [(a - b).square().sum() / batch_variance(a, context) for a, b in pairs]
            terms["downstream"] = self.downstream * torch.stack(off).mean()
        return terms

    def _clean(self, rows: Float[Tensor, "n row_width"]) -> tuple[Windows, ModelPass, Bool[Tensor, "batch pos"]]:
        """The model as it is on these rows, and which positions the dictionary stands in for; kept for `resample`."""
        if self._latest is None or self._latest[0] is not rows:
            windows = read_windows(rows)
            clean = self.model.clean(windows)
            self._latest = rows, windows, clean, self._where(windows, clean.x)
        return self._latest[1:]

    def _where(self, windows: Windows, x: Float[Tensor, "batch pos d_in"]) -> Bool[Tensor, "batch pos"]:
        keep = windows.keep.to(x.device)
        return keep if self.largest is None else keep & (torch.linalg.vector_norm(x, dim=2) <= self.largest)

    def _rows(self, x: Float[Tensor, "batch pos d_in"], where: Bool[Tensor, "batch pos"]) -> Float[Tensor, "n d_in"]:
        """In training units."""
        return (x[where] - self.preprocessing.mean.to(x.device)) * self.preprocessing.scale

    def _in_the_model(self, rows: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_in"]:
        """In the model's units."""
        return rows / self.preprocessing.scale + self.preprocessing.mean.to(rows.device)

    def inputs_and_targets(
        self, rows: Float[Tensor, "n row_width"]
    ) -> tuple[Float[Tensor, "m d_in"], Float[Tensor, "m d_in"]]:
        """Return inputs and targets of windows: twice the activations at their kept tokens."""
        if self._latest is not None and self._latest[0] is rows:
            _, _, clean, where = self._latest
            x = self._rows(clean.x, where)
        else:
            windows = read_windows(rows)
            there = self.model.activations(windows)
            x = self._rows(there, self._where(windows, there))
        return x, x

    # --------------------------------------------------------------------------------------- as the dictionary has it

    def start(self, sample: Float[Tensor, "n row_width"], seed: int) -> None:
        """Initialise the dictionary from the activations of windows."""
        self.dictionary.start(self.inputs_and_targets(sample)[0], seed)

    def resample(self, x: Float[Tensor, "n row_width"], context: StepContext) -> Int[Tensor, " latents"]:
        """Give silent latents a new start as the architecture does; at other moments it looks at no row."""
        due = self.restarts_at(context)
        read = self.inputs_and_targets(x)[0] if due else self.preprocessing.mean.new_empty(0, self.d_in)
        self._latest = None
        return self.dictionary.resample(read, replace(context, batch=max(1, int(FULL * context.batch))))

    def folded(self, mean: Float[Tensor, " row_width"], scale: float | Float[Tensor, " row_width"]) -> Dictionary:
        """The dictionary for the model's own activations; the arguments are those of the rows of tokens, which have
        none."""
        own = self.preprocessing
        device = next(iter(self.parameters())).device
        return self.dictionary.folded(own.mean.to(device), own.scale)

    def restarts_at(self, context: StepContext) -> bool:
        """Ask the dictionary."""
        return self.dictionary.restarts_at(context)

    def description(self) -> dict[str, Any]:
        """The dictionary's."""
        return self.dictionary.description()

    def require_saveable(self) -> None:
        """Ask the dictionary."""
        self.dictionary.require_saveable()

    def empty_copy(self) -> Trainable:
        """The dictionary's; windows and model stay here."""
        return self.dictionary.empty_copy()

    def shard(self, shards: int) -> Trainable:
        """Raise ConfigError: windows of tokens are divided, latents are not."""
        raise ConfigError("--latent-shards: in end-to-end training processes share the batch alone. Leave it out.")

    def to(self, device: torch.device | str) -> EndToEnd:
        """Move the dictionary."""
        self.dictionary = self.dictionary.to(device)
        return self

    @property
    def expected_l0(self) -> float:
        """Active latents a row, as far as the configuration says it."""
        return float(self.dictionary.expected_l0)

    @property
    def coefficient(self) -> float | None:
        """The dictionary's."""
        return self.dictionary.coefficient

    @coefficient.setter
    def coefficient(self, value: float) -> None:
        self.dictionary.coefficient = value

    @property
    def directions(self) -> Float[Tensor, "n_latents d_out"]:
        """Decoder rows."""
        return self.dictionary.directions

    def encode(self, x: Float[Tensor, "n d_in"], matmul_dtype: torch.dtype | None = None) -> Codes:
        """Codes of activations."""
        return self.dictionary.encode(x, matmul_dtype)

    def decode(self, codes: Codes | Float[Tensor, "*rows n_latents"]) -> Float[Tensor, "*rows d_out"]:
        """Activations from codes."""
        return self.dictionary.decode(codes)

    def __call__(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_out"]:
        """The reconstruction of activations."""
        return self.dictionary(x)

    def dead(self, context: StepContext) -> Int[Tensor, " dead"]:
        """Latents that count as dead."""
        return self.dictionary.dead(context)

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """The dictionary's; the model's are not among them."""
        return self.dictionary.parameters()

    def state_dict(self) -> dict[str, Any]:
        """The dictionary's."""
        return self.dictionary.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, Tensor]) -> Any:
        """The dictionary's."""
        return self.dictionary.load_state_dict(state_dict)

    def project_gradients(self) -> None:
        """Let the dictionary do so."""
        self.dictionary.project_gradients()

    def constrain(self) -> None:
        """Let the dictionary do so."""
        self.dictionary.constrain()

    def observe(self, codes: Codes, context: StepContext) -> None:
        """Let the dictionary do so."""
        self.dictionary.observe(codes, context)
