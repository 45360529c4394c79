import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pyarrow.parquet as pq
import pytest

from monosema.atlas import PERSON, Explanation, Score, Vote, open_atlas, record
from monosema.core import Estimate, FormatError
from monosema.pages import ReportData, write_report
from monosema.pages.bundle import GROUP, bundle
from monosema.pages.glossary import duration, number, text_of
from monosema.pages.packing import unpack
from monosema.pages.tables import KINDS

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"


class Page(HTMLParser):
    """Tags with attributes, and the text of each script by id."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.scripts, self.text, self.inside = [], {}, "", None
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside = dict(attrs).get("id", "main") if tag == "script" else tag if tag == "style" else None
        if tag == "script":
            self.scripts[self.inside] = ""

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, data):
        if self.inside in self.scripts:
            self.scripts[self.inside] += data
        elif self.inside is None:
            self.text += data


@pytest.fixture(scope="module")
def atlas(fake_atlas, tmp_path_factory):
    return fake_atlas(tmp_path_factory.mktemp("atlas"), n=150, nasty=True)


@pytest.fixture
def page(atlas, facts, tmp_path):
    return Page(write_report(facts, atlas, tmp_path / "report.html").read_text(encoding="utf-8"))


def passages(blocks):
    """All passages of a bundle, decoded the way the page does it."""
    index, extra = unpack(blocks["index"])
    text, _ = unpack(blocks["text"])
    words = extra["words"]
    for row, latent in enumerate(index["latent"]):
        group, names = unpack(blocks[f"features-{row // extra['group']}"])
        begin, end = group["passage_first"][row % extra["group"]], group["passage_first"][row % extra["group"] + 1]
        on = np.concatenate([[0], np.cumsum(group["on_count"].astype(np.int64))])
        for i in range(begin, end):
            offset, length = int(group["offset"][i]), int(group["length"][i])
            values = np.zeros(length)
            places = slice(on[i], on[i + 1])
            values[group["on_place"][places]] = group["on_level"][places] / 255 * group["maximum"][i]
            yield {
                "latent": int(latent),
                "kind": names["kinds"][group["kind"][i]],
                "peak": int(group["peak"][i]),
                "tokens": [words[t] for t in text["tokens"][offset : offset + length]],
                "activations": values,
            }


def test_every_passage_is_read_back_as_it_was(atlas):
    got = list(passages(bundle(atlas).blocks))
    rows = open_atlas(atlas).table("examples").to_pylist()
    rows.sort(key=lambda row: (row["latent"], KINDS.index(row["kind"]), row["rank"]))
    assert len(got) == len(rows)
    for mine, row in zip(got, rows, strict=True):
        assert {key: mine[key] for key in ("latent", "kind", "peak", "tokens")} == {
            key: row[key] for key in ("latent", "kind", "peak", "tokens")
        }
        np.testing.assert_allclose(mine["activations"], row["activations"], atol=row["maximum"] / 255)


def test_index_holds_the_table_of_features(atlas):
    index, extra = unpack(bundle(atlas).blocks["index"])
    table = open_atlas(atlas).table("features").to_pydict()
    assert extra["labels"] == [label or "" for label in table["label"]]
    np.testing.assert_array_equal(index["n_active"], table["n_active"])
    np.testing.assert_allclose(index["density"], table["density"], rtol=1e-6)
    np.testing.assert_array_equal(index["label_score"], np.array(table["label_score"], dtype=np.float32))
    first = index["top_tokens_first"]
    words = [extra["words"][i] for i in index["top_tokens"][first[3] : first[4]]]
    assert words == table["top_tokens"][3]
    assert np.isnan(index["label_control"][7])
    assert index["label_control"][3] == np.float32(0.04)


def test_all_explanations_come_with_their_scores_and_votes(fake_atlas, tmp_path):
    atlas = fake_atlas(tmp_path / "atlas", n=30)
    lookup = open_atlas(atlas).feature(3).explanations[0]
    pattern = Explanation("monosema", "Neuron2Graph", None, None, "New →[York]", "{}")
    person = Explanation("Ada", PERSON, None, None, "cities")
    estimate = Estimate(0.5, 0.4, 0.6, 12)
    scores = {
        3: [Score(*pattern.identity, "simulation", estimate, 0.1), Score(*pattern.identity, "fuzzing", estimate, None)]
    }
    votes = {3: [Vote(*person.identity, "cities", "Grace", -1)]}
    record(atlas, {3: [pattern, person], 4: [pattern]}, scores, votes)
    packed = bundle(atlas)
    index, extra = unpack(packed.blocks["index"])
    assert (extra["labels"][3], extra["methods"][index["method"][3]], extra["authors"][index["author"][3]]) == (
        "cities",
        PERSON,
        "Ada",
    )
    assert extra["scorer"] == packed.scorer == "simulation"
    assert np.isnan(index["label_score"][3])
    _, words = unpack(packed.blocks["features-0"])
    assert [one["text"] for one in words["explanations"][3]] == [lookup.text, "New →[York]", "cities"]
    assert sorted(one["scorer"] for one in words["scores"][3]) == ["fuzzing", "simulation", "simulation"]
    assert [(one["text"], one["voter"], one["vote"]) for one in words["votes"][3]] == [("cities", "Grace", -1)]
    assert "program" not in words["explanations"][3][1]
    means = {(one.scorer, one.method): one for one in packed.scored}
    found = [row["value"] for row in open_atlas(atlas).sql("select value from scores where method = 'token lookup'")]
    assert means["simulation", "token lookup"].mean.value == pytest.approx(np.mean(found))
    assert means["simulation", "token lookup"].shuffled.value == pytest.approx(0.04)
    assert means["fuzzing", "Neuron2Graph"].shuffled is None
    assert means["simulation", "Neuron2Graph"].mean.n == 1


def test_one_file_that_asks_for_nothing_from_outside(page):
    for tag, attributes in page.tags:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            link = attributes.get(name) or ""
            assert link.startswith(("#", "data:,")) or not link, (tag, link)
    policy = next(a["content"] for t, a in page.tags if t == "meta" and a.get("http-equiv"))
    assert "default-src 'none'" in policy
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", page.scripts["main"])
    assert "@import" not in page.scripts["main"]


def test_nothing_hostile_becomes_markup(fake_atlas, facts, tmp_path):
    atlas = fake_atlas(tmp_path / "atlas", n=40, nasty=True)
    known = facts.evaluation[0]
    hostile = {"metrics": {HOSTILE: known.metrics["fvu"]}, "absent": {"fvu": HOSTILE}}
    row = replace(known, name=HOSTILE, **hostile)
    data = replace(
        facts,
        title=HOSTILE,
        model_name=HOSTILE,
        site=HOSTILE,
        notes=[HOSTILE],
        evaluation=[row],
        recipe={HOSTILE: {HOSTILE: HOSTILE}},
        created=HOSTILE,
    )
    plain = Page(write_report(facts, atlas, tmp_path / "plain.html").read_text(encoding="utf-8"))
    page = Page(write_report(data, atlas, tmp_path / "hostile.html").read_text(encoding="utf-8"))
    assert not [
        tag for tag, attributes in page.tags if tag == "img" or any(name.startswith("on") for name in attributes)
    ]
    assert set(page.scripts) == set(plain.scripts)
    assert page.scripts["main"] == plain.scripts["main"]
    assert page.text.count(HOSTILE) >= 6


def test_the_page_says_what_the_run_was(page):
    for words in (
        "150 features of specimen",
        "1,000,000 tokens of the built-in corpus",
        "7,812 tokens were left out as attention sinks",
        "65,536 tokens",
        "[0.180, 0.184]",
        "does not apply",
        "train.latents",
        "71.4 s",
    ):
        assert words in page.text, words


def test_a_report_needs_only_a_title(fake_atlas, tmp_path):
    atlas = fake_atlas(tmp_path / "atlas", n=10, scores=False)
    page = Page(write_report(ReportData(title="bare"), atlas, tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "10 features of a language model" in page.text
    assert "nan" not in page.text.lower().split()
    assert "To explain features: monosema explain RUN" in page.text


def test_the_page_says_what_share_of_labels_stands_above_the_controls(atlas, facts, page):
    low = np.array([low for low in open_atlas(atlas).table("features")["label_low"].to_pylist() if low is not None])
    share = 100 * float(np.mean(low > 0.61))
    assert f"By simulation {share:.0f} % of the labels stand above their controls" in page.text
    assert "Labels above controls, simulation" in page.text
    assert f"{share:.1f} %" in page.text
    assert "0.61" in page.text
    assert "[0.57, 0.64]" in page.text


def test_without_scores_or_random_directions_the_page_names_the_command(fake_atlas, facts, tmp_path):
    bare = fake_atlas(tmp_path / "bare", n=10, scores=False)
    lookup = Explanation("monosema", "token lookup", None, None, "a", "{}")
    record(bare, {1: [lookup]})
    data = replace(facts, run="runs/x")
    page = Page(write_report(data, bare, tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "To score them: monosema score runs/x" in page.text
    record(bare, {}, {1: [Score(*lookup.identity, "simulation", Estimate(0.9, 0.8, 1.0, 9), 0.1)]})
    page = Page(write_report(data, bare, tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "this run has no random directions" in page.text
    assert "monosema run runs/x --update --score.random-latents 100" in page.text
    assert "With random directions they were not compared." in page.text


def test_passages_are_left_out_where_the_file_would_be_too_large_and_the_page_says_so(fake_atlas, facts, tmp_path):
    atlas = fake_atlas(tmp_path / "atlas", n=80, quantile=5)
    whole = bundle(atlas)
    limit = 0.7 * whole.size / 1e6
    less = bundle(atlas, limit_mb=limit)
    assert whole.complete
    assert not less.complete
    assert less.size <= limit * 1e6
    assert 0 < less.n_passages < whole.n_passages
    path = write_report(facts, atlas, tmp_path / "r.html", limit_mb=limit)
    assert "To keep this file small" in path.read_text(encoding="utf-8")


def test_size_per_feature_stays_small(atlas):
    packed = bundle(atlas)
    assert packed.size / packed.n_features < 3500


def test_an_unfinished_report_leaves_the_old_one(atlas, facts, tmp_path, monkeypatch):
    path = write_report(facts, atlas, tmp_path / "report.html")
    before = path.read_bytes()
    with pytest.raises(FormatError, match="holds no atlas"):
        write_report(facts, tmp_path, path)
    assert path.read_bytes() == before


def test_rows_in_any_order_and_gaps_between_latents(fake_atlas, sealed, tmp_path):
    atlas = fake_atlas(tmp_path / "atlas", n=30)
    table = pq.read_table(atlas / "features.parquet")
    keep = np.random.default_rng(0).permutation([i for i in range(30) if i % 5])
    pq.write_table(table.take(keep), atlas / "features.parquet")
    sealed(atlas)
    index, _ = unpack(bundle(atlas).blocks["index"])
    assert index["latent"].tolist() == sorted(keep.tolist())
    got = list(passages(bundle(atlas).blocks))
    rows = [row for row in open_atlas(atlas).table("examples").to_pylist() if row["latent"] % 5]
    assert sorted((row["latent"], row["tokens"]) for row in got) == sorted((r["latent"], r["tokens"]) for r in rows)
    wanted = pq.read_table(atlas / "histograms.parquet").to_pylist()
    group, _ = unpack(bundle(atlas).blocks["features-0"])
    assert group["counts"].tolist() == [n for row in wanted if row["latent"] % 5 for n in row["counts"]]
    near = [row for row in pq.read_table(atlas / "neighbours.parquet").to_pylist() if row["latent"] % 5]
    assert group["decoder_other"].tolist() == [row["other"] for row in near if row["kind"] == "decoder"]


def test_document_numbers_beyond_four_billion(fake_atlas, sealed, tmp_path):
    atlas = fake_atlas(tmp_path / "atlas", n=3)
    table = pq.read_table(atlas / "examples.parquet")
    large = [2**40 + row for row in table["document"].to_pylist()]
    place = table.schema.get_field_index("document")
    pq.write_table(table.set_column(place, table.schema.field(place), [large]), atlas / "examples.parquet")
    sealed(atlas)
    text, _ = unpack(bundle(atlas).blocks["text"])
    assert set(text["span_document"]) <= {float(number) for number in large}


def test_blocks_hold_whole_groups(atlas):
    blocks = bundle(atlas).blocks
    assert [name for name in blocks if name.startswith("features-")] == [
        f"features-{i}" for i in range(-(-150 // GROUP))
    ]


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.9312, "share", "93.1 %"),
        (1.0, "share", "100 %"),
        (0.165, "", "0.165"),
        (32.0, "", "32.0"),
        (0.0, "nats", "0.000"),
    ],
)
def test_figures_are_written_for_people(value, unit, text):
    assert text_of(value, unit) == text


def test_numbers_and_durations():
    assert [number(v) for v in (1234567, 0.0123456, 12.3456, 123.456, 1.5e-7)] == [
        "1,234,567",
        "0.0123",
        "12.3",
        "123.5",
        "1.50e-07",
    ]
    assert [duration(v) for v in (8.24, 200, 3900)] == ["8.2 s", "3 min 20 s", "1 h 05 min"]
