from __future__ import annotations

import shutil

import pytest

from monosema.atlas import build_atlas, open_atlas
from monosema.atlas.tables import NAMES, schema
from monosema.core import ConfigError, DamagedFileError, Estimate, FormatError, InputError, SiteError
from monosema.dictionaries import Pca


def test_tables_have_the_columns_that_are_promised(atlas) -> None:
    import pyarrow.parquet as pq

    for name in NAMES:
        assert pq.read_schema(atlas.file(name)) == schema(name)


def test_a_feature_is_whole(atlas) -> None:
    feature = atlas.feature(3)
    assert feature.latent == 3
    assert isinstance(feature.label_score, Estimate)
    assert len(feature.promoted) == len(feature.suppressed) == 3
    assert feature.promoted[0].weight > feature.promoted[1].weight
    assert feature.suppressed[0].weight < feature.suppressed[1].weight
    assert feature.explanations[0].text == feature.label
    assert feature.scores[0].estimate == feature.label_score
    assert (feature.label_author, feature.label_method, feature.label_scorer) == (
        "monosema",
        "token lookup",
        "balanced accuracy",
    )
    top = feature.examples[0]
    assert len(top.token_ids) == len(top.tokens) == len(top.activations)
    kinds = [example.kind for example in feature.examples]
    assert kinds == sorted(kinds, key=lambda kind: -10 if kind == "top" else -int(kind[1:]))


@pytest.mark.parametrize("latent", [-1, 40, True])
def test_an_unknown_feature_says_which_there_are(atlas, latent) -> None:
    with pytest.raises(InputError, match="0 to 39"):
        atlas.feature(latent)


def test_promoted_tokens_are_those_of_the_unembedding(atlas, model, dictionary) -> None:
    logits = model.unembed(dictionary.directions)
    best = logits[5].topk(3)
    feature = atlas.feature(5)
    assert [one.token for one in feature.promoted] == model.tokenizer.tokens(best.indices.tolist())
    assert [one.weight for one in feature.promoted] == pytest.approx(best.values.tolist(), rel=1e-5)
    assert feature.suppressed[0].weight == pytest.approx(logits[5].min().item(), rel=1e-5)


def test_lists_are_sorted_and_cut(atlas) -> None:
    rows = atlas.features(sort="max", limit=5)
    assert [row["max"] for row in rows] == sorted((row["max"] for row in rows), reverse=True)
    assert rows[2:] == atlas.features(sort="max", limit=3, offset=2)
    assert [row["latent"] for row in atlas.features(sort="latent", alive_only=False, limit=None)] == list(range(40))
    assert [row["density"] for row in atlas.features(descending=False, limit=2)] == sorted(
        row["density"] for row in atlas.features(limit=None)
    )[:2]


@pytest.mark.parametrize(
    ("asked", "message"), [({"sort": "maxx"}, "'max'"), ({"limit": -1}, "below 0"), ({"offset": -2}, "below 0")]
)
def test_a_wrong_list_is_refused(atlas, asked, message) -> None:
    with pytest.raises(InputError, match=message):
        atlas.features(**asked)


def test_search_finds_labels_and_tokens(atlas) -> None:
    rows = atlas.features(limit=None)
    labels = [(row["latent"], row["label"].strip("“-")[0]) for row in rows if row["label"].startswith("“")]
    latent, token = next((latent, token) for latent, token in labels if token.isalpha())
    found = atlas.search(token, limit=None)
    assert "in its label" in next(row["why"] for row in found if row["latent"] == latent)
    assert found[0]["why"].startswith("top token (")
    assert [row["relevance"] for row in found] == sorted((row["relevance"] for row in found), reverse=True)
    assert {row["latent"] for row in atlas.features(search=token, limit=None)} == {row["latent"] for row in found}
    assert atlas.search("nothinglikethis") == []
    by_token = atlas.search_token(token)
    assert by_token[0]["share"] == max(row["share"] for row in by_token)


@pytest.mark.parametrize("words", ["'", '"; drop view features; --', "%", "a') or 1=1 --", "\\"])
def test_words_of_people_are_never_part_of_a_query(atlas, words) -> None:
    atlas.search(words)
    atlas.search_token(words)
    assert atlas.sql("select count(*) as n from features")[0]["n"] == 40


def test_search_for_nothing_is_refused(atlas) -> None:
    with pytest.raises(InputError, match="what to search for"):
        atlas.search("  ")


def test_sql_reads_the_tables(atlas) -> None:
    assert atlas.sql("select count(*) as n from features where latent < ?", [7]) == [{"n": 7}]
    assert [row["latent"] for row in atlas.sql("with few as (select latent from features limit 2) select * from few")]


@pytest.mark.parametrize(
    "query",
    [
        "drop view features",
        "create table other as select 1",
        "select 1; select 2",
        "select * from nowhere",
        "selec",
        "copy features to '/tmp/leak.csv'",
        "select * from read_text('/etc/passwd')",
        "set enable_external_access = true",
        "install httpfs",
    ],
)
def test_sql_does_nothing_else(atlas, query) -> None:
    with pytest.raises(InputError):
        atlas.sql(query)


@pytest.fixture
def copy(atlas, tmp_path):
    shutil.copytree(atlas.path, tmp_path / "run" / "atlas" / "topk")
    return tmp_path / "run"


def test_an_atlas_is_found_in_its_run(copy) -> None:
    assert open_atlas(copy).path == copy / "atlas" / "topk"
    assert open_atlas(copy, "topk").n_latents == 40
    shutil.copytree(copy / "atlas" / "topk", copy / "atlas" / "second")
    with pytest.raises(FormatError, match="second, topk"):
        open_atlas(copy)
    with pytest.raises(FormatError, match="no atlas 'third'"):
        open_atlas(copy, "third")


def test_no_atlas_says_how_to_build_one(tmp_path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(FormatError, match="monosema atlas RUN"):
            open_atlas(path)


@pytest.mark.parametrize("name", NAMES)
def test_damage_is_found_and_named(copy, name) -> None:
    path = open_atlas(copy).file(name)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(DamagedFileError, match=f"{path.name} is damaged"):
        open_atlas(copy)
    path.write_bytes(bytes(content[:-20]))
    with pytest.raises(DamagedFileError, match=f"{path.name} is damaged"):
        open_atlas(copy, checksums=False)
    path.unlink()
    with pytest.raises(DamagedFileError, match=f"lost its table {path.name}"):
        open_atlas(copy)


def test_a_table_that_breaks_while_open_is_named(copy) -> None:
    atlas = open_atlas(copy)
    path = copy / "atlas" / "topk" / "examples.parquet"
    path.write_bytes(b"PAR1" + bytes(2000) + b"PAR1")
    with pytest.raises(DamagedFileError, match="examples"):
        atlas.feature(0)


@pytest.mark.parametrize("site", ["0.mlp.post", "0.z"])
def test_what_can_not_be_computed_is_absent_with_the_reason(model, text, config, tmp_path, site) -> None:
    rows = [model.activations(batch.tokens, [site])[site][batch.keep].flatten(1) for batch in text()]
    atlas = build_atlas(model, Pca.fit(rows, 6), site, text(), tmp_path, config)
    assert "residual stream" in atlas.absent["promoted"]
    assert atlas.feature(0).promoted == ()
    assert 0 < atlas.feature(0).density < 1


def test_a_dictionary_of_another_site_is_refused(model, dictionary, text, config, tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"reads 32 values and 0\.mlp\.post"):
        build_atlas(model, dictionary, "0.mlp.post", text(), tmp_path, config)
    with pytest.raises(SiteError):
        build_atlas(model, dictionary, "7.resid_post", text(), tmp_path, config)


def test_a_feature_is_told_in_a_line(atlas) -> None:
    alive = atlas.features(limit=1)[0]["latent"]
    assert repr(atlas.feature(alive)).startswith(f"Feature({alive}: ")
    assert all(len(repr(feature)) < 400 for feature in atlas)
