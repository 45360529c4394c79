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

The model runs up to the site once, and from there on twice (`Fork`): as it is, and with x̂.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from monosema.activations import Preprocessing, Windows, read_windows, windows_width
from monosema.core import ConfigError, Site
from monosema.dictionaries import Losses, SparseCoder, StepContext, Trainable, batch_variance, title_of
from monosema.interventions import put_rows
from monosema.models import BySite, Fork, LanguageModel, require_logits, unembed_of


class _Clean(NamedTuple):
    """The model as it is on some windows, at the positions that a dictionary stands in for.

    Attributes:
        fork: the pass, stopped at the site.
        where: these positions.
        x: activations there.
        log_p: logarithms of the next token's probabilities.
        later: the residual stream after each later block.
    """

    fork: Fork
    where: Bool[Tensor, "batch pos"]
    x: Float[Tensor, "n d_in"]
    log_p: Float[Tensor, "n vocab"]
    later: list[Float[Tensor, "n _"]]


class EndToEnd:
    """The model's loss with a reconstruction in place; rows of the stream are windows of tokens (`read_windows`).

    Attributes:
        row_vectors: kept tokens of a window, on average.
        preprocessing: from the model's units to those of training.
    """

    def __init__(
        self,
        model: LanguageModel,
        site: Site | str,
        preprocessing: Preprocessing,
        *,
        window: int,
        kept: float,
        downstream: float = 0.0,
        largest: float | None = None,
    ) -> None:
        """
        Args:
            site: where the dictionary stands in.
            window: tokens of a window.
            kept: mean number of kept tokens of a window.
            downstream: β.
            largest: tokens whose activation has a larger norm are left as they are, as capture leaves them out.

        Raises:
            UnsupportedModelError, SiteError: a model without logits, or without the site.
            ConfigError: `downstream` without a later block.
        """
        require_logits(model)
        self.model, self.site, self.downstream, self.largest = model, Site.parse(site), downstream, largest
        self.preprocessing: Preprocessing | None = preprocessing
        self.row_vectors, self._width = max(1, int(kept)), windows_width(window)
        self._mean, self._scale = preprocessing.mean.to(model.device), preprocessing.scale
        model.site_width(self.site)
        sites = model.sites()
        after = [one for one in sites[sites.index(self.site) + 1 :] if one.component == "resid_post"]
        self._later = after if downstream > 0 else []
        self._latest: tuple[Tensor, Tensor] | None = None
        if downstream > 0 and not after:
            raise ConfigError(
                "--downstream compares the residual stream after later blocks, and there is none after "
                f"{self.site.short}. Take an earlier site, or --downstream 0."
            )

    def row_width(self, dictionary: Trainable) -> int:
        """Return values in a row: those of a window."""
        return self._width

    def check(self, dictionary: Trainable, shards: int) -> None:
        """Raise ConfigError for a dictionary that reconstructs more than once, or whose latents are divided."""
        if not isinstance(dictionary, SparseCoder) or not dictionary.reconstructs_once:
            raise ConfigError(
                f"End-to-end training puts one reconstruction in place, and {title_of(dictionary)} learns from "
                "several, or from other sites. It works with one site and one error, as TopK, BatchTopK, L1 or "
                "JumpReLU have; or take --objective reconstruction."
            )
        if shards > 1:
            raise ConfigError("--latent-shards: in end-to-end training processes share the batch alone. Leave it out.")

    def vectors(self, rows: Float[Tensor, "n row_width"]) -> Float[Tensor, "m d_in"]:
        """Return the activations at the kept tokens of windows, in training units."""
        if self._latest is not None and self._latest[0] is rows:
            return self._in_training(self._latest[1])
        windows = read_windows(rows)
        with torch.no_grad():
            tokens = windows.tokens.to(self.model.device)
            got = self.model.activations(tokens, [self.site], self._mask(windows))[self.site]
        x = got.flatten(2).float()
        return self._in_training(x[self._where(windows, x)])

    def losses(self, dictionary: Trainable, rows: Float[Tensor, "n row_width"], context: StepContext) -> Losses:
        """Compute the model's loss with the reconstruction in place, and the dictionary's other terms."""
        clean = self._clean(rows)
        wanted = self._in_training(clean.x)
        context = context.uneven(wanted)
        own = dictionary.losses(wanted, context)
        if own.residual is None or own.error is None:
            raise ConfigError(f"{title_of(dictionary)} does not say what it reconstructs.")
        # The model's graph ends at a copy of the reconstruction: its own parameters get no gradient, whatever they are.
        given = (wanted - own.residual).detach().requires_grad_()
        terms = self._of_the_model(clean, given, context)
        value = torch.stack(list(terms.values())).sum()
        (gradient,) = torch.autograd.grad(value, given)
        pull = -(own.residual * gradient).sum()
        total = own.total - own.error + value.detach() + (pull - pull.detach())
        found = {name: term.detach() for name, term in terms.items()}
        others = {name: term for name, term in own.terms.items() if name != "mse"}
        return Losses(total, {**found, **others}, own.codes, own.fvu)

    def _of_the_model(
        self, clean: _Clean, given: Float[Tensor, "n d_in"], context: StepContext
    ) -> dict[str, Float[Tensor, ""]]:
        """Compute the KL, and how far later layers are off, with gradients in what is given."""
        placed = put_rows(clean.fork.activation, clean.where, given / self._scale + self._mean)
        with self.model.capture(*self._later) as got:
            (out,) = clean.fork.run([placed])
        log_p, later = self._read(out, got, clean.where)
        divergence = torch.nn.functional.kl_div(log_p, clean.log_p, log_target=True, reduction="sum")
        terms = {"kl": divergence / context.rows(len(given))}
        if self.downstream > 0:
            pairs = zip(clean.later, later, strict=True)
            off = [(a - b).square().sum() / batch_variance(a, context) for a, b in pairs]
            terms["downstream"] = self.downstream * torch.stack(off).mean()
        return terms

    def _clean(self, rows: Float[Tensor, "n row_width"]) -> _Clean:
        """Run the model as it is on these rows; what it has at the site is kept for `vectors` of the same."""
        windows = read_windows(rows)
        with torch.no_grad(), self.model.capture(*self._later) as got:
            fork = Fork(self.model, self.site, windows.tokens, self._mask(windows))
            (out,) = fork.run([None])
        x = fork.activation.flatten(2).float()
        where = self._where(windows, x)
        self._latest = rows, x[where]
        return _Clean(fork, where, x[where], *self._read(out, got, where))

    def _read(
        self, out: Tensor, got: BySite[Tensor], where: Bool[Tensor, "batch pos"]
    ) -> tuple[Float[Tensor, "n vocab"], list[Float[Tensor, "n _"]]]:
        """Return logarithms of probabilities, and later residual streams, at positions."""
        unembed: Callable[..., Tensor] | None = unembed_of(self.model, self.site)
        logits = out[where] if unembed is None else unembed(out[where])
        return logits.float().log_softmax(dim=1), [got[one].flatten(2)[where].float() for one in self._later]

    def _where(self, windows: Windows, x: Float[Tensor, "batch pos d_in"]) -> Bool[Tensor, "batch pos"]:
        keep = windows.keep.to(x.device)
        return keep if self.largest is None else keep & (torch.linalg.vector_norm(x, dim=2) <= self.largest)

    def _mask(self, windows: Windows) -> Bool[Tensor, "batch pos"] | None:
        return None if bool(windows.present.all()) else windows.present.to(self.model.device)

    def _in_training(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_in"]:
        return (x - self._mean) * self._scale
