"""What is recorded is all there or not there, whatever happens to the writer; and the label is the best of what is."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from monosema.atlas import PERSON, Explanation, Score, Vote, build_atlas, open_atlas, record, recording, remove
from monosema.atlas.tables import NAMES
from monosema.core import DamagedFileError, DiskFullError, Estimate, FormatError, InputError, RunError
from monosema.models import quoted

PATTERN = Explanation("monosema", "Neuron2Graph", None, None, "New →[York|Jersey]", '{"trie": []}')
MODEL = Explanation("some-model", "top examples", "some-model", "1", "names of cities")
PERSONS = Explanation("Ada", PERSON, None, None, "cities of the east coast")


def scored(explanation: Explanation, value: float, scorer: str = "simulation") -> Score:
    estimate = Estimate(value, value - 0.1, value + 0.1, 30, "bootstrap")
    return Score(*explanation.identity, scorer, estimate, 0.02, {"simulation": 10, "detection": 20}.get(scorer))


@pytest.fixture
def path(atlas, tmp_path) -> Path:
    return Path(shutil.copytree(atlas.path, tmp_path / "atlas"))


def test_what_is_recorded_is_read_back(path, atlas) -> None:
    before = atlas.feature(3)
    score = Score(*PATTERN.identity, "simulation", Estimate(0.1 + 0.2, -0.1, 0.4, 12, "bootstrap"), None)
    record(path, {3: [PATTERN, MODEL]}, {3: [score]})
    feature = open_atlas(path).feature(3)
    assert set(feature.explanations) == {*before.explanations, PATTERN, MODEL}
    assert set(feature.scores) == {*before.scores, score}
    assert feature.examples == before.examples
    assert open_atlas(path).feature(4) == atlas.feature(4)


def test_a_score_keeps_its_controls_and_stands_above_the_highest(path) -> None:
    estimate, random = Estimate(0.8, 0.7, 0.9, 30, "bootstrap"), Estimate(0.6, 0.2, 0.75, 100, "percentiles")
    high = Score(*PATTERN.identity, "simulation", estimate, 0.02, 10, 0.0, random)
    low = replace(high, scorer="detection", random=replace(random, value=0.72))
    alone = replace(high, scorer="intruder", control=None, random=None, chance=None)
    record(path, {3: [PATTERN]}, {3: [high, low, alone]})
    opened = open_atlas(path)
    assert [score for score in opened.feature(3).scores if score.method == PATTERN.method] == [low, alone, high]
    assert [low.margin, high.margin, alone.margin] == [pytest.approx(-0.02), pytest.approx(0.1), None]
    query = "select margin, above_shuffled, above_random from scores where method = ? order by scorer"
    rows = opened.sql(query, [PATTERN.method])
    assert [row["margin"] for row in rows] == [low.margin, None, high.margin]
    assert [(row["above_shuffled"], row["above_random"]) for row in rows] == [(True, False), (None, None), (True, True)]


def test_the_same_key_is_replaced_and_its_old_scores_go(path) -> None:
    record(path, {3: [PATTERN], 5: [PATTERN]}, {3: [scored(PATTERN, 0.5)], 5: [scored(PATTERN, 0.5)]})
    record(path, {3: [PATTERN]}, {3: [scored(PATTERN, 0.6), scored(PATTERN, 0.7, "detection")]})
    found = [score.estimate.value for score in open_atlas(path).feature(3).scores if score.method == PATTERN.method]
    assert found == [0.7, 0.6]
    record(path, {3: [replace(PATTERN, text="York after New")]})
    feature = open_atlas(path).feature(3)
    assert [one.text for one in feature.explanations if one.method == PATTERN.method] == ["York after New"]
    assert [score for score in feature.scores if score.method == PATTERN.method] == []
    assert scored(PATTERN, 0.5) in open_atlas(path).feature(5).scores


def test_a_program_for_the_same_text_keeps_its_scores(path) -> None:
    lookup = open_atlas(path).feature(3).explanations[0]
    scores = open_atlas(path).feature(3).scores
    assert scores
    record(path, {3: [replace(lookup, program="{}")]})
    assert open_atlas(path).feature(3).scores == scores
    assert open_atlas(path).feature(3).explanations[0].program == "{}"


def test_the_label_is_the_best_by_one_scorer_for_the_whole_atlas(path) -> None:
    lookup = open_atlas(path).feature(3).explanations[0]
    record(path, {3: [PATTERN]}, {3: [scored(PATTERN, 1.0, "detection")]})
    feature = open_atlas(path).feature(3)
    assert (feature.label, feature.label_scorer) == (lookup.text, "balanced accuracy"), "one score of another scale"
    everywhere = {row["latent"]: row for row in open_atlas(path).sql("select * from explanations")}
    lookups = {latent: [scored(lookup, 0.1)] for latent in everywhere}
    patterns = {latent: [PATTERN] for latent in everywhere}
    record(path, patterns, {latent: [*lookups[latent], scored(PATTERN, 0.2 * (latent % 2))] for latent in everywhere})
    opened = open_atlas(path)
    for latent in everywhere:
        feature = opened.feature(latent)
        assert feature.label_method == (PATTERN.method if latent % 2 else lookup.method)
        assert feature.label_scorer == "simulation"
        assert feature.label_score is not None
        assert feature.label_score.value == (0.2 if latent % 2 else 0.1)


@pytest.mark.parametrize(("spare", "expected"), [(0, "simulation"), (2, "detection")])
def test_a_finer_scorer_is_preferred_where_it_scored_at_least_half(path, spare, expected) -> None:
    opened = open_atlas(path)
    lookup = opened.feature(3).explanations[0]
    latents = sorted({row["latent"] for row in opened.sql("select latent from explanations")})
    scores = {latent: [scored(lookup, 0.5, "detection")] for latent in latents}
    for latent in latents[: (len(latents) + 1) // 2 - spare]:
        scores[latent].append(scored(lookup, 0.5))
    record(path, scores=scores)
    assert opened.feature(latents[0]).label_scorer == expected


def test_a_persons_label_comes_first_and_votes_choose_among_several(path) -> None:
    other = replace(PERSONS, author="Grace", text="New, before a name")
    record(path, {3: [PERSONS]})
    opened = open_atlas(path)
    assert (opened.feature(3).label, opened.feature(3).label_author) == (PERSONS.text, "Ada")
    assert opened.feature(3).label_score is None
    record(path, {3: [other]})
    assert opened.feature(3).label == other.text, "the newest of two, seen by an atlas that was open"
    record(path, votes={3: [Vote(*PERSONS.identity, PERSONS.text, "Ada", 1)]})
    assert opened.feature(3).label == PERSONS.text
    assert opened.features(search="coast")[0]["label"] == PERSONS.text
    assert opened.feature(4).label_method == "token lookup"


@pytest.mark.parametrize(
    ("explanations", "scores", "votes", "message"),
    [
        ({40: [PATTERN]}, {}, {}, "no feature 40"),
        ({3: [replace(PATTERN, text=" ")]}, {}, {}, "needs a text"),
        ({}, {3: [scored(PATTERN, 0.5)]}, {}, "Feature 3 has no explanation by 'monosema', 'Neuron2Graph'"),
        ({3: [PATTERN]}, {3: [scored(PATTERN, math.nan)]}, {}, "not a finite number"),
        ({3: [PATTERN]}, {}, {3: [Vote(*PATTERN.identity, PATTERN.text, "Ada", 2)]}, "1 or -1"),
        ({3: [PATTERN]}, {}, {3: [Vote(*PATTERN.identity, "another text", "Ada", 1)]}, "has no explanation"),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_is_written(path, explanations, scores, votes, message) -> None:
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    with pytest.raises(InputError, match=message):
        record(path, explanations, scores, votes)
    assert {file.name: file.read_bytes() for file in path.iterdir() if file.name != ".lock"} == {
        name: content for name, content in before.items() if name != ".lock"
    }


def killed_at(step: int, path: str) -> None:
    """Record a label for every feature; die before the given rename, description of a file, or removal of old ones."""
    steps = 0

    def counted(inner):
        def call(*args, **settings):
            nonlocal steps
            steps += 1
            if steps == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return inner(*args, **settings)

        return call

    os.replace = counted(os.replace)
    recording.describe = counted(recording.describe)
    recording.remove_unnamed = counted(recording.remove_unnamed)
    text = Explanation("Ada", PERSON, None, None, "killed")
    record(path, {latent: [text] for latent in range(40)})
    sys.exit(100 + steps)


def write_many(number: int, path: str) -> None:
    """Label every third feature, one call each."""
    for latent in range(number, 12, 3):
        record(path, {latent: [Explanation(str(number), PERSON, None, None, "mine")]})


def without_room(limit: int, path: str) -> None:
    """Record a text that compresses badly where no file may be longer than the limit; exit code 7 says it was full."""
    import random
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    text = "".join(random.Random(0).choices("abcdefghij", k=20_000))
    try:
        record(path, {3: [Explanation("Ada", PERSON, None, None, text)]})
    except DiskFullError:
        sys.exit(7)


def start(work: Callable[[int, str], None], number: int, path: object) -> Any:
    """Work in a process of its own that has the libraries loaded."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["monosema.atlas", "duckdb", "pyarrow.parquet", "filelock"])
    process = context.Process(target=work, args=(number, str(path)))
    process.start()
    return process


def child(work: Callable[[int, str], None], number: int, path: object) -> int | None:
    process = start(work, number, path)
    process.join()
    return process.exitcode


@pytest.mark.slow
def test_killed_at_any_step_all_or_nothing_is_recorded(atlas, tmp_path) -> None:
    truth = open_atlas(atlas.path)
    steps = child(killed_at, 0, shutil.copytree(atlas.path, tmp_path / "whole")) - 100
    assert steps == 4
    seen = []
    for step in range(1, steps + 1):
        path = shutil.copytree(atlas.path, tmp_path / str(step))
        assert child(killed_at, step, path) == -signal.SIGKILL
        opened = open_atlas(path)
        opened.verify()
        labels = {row["label"] for row in opened.features(limit=None, alive_only=False)}
        whole = labels == {"killed"}
        seen.append(whole)
        if not whole:
            assert opened.features(limit=None) == truth.features(limit=None)
        record(path, {3: [PATTERN]})
        assert PATTERN in open_atlas(path).feature(3).explanations
        named = {facts["file"] for facts in json.loads((path / "meta.json").read_text())["tables"].values()}
        assert {file.name for file in path.iterdir()} == {*named, "meta.json", ".lock"}
    assert seen == [False, False, False, True]


def test_a_disk_without_room_leaves_the_atlas_as_it_was(path) -> None:
    before = {file.name: file.read_bytes() for file in path.iterdir() if file.name != ".lock"}
    assert child(without_room, 4096, path) == 7
    assert {file.name: file.read_bytes() for file in path.iterdir() if file.name != ".lock"} == before
    open_atlas(path).verify()


def test_a_failing_write_of_meta_leaves_the_atlas_as_it_was(path, monkeypatch) -> None:
    def full(*_):
        raise DiskFullError("no room")

    before, files = open_atlas(path).state, set(path.iterdir())
    monkeypatch.setattr(recording, "write_json", full)
    with pytest.raises(DiskFullError):
        record(path, {3: [PATTERN]})
    assert open_atlas(path).state == before
    assert set(path.glob("*.parquet")) <= files


def test_a_second_writer_waits_and_then_says_so(path, monkeypatch) -> None:
    from filelock import FileLock

    monkeypatch.setattr(recording, "PATIENCE", 0.05)
    with FileLock(path / ".lock"), pytest.raises(RunError, match="Another process has been writing"):
        record(path, {3: [PATTERN]})
    record(path, {3: [PATTERN]})


@pytest.mark.slow
def test_writers_at_once_lose_nothing(path) -> None:
    writers = [start(write_many, number, path) for number in range(3)]
    opened = open_atlas(path)
    while any(writer.is_alive() for writer in writers):
        assert len(opened.features(limit=None, alive_only=False)) == 40
        # Where there is one core, the writers need it, too.
        time.sleep(0.02)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    rows = opened.sql("select latent, author from explanations where method = 'person' order by latent")
    assert rows == [{"latent": latent, "author": str(latent % 3)} for latent in range(12)]


@pytest.mark.parametrize("name", ["explanations", "scores", "votes"])
def test_damage_is_found_before_anything_is_recorded(path, name) -> None:
    file = open_atlas(path).file(name)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(bytes(content))
    with pytest.raises(DamagedFileError, match=f"{file.name} is damaged"):
        record(path, {3: [PATTERN]})


def test_an_older_format_says_to_build_again(path) -> None:
    meta = json.loads((path / "meta.json").read_text())
    (path / "meta.json").write_text(json.dumps({**meta, "format": 1}))
    for call in (lambda: open_atlas(path), lambda: record(path, {3: [PATTERN]})):
        with pytest.raises(FormatError, match="format 1; this version reads 3"):
            call()


def test_examples_say_on_which_side_they_are(atlas, codes, config) -> None:
    from monosema.atlas.statistics import passage_in_train

    layout = codes.layout
    train = passage_in_train(layout.passage_hash)[layout.passage].tolist()
    side = dict(zip(zip(layout.document.tolist(), layout.place.tolist(), strict=True), train, strict=True))
    examples = [example for latent in range(40) for example in atlas.feature(latent).examples]
    assert 0.2 < sum(example.test for example in examples) / len(examples) < 0.8
    assert all(example.test == (not side[example.document, example.position]) for example in examples)


def test_a_rebuilt_atlas_leaves_no_old_files(model, dictionary, text, config, site, tmp_path) -> None:
    first = build_atlas(model, dictionary, site, text(), tmp_path, config)
    record(tmp_path, {3: [PATTERN]})
    build_atlas(model, dictionary, site, text(), tmp_path, config)
    assert first.feature(3).label_method == "top tokens", "an atlas that was open sees the new one"
    files = {file.name for file in tmp_path.glob("*.parquet")}
    assert len(files) == len(NAMES)
    assert "explanations-3.parquet" in files


def test_a_feature_without_an_explanation_is_called_by_its_top_tokens(path) -> None:
    feature = open_atlas(path).feature(3)
    remove(path, {3: [one.identity for one in feature.explanations]})
    bare = open_atlas(path).feature(3)
    assert (bare.label_method, bare.label_scorer, bare.explanations) == ("top tokens", None, ())
    assert bare.label.startswith(f"{quoted(bare.top_tokens[0].token)} ({100 * bare.top_tokens[0].weight:.0f} %)")
