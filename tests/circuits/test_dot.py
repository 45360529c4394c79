"""A circuit in DOT: one line for a pair of nodes, its inputs as label, width by score."""

from __future__ import annotations

from planting import scores_of

from monosema.circuits import to_dot
from monosema.circuits.planted import PLANTED


def test_edges_of_a_pair_are_one_line_with_its_inputs() -> None:
    subject = PLANTED["induction"](16)
    lines = to_dot(subject.truth, scores_of(subject)).splitlines()
    assert (lines[0], lines[-1]) == ("digraph circuit {", "}")
    assert '  "embed" -> "a1.h1" [label="qv", penwidth=4.50];' in lines
    assert '  "a0.h0" -> "a1.h1" [label="k", penwidth=2.50];' in lines
    assert sum("->" in line for line in lines) == 4
