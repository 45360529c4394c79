"""People's labels and votes, how they outlive a build, and how far those who judge agree."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monosema.atlas import (
    PERSON,
    Explanation,
    Score,
    Vote,
    build_atlas,
    label,
    open_atlas,
    record,
    remove,
    unlabel,
    vote,
    withdraw,
)
from monosema.core import Estimate, InputError
from monosema.dictionaries import RandomDirections
from monosema.interpretation.agreement import agreement, krippendorff, shared_words


@pytest.fixture
def opened(atlas, tmp_path):
    return open_atlas(shutil.copytree(atlas.path, tmp_path / "atlas"))


def test_a_label_is_shown_and_the_same_persons_next_one_replaces_it(opened) -> None:
    label(opened, 3, "  house \n names", "Ada")
    assert opened.feature(3).label == "house names"
    label(opened, 3, "houses", "Ada")
    assert [one.text for one in opened.feature(3).explanations if one.author == "Ada"] == ["houses"]
    with pytest.raises(InputError, match="needs a text"):
        label(opened, 3, "  ", "Ada")


def test_votes_are_of_the_label_or_of_the_method_that_is_named(opened) -> None:
    lookup = opened.feature(3).explanations[0]
    label(opened, 3, "houses", "Ada")
    assert vote(opened, 3, True, "Grace").identity[0] == "Ada"
    vote(opened, 3, False, "Grace", of="token lookup")
    vote(opened, 3, True, "Grace", of="token lookup")
    votes = {(one.author, one.text): one.vote for one in opened.feature(3).votes}
    assert votes == {("Ada", "houses"): 1, ("monosema", lookup.text): 1}
    with pytest.raises(InputError, match=r"no explanation of 'token lokup'\. Did you mean 'token lookup'"):
        vote(opened, 3, True, "Grace", of="token lokup")
    record(opened.path, {3: [Explanation("monosema", "Neuron2Graph", None, None, "the →[house]")]})
    with pytest.raises(InputError, match="2 explanations of 'monosema'"):
        vote(opened, 3, True, "Grace", of="monosema")


def test_a_label_is_taken_back_with_its_scores_and_the_votes_on_it(opened) -> None:
    before = opened.feature(3)
    label(opened, 3, "houses", "Ada")
    label(opened, 3, "homes", "Emmy")
    ours = [Score("Ada", PERSON, None, None, "detection", Estimate(0.9, 0.8, 1.0, 40), 0.5)]
    record(opened.path, scores={3: ours})
    vote(opened, 3, True, "Grace", of="Ada")
    vote(opened, 3, True, "Grace", of="token lookup")
    with pytest.raises(InputError, match=r"no label by 'Adda'\. Did you mean 'Ada'.*labels by: Ada, Emmy"):
        unlabel(opened, 3, "Adda")
    assert unlabel(opened, 3, "Ada").text == "houses"
    after = opened.feature(3)
    assert (after.label, [one.method for one in after.votes]) == ("homes", ["token lookup"])
    assert after.scores == before.scores
    unlabel(opened, 3, "Emmy")
    assert opened.feature(3).label == before.label
    with pytest.raises(InputError, match="Nobody has labelled it"):
        unlabel(opened, 3, "Ada")


def test_a_vote_is_taken_back_also_where_the_text_is_another_by_now(opened) -> None:
    label(opened, 3, "houses", "Ada")
    vote(opened, 3, True, "Grace")
    vote(opened, 3, False, "Grace", of="token lookup")
    vote(opened, 3, True, "Emmy")
    assert [one.text for one in withdraw(opened, 3, "Grace")] == ["houses"]
    assert {(one.voter, one.author) for one in opened.feature(3).votes} == {("Emmy", "Ada"), ("Grace", "monosema")}
    with pytest.raises(InputError, match=r"no vote of 'Grace' on the label that is shown.*Votes of Grace there"):
        withdraw(opened, 3, "Grace")
    label(opened, 3, "homes", "Ada")
    assert [one.text for one in withdraw(opened, 3, "Emmy", of="Ada")] == ["houses"]
    with pytest.raises(InputError, match="Emmy has not voted"):
        withdraw(opened, 3, "Emmy", of="Ada")


def test_what_is_not_there_is_not_removed(opened) -> None:
    label(opened, 3, "houses", "Ada")
    state = opened.state
    with pytest.raises(InputError, match="some is not there"):
        remove(opened.path, {3: [("Ada", PERSON, None, None)], 4: [("Ada", PERSON, None, None)]})
    assert opened.state == state
    remove(opened.path)
    assert opened.state == state


def test_people_and_explainers_are_compared_in_words_and_scores(opened) -> None:
    latents = [row["latent"] for row in opened.features(limit=6)]
    scored = {row["latent"]: row["value"] for row in opened.sql("select * from scores where method = 'token lookup'")}
    latents = [latent for latent in latents if latent in scored]
    for latent in latents:
        label(opened, latent, "cat", "Ada")
    better = {
        latent: [
            Score("Ada", PERSON, None, None, "balanced accuracy", Estimate(scored[latent] + 0.1, 0.0, 1.0, 9), None)
        ]
        for latent in latents
    }
    record(opened.path, scores=better)
    words, difference = agreement(opened)["people_and_explainers"]
    assert (words.between, words.measure) == (("Ada", "token lookup"), "words")
    assert difference.measure == "balanced accuracy, difference"
    assert difference.estimate.value == pytest.approx(0.1, abs=1e-6)
    assert difference.estimate.n == len(latents) > 1


def test_they_outlive_a_build_and_come_back_with_their_dictionary(
    model, dictionary, text, config, site, tmp_path
) -> None:
    first = build_atlas(model, dictionary, site, text(), tmp_path, config)
    label(first, 3, "houses", "Ada")
    record(tmp_path, {3: [Explanation("monosema", "token lookup", None, None, "' h'")]})
    vote(first, 3, False, "Grace", of="token lookup")
    judged = first.feature(3)
    meta = json.loads((tmp_path / "meta.json").read_text())
    (tmp_path / "meta.json").write_text(json.dumps({**meta, "format": 2}))
    again = build_atlas(model, dictionary, site, text(30), tmp_path, config)
    assert (again.feature(3).label, again.feature(3).votes) == ("houses", judged.votes)
    assert again.tokens < sum(int(batch.keep.sum()) for batch in text())
    other = RandomDirections.fit(dictionary.directions.detach(), 40, 5, seed=9)
    changed = build_atlas(model, other, site, text(), tmp_path, config)
    assert changed.feature(3).label_method == "top tokens"
    assert changed.feature(3).votes == ()
    label(changed, 3, "of the other dictionary", "Ada")
    back = build_atlas(model, dictionary, site, text(), tmp_path, config)
    assert (back.feature(3).label, back.feature(3).votes) == ("houses", judged.votes)
    assert sum(one.author == "Ada" for one in back.feature(3).explanations) == 1
    assert build_atlas(model, other, site, text(), tmp_path, config).feature(3).label == "of the other dictionary"


def test_a_damaged_table_is_put_aside_by_the_next_build(model, dictionary, text, config, site, tmp_path) -> None:
    first = build_atlas(model, dictionary, site, text(), tmp_path, config)
    label(first, 3, "houses", "Ada")
    file = first.file("explanations")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(bytes(content))
    build_atlas(model, dictionary, site, text(), tmp_path, config)
    assert (tmp_path / f"{file.stem}.damaged").read_bytes() == bytes(content)


def test_alpha_of_the_textbook() -> None:
    """Krippendorff (2011), section C: four observers, twelve units, five values, some missing: 0.743."""
    none = np.nan
    observers = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, none, none, none],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, none, 3],
        [none, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, none],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, none],
    ]
    found = krippendorff(np.array(observers).T)
    assert found.value == pytest.approx(0.743, abs=5e-4)
    assert found.low < found.value < found.high
    assert found.n == 11


@settings(deadline=None, max_examples=15)
@given(st.lists(st.lists(st.sampled_from(["x", "y", "z"]), min_size=3, max_size=3), min_size=2, max_size=12))
def test_alpha_is_that_of_nltk_where_nothing_is_missing(rows) -> None:
    from nltk.metrics.agreement import AnnotationTask

    found = krippendorff(np.array([["xyz".index(value) for value in row] for row in rows], np.float64))
    if len({value for row in rows for value in row}) < 2:
        assert found is None
        return
    triples = [(rater, unit, value) for unit, row in enumerate(rows) for rater, value in enumerate(row)]
    assert found.value == pytest.approx(AnnotationTask(data=triples).alpha(), abs=1e-9)


def test_chance_has_an_alpha_of_zero_within_the_interval() -> None:
    worlds = [np.random.default_rng(seed).integers(0, 2, (100, 3)).astype(np.float64) for seed in range(60)]
    found = [krippendorff(ratings) for ratings in worlds]
    assert abs(np.mean([one.value for one in found])) < 0.02
    assert np.mean([one.low <= 0 <= one.high for one in found]) >= 0.88
    assert krippendorff(np.ones((10, 2))) is None
    assert krippendorff(np.array([[1.0, np.nan], [np.nan, 0.0]])) is None


def test_people_agree_as_far_as_their_votes_say(opened) -> None:
    assert agreement(opened)["people"][0].absent == "no explanation has votes of two people"
    labels = {row["latent"]: row["label"] for row in opened.features(limit=12)}
    identity = ("monosema", "token lookup", None, None)
    for voter, odd in (("Ada", 1), ("Grace", 1), ("Emmy", -1)):
        given_by = {n: [Vote(*identity, text, voter, odd if n % 2 else -odd)] for n, text in labels.items()}
        record(opened.path, votes=given_by)
    votes = agreement(opened)["people"][0]
    assert votes.between == ("Ada", "Emmy", "Grace")
    assert votes.estimate.value < 0
    only = krippendorff(np.tile([[1.0, 1.0], [0.0, 0.0]], (6, 1)))
    assert only.value == 1


def test_texts_share_words_beyond_those_of_other_features(opened) -> None:
    mine = {latent: f"the {word} house (61 %)" for latent, word in enumerate(["red", "old", "green", "tall"])}
    theirs = {latent: f"'{word}'" for latent, word in enumerate(["Red", "old", "green", "small"])} | {9: "12 %"}
    found = shared_words(("a", mine), ("b", theirs))
    assert found.estimate.value == pytest.approx((3 * 1 / 3 + 0) / 4)
    assert found.control == 0
    assert found.estimate.n == 4
    record(opened.path, {latent: [Explanation("m", "other", None, None, "cat dog")] for latent in range(40)})
    assert [one.between for one in agreement(opened)["explainers"]] == [("other", "token lookup")]
