"""Sparse feature circuits: latents of dictionaries, and their errors, as the nodes that cause an answer.

    x = Σ_j c_j W_dec,j + b + ε           IE_j = (c_j − c′_j) W_dec,j · ∇m,   IE_ε = (ε − ε′) · ∇m

c′ and ε′ are those of the corrupted prompt and IE, summed over positions, estimates what the metric loses when that
node alone takes its value there; positive where it helps. With the error kept x is what it was, so ∇m is the plain
model's gradient at the site. With several steps ∇m is its mean on the line from clean to corrupted activations of that
site. Source: Marks et al. 2024, arXiv:2403.19647; departures: midpoints, where theirs are left ends, and nodes are
patched to the corrupted prompt when a circuit is tried, as when it is found.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from monosema.circuits.contrast import Contrast, Contrasts
from monosema.circuits.memory import forward_bytes, rows_within
from monosema.circuits.metrics import Metric, last_logits
from monosema.circuits.running import end_metrics
from monosema.circuits.scores import Provenance
from monosema.circuits.shown import Kept
from monosema.core import ConfigError, Estimate, InputError, Site, bootstrap_ratio, torch_generator
from monosema.dictionaries import Dictionary, sites_read, written_at
from monosema.models import Action, ForwardContext, Transformer

Errors = Literal["ranked", "kept", "dropped"]
"""Error nodes by their score as all others, always in the circuit, or never."""


@dataclass(frozen=True)
class FeatureNode:
    """A latent at a site, or the site's error, at all positions.

    Attributes:
        site: where it is written.
        latent: its number; None is the error.
    """

    site: Site
    latent: int | None

    @property
    def name(self) -> str:
        """Its name: `3.resid_post#17`, `3.resid_post#error`."""
        return f"{self.site.short}#{'error' if self.latent is None else self.latent}"


class FeatureNodes:
    """Dictionaries in their places in a model, and the numbers of their nodes.

    Nodes are in the order of the dictionaries: the latents of one, then its error.

    Attributes:
        model: the model.
        dictionaries: what writes at each site.
        reads: sites that each reads.
        places: the site that each writes.
    """

    def __init__(self, model: Transformer, dictionaries: Mapping[Site | str, Dictionary]) -> None:
        """Raises ConfigError where there is no dictionary, or two write one site."""
        if not dictionaries:
            raise ConfigError("No dictionary was given: a feature circuit needs one for each of its sites.")
        order = {site: number for number, site in enumerate(model.sites())}
        found = list[tuple[Site, tuple[Site, ...], Dictionary]]()
        for key, dictionary in dictionaries.items():
            read = sites_read(dictionary, model.find(key))
            writer, place = written_at(dictionary.to(model.device), read[-1])
            found.append((place, read, writer))
        found.sort(key=lambda one: order[one[0]])
        self.model = model
        self.places, self.reads, self.dictionaries = (list(part) for part in zip(*found, strict=True))
        if len({*self.places}) < len(self.places):
            raise ConfigError("Two dictionaries write one site: give one for each.")
        self.starts = [0]
        for writer in self.dictionaries:
            self.starts.append(self.starts[-1] + writer.n_latents + 1)

    def __len__(self) -> int:
        return self.starts[-1]

    def __getitem__(self, index: int) -> FeatureNode:
        for place, start, stop in zip(self.places, self.starts, self.starts[1:], strict=False):
            if start <= index < stop:
                return FeatureNode(place, None if index == stop - 1 else index - start)
        raise IndexError(index)

    @property
    def errors(self) -> list[int]:
        """Numbers of the error nodes."""
        return [stop - 1 for stop in self.starts[1:]]

    def parts(self, at: int, rows: Mapping[Site, Tensor]) -> tuple[Float[Tensor, "n pos latents"], Tensor]:
        """Return codes and error of a dictionary, from activations at what it reads and writes."""
        x = torch.cat([rows[site].flatten(2) for site in self.reads[at]], dim=-1).float()
        writer = self.dictionaries[at]
        codes = writer.encode(x)
        if codes.scale is not None:
            raise InputError(f"{writer!r} normalises each row, so its latents have no fixed vectors: take another.")
        return codes.dense(), rows[self.places[at]].flatten(2).float() - writer.decode(codes)

    @property
    def sites(self) -> list[Site]:
        """All sites that are read or written."""
        return [*dict.fromkeys(site for read in self.reads for site in read), *self.places]


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureScores:
    """A score for every node.

    Attributes:
        nodes: the nodes.
        by_prompt: one row a prompt.
        about: how they came about.
    """

    nodes: FeatureNodes
    by_prompt: Float[Tensor, "n nodes"]
    about: Provenance

    @property
    def values(self) -> Float[Tensor, " nodes"]:
        """Means over prompts."""
        return self.by_prompt.mean(0)

    def order(self) -> Int[Tensor, " some"]:
        """Return the nodes that matter at all, by the absolute value of their score, the largest first."""
        sizes = self.values.abs()
        return sizes.argsort(descending=True, stable=True)[: int((sizes > 0).sum())]


def feature_scores(nodes: FeatureNodes, contrasts: Contrasts, metric: Metric, steps: int = 1) -> FeatureScores:
    """Estimate the indirect effect of every node.

    Args:
        steps: midpoints on the line from clean to corrupted activations at which gradients are taken; 1 takes the
            clean end alone, which needs no interpolation.
    """
    began, rows = time.perf_counter(), list[Tensor]()
    for group in contrasts:
        clean, corrupt = (nodes.model.activations(ids, nodes.sites) for ids in (group.clean, group.corrupt))
        scores = list[Tensor]()
        for at, place in enumerate(nodes.places):
            with torch.no_grad():
                (codes, error), (codes2, error2) = nodes.parts(at, clean), nodes.parts(at, corrupt)
            gradient = _gradient(nodes.model, group, metric, place, clean[place], corrupt[place], steps).flatten(2)
            along = gradient @ nodes.dictionaries[at].directions.to(gradient).T
            latents = ((codes - codes2) * along).sum(1)
            scores += [latents, ((error - error2) * gradient).sum((1, 2))[:, None]]
        rows.append(torch.cat(scores, dim=1))
    about = Provenance(
        method=f"feature attribution, {steps} step{'s' * (steps > 1)}",
        ablation="resample",
        metric=metric.name,
        task=contrasts.task,
        model=nodes.model.name,
        n=len(contrasts),
        forward=2.0 + steps * len(nodes.places),
        backward=float(steps * len(nodes.places)),
        seconds=time.perf_counter() - began,
    )
    return FeatureScores(nodes=nodes, by_prompt=torch.cat(rows).detach(), about=about)


def exact_effects(
    nodes: FeatureNodes, contrasts: Contrasts, metric: Metric, some: Sequence[int]
) -> Float[Tensor, "n some"]:
    """Return what the metric loses when each of some nodes alone takes its value on the corrupted prompt."""
    whole, _ = end_metrics(nodes.model, contrasts, metric)
    keeps = torch.ones(len(some), len(nodes), dtype=torch.bool)
    keeps[torch.arange(len(some)), torch.tensor(some)] = False
    return (whole - feature_metrics(nodes, contrasts, metric, keeps)).T


@torch.no_grad()
def feature_metrics(
    nodes: FeatureNodes,
    contrasts: Contrasts,
    metric: Metric,
    keeps: Bool[Tensor, "circuits nodes"],
) -> Float[Tensor, "circuits n"]:
    """Return the metric of each prompt with all nodes outside of each circuit at their values on the corrupted prompt.

    Args:
        keeps: nodes of each circuit, which have the values that they get from what is before them.
    """
    groups = list[Tensor]()
    widest = max(writer.n_latents + writer.d_out for writer in nodes.dictionaries)
    for group in contrasts:
        corrupt = nodes.model.activations(group.corrupt, nodes.sites)
        others = [nodes.parts(at, corrupt) for at in range(len(nodes.places))]
        row = group.clean.shape[1] * widest * 4 * 3 + forward_bytes(nodes.model, group.clean.shape[1])
        at_once = max(1, rows_within(row) // len(group))
        parts = list[Tensor]()
        for some in keeps.split(at_once):
            with _mixed(nodes, others, some.to(nodes.model.device)):
                logits = last_logits(nodes.model, group.clean.repeat(len(some), 1))
            parts.append(metric(logits.unflatten(0, (len(some), -1)), group))
        groups.append(torch.cat(parts))
    return torch.cat(groups, dim=1)


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureTrial:
    """Faithfulness of feature circuits by size.

    Attributes:
        scores: those that nodes are taken by.
        curve: faithfulness with the nodes of the largest scores, beside as many drawn of those that have a score.
        whole, empty: mean of the metric with all nodes, and with none.
    """

    scores: FeatureScores
    curve: tuple[Kept, ...]
    whole: float
    empty: float

    def smallest(self, threshold: float = 0.9) -> int | None:
        """Return the smallest size tried that reaches a faithfulness; None where none does."""
        return next((point.size for point in self.curve if point.faithfulness.value >= threshold), None)


def feature_curve(
    scores: FeatureScores,
    contrasts: Contrasts,
    metric: Metric,
    *,
    sizes: Sequence[int] = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
    errors: Errors = "ranked",
    seed: int = 0,
) -> FeatureTrial:
    """Try circuits of growing size on prompts, which should be others than the scores are of.

    Raises:
        InputError: the model does no better with all nodes than with none.
    """
    nodes, order = scores.nodes, scores.order()
    if errors != "ranked":
        order = order[~torch.isin(order, torch.tensor(nodes.errors, device=order.device))]
    drawn = order[torch.randperm(len(order), generator=torch_generator(seed, "random feature circuit"))]
    taken = [size for size in sizes if size < len(order)] + [len(order)]
    keeps = torch.zeros(2 * len(taken) + 2, len(nodes), dtype=torch.bool)
    for row, size in enumerate(taken):
        keeps[row, order[:size]] = True
        keeps[len(taken) + row, drawn[:size]] = True
    if errors != "ranked":
        keeps[:, nodes.errors] = errors == "kept"
    keeps[-2:] = torch.tensor([[True], [False]])
    figures = feature_metrics(nodes, contrasts, metric, keeps).cpu()
    whole, empty = figures[-2], figures[-1]
    if not float(whole.mean()) > float(empty.mean()):
        raise InputError(
            f"On {contrasts.task!r} the metric with all nodes ({float(whole.mean()):.3g}) is no larger than with none "
            f"({float(empty.mean()):.3g}): what these dictionaries are of plays no part in the task. Take other sites."
        )

    def faithfulness(row: int) -> Estimate:
        return bootstrap_ratio((figures[row] - empty).numpy(), (whole - empty).numpy())

    curve = [
        Kept(size=size, faithfulness=faithfulness(row), random=faithfulness(len(taken) + row))
        for row, size in enumerate(taken)
    ]
    return FeatureTrial(scores=scores, curve=tuple(curve), whole=float(whole.mean()), empty=float(empty.mean()))


def _gradient(
    model: Transformer, group: Contrast, metric: Metric, place: Site, clean: Tensor, corrupt: Tensor, steps: int
) -> Tensor:
    """Return the metric's mean gradient at a site on the line from clean to corrupted activations."""
    total = torch.zeros_like(clean)
    for step in range(steps):
        share = 0.0 if steps == 1 else (step + 0.5) / steps
        value = (clean + share * (corrupt - clean)).detach().requires_grad_()
        with torch.enable_grad(), model.edit(place, lambda _, value=value: value):  # type: ignore[misc]
            figure = metric(last_logits(model, group.clean), group).sum()
        total += torch.autograd.grad(figure, value)[0]
    return total / steps


@contextlib.contextmanager
def _mixed(
    nodes: FeatureNodes, others: Sequence[tuple[Tensor, Tensor]], keeps: Bool[Tensor, "versions nodes"]
) -> Iterator[None]:
    """Let nodes that are not kept have other values, in versions below one another."""
    seen, versions = dict[Site, Tensor](), len(keeps)

    def remember(site: Site) -> Action:
        def act(x: Tensor, _: ForwardContext) -> Tensor:
            seen[site] = x
            return x

        return act

    def put(at: int) -> Action:
        place, (codes2, error2) = nodes.places[at], others[at]
        lost = ~keeps[:, nodes.starts[at] : nodes.starts[at + 1]]

        def act(x: Tensor, _: ForwardContext) -> Tensor:
            codes, error = nodes.parts(at, {**seen, place: x})
            gaps = (codes2 - codes.unflatten(0, (versions, -1))) * lost[:, None, None, :-1]
            rest = (error2 - error.unflatten(0, (versions, -1))) * lost[:, None, None, -1:]
            moved = gaps @ nodes.dictionaries[at].directions.to(gaps) + rest
            return (x.flatten(2) + moved.flatten(0, 1)).view(x.shape).to(x.dtype)

        return act

    with contextlib.ExitStack() as stack:
        for at, place in enumerate(nodes.places):
            for site in nodes.reads[at]:
                if site != place:
                    stack.enter_context(nodes.model.attach(site, remember(site)))
            stack.enter_context(nodes.model.attach(place, put(at)))
        yield
