"""A circuit judged: found on some prompts, tried on others, every figure beside chance, and sentences that say it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from typing import Any, Literal

from monosema.circuits.circuit import Circuit, Ranking
from monosema.circuits.completeness import Completeness, NodeTest, completeness, minimality
from monosema.circuits.contrast import Contrasts
from monosema.circuits.faithfulness import Axis, Curve, Trial, curve, random_curve
from monosema.circuits.metrics import LogitDifference
from monosema.circuits.running import end_metrics
from monosema.circuits.scores import EdgeScores
from monosema.circuits.stability import Stability, stability
from monosema.core import Estimate, InputError, wilson
from monosema.models import Transformer

Test = Literal["curve", "completeness", "minimality", "stability"]
RANKINGS: tuple[Ranking, ...] = ("size", "sign")
TESTS: tuple[Test, ...] = ("curve", "completeness", "minimality", "stability")
"""Tests of a circuit, the cheapest first; faithfulness beside a random circuit is always measured."""
_COMPLETE = 0.1
_MOST = 0.75
"""Share of right answers from which too few prompts, and not the task, are why skill is not told from guessing."""
_AXES: tuple[Axis, ...] = ("linear", "log")
Said = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Judgement:
    """Findings of tests of a circuit, on prompts that it was not found on.

    Attributes:
        circuit: the circuit.
        trial: what it was tried with.
        faithfulness: how much of the task it does alone.
        quantiles: 10 %, 50 % and 90 % over prompts of what it keeps, in units of the mean of the whole.
        random: faithfulness of a random circuit of its size.
        curves, chance: circuits by size, by ranking; and random ones. Empty and None where they were not measured.
        completeness, minimality, stability: None where they were not measured.
    """

    circuit: Circuit
    trial: Trial
    faithfulness: Estimate
    quantiles: tuple[float, ...]
    random: Estimate
    curves: dict[Ranking, Curve]
    chance: Curve | None
    completeness: Completeness | None
    minimality: list[NodeTest] | None
    stability: Stability | None

    @property
    def sentences(self) -> list[str]:
        """The verdict."""
        circuit, total = self.circuit, self.circuit.graph.n_edges
        rest = len(circuit.connected())
        said = [
            f"The circuit has {len(circuit):,} of {total:,} edges ({len(circuit) / total:.1%}; {rest:,} on a way from "
            f"the embedding to the logits) and {len(circuit.nodes)} of {len(circuit.graph.writers)} nodes. Alone it "
            f"does {say(self.faithfulness)} of the task; a random circuit of its size, {say(self.random)}."
        ]
        if self.completeness is not None:
            left = self.completeness.without
            whole = "so nothing else does the task" if left.high < _COMPLETE else "so the circuit is not complete"
            said.append(f"Without it the model keeps {say(left)} of the task, {whole}.")
        if self.minimality is not None:
            idle = [test.node.name for test in self.minimality if test.idle]
            named = f": {', '.join(idle)}" if idle else ""
            said.append(f"Of its {len(self.minimality)} nodes {len(idle)} are not told apart from idle{named}.")
        if self.stability is not None:
            by = self.stability
            forms = "" if by.forms is None else f"; circuits of {by.n_forms} forms share {say(by.forms)}"
            weak = "" if by.edges.value >= 0.8 else " This is UNSTABLE: don't read single edges as facts."
            said.append(
                f"Circuits of resampled prompts share {say(by.edges)} of their edges (Jaccard) and {say(by.nodes)} of "
                f"their nodes, by chance {by.chance:.2g}{forms}.{weak}"
            )
        return said

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "edges": len(self.circuit),
            "of": self.circuit.graph.n_edges,
            "nodes": [node.name for node in self.circuit.nodes],
            "faithfulness": self.faithfulness.to_dict(),
            "quantiles": list(self.quantiles),
            "random": self.random.to_dict(),
            "curves": {
                **{ranking: _curve(one) for ranking, one in self.curves.items()},
                **({} if self.chance is None else {"random": _curve(self.chance)}),
            },
            "completeness": None if self.completeness is None else asdict(self.completeness),
            "minimality": None
            if self.minimality is None
            else [{**asdict(test), "node": test.node.name, "idle": test.idle} for test in self.minimality],
            "stability": None if self.stability is None else asdict(self.stability),
        }


def say(figure: Estimate) -> str:
    """Write a share with its interval, in hundredths."""
    value, low, high = (f"{round(one, 2) + 0.0:.2f}" for one in (figure.value, figure.low, figure.high))
    return f"{value} [{low}, {high}]"


def require_skill(model: Transformer, contrasts: Contrasts) -> Estimate:
    """Return the share of prompts that a model answers rightly: right answers are likelier than wrong ones.

    Raises:
        InputError: no more than by guessing between right and wrong; says which prompts were left out, and where most
            answers are right, how many prompts it takes.
    """
    clean, _ = end_metrics(model, contrasts, LogitDifference())
    right, n = int((clean > 0).sum()), len(clean)
    accuracy = wilson(right, n)
    if accuracy.low <= 0.5:
        left = "".join(f"Left out: {number}, since {reason}. " for reason, number in contrasts.dropped.items())
        advice = "Take a task that it can do, or more prompts."
        if accuracy.value >= _MOST:
            enough = next(more for more in count(n + 1) if wilson(right * more // n, more).low > 0.5)
            advice = f"Too few prompts can be used: give at least {enough} held-out ones."
        raise InputError(
            f"{model.name!r} answers {accuracy.value:.0%} of {accuracy.n} prompts of {contrasts.task!r} rightly (95 % "
            f"interval {accuracy.low:.0%} to {accuracy.high:.0%}), which is not told apart from guessing: there is no "
            f"circuit to find. {left}{advice}"
        )
    return accuracy


def judge(
    trial: Trial,
    circuit: Circuit,
    scores: EdgeScores | None = None,
    *,
    ranking: Ranking = "size",
    forms: Sequence[str] = (),
    tests: Sequence[Test] = TESTS,
    seed: int = 0,
    said: Said = lambda _: None,
) -> Judgement:
    """Judge a circuit on the prompts of a trial.

    Args:
        scores: those that it was chosen by, from other prompts; without them, there is no curve and no stability.
        forms: the form of each prompt that the scores are from.
        tests: which of `TESTS` to make.
        said: told what is being done.
    """
    said("faithfulness")
    own, drawn = trial.run([circuit, Circuit.random(trial.graph, len(circuit), seed)])
    curves, chance, stable = dict[Ranking, Curve](), None, None
    if scores is not None and "curve" in tests:
        said("curve")
        curves = {one: curve(trial, scores, one) for one in RANKINGS}
        chance = random_curve(trial, draws=1, seed=seed)
    if scores is not None and "stability" in tests:
        said("stability")
        stable = stability(scores, len(circuit), forms, ranking, seed=seed)
    parts = Curve(trial=trial, sizes=(len(circuit),), figures=own[None])
    if "completeness" in tests:
        said("completeness")
    complete = completeness(trial, circuit, seed=seed) if "completeness" in tests else None
    if "minimality" in tests:
        said("minimality")
    return Judgement(
        circuit=circuit,
        trial=trial,
        faithfulness=trial.faithfulness(own),
        quantiles=tuple(parts.quantiles()[0]),
        random=trial.faithfulness(drawn),
        curves=curves,
        chance=chance,
        completeness=complete,
        minimality=minimality(trial, circuit) if "minimality" in tests else None,
        stability=stable,
    )


def _curve(one: Curve) -> dict[str, Any]:
    points = zip(one.sizes, one.faithfulness, one.quantiles(), strict=True)
    return {
        "points": [{"edges": size, "faithfulness": f.to_dict(), "quantiles": part} for size, f, part in points],
        "cmd": {axis: one.cmd(axis).to_dict() for axis in _AXES},
        "cpr": {axis: one.cpr(axis).to_dict() for axis in _AXES},
    }
