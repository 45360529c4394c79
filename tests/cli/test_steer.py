"""Steering from the command line: edits, sweeps, solved strengths, choices for a concept, files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from printed import parsed

from monosema.runs import Run

Command = Callable[..., tuple[int, str, str]]
CONCEPT = """
positive = ["the cat sees a dog", "a cat and a dog", "the old cat runs", "a red cat sleeps"]
negative = ["the house is green", "a green house", "not a red house", "the old house sees"]
prompts = ["the cat", "a dog", "the house", "old"]
questions = ["the cat?", "a dog?", "the house?", "old?"]
prefix = "cat: "
words = ["cat", "dog"]
"""


@pytest.fixture(scope="module")
def latent(finished: Run) -> int:
    """A latent that fires often."""
    return int(finished.atlas().features(sort="density", limit=1)[0]["latent"])


@pytest.fixture
def concept(tmp_path: Path) -> Path:
    path = tmp_path / "cats.toml"
    path.write_text(CONCEPT)
    return path


def test_texts_stand_beside_the_unsteered_ones(finished: Run, latent: int, command: Command) -> None:
    words = ("steer", finished.folder, "the cat", "a dog", "--steer", f"{latent}=+3", "--tokens", "4")
    found = parsed(command(*words, "--json"))
    (point,) = found["points"]
    assert found["prompts"] == ["the cat", "a dog"]
    assert point["figures"]["kl"]["value"] > 0
    assert found["base"]["figures"]["kl"]["value"] == 0
    assert found["steering"]["edits"][0]["latent"] == latent
    code, out, _ = command(*words)
    assert (code, "unsteered" in out, "KL per token" in out) == (0, True, True)


def test_a_sweep_tries_strengths_and_seeds(finished: Run, latent: int, command: Command, concept: Path) -> None:
    words = ("steer", finished.folder, "--steer", f"{latent}=+1", "--sweep", "0,1", "--concept", concept)
    words = (*words, "--seeds", "2", "--temperature", "0.9", "--tokens", "3")
    found = parsed(command(*words, "--json"))
    assert [point["strength"] for point in found["points"]] == [0, 1]
    none, some = (point["figures"] for point in found["points"])
    assert (none["kl"]["value"], none["effect"]["n"]) == (0, 4)
    assert some["kl"]["value"] > 0
    assert len(found["points"][0]["samples"]) == 4 * 2
    code, out, _ = command(*words)
    assert (code, "Shown: 4 of 8 texts at each strength, with seed 0; --json has all." in out) == (0, True)


def test_the_strength_of_a_divergence_is_solved_and_kept_in_a_file(
    finished: Run, latent: int, command: Command, tmp_path: Path
) -> None:
    out = tmp_path / "steering.toml"
    words = ("steer", finished.folder, "the cat", "--tokens", "6", "--json")
    found = parsed(command(*words, "--steer", f"{latent}=+1", "--kl", "0.05", "--out", out))
    assert found["steering"]["strength"] != 1
    again = parsed(command(*words, "--steering", out))
    assert again["points"][0]["samples"] == found["points"][0]["samples"]
    completed = parsed(
        command("complete", "the cat", "--run", finished.folder, "--steering", out, "--tokens", "6", "--json")
    )
    assert completed["completions"][0]["completion"] == found["points"][0]["samples"][0]["text"]
    assert completed["completions"][0]["edited"]["generated"]


def test_a_divergence_that_no_strength_reaches_is_said_with_the_largest(
    finished: Run, latent: int, command: Command
) -> None:
    words = ("steer", finished.folder, "the cat", "--steer", f"{latent}=+1", "--tokens", "4", "--kl", "300")
    code, _, err = command(*words)
    assert (code, "the nearest found is" in err, "change nothing" in err) == (2, True, False)
    code, _, err = command(*words[:4], f"{latent}=x1", *words[5:])
    assert (code, "change nothing here" in err) == (2, True)


def test_latents_of_a_concept_are_listed_and_compared(
    finished: Run, command: Command, concept: Path, tmp_path: Path
) -> None:
    out = tmp_path / "chosen.toml"
    words = ("steer", finished.folder, "--concept", concept)
    found = parsed(command(*words, "--choose", "output", "--out", out, "--json"))
    best = found["latents"][0]["latent"]
    assert f"latent = {best}" in out.read_text()
    assert command(*words, "--choose", "input")[0] == 0
    compared = parsed(command(*words, "--kl", "0.1", "--tokens", "3", "--json"))
    assert {entry["kind"] for entry in compared["entries"]} == {"latent", "baseline"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "--steer"),
        (("the cat", "--choose", "input"), "--concept"),
        (("the cat", "--steer", "99999999=+1"), "99999999"),
        (("the cat", "--steer", "0+1"), "no edit"),
        (("--steer", "0=+1raw"), "text to go on from"),
        (("the cat", "--steer", "0=+1raw", "--sweep", "a,b"), "--sweep"),
        (("the cat", "--steer", "0=+1raw", "--sweep", "1", "--kl", "1"), "--kl"),
        (("the cat", "--steer", "0=+1raw", "--seeds", "2"), "--temperature"),
        (("the cat", "--steer", "0=+1raw", "--seeds", "0"), "--seeds"),
        (("the cat", "--steer", "0=+1raw@prompt[90:95]"), "selects no token"),
        (("the cat", "--steer", "77.resid_post:0=+1raw"), "77.resid_post"),
        (("--concept", "sentimant"), "sentiment"),
        (("--concept", "sentiment", "--seeds", "0"), "--seeds"),
        (("--concept", "sentiment", "--choose", "best"), "--choose best"),
        (("a", "--chat", "--steer", "0=+1raw"), "no chat template"),
    ],
)
def test_what_cannot_be_steered_is_said(words: tuple[str, ...], says: str, finished: Run, command: Command) -> None:
    code, _, err = command("steer", finished.folder, *words)
    assert (code, says in err) == (2, True), err


def test_completion_beside_the_untouched_one_counts_edited_tokens(finished: Run, latent: int, command: Command) -> None:
    words = ("complete", "the cat", "--run", finished.folder, "--steer", f"{latent}=+3@last,generated", "--tokens", "4")
    found = parsed(command(*words, "--beside", "--json"))
    untouched, steered = found["versions"]
    assert "edited" not in untouched["texts"][0]
    assert len(steered["texts"][0]["edited"]["prompt"]) == 1
    assert steered["metrics"]["kl"] > 0
    code, out, _ = command(*words, "--beside")
    assert (code, "edited: 1 token of the prompt" in out) == (0, True)
    assert command(*words, "--stream")[0] == 0
    for more, says in (
        (("--steer", "0=0", "--splice", "drop"), "two experiments"),
        (("--beside",), "--steer"),
    ):
        code, _, err = command("complete", "a", "--run", finished.folder, *more)
        assert (code, says in err) == (2, True)


def test_edits_that_read_what_is_there_select_tokens_and_say_where_nothing_changed(
    finished: Run, latent: int, command: Command
) -> None:
    words = ("complete", "the cat", "--run", finished.folder, "--tokens", "4", "--steer", f"{latent}=x1")
    code, out, err = command(*words, "--beside")
    assert (code, "selected: " in out, "The edits changed nothing here" in out) == (0, True, True), err


def test_nothing_is_printed_before_an_error_of_a_stream(finished: Run, command: Command) -> None:
    words = ("complete", "the cat", "--run", finished.folder, "--stream")
    for edit, says in (("nofile.npy=+1", "no file nofile.npy"), ("0=+1,1=+1", "--steer 1=+1")):
        code, out, err = command(*words, "--steer", edit)
        assert (code, out, says in err) == (2, "", True), err


def test_another_model_is_named_beside_the_run_s(finished: Run, command: Command) -> None:
    code, _, err = command("complete", "a", "--run", finished.folder, "--model", "specimen", "--steer", "0=+1raw")
    assert (code, "of the model" in err, "specimen" in err) == (2, True, True), err


@pytest.mark.slow
def test_a_killed_sweep_goes_on_from_the_file_of_its_texts(finished: Run, tmp_path: Path) -> None:
    """kill -9 of the command; run again, it prints what one that was never killed prints."""
    import signal
    import subprocess
    import sys
    import time

    file, latent = tmp_path / "sweep.jsonl", next(iter(finished.atlas().features(limit=1)))["latent"]
    words = ["steer", str(finished.folder), "the cat", "--steer", f"{latent}=+1", "--sweep", "0.5,1,2,3"]
    words += ["--seeds", "24", "--temperature", "1", "--tokens", "60", "--json"]
    command = [sys.executable, "-m", "monosema", *words]
    log = tmp_path / "log.txt"
    with open(log, "wb") as said:
        process = subprocess.Popen([*command, "--keep", str(file)], stdout=subprocess.DEVNULL, stderr=said)
    end = time.monotonic() + 300
    while not (file.exists() and len(file.read_bytes().splitlines()) > 20):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = file.read_bytes()[: file.read_bytes().rfind(b"\n") + 1]
    resumed = json.loads(subprocess.run([*command, "--keep", str(file)], capture_output=True, check=True).stdout)
    assert file.read_bytes().startswith(before)
    assert len(file.read_bytes().splitlines()) == 2 * 5 * 24
    whole = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert [point["samples"] for point in resumed["points"]] == [point["samples"] for point in whole["points"]]
