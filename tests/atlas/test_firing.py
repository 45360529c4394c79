"""Features that fire on a given text are those of its codes; features of an effect are those of the unembedding."""

from __future__ import annotations

import pytest
import torch

from monosema.atlas import build_atlas, fires_on
from monosema.core import InputError, choose_product
from monosema.dictionaries import RandomDirections


def test_features_that_fire_are_those_of_the_codes(atlas, model, dictionary, site) -> None:
    text = "the old cat sees the red dog."
    ids = model.tokenizer.encode(text)
    special = int(len(ids) - len(model.tokenizer.encode(text, bos=False)))
    with torch.inference_mode():
        x = model.activations(torch.tensor([ids]), [site])[site][0]
        dense = dictionary.encode(x.float(), choose_product(x.device)).dense().numpy()
    fired = fires_on(atlas, model, dictionary, text, limit=None)
    assert "".join(fired.tokens) == text
    dense = dense[special:] * torch.tensor(fired.looked_at).numpy()[:, None]
    assert {one.latent for one in fired.firings} == set(dense.max(axis=0).nonzero()[0].tolist())
    assert fired.active == len(fired.firings)
    for one in fired.firings:
        assert one.positions == tuple(dense[:, one.latent].nonzero()[0].tolist())
        assert one.activations == pytest.approx(dense[list(one.positions), one.latent], rel=1e-5)
        assert one.share == pytest.approx(one.maximum / atlas.feature(one.latent).max, rel=1e-5)
        assert one.label == atlas.feature(one.latent).label
    shares = [one.share for one in fired.firings]
    assert shares == sorted(shares, reverse=True)
    assert fires_on(atlas, model, dictionary, text, limit=2).firings == fired.firings[:2]


def test_planted_features_fire_where_they_were_planted(model, planted, text, config, tmp_path) -> None:
    atlas = build_atlas(model, planted, "embed", text(), tmp_path, config)
    fired = fires_on(atlas, model, planted, "the cat", limit=None)
    letters = {0: "e", 1: "t", 3: " "}
    for one in fired.firings:
        assert {fired.tokens[position] for position in one.positions} == {letters[one.latent]}
        assert one.share == 1
    assert {one.latent for one in fired.firings} == {0, 1, 3}


def test_a_text_longer_than_the_context_is_read_to_its_end(atlas, model, dictionary) -> None:
    text = "the old red cat " * model.context
    fired = fires_on(atlas, model, dictionary, text, limit=None)
    assert "".join(fired.tokens) == text
    assert max(position for one in fired.firings for position in one.positions) > len(fired.tokens) - 30


def test_what_is_not_the_atlases_own_is_refused(atlas, model, dictionary) -> None:
    with pytest.raises(InputError, match="at least one token"):
        fires_on(atlas, model, dictionary, "")
    other = RandomDirections.fit(dictionary.directions.detach(), 40, 5, seed=3)
    with pytest.raises(InputError, match="another dictionary"):
        fires_on(atlas, model, other, "the cat")


def test_features_are_found_by_their_effect(atlas, model) -> None:
    feature = next(one for one in atlas if one.promoted[0].token.strip())
    for weight, sign in ((feature.promoted[0], 1), (feature.suppressed[0], -1)):
        found = {row["latent"]: row for row in atlas.search_effect(weight.token, limit=None)}
        assert found[feature.latent]["logit"] == pytest.approx(weight.weight)
        assert found[feature.latent]["effect"] == pytest.approx(weight.weight * feature.max, rel=1e-5)
        assert sign * found[feature.latent]["logit"] > 0
        effects = [abs(row["effect"]) for row in atlas.search_effect(weight.token, limit=None)]
        assert effects == sorted(effects, reverse=True)
    assert atlas.search_effect("nothing like this") == []


def test_the_table_has_every_token_and_every_activation(atlas, model, dictionary, site, tmp_path) -> None:
    import pyarrow.csv
    import pyarrow.parquet as pq

    from monosema.atlas.fired_table import write_fired

    fired = fires_on(atlas, model, dictionary, "the old cat sees the red dog.", limit=None)
    table = fired.table()
    rows = table.to_pylist()
    assert [rows[i]["token"] for i in range(len(rows)) if not i or rows[i]["position"] != rows[i - 1]["position"]] == [
        *fired.tokens
    ]
    known = {(row["position"], row["latent"]): row for row in rows if row["latent"] is not None}
    assert len(known) == sum(len(one.positions) for one in fired.firings)
    for one in fired.firings:
        for position, value in zip(one.positions, one.activations, strict=True):
            row = known[position, one.latent]
            assert row["activation"] == pytest.approx(value)
            assert row["share"] == pytest.approx(value / atlas.feature(one.latent).max, rel=1e-5)
            assert row["label"] == one.label
    assert pq.read_table(write_fired(table, tmp_path / "fired.parquet")).equals(table)
    assert pyarrow.csv.read_csv(write_fired(table, tmp_path / "fired.csv")).num_rows == table.num_rows
    with pytest.raises(InputError, match=r"\.parquet or \.csv"):
        write_fired(table, tmp_path / "fired.xls")


def test_a_text_on_which_nothing_fires_is_a_table_of_its_tokens() -> None:
    from monosema.atlas import FiredText

    table = FiredText(("a", "b"), (True, True), (), 0).table()
    assert table.column("token").to_pylist() == ["a", "b"]
    assert table.column("latent").null_count == 2
