"""Distributed alignment search: the subspace of a site that carries a variable, found by interchange, beside controls.

    h ← h + Rᵀ R (h_source − h),   R: k orthonormal rows;   loss = (m − m_source)² / mean (m_source − m_prompt)²

A prompt and a source differ in one variable of a causal model; with the source's value in the subspace, the model
should answer as the source does. The share of held-out prompts on which it does is the interchange intervention
accuracy (Geiger et al. 2021, arXiv:2106.02997; Geiger et al. 2024, arXiv:2303.02536). R is a Q factor, so it is
orthonormal by construction. Two departures from Geiger et al., who learn a whole rotation from a random start by the
cross-entropy of the right answer: the search starts at the principal differences, and its loss is the squared error of
the logit difference m, since cross-entropy rewards directions that push the answer further than any source does
(Mueller et al. 2025, arXiv:2504.13151, judge alignments of IOI by squared error too).

A subspace can flip an answer although the model never uses it, through directions that nothing downstream reads
(Makelov, Lange & Nanda 2024, arXiv:2311.17030). So beside the search stand the whole vector (the ceiling), the
principal and random subspaces of the same size, the same search in a model whose weights were drawn anew, and, at sites
that a matrix reads, the subspace with only its part inside and only its part outside of the matrix's row space.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.circuits.contrast import Contrast, Contrasts
from monosema.circuits.metrics import LogitDifference
from monosema.core import (
    ConfigError,
    Estimate,
    InputError,
    Site,
    VectorError,
    bootstrap_mean,
    bootstrap_ratio,
    torch_generator,
    wilson,
)
from monosema.models import Fork, LanguageModel, Transformer, require_decoder
from monosema.models.decoder import Block
from monosema.models.randomised import randomised

_METRIC = LogitDifference()


@runtime_checkable
class Featurizer(Protocol):
    """A change of coordinates with a way back: a dictionary, or the basis of a subspace."""

    def __call__(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return decode(encode(x)): the part of vectors that the coordinates hold."""
        ...


@dataclass(frozen=True, eq=False)
class Subspace:
    """The span of orthonormal rows, as a featurizer.

    Attributes:
        rows: R.
    """

    rows: Float[Tensor, "k d"]

    def encode(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """Return coordinates in the subspace."""
        return x @ self.rows.T

    def decode(self, codes: Float[Tensor, "n k"]) -> Float[Tensor, "n d"]:
        """Return vectors of the subspace."""
        return codes @ self.rows

    def __call__(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return the part of vectors that lies in the subspace."""
        return self.decode(self.encode(x))


@dataclass(frozen=True, kw_only=True)
class AlignmentConfig:
    """Settings of the search for a subspace.

    Attributes:
        dims: k.
        steps: steps of Adam, the rate falling to 0 in a line.
        rate: step size at first.
        batch: prompts in a step.
        seed: decides the random subspaces.
        randoms: random subspaces that the control is the mean of.
    """

    dims: int = 1
    steps: int = 200
    rate: float = 0.02
    batch: int = 64
    seed: int = 0
    randoms: int = 5

    def __post_init__(self) -> None:
        for name in ("dims", "steps", "batch", "randoms"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} = {getattr(self, name)} is not valid: give 1 or more.")
        if not self.rate > 0:
            raise ConfigError(f"rate = {self.rate} is not valid: give a number above 0.")


@dataclass(frozen=True, kw_only=True)
class Interchanged:
    """Answers of the model with something of the source in place.

    Attributes:
        name: what was put in place.
        accuracy: share of prompts on which it answered as the source does (interchange intervention accuracy), of those
            on which it did not untouched: a model of random weights does on half of them by chance.
        recovered: (m(interchanged) − m(prompt)) / (m(source) − m(prompt)), the ratio of means of the logit difference;
            None where sources don't move it one way, as in a model that has learnt nothing.
        share: share of Σ ‖h_source − h‖² that was put in place.
    """

    name: str
    accuracy: Estimate
    recovered: Estimate | None
    share: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Alignment:
    """A subspace that was found, and how it did on held-out prompts beside its controls.

    Attributes:
        site, role: where.
        subspace: what was found.
        rows: the search first, then controls.
        row_space: share of Σ ‖R‖² that lies in the row space of the matrix that reads the site; None where none does.
    """

    site: Site
    role: str
    subspace: Subspace
    rows: tuple[Interchanged, ...]
    row_space: float | None

    @property
    def verdict(self) -> str:
        """One sentence: whether the subspace carries the variable, and what speaks against it."""
        by_name = {row.name: row.accuracy for row in self.rows}
        found = by_name["search"]
        if found.low <= by_name["random"].high:
            if by_name["whole vector"].low <= by_name["random"].high:
                return "It can’t be told: the whole vector does no better than a random subspace."
            return "No: the subspace does no better than a random one."
        if found.low > by_name["whole vector"].high:
            return "An illusion: the subspace flips more answers than the whole vector does, which holds all there is."
        if self.row_space is not None and by_name["row space"].value < found.value / 2:
            return "An illusion: most of the effect goes through directions that nothing downstream reads."
        if found.low <= by_name["randomised model"].high:
            return "No: a search in a model of random weights does as well."
        return "Yes: the subspace carries the variable on held-out prompts, and the controls do not."


def swapped(contrasts: Contrasts) -> Contrasts:
    """Return a contrast with the corrupted prompt's answer as the right one: what an interchange should lead to.

    For tasks whose corruption makes the wrong answer right: the subject's gender, the words of a review, the name that
    comes twice.
    """
    groups = tuple(replace(group, correct=group.wrong, wrong=group.correct) for group in contrasts)
    return replace(contrasts, groups=groups)


def align(
    model: LanguageModel,
    train: Contrasts,
    test: Contrasts,
    site: Site | str,
    role: str = "END",
    config: AlignmentConfig | None = None,
    beside: Mapping[str, Featurizer] | None = None,
) -> Alignment:
    """Search for the subspace of a site, at the word of one role, that carries what the corruption changes.

    Args:
        train, test: prompts with their sources as the corrupted ones, and the source's answer as right (see `swapped`).
        role: word whose last token is interchanged; "END" is the last position.
        beside: featurizers to compare with, such as a dictionary of the site, by name.

    Raises:
        InputError: prompts have no such role, or the model does not answer as the sources say on most of them.
        VectorError: more dimensions than the site has.
    """
    config, decoder = config or AlignmentConfig(), require_decoder(model)
    site = decoder.find(site)
    states = [*_states(decoder, test, site, role, config.batch)]
    _require_flip(states, test)
    found = search(decoder, train, site, role, config)
    d = found.rows.shape[1]
    whole = Subspace(torch.eye(d, device=decoder.device))
    other = require_decoder(randomised(decoder, config.seed))
    elsewhere = search(other, train, site, role, config)
    rows = [
        _interchanged("search", states, [found]),
        _interchanged("whole vector", states, [whole]),
        _interchanged("principal", states, [_principal([*_states(decoder, train, site, role, config.batch)], config)]),
        _interchanged("random", states, [_random(whole.rows, config, number) for number in range(config.randoms)]),
        *(_interchanged(name, states, [one]) for name, one in (beside or {}).items()),
        _interchanged("randomised model", [*_states(other, test, site, role, config.batch)], [elsewhere]),
    ]
    share = None
    if (inside := _row_space(decoder, site)) is not None:
        part = inside(found.rows)
        share = float(part.square().sum() / found.rows.square().sum())
        rows += [
            _interchanged("row space", states, [_spanned(part)]),
            _interchanged("null space", states, [_spanned(found.rows - part)]),
        ]
    return Alignment(site=site, role=role, subspace=found, rows=tuple(rows), row_space=share)


def search(model: Transformer, train: Contrasts, site: Site, role: str, config: AlignmentConfig) -> Subspace:
    """Return the subspace whose interchange brings the answers to these prompts nearest to those to their sources."""
    states = [*_states(model, train, site, role, config.batch)]
    d = states[0].base.shape[1]
    if config.dims > d:
        raise VectorError(f"dims = {config.dims} is not valid: {site.short} of {model.name} has {d} dimensions.")
    # From the directions of the largest differences; of a length at which a step turns them by about the rate.
    weight = (_principal(states, config).rows.T * d**0.5).contiguous().requires_grad_()
    optimiser = torch.optim.Adam([weight], lr=config.rate)
    falling = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, config.steps)
    with torch.no_grad():
        targets = [_source_figures(state) for state in states]
        moves = [target - state.figures(None) for state, target in zip(states, targets, strict=True)]
    scale = torch.cat(moves).square().mean().clamp_min(1e-12)
    mean_batch = len(train) / len(states)
    for step in range(config.steps):
        state = states[step % len(states)]
        moved = state.figures(Subspace(torch.linalg.qr(weight)[0].T))
        loss = (moved - targets[step % len(states)]).square().sum() / (scale * mean_batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        falling.step()
    return Subspace(torch.linalg.qr(weight.detach())[0].T)


@dataclass(frozen=True, eq=False)
class _State:
    """Prompts of a batch, computed up to the site, with the vectors that are interchanged."""

    model: Transformer
    fork: Fork
    contrast: Contrast
    index: Tensor
    base: Float[Tensor, "n d"]
    source: Float[Tensor, "n d"]

    def gap(self, featurizer: Featurizer) -> Float[Tensor, "n d"]:
        """Return what the featurizer holds of the source less what it holds of the prompt."""
        return featurizer(self.source) - featurizer(self.base)

    def figures(self, featurizer: Featurizer | None) -> Float[Tensor, " n"]:
        """Return the metric with the featurizer's part of the source in place; None: of the untouched prompt."""
        clean = self.fork.activation
        rows = torch.arange(len(clean), device=clean.device)
        moved = self.base if featurizer is None else self.base + self.gap(featurizer)
        flat = clean.flatten(2).index_put((rows, self.index), moved.to(clean.dtype))
        (out,) = self.fork.run([flat.view_as(clean)])
        return _METRIC(self.model.logits(out[:, -1]), self.contrast)


def _states(model: Transformer, contrasts: Contrasts, site: Site, role: str, batch: int) -> Iterator[_State]:
    for group in contrasts:
        if role not in group.positions and role != "END":
            roles = ", ".join({**dict.fromkeys(group.positions), "END": None})
            raise InputError(f"The prompts of {contrasts.task!r} have no role {role!r}. Roles: {roles}.")
        for part in group.chunks(batch):
            last = torch.full((len(part),), part.clean.shape[1] - 1, device=model.device)
            index = last if role == "END" else part.positions[role]
            with torch.no_grad():
                fork, other = (Fork(model, site, ids) for ids in (part.clean, part.corrupt))
            rows = torch.arange(len(part), device=model.device)
            base, source = (one.activation.flatten(2)[rows, index].float() for one in (fork, other))
            yield _State(model, fork, part, index, base, source)


@torch.no_grad()
def _require_flip(states: list[_State], contrasts: Contrasts) -> None:
    """Raise InputError where the model does not answer as the sources say, so that there is nothing to align."""
    whole = torch.cat([_source_figures(state) for state in states])
    right = float((whole > 0).float().mean())
    if right <= 0.5:
        raise InputError(
            f"With its corrupted prompts the model gives the answer that is expected of them on {100 * right:.0f} % of "
            f"{contrasts.task!r} only. An alignment needs sources that change the answer: use a task whose corruption "
            "makes the wrong answer right, such as gender, sentiment or ioi with its second subject exchanged."
        )


def _source_figures(state: _State) -> Float[Tensor, " n"]:
    return _METRIC(state.model(state.contrast.corrupt, last=True)[:, -1], state.contrast)


@torch.no_grad()
def _interchanged(name: str, states: list[_State], featurizers: Sequence[Featurizer]) -> Interchanged:
    """Return the figures of a featurizer; of several, those of their mean by prompt."""
    moved = torch.stack([torch.cat([state.figures(one) for state in states]) for one in featurizers])
    base = torch.cat([state.figures(None) for state in states])
    source = torch.cat([_source_figures(state) for state in states])
    gaps = torch.cat([state.source - state.base for state in states])
    put = sum(float(state.gap(one).square().sum()) for one in featurizers for state in states) / len(featurizers)
    open_to = base <= 0
    hits = (moved > 0).float().mean(0)[open_to] if bool(open_to.any()) else torch.zeros_like(base)
    gained, whole = (moved.mean(0) - base).double().cpu(), (source - base).double().cpu()
    moves = bootstrap_mean(whole.numpy())
    return Interchanged(
        name=name,
        accuracy=wilson(round(float(hits.sum())), len(hits)),
        recovered=bootstrap_ratio(gained.numpy(), whole.numpy()) if moves.low * moves.high > 0 else None,
        share=put / max(float(gaps.square().sum()), 1e-30),
    )


def _random(like: Tensor, config: AlignmentConfig, number: int) -> Subspace:
    drawn = torch.randn(len(like), config.dims, generator=torch_generator(config.seed, f"random subspace {number}"))
    return Subspace(torch.linalg.qr(drawn)[0].T.to(like))


def _spanned(rows: Float[Tensor, "k d"]) -> Subspace:
    """Return the subspace that rows span, without directions of nearly no length."""
    _, sizes, basis = torch.linalg.svd(rows, full_matrices=False)
    return Subspace(basis[sizes > 1e-4])


@torch.no_grad()
def _principal(states: Sequence[_State], config: AlignmentConfig) -> Subspace:
    """Return the directions along which sources and prompts differ most; random ones where they differ along fewer."""
    gaps = torch.cat([state.source - state.base for state in states])
    drawn = torch.randn(config.dims, gaps.shape[1], generator=torch_generator(config.seed, "alignment"))
    rows = torch.cat([torch.linalg.svd(gaps, full_matrices=False)[2][: config.dims], drawn.to(gaps)])
    return Subspace(torch.linalg.qr(rows.T)[0].T[: config.dims])


def _row_space(model: Transformer, site: Site) -> Subspace | None:
    """Return the row space of the matrix that alone reads a site; None where more than one thing reads it."""
    if site.layer is None or site.component not in ("mlp.post", "z"):
        return None
    block = model.blocks[site.layer]
    assert isinstance(block, Block)
    weight = block.mlp.out.weight if site.component == "mlp.post" else block.attn.o.weight
    _, sizes, rows = torch.linalg.svd(weight.detach().float(), full_matrices=False)
    return Subspace(rows[sizes > sizes[0] * 1e-6])
