"""A circuit from a task to a verdict: scored on some prompts, chosen on them, judged on others."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from monosema.circuits.ablations import ablation_named
from monosema.circuits.circuit import Circuit, Ranking
from monosema.circuits.contrast import Contrasts, contrasts
from monosema.circuits.faithfulness import THRESHOLD, Trial, smallest, trial_of
from monosema.circuits.folder import read_circuit, write_circuit
from monosema.circuits.graph import component_graph
from monosema.circuits.judging import TESTS, Judgement, Said, judge, require_skill
from monosema.circuits.methods import Problem, method_named
from monosema.circuits.metrics import metric_of
from monosema.circuits.scores import EdgeScores
from monosema.circuits.shown import ShownGraph, show_circuit
from monosema.circuits.verification import EDGES, Verification, verify
from monosema.core import Config, Estimate, InputError, nearest
from monosema.data.tasks import ALL_TASKS, Prompt, Task, read_task
from monosema.models import Transformer

Scored = Callable[["FindConfig", Transformer, Contrasts], EdgeScores]


class FindConfig(Config):
    """Settings of a circuit's search and tests."""

    method: str = "eap-ig-masks"
    """Name of the method that scores edges."""
    ablation: str = "resample"
    """Name of what stands in for what is left out."""
    metric: str | None = None
    """Name of the metric; None for the task's own."""
    prompts: int = Field(40, ge=8)
    """Prompts to find the circuit on, and as many to judge it on; of a file, half and half."""
    edges: int | None = Field(None, ge=1)
    """Edges of the circuit; None for the smallest found whose faithfulness reaches the threshold."""
    ranking: Ranking = "size"
    """Edges by the absolute value of their score, or by the score with its sign."""
    threshold: float = Field(THRESHOLD, gt=0, le=1)
    """Faithfulness that the circuit must reach on the prompts that it is found on."""
    tests: tuple[Literal["curve", "completeness", "minimality", "stability"], ...] = TESTS
    """Tests beside faithfulness."""
    checked: int = Field(EDGES, ge=0)
    """Edges, drawn at random, that are exchanged alone to see how well the method's scores agree."""
    verify: int = Field(0, ge=0)
    """Edges that the method ranks first, exchanged alone."""
    seed: int = 0
    """Seed of prompts, random circuits and draws."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """A circuit with its verdict.

    Attributes:
        config: how it was found.
        contrasts: the prompts that it was judged on.
        accuracy: share of them that the model answers rightly.
        scores: those that it was chosen by; None of a circuit that was given.
        judgement: what the tests found.
        verification: the scores beside exact ones; None where there are none, or they are exact.
    """

    config: FindConfig
    contrasts: Contrasts
    accuracy: Estimate
    scores: EdgeScores | None
    judgement: Judgement
    verification: Verification | None

    @property
    def sentences(self) -> list[str]:
        """The verdict, and what the scores that led to it are worth."""
        return [*self.judgement.sentences, *([] if self.verification is None else self.verification.sentences)]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        trial = self.judgement.trial
        return {
            "task": self.contrasts.task,
            "model": trial.model.name,
            "ablation": trial.ablation.name,
            "metric": trial.metric.name,
            "n": len(self.contrasts),
            "dropped": dict(self.contrasts.dropped),
            "seed": self.config.seed,
            "ranking": self.config.ranking,
            "scores": None if self.scores is None else asdict(self.scores.about),
            "accuracy": self.accuracy.to_dict(),
            "whole": float(trial.whole.mean()),
            "empty": float(trial.empty.mean()),
            **self.judgement.to_dict(),
            "verification": None if self.verification is None else asdict(self.verification),
            "sentences": self.sentences,
        }

    def shown(self) -> ShownGraph | None:
        """Return the graph to look at; None without scores."""
        if self.scores is None:
            return None
        judged, trial = self.judgement, self.judgement.trial
        curve = judged.curves.get(self.config.ranking)
        return show_circuit(
            self.scores,
            title=f"{self.contrasts.task}, {trial.model.name}",
            curve=[] if curve is None or judged.chance is None else curve.kept(judged.chance),
            ranking=self.config.ranking,
            measured={test.node: test.whole for test in judged.minimality or []},
            about={
                "n": len(self.contrasts),
                "seed": self.config.seed + 1,
                "split": "test",
                "edges": len(judged.circuit),
            },
            notes=self.sentences,
        )

    def write(self, folder: Path) -> None:
        """Write the circuit's folder."""
        write_circuit(folder, self.judgement.circuit, self.scores, self.shown(), self.to_dict())


def find(
    model: Transformer, task: str, config: FindConfig, given: Path | None = None, said: Said = lambda _: None
) -> Found:
    """Find the circuit of a task and judge it, or judge one that is given.

    Args:
        task: name of a task, or a file of prompts.
        given: file or folder of a circuit to judge, in the place of finding one.
        said: told what is being done.

    Raises:
        InputError: a task that there is not or that the model can't do; names that there are not; scores that are no
            numbers.
    """
    finding, judging = prompts_of(task, model, config)
    accuracy = require_skill(model, judging)
    ablation, metric = ablation_named(config.ablation), metric_of(judging, model, config.metric)

    def tried(prompts: Contrasts) -> Trial:
        return trial_of(model, prompts, ablation, metric)

    scores, verified, forms = None, None, list[str]()
    if given is not None:
        circuit = read_circuit(given, component_graph(model))
    else:
        said("scores of all edges")
        scores = score_edges(model, finding, config)
        if config.checked + config.verify:
            said("some edges exchanged, to verify the scores")
        problem = Problem(model, finding, ablation, metric)
        verified = verify(problem, scores, config.ranking, edges=config.checked, first=config.verify, seed=config.seed)
        forms = [prompt.form for prompt in finding.prompts]
        if config.edges is None:
            said("the smallest circuit that does the task")
            circuit, _ = smallest(tried(finding), scores, config.ranking, config.threshold)
        else:
            circuit = Circuit.top(scores, config.edges, config.ranking)
    judgement = judge(
        tried(judging),
        circuit,
        scores,
        ranking=config.ranking,
        forms=forms,
        tests=config.tests,
        seed=config.seed,
        said=said,
    )
    return Found(
        config=config, contrasts=judging, accuracy=accuracy, scores=scores, judgement=judgement, verification=verified
    )


def score_edges(model: Transformer, prompts: Contrasts, config: FindConfig) -> EdgeScores:
    """Return the scores of all edges.

    Raises:
        InputError: a method that there is not, or scores that are no numbers.
    """
    metric, ablation = metric_of(prompts, model, config.metric), ablation_named(config.ablation)
    return method_named(config.method)(Problem(model, prompts, ablation, metric))


def prompts_of(task: str, model: Transformer, config: FindConfig) -> tuple[Contrasts, Contrasts]:
    """Return prompts to find a circuit on, and others of the held-out split, or of the file, to judge it on."""
    if task in ALL_TASKS:
        family, n = ALL_TASKS[task], config.prompts
        parts = [family.prompts(random.Random(config.seed + split), n, name) for split, name in enumerate(_SPLITS)]
    elif Path(task).suffix in (".jsonl", ".json") or Path(task).exists():
        whole = read_task(task)
        rows = list(whole.prompts)
        if len(rows) < 16:
            raise InputError(
                f"{task} holds {len(rows)} prompts: half of them find the circuit and half judge it, so "
                "16 or more are needed."
            )
        random.Random(config.seed).shuffle(rows)
        half = min(len(rows) // 2, config.prompts)
        parts = [_task(whole, rows[:half]), _task(whole, rows[half : 2 * half])]
    else:
        raise InputError(
            f"There is no task {task!r}.{nearest(task, ALL_TASKS)} Tasks: {', '.join(ALL_TASKS)}; or a .jsonl file of "
            "your own pairs."
        )
    finding, judging = (contrasts(part, model) for part in parts)
    return finding, judging


_SPLITS: tuple[Literal["train", "test"], ...] = ("train", "test")


def _task(whole: Task, prompts: list[Prompt]) -> Task:
    return Task(name=whole.name, metric=whole.metric, split=whole.split, prompts=tuple(prompts))
