"""The local replacement model of a prompt: transcoders and errors for MLPs, attention and norms frozen.

    mlp_out[layer, pos] = Σ_i c_i W_dec,i + b_dec + ε          c = encode(MLP's input),   ε = mlp_out − decode(c)

It computes what the model computes on this prompt, and is linear between nodes (Ameisen et al. 2025, "Circuit Tracing",
Transformer Circuits). Nodes are latents, ε of each layer and position, the embedding of each token, and logits. Where
positions are special tokens, on which transcoders are not trained, ε is the MLP's whole output.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from monosema.core import InputError, Site, VectorError
from monosema.dictionaries import Dictionary, SparseCoder, written_at
from monosema.interventions import TEXT, frozen
from monosema.models import Action, ForwardContext, Transformer

READS = ("mlp_in", "ln2.normalized")
"""Components that a transcoder of an MLP may read."""
Part = Literal["MLPs", "attention", "norms", "last norm"]
"""Parts that an intervention can leave free: MLPs' outputs, attention patterns, and norms' scales."""
EVERY_PART: tuple[Part, ...] = get_args(Part)
TOLERANCE = 1e-3
"""Difference of an activation from its pre-activation, relative to the largest, that rounding may make."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """A vector that an intervention takes out of an MLP's output.

    Attributes:
        layer, position: where.
        vector: what is taken out.
    """

    layer: int
    position: int
    vector: Float[Tensor, " d_model"]


class Replacement:
    """The local replacement model of one prompt.

    Attributes:
        model, tokens: the model, and the prompt, [1, pos].
        coders: the transcoder of each layer.
        reads: the site that each reads.
        codes: activations by layer, [pos, n_latents], 0 where positions are special.
        errors: ε, [layers, pos, d_model].
        constants: b_dec and what passes latents by, [layers, pos, d_model].
        outputs: outputs of MLPs, [layers, pos, d_model].
        start: the residual stream before the first block, [pos, d_model].
        final: the normalised residual stream at the last position.
    """

    def __init__(
        self, model: Transformer, tokens: Int[Tensor, "1 pos"], transcoders: Mapping[Site | str, Dictionary]
    ) -> None:
        """Read the prompt.

        Raises:
            InputError: no transcoder for a layer, one that is not of an MLP, or a model in half precision.
        """
        if model.dtype not in (torch.float32, torch.float64):
            raise InputError(f"The model computes in {model.dtype}: causes need float32. Load it with dtype float32.")
        self.model, self.tokens = model, tokens
        self.coders, self.reads = _by_layer(model, transcoders)
        self.written = [Site(layer, "mlp_out") for layer in range(model.n_layers)]
        self.codes, errors, constants, outputs = list[Tensor](), list[Tensor](), list[Tensor](), list[Tensor]()
        roles = list[Tensor]()

        def see(x: Tensor, context: ForwardContext) -> Tensor:
            roles[:] = [context.roles]
            return x

        sites = [Site(0, "resid_pre"), *self.reads, *self.written]
        with torch.no_grad(), model.attach(sites[0], see), model.capture(*sites) as seen:
            self.final = model.final_residual(tokens, last=True)[0, -1]
        where = torch.isin(roles[0].expand(tokens.shape), torch.tensor([*TEXT], device=tokens.device))[0]
        self.start = seen[sites[0]][0]
        with torch.no_grad():
            for coder, read, written in zip(self.coders, self.reads, self.written, strict=True):
                x, y = seen[read][0], seen[written][0]
                rows = coder.encode(x).dense() * where[:, None]
                _require_linear(coder, x, rows)
                made = coder.decode(coder.encode(x)) * where[:, None]
                self.codes.append(rows)
                errors.append(y - made)
                constants.append(made - rows @ coder.directions)
                outputs.append(y)
        self.where: Bool[Tensor, " pos"] = where
        self.errors, self.constants, self.outputs = map(torch.stack, (errors, constants, outputs))

    @contextlib.contextmanager
    def linear(self) -> Iterator[Linear]:
        """Run the model once with MLPs' outputs as leaves, attention and norms frozen; graphs stay for backward passes.

        Yields:
            The leaves, and what reads them.
        """
        leaves, seen = list[Tensor](), dict[Site, Tensor]()
        sites = [Site(0, "resid_pre"), *self.written]

        def leaf(x: Tensor, _: ForwardContext) -> Tensor:
            leaves.append(x.detach().requires_grad_())
            return leaves[-1]

        with self._frozen(), contextlib.ExitStack() as stack, torch.enable_grad():
            for site in sites:
                stack.enter_context(self.model.attach(site, leaf))
            for read in self.reads:
                stack.enter_context(self.model.attach(read, _keep(seen, read)))
            final = self.model.final_residual(self.tokens, last=True)
            # The read site of a layer comes before its own leaf, so that leaves of later layers are unused there.
            yield Linear(tuple(leaves), tuple(seen[read] for read in self.reads), final)

    def active(self) -> Int[Tensor, "active 3"]:
        """Return layer, position and number of all active latents, in order."""
        found = [(codes != 0).nonzero() for codes in self.codes]
        return torch.cat([torch.nn.functional.pad(where, (1, 0), value=layer) for layer, where in enumerate(found)])

    def total_effects(self, vectors: Float[Tensor, "targets d_model"]) -> Float[Tensor, "targets active"]:
        """Return each active latent's effect on targets along all ways through the replacement model.

        The effect is activation × gradient, which is what the target loses when the latent is taken out, as long as no
        latent begins or ceases to be active.

        Args:
            vectors: what is read off the normalised residual stream at the last position.
        """
        nodes, seen = list[Tensor](), dict[Site, Tensor]()

        def put(layer: int) -> Action:
            coder, where = self.coders[layer], self.where

            def act(x: Tensor, _: ForwardContext) -> Tensor:
                codes = coder.encode(seen[self.reads[layer]][0])
                dense = codes.dense() * where[:, None]
                nodes.append(dense)
                rest = coder.decode(codes) * where[:, None] - dense @ coder.directions
                made = dense @ coder.directions + (rest if coder.skip is not None else rest.detach())
                return made[None] + (x - made[None]).detach()

            return act

        with self._frozen(), contextlib.ExitStack() as stack, torch.enable_grad():
            stack.enter_context(self.model.attach(Site(0, "resid_pre"), _leaf))
            for layer, (read, written) in enumerate(zip(self.reads, self.written, strict=True)):
                stack.enter_context(self.model.attach(read, _keep(seen, read)))
                stack.enter_context(self.model.attach(written, put(layer)))
            final = self.model.final_residual(self.tokens, last=True)[0, -1]
            found = [codes != 0 for codes in self.codes]
            rows = list[Tensor]()
            for vector in vectors:
                parts = torch.autograd.grad(final, nodes, vector, retain_graph=True)
                rows.append(torch.cat([part[where] for part, where in zip(parts, found, strict=True)]))
        return torch.stack(rows) * torch.cat([codes[where] for codes, where in zip(self.codes, found, strict=True)])

    @torch.no_grad()
    def without(
        self, sources: Sequence[Source], free: Collection[Part] = ()
    ) -> tuple[list[Tensor], Float[Tensor, "n d_model"]]:
        """Return what MLPs read, by layer, and the normalised stream at the last position, without sources.

        Args:
            sources: one a row.
            free: what the model computes anew; all else is held.
        """
        seen, n = dict[Site, Tensor](), len(sources)

        def put(layer: int) -> Action:
            rows = [row for row, source in enumerate(sources) if source.layer == layer]

            def act(x: Tensor, _: ForwardContext) -> Tensor:
                x = (x if "MLPs" in free else self.outputs[layer].expand_as(x)).clone()
                for row in rows:
                    x[row, sources[row].position] -= sources[row].vector
                return x

            return act

        with self._frozen(free), contextlib.ExitStack() as stack:
            for layer, (read, written) in enumerate(zip(self.reads, self.written, strict=True)):
                stack.enter_context(self.model.attach(read, _keep(seen, read)))
                stack.enter_context(self.model.attach(written, put(layer)))
            final = self.model.final_residual(self.tokens.expand(n, -1), last=True)[:, -1]
        return [seen[read] for read in self.reads], final

    def _frozen(self, free: Collection[Part] = ()) -> contextlib.AbstractContextManager[object]:
        return frozen(
            self.model,
            self.tokens,
            patterns="attention" not in free,
            norms="norms" not in free,
            final_norm="last norm" not in free,
        )


@dataclass(frozen=True, eq=False)
class Linear:
    """A forward pass that is linear in its leaves.

    Attributes:
        leaves: the stream before the first block, then each MLP's output, [1, pos, d_model].
        reads: what each layer's transcoder reads, [1, pos, d_model].
        final: the normalised residual stream at the last position, [1, 1, d_model].
    """

    leaves: tuple[Tensor, ...]
    reads: tuple[Tensor, ...]
    final: Tensor

    def gradients(self, read: Tensor, cotangents: Float[Tensor, "n 1 pos d"]) -> list[Tensor | None]:
        """Return gradients of n linear readings of a value by each leaf, [n, pos, d_model], as one batched backward
        pass; None for later leaves."""
        parts = torch.autograd.grad(
            read, self.leaves, cotangents, is_grads_batched=True, retain_graph=True, allow_unused=True
        )
        return [None if part is None else part[:, 0] for part in parts]


def _leaf(x: Tensor, _: ForwardContext) -> Tensor:
    return x.detach().requires_grad_()


def _keep(seen: dict[Site, Tensor], site: Site) -> Callable[[Tensor, ForwardContext], Tensor]:
    def act(x: Tensor, _: ForwardContext) -> Tensor:
        seen[site] = x
        return x

    return act


def _by_layer(model: Transformer, transcoders: Mapping[Site | str, Dictionary]) -> tuple[list[SparseCoder], list[Site]]:
    found = dict[int, tuple[SparseCoder, Site]]()
    for key, dictionary in transcoders.items():
        read = model.find(key)
        _, written = written_at(dictionary, read)
        if (
            not isinstance(dictionary, SparseCoder)
            or read.component not in READS
            or written != Site(read.layer, "mlp_out")
            or dictionary.normalisation != "none"
        ):
            raise InputError(
                f"An attribution graph needs transcoders of MLPs, which read N.{' or N.'.join(READS)} and write "
                f"N.mlp_out without normalising rows; {dictionary!r} reads {read.short} and writes {written.short}."
            )
        for name, width in (("reads", dictionary.d_in), ("writes", dictionary.d_out)):
            if width != model.d_model:
                raise VectorError(
                    f"The transcoder of {read.short} {name} width {width}; the model's is {model.d_model}."
                )
        assert read.layer is not None
        found[read.layer] = (dictionary.to(model.device).to(model.dtype), read)
    if missing := [layer for layer in range(model.n_layers) if layer not in found]:
        raise InputError(
            f"There is no transcoder for layer{'s' * (len(missing) > 1)} {', '.join(map(str, missing))} of "
            f"{model.name!r}: an attribution graph needs one for each of its {model.n_layers} MLPs. "
            "monosema.recipes.transcoders trains them."
        )
    ordered = [found[layer] for layer in range(model.n_layers)]
    return [coder for coder, _ in ordered], [read for _, read in ordered]


def _require_linear(coder: SparseCoder, x: Float[Tensor, "pos d"], rows: Float[Tensor, "pos n_latents"]) -> None:
    """Raise InputError where active latents are not what the encoder gives, such as those of gated coders."""
    pre = x @ coder.W_enc.T + coder.b_enc
    off = ((rows - pre) * (rows != 0)).abs().max()
    if float(off) > TOLERANCE * max(1.0, float(pre.abs().max())):
        raise InputError(
            f"Active latents of {coder!r} are not linear in what it reads, so edges to them have no meaning. Take "
            "transcoders with ReLU, TopK, BatchTopK or JumpReLU."
        )
