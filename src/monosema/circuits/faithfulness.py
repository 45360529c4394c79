"""Faithfulness: how much of the task a circuit does alone, by its size, beside random circuits of equal size.

    f(C) = (m(C) − m(∅)) / (m(M) − m(∅))

m are means over prompts, so f is a ratio of means, which the mean of ratios isn't (Miller et al. 2024,
arXiv:2407.08734); intervals draw prompts. A curve is summed up by two areas over the share k of edges that are kept
(Mueller et al. 2025, MIB, arXiv:2504.13151):

    CPR = ∫ f(C_k) dk        CMD = ∫ |1 − f(C_k)| dk

each over k itself, as published, and over log k, where small circuits count as much as large ones. Departure: areas
are divided by the length of their axis, so that those of both axes are means; on the linear one this divides by 0.999.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from monosema.circuits.ablations import Ablation
from monosema.circuits.circuit import Circuit, Ranking
from monosema.circuits.contrast import Contrasts
from monosema.circuits.graph import Graph, component_graph
from monosema.circuits.metrics import Metric
from monosema.circuits.running import circuit_metrics
from monosema.circuits.scores import EdgeScores
from monosema.circuits.shown import Kept
from monosema.core import Estimate, InputError, bootstrap_ratio, numpy_generator
from monosema.models import Transformer

SHARES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Shares of the edges that are kept, as published (Mueller et al. 2025)."""
THRESHOLD = 0.9
"""Faithfulness from which a circuit is said to do the task."""
Axis = Literal["linear", "log"]
_RESAMPLES = 1000
Figures = Float[Tensor, " n"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """All that is needed to try circuits: a model, prompts, what stands in for what is left out, and the metric.

    Attributes:
        model, contrasts, graph, ablation, metric: these.
        whole, empty: the metric of each prompt with all edges, and with none.
    """

    model: Transformer
    contrasts: Contrasts
    graph: Graph
    ablation: Ablation
    metric: Metric
    whole: Figures
    empty: Figures

    def run(self, circuits: Sequence[Circuit]) -> Float[Tensor, "circuits n"]:
        """Return the metric of each prompt under each circuit."""
        keeps = [circuit.keep for circuit in circuits]
        return circuit_metrics(self.model, self.contrasts, self.graph, keeps, self.ablation, self.metric).cpu()

    def faithfulness(self, figures: Figures) -> Estimate:
        """Return the faithfulness of a circuit from the metric of each prompt under it."""
        return bootstrap_ratio((figures - self.empty).numpy(), (self.whole - self.empty).numpy())


def trial_of(model: Transformer, contrasts: Contrasts, ablation: Ablation, metric: Metric) -> Trial:
    """Return a trial, its two ends measured.

    Raises:
        InputError: the whole model does no better than with all edges exchanged, or its logits are no numbers.
    """
    graph = component_graph(model)
    ends = [graph.allowed, torch.zeros_like(graph.allowed)]
    whole, empty = circuit_metrics(model, contrasts, graph, ends, ablation, metric).cpu()
    if not bool(torch.isfinite(whole + empty).all()):
        raise InputError(f"{model.name!r} gives logits on {contrasts.task!r} that are no numbers.")
    if float(whole.mean()) <= float(empty.mean()):
        raise InputError(
            f"On {contrasts.task!r} the whole model ({float(whole.mean()):.3g}) does no better than with all edges "
            f"exchanged by {ablation.name!r} ({float(empty.mean()):.3g}), so there is no circuit to judge. Take a task "
            "that the model can do, or another ablation."
        )
    return Trial(
        model=model, contrasts=contrasts, graph=graph, ablation=ablation, metric=metric, whole=whole, empty=empty
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """Metrics of circuits of growing size.

    Attributes:
        trial: what they were measured with.
        sizes: edges of each.
        figures: the metric of each prompt under each circuit.
    """

    trial: Trial
    sizes: tuple[int, ...]
    figures: Float[Tensor, "sizes n"]

    @property
    def faithfulness(self) -> list[Estimate]:
        """Faithfulness of each."""
        return [self.trial.faithfulness(row) for row in self.figures]

    def quantiles(self, at: Sequence[float] = (0.1, 0.5, 0.9)) -> list[list[float]]:
        """Return quantiles over prompts of m(C) − m(∅), in units of the mean of m(M) − m(∅).

        The mean hides prompts that a circuit fails on; a prompt's own ratio would divide by figures near 0.
        """
        whole, empty = self.trial.whole, self.trial.empty
        parts = (self.figures - empty) / (whole - empty).mean()
        return torch.quantile(parts.double(), torch.tensor(at, dtype=torch.float64), dim=1).T.tolist()

    def kept(self, chance: Curve) -> list[Kept]:
        """Return the points beside those of random circuits of the same sizes."""
        found = zip(self.sizes, self.faithfulness, chance.faithfulness, strict=True)
        return [Kept(size=size, faithfulness=one, random=drawn) for size, one, drawn in found]

    def cpr(self, axis: Axis = "linear") -> Estimate:
        """Return the area under the curve of faithfulness; 1 where every size does the whole task."""
        return self._area(lambda f: f, axis)

    def cmd(self, axis: Axis = "linear") -> Estimate:
        """Return the area between the curve and 1; 0 is best."""
        return self._area(lambda f: np.abs(1 - f), axis)

    def _area(self, of: Callable[[NDArray[np.float64]], NDArray[np.float64]], axis: Axis) -> Estimate:
        top = (self.figures - self.trial.empty).double().numpy()
        bottom = (self.trial.whole - self.trial.empty).double().numpy()
        shares = np.array(self.sizes) / self.trial.graph.n_edges
        x = np.log(shares) if axis == "log" else shares
        n = len(bottom)
        draws = numpy_generator(0, "bootstrap").integers(0, n, size=(_RESAMPLES, n))
        drawn = top[:, draws].sum(-1) / bottom[draws].sum(-1)  # sizes × resamples
        areas = np.trapezoid(of(drawn), x, axis=0) / (x[-1] - x[0])
        value = np.trapezoid(of(top.sum(1) / bottom.sum()), x) / (x[-1] - x[0])
        low, high = np.quantile(areas, [0.025, 0.975])
        return Estimate(float(value), float(low), float(high), n)


def sizes_of(graph: Graph, shares: Sequence[float] = SHARES) -> tuple[int, ...]:
    """Return numbers of edges by shares, each once, none below 1."""
    return tuple(sorted({max(1, round(share * graph.n_edges)) for share in shares}))


def curve(trial: Trial, scores: EdgeScores, ranking: Ranking = "size", sizes: Sequence[int] | None = None) -> Curve:
    """Measure circuits of the edges that matter most, of growing size."""
    sizes = sizes_of(trial.graph) if sizes is None else tuple(sizes)
    figures = trial.run([Circuit.top(scores, n, ranking) for n in sizes])
    return Curve(trial=trial, sizes=sizes, figures=figures)


def random_curve(trial: Trial, sizes: Sequence[int] | None = None, draws: int = 2, seed: int = 0) -> Curve:
    """Measure random circuits of growing size: of each size the mean over some draws, prompt by prompt."""
    sizes = sizes_of(trial.graph) if sizes is None else tuple(sizes)
    drawn = [Circuit.random(trial.graph, n, seed=seed * draws + draw) for n in sizes for draw in range(draws)]
    return Curve(trial=trial, sizes=sizes, figures=trial.run(drawn).unflatten(0, (len(sizes), draws)).mean(1))


def smallest(
    trial: Trial, scores: EdgeScores, ranking: Ranking = "size", threshold: float = THRESHOLD
) -> tuple[Circuit, Estimate]:
    """Return the smallest circuit found whose faithfulness reaches a threshold, with that.

    Published sizes are tried first, the largest of those that fail last; between it and the first that does the task
    the interval is cut in eight until it is one edge, or 2 %. Faithfulness needn't grow with size, so a smaller one
    may exist.
    """
    low, high, found = 0, trial.graph.n_edges, trial.faithfulness(trial.whole)
    tried: Sequence[int] = sizes_of(trial.graph)[:-1]
    while tried:
        circuits = [Circuit.top(scores, n, ranking) for n in tried]
        for n, figures in zip(tried, trial.run(circuits), strict=True):
            estimate = trial.faithfulness(figures)
            if estimate.value >= threshold:
                high, found = n, estimate
                break
            low = n
        tried = [] if high - low <= max(1, high // 50) else cuts(low, high)
    return Circuit.top(scores, high, ranking), found


def cuts(low: int, high: int, parts: int = 8) -> list[int]:
    """Return whole numbers that cut an open interval in so many parts."""
    inside = {round(low + (high - low) * part / parts) for part in range(1, parts)}
    return sorted(inside - {low, high})
