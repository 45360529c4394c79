"""A crosscoder is spliced at each of its sites, and figures are that site's."""

from __future__ import annotations

import pytest
import torch

from monosema.core import ConfigError, SiteError
from monosema.dictionaries import (
    AtSite,
    Dictionary,
    Metadata,
    Pca,
    SparseCoder,
    load_dictionary,
    make_coder,
    save_dictionary,
    sites_read,
    written_at,
)
from monosema.evaluation import Evaluation, evaluate, evaluate_crosscoder

SITES = ("0.resid_post", "0.mlp_out")


def exact(width: int, sites: tuple[str, ...] = SITES) -> SparseCoder:
    """Codes are the positive and the negative parts of all values, so that the sum of both is the row."""
    d = 2 * width
    about = Metadata(extra={"sites": list(sites)})
    made = make_coder("crosscoder", d, 2 * d, n_sites=2, activation="relu", metadata=about)
    rows = torch.cat([torch.eye(d), -torch.eye(d)])
    with torch.no_grad():
        made.W_enc.copy_(rows)
        made.W_dec.copy_(rows)
    return made


def test_each_site_is_measured_by_itself(model, text) -> None:
    crosscoder = exact(model.d_model)
    with torch.no_grad():
        crosscoder.W_dec[:, model.d_model :] = 0
    found = evaluate_crosscoder(model, crosscoder, text())
    assert [(row.site, row.kind) for row in found.rows] == [("0.mlp_out", "dictionary"), ("0.resid_post", "dictionary")]
    spoilt, whole = (row.metrics for row in found.rows)
    assert whole["fvu"].value == pytest.approx(0, abs=1e-6)
    assert whole["loss_recovered"].value == pytest.approx(1, abs=1e-3)
    assert whole["kl"].value == pytest.approx(0, abs=1e-4)
    assert spoilt["fvu"].value > 0.9
    assert spoilt["ce_spliced"].value == pytest.approx(spoilt["ce_zero"].value, rel=1e-4)
    assert spoilt["l0"].value == whole["l0"].value, "the code is one"
    assert Evaluation.from_dict(found.to_dict()) == found


def test_controls_are_of_all_sites_and_measured_at_each(model, text) -> None:
    rows = torch.cat(
        [
            torch.cat([model.activations(batch.tokens, list(SITES))[site] for site in map(written, SITES)], dim=2)[
                batch.keep
            ]
            for batch in text()
        ]
    ).float()
    controls: dict[str, Dictionary] = {"pca": Pca.fit([rows], 2 * model.d_model)}
    found = evaluate_crosscoder(model, exact(model.d_model), text(), controls=controls)
    assert [row.kind for row in found.rows] == ["dictionary", "pca"] * 2
    assert all(row.metrics["fvu"].value < 1e-3 for row in found.rows)
    with pytest.raises(ConfigError, match=r"pca writes 32 values"):
        evaluate_crosscoder(model, exact(model.d_model), text(), controls={"pca": Pca.fit([rows[:, :32]], 4)})


def written(name: str):
    from monosema.core import Site

    return Site.parse(name)


def test_a_part_is_what_the_whole_writes_there(model) -> None:
    crosscoder = exact(model.d_model)
    part, place = written_at(crosscoder, written("0.mlp_out"))
    x = torch.randn(5, 2 * model.d_model)
    assert isinstance(part, AtSite)
    assert isinstance(part, Dictionary)
    assert place == written("0.mlp_out")
    torch.testing.assert_close(part(x), crosscoder(x)[:, model.d_model :])
    torch.testing.assert_close(part.directions, crosscoder.site_directions[:, 1])


def test_one_that_does_not_name_its_sites_is_refused(model, text, tmp_path) -> None:
    crosscoder = exact(model.d_model)
    save_dictionary(crosscoder, tmp_path)
    assert [site.short for site in sites_read(load_dictionary(tmp_path), written("0.z"))] == list(SITES)
    crosscoder.metadata = Metadata()
    with pytest.raises(ConfigError, match="does not name them"):
        evaluate_crosscoder(model, crosscoder, text())
    crosscoder.metadata = Metadata(extra={"sites": [SITES[0], f"{SITES[1]}@other"]})
    with pytest.raises(SiteError, match=r"0\.mlp_out@other is a site of a second model"):
        evaluate_crosscoder(model, crosscoder, text())
    part, _ = written_at(exact(model.d_model), written("0.mlp_out"))
    with pytest.raises(ConfigError, match="say which site it reads"):
        evaluate(model, part, "0.mlp_out", text())
