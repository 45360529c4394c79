"""Feature circuits of a planted model: a basis leaves nothing out, and the verdict says what was measured."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.helpers.planted_pairs import planted_pairs

from monosema.circuits import FindConfig, ShownGraph, exact_effects, find_features, metric_of
from monosema.circuits.planted import PLANTED
from monosema.dictionaries import Neurons


def test_a_basis_of_the_last_stream_does_all_without_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = PLANTED["induction"](20)
    pairs = planted_pairs(subject, tmp_path, monkeypatch)
    model, site = subject.model, f"{subject.model.n_layers - 1}.resid_post"
    found = find_features(model, str(pairs), {site: Neurons(model.d_model)}, FindConfig(prompts=10))
    whole, without = found.trial.curve[-1], found.dropped.curve[-1]
    assert whole.faithfulness.value == pytest.approx(1, abs=1e-4)
    assert without.faithfulness.value == pytest.approx(1, abs=1e-4)  # a basis leaves nothing out
    exact = exact_effects(found.scores.nodes, found.contrasts, metric_of(found.contrasts, model), [*found.measured])
    assert [one.value for one in found.measured.values()] == pytest.approx(exact.mean(0).tolist(), abs=1e-5)
    assert {*found.scores.nodes.errors}.isdisjoint(found.scores.order().tolist())
    shown = found.shown()
    shown.write(tmp_path)
    assert ShownGraph.read(tmp_path) == shown
    values = [abs(node.predicted or 0) for node in shown.nodes[:-1]]
    assert values == sorted(values, reverse=True)
    assert shown.nodes[0].measured is not None
    assert "0 of them errors" in found.sentences[0]
