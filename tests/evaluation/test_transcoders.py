"""A transcoder is read at one site and put back at another."""

from __future__ import annotations

import pytest
import torch

from monosema.core import ConfigError
from monosema.dictionaries import make_coder
from monosema.evaluation import evaluate, evaluate_vectors

READ = "0.mlp.post"


@pytest.fixture(scope="module")
def exact(model, text, site, rows):
    """One whose skip connection is the linear map that the model itself has between the sites; its latents are 0."""
    with torch.no_grad():
        read = torch.cat([site_rows(model, batch) for batch in text()])
        transcoder = make_coder("transcoder", d_in=read.shape[1], d_out=rows.shape[1], n_latents=4, k=1, skip=True)
        centred, mean = read - read.mean(dim=0), rows.mean(dim=0)
        transcoder.skip.copy_(torch.linalg.lstsq(centred.double(), (rows - mean).double(), driver="gelsd").solution.T)
        transcoder.b_dec.copy_(mean - transcoder.skip @ read.mean(dim=0))
        transcoder.b_enc.fill_(-1e3)
    return transcoder


def site_rows(model, batch):
    from monosema.core import Site

    place = Site.parse(READ)
    return model.activations(batch.tokens, [place])[place][batch.keep].float()


def test_one_that_computes_what_the_model_does_loses_nothing(model, text, site, exact, controls) -> None:
    found = evaluate(model, exact, site, text(), controls=controls, read=READ)
    figures = found.dictionary.metrics
    assert figures["fvu"].value == pytest.approx(0, abs=1e-6)
    assert figures["loss_recovered"].value == pytest.approx(1, abs=1e-3)
    assert figures["l0"].value == 0
    alone = evaluate(model, controls["pca"], site, text())
    assert found.row("pca").metrics["fvu"].value == pytest.approx(alone.dictionary.metrics["fvu"].value, rel=1e-6)


def test_one_that_computes_something_else_does_not(model, text, site, exact) -> None:
    wrong = exact.folded(torch.zeros(exact.row_width), 1.0)
    with torch.no_grad():
        wrong.skip.neg_()
    figures = evaluate(model, wrong, site, text(), read=READ).dictionary.metrics
    assert figures["fvu"].value > 1
    assert figures["loss_recovered"].value < 0.9


def test_the_site_it_reads_must_be_given_and_fit(model, text, site, exact) -> None:
    with pytest.raises(ConfigError, match="say which site it reads"):
        evaluate(model, exact, site, text())
    with pytest.raises(ConfigError, match=f"reads {exact.d_in} values"):
        evaluate(model, exact, site, text(), read="0.resid_pre")
    with pytest.raises(ConfigError, match="one site"):
        evaluate_vectors(exact, torch.zeros(3, exact.d_in))
