"""A planted model: a decoder whose circuit is known, since its weights were written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sklearn.metrics import roc_auc_score

from monosema.circuits.circuit import Circuit
from monosema.circuits.contrast import Contrasts, contrasts
from monosema.circuits.graph import Graph, component_graph
from monosema.circuits.scores import EdgeScores
from monosema.data.tasks import Prompt, Task
from monosema.models import Transformer


@dataclass(frozen=True, kw_only=True, eq=False)
class Planted:
    """A model, prompts that it answers, and the edges by which it does so.

    Attributes:
        name: short name.
        about: one line for tables.
        model: the decoder.
        contrasts: prompts with their corruptions.
        ablation: the name of the ablation under which the circuit is the one below.
        graph: the structure.
        alternatives: circuits each of which does the task alone; there are several where one stands in for another.
    """

    name: str
    about: str
    model: Transformer
    contrasts: Contrasts
    ablation: str
    graph: Graph
    alternatives: tuple[Circuit, ...]

    @property
    def truth(self) -> Circuit:
        """All edges of any of the circuits."""
        keep = self.alternatives[0].keep
        for other in self.alternatives[1:]:
            keep = keep | other.keep
        return Circuit(self.graph, keep)

    def auroc(self, scores: EdgeScores) -> float:
        """Return the probability that an edge of the circuit has a larger absolute score than another edge.

        The area under the ROC curve, ties counted half; 0.5 for scores that know nothing (Gupta et al. 2024,
        InterpBench, arXiv:2407.14494).
        """
        allowed = self.graph.allowed
        return float(roc_auc_score(self.truth.keep[allowed], scores.edges().abs().detach().cpu()))


def planted(
    model: Transformer, about: str, prompts: Sequence[Prompt], ablation: str, *alternatives: Sequence[str]
) -> Planted:
    """Return a planted model of these prompts; `alternatives` are the names of each circuit's edges."""
    graph = component_graph(model)
    task = Task(name=model.name, metric="logit_difference", split="test", prompts=tuple(prompts))
    return Planted(
        name=model.name,
        about=about,
        model=model,
        contrasts=contrasts(task, model),
        ablation=ablation,
        graph=graph,
        alternatives=tuple(Circuit.of_edges(graph, names) for names in alternatives),
    )


def prompt(texts: Sequence[str], correct: str, wrong: str, form: str = "plain") -> Prompt:
    """Return a prompt of single symbols; `texts` are the clean and the corrupted one."""
    clean, corrupt = texts
    return Prompt(clean=clean, corrupt=corrupt, correct=(correct,), wrong=(wrong,), spans=(), form=form)
