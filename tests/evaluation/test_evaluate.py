"""Figures on dictionaries of known worth, and against a slow twin."""

from __future__ import annotations

import json

import pytest
import torch

from monosema.core import ConfigError, CorpusError, SiteError, VectorError
from monosema.dictionaries import Neurons, Pca
from monosema.evaluation import Evaluation, EvaluationConfig, evaluate, evaluate_vectors

LOSSES = ("ce_clean", "ce_spliced", "ce_zero", "ce_mean", "kl", "loss_recovered")


@pytest.fixture(scope="module")
def perfect(model, text, site, controls, zero):
    """The evaluation of a dictionary that loses nothing, beside its controls and one that gives nothing back."""
    return evaluate(model, Neurons(32), site, text(), controls={**controls, "zero": zero})


def test_a_perfect_dictionary_loses_nothing(perfect) -> None:
    figures = perfect.dictionary.metrics
    assert figures["fvu"].value == pytest.approx(0, abs=1e-12)
    assert figures["variance_explained"].value == pytest.approx(1)
    assert figures["cosine"].value == pytest.approx(1)
    assert figures["loss_recovered"].value == pytest.approx(1, abs=1e-5)
    assert figures["kl"].value == pytest.approx(0, abs=1e-6)
    assert figures["ce_spliced"].value == pytest.approx(figures["ce_clean"].value, abs=1e-6)
    assert perfect.dictionary.absent == {}


def test_giving_nothing_back_recovers_nothing(perfect) -> None:
    row = perfect.row("zero")
    assert row.metrics["loss_recovered"].value == pytest.approx(0, abs=1e-6)
    assert row.metrics["ce_spliced"].value == pytest.approx(row.metrics["ce_zero"].value)
    assert row.metrics["fvu"].value >= 1
    assert row.metrics["l0"].value == 0
    assert (row.metrics["alive"].value, row.density.never, sum(row.density.counts)) == (0, 4, 0)


def test_pca_beats_random_directions(perfect) -> None:
    pca, random = perfect.row("pca").metrics, perfect.row("random").metrics
    assert pca["l0"].value == 8
    assert pca["fvu"].high < random["fvu"].low
    assert pca["ce_zero"] == random["ce_zero"]
    assert 0 < random["loss_recovered"].value < 1


def test_variance_is_about_the_mean_of_the_same_text(perfect, controls, rows) -> None:
    rebuilt = controls["pca"](rows)
    expected = (rows - rebuilt).square().sum() / (rows - rows.mean(dim=0)).square().sum()
    assert perfect.row("pca").metrics["fvu"].value == pytest.approx(expected.item(), rel=1e-4)


def test_losses_equal_those_of_edited_forward_passes(perfect, model, text, site, controls, rows) -> None:
    mean = rows.mean(dim=0)
    edits = {"ce_clean": lambda x: x, "ce_zero": torch.zeros_like, "ce_mean": lambda x: mean.expand_as(x)}
    edits["ce_spliced"] = controls["random"]
    totals, divergence, n = dict.fromkeys(edits, 0.0), 0.0, 0
    for batch in text():
        scored = torch.zeros_like(batch.keep)
        scored[:, :-1] = batch.keep[:, :-1] & batch.attention_mask[:, 1:]
        targets = batch.tokens.roll(-1, 1)[scored]
        logs = {}
        for name, edit in edits.items():

            def replace(x, edit=edit, keep=batch.keep):
                x = x.clone()
                x[keep] = edit(x[keep])
                return x

            with model.edit(site, replace):
                logs[name] = model(batch.tokens)[scored].log_softmax(dim=1)
            totals[name] -= logs[name].gather(1, targets[:, None]).sum().item()
        divergence += (logs["ce_clean"].exp() * (logs["ce_clean"] - logs["ce_spliced"])).sum().item()
        n += len(targets)
    figures = perfect.row("random").metrics
    for name, total in totals.items():
        assert figures[name].value == pytest.approx(total / n, rel=1e-4), name
    assert figures["kl"].value == pytest.approx(divergence / n, rel=1e-3)
    recovered = (totals["ce_zero"] - totals["ce_spliced"]) / (totals["ce_zero"] - totals["ce_clean"])
    assert figures["loss_recovered"].value == pytest.approx(recovered, rel=1e-3)


@pytest.mark.parametrize("site", ["0.resid_post", "1.resid_mid", "embed"])
def test_sharing_the_early_layers_changes_nothing(model, text, site, monkeypatch) -> None:
    dictionary = Neurons(32, k=9)
    config = EvaluationConfig(memory_mb=16)
    shared = evaluate(model, dictionary, site, text(), config)
    for module in ("models.forking", "evaluation.passes"):
        monkeypatch.setattr(f"monosema.{module}.can_fork", lambda model, site: False)
    apart = evaluate(model, dictionary, site, text(), config)
    assert shared.dictionary.metrics["kl"].value > 0
    for name, figure in shared.dictionary.metrics.items():
        other = apart.dictionary.metrics[name]
        assert (figure.value, figure.low, figure.high) == pytest.approx(
            (other.value, other.low, other.high), rel=1e-4
        ), name


def test_sinks_are_neither_scored_nor_edited(model, text, site, monkeypatch) -> None:
    seen = []

    class Watching(Neurons):
        def encode(self, x, matmul_dtype=None):
            seen.append(len(x))
            return super().encode(x, matmul_dtype)

    batches = list(text())
    evaluation = evaluate(model, Watching(32), site, batches)
    kept = sum(int(batch.keep.sum()) for batch in batches)
    real = sum(int(batch.attention_mask.sum()) for batch in batches)
    assert sum(seen) == evaluation.tokens == kept
    assert evaluation.left_out == real - kept > 0
    assert "neither scored nor edited" in evaluation.notes[0]


def test_intervals_draw_documents_where_there_are_enough(model, text, site, zero) -> None:
    many = evaluate(model, zero, site, text(50))
    few = evaluate(model, zero, site, text(20))
    assert (many.unit, many.units) == ("documents", 50)
    assert few.unit == "windows"
    assert many.dictionary.metrics["ce_clean"].n == 50
    assert many.dictionary.metrics["ce_clean"].method == "bootstrap over documents"
    for figure in many.dictionary.metrics.values():
        assert figure.low <= figure.value <= figure.high


def test_intervals_cover_the_figure_of_a_longer_text(model, text, site, controls) -> None:
    truth = evaluate(model, controls["pca"], site, text(240)).dictionary.metrics
    figures = evaluate(model, controls["pca"], site, text(60)).dictionary.metrics
    inside = [
        figures[name].low <= truth[name].value <= figures[name].high for name in ("fvu", "ce_spliced", "kl", "cosine")
    ]
    assert sum(inside) >= 3


def test_what_can_not_be_computed_is_absent_with_the_reason(model, text, site, controls) -> None:
    quiet = evaluate(model, Neurons(32), site, text(), EvaluationConfig(loss=False), controls)
    for row in quiet.rows:
        assert set(row.absent) == set(LOSSES)
        assert not set(row.metrics) & set(row.absent)
        assert "fvu" in row.metrics
    alone = [batch.head(1) for batch in text()][:1]
    for batch in alone:
        batch.keep[:] = False
        batch.keep[0, -1] = True
    row = evaluate(model, Neurons(32), site, alone).dictionary
    assert "all alike" in row.absent["fvu"]
    assert "no kept token" in row.absent["ce_clean"]


def test_an_evaluation_survives_json(perfect) -> None:
    assert Evaluation.from_dict(json.loads(json.dumps(perfect.to_dict(), allow_nan=False))) == perfect


def test_vectors_need_no_model(rows, controls) -> None:
    evaluation = evaluate_vectors(Neurons(32), rows, controls)
    assert evaluation.unit == "vectors"
    assert evaluation.units == len(rows)
    assert evaluation.row("pca").metrics["fvu"].value == pytest.approx(
        ((rows - controls["pca"](rows)).square().sum() / (rows - rows.mean(0)).square().sum()).item(), rel=1e-4
    )
    assert evaluation.dictionary.absent == dict.fromkeys(LOSSES, "there is no model")


def test_the_heads_of_a_site_are_one_vector(model, text) -> None:
    rows = torch.cat([model.activations(b.tokens, ["0.z"])["0.z"][b.keep].flatten(1) for b in text()]).float()
    whole = evaluate(model, Pca.fit([rows], rows.shape[1]), "0.z", text()).dictionary.metrics
    part = evaluate(model, Pca.fit([rows], 4), "0.z", text()).dictionary.metrics
    assert whole["fvu"].value < 1e-6
    assert whole["kl"].value < 1e-6
    assert part["fvu"].value > 0.1
    assert part["kl"].value > 1e-5


def test_wrong_requests_are_refused(model, text, site, rows) -> None:
    with pytest.raises(ConfigError, match="reads 31 values"):
        evaluate(model, Neurons(31), site, text())
    with pytest.raises(ConfigError, match="The pca reads 30 values"):
        evaluate_vectors(Neurons(32), rows, {"pca": Neurons(30)})
    with pytest.raises(CorpusError, match="no tokens to evaluate on"):
        evaluate(model, Neurons(32), site, [])
    with pytest.raises(CorpusError, match="no held-out vectors"):
        evaluate_vectors(Neurons(32), rows[:0])
    with pytest.raises(SiteError):
        evaluate(model, Neurons(32), "9.resid_post", text())


def test_activations_that_are_no_numbers_are_counted(model, text, site, zero) -> None:
    def broken(x):
        return torch.where(torch.arange(x.shape[1])[None, :, None] == 3, torch.inf, x)

    with model.edit(site, broken), pytest.raises(VectorError, match=r"\d+ of \d+ tokens of a batch .*float32"):
        evaluate(model, zero, site, text())
