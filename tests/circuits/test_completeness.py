"""Only the backup makes a faithful circuit incomplete; an idle node is told from those that work."""

from __future__ import annotations

import pytest
from planting import tried

from monosema.circuits import Circuit, completeness, minimality


def test_only_the_backup_makes_a_faithful_circuit_incomplete() -> None:
    subject, trial = tried("backup")
    first = subject.alternatives[0]
    assert trial.faithfulness(trial.run([first])[0]).value == pytest.approx(1, abs=0.05)
    assert completeness(trial, first).without.value == pytest.approx(1, abs=0.05)
    assert completeness(trial, first).worst.value == pytest.approx(1, abs=0.05)
    assert completeness(trial, subject.truth).without.value == pytest.approx(0, abs=0.1)
    subject, trial = tried("induction")
    assert completeness(trial, subject.truth).worst.value < 0.1


def test_an_idle_node_is_told_from_those_that_work() -> None:
    subject, trial = tried("induction")
    idle = Circuit.of_edges(subject.graph, [*subject.truth.edge_names(), "a0.h2->m1", "a0.h2->logits"])
    tests = {test.node.name: test for test in minimality(trial, idle)}
    assert {name for name, test in tests.items() if test.idle} == {"a0.h2"}
    assert tests["a1.h1"].whole.value == pytest.approx(1, abs=0.1)
