"""Every verb on a small run: one JSON object on stdout, or figures that people read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from printed import parsed

from monosema.runs import Run

Command = Callable[..., tuple[int, str, str]]
Words = Callable[..., list[str]]


def test_run_gives_the_figures_as_json(finished: Run, command: Command) -> None:
    values = parsed(command("run", finished.folder, "--json"))
    numbers = {"fvu", "variance_explained", "l0", "alive", "ce_clean", "ce_spliced", "ce_zero", "features", "tokens"}
    assert all(isinstance(values[name], (int, float)) for name in numbers)
    assert {"seconds", "report", "run", "intervals"} <= set(values)


def test_run_ends_with_a_table(finished: Run, command: Command) -> None:
    code, out, err = command("run", finished.folder)
    assert code == 0
    assert "unexplained (FVU)" in out
    assert "pca" in out
    assert f"{finished.recipe.dictionary_name}.html" in out.replace("\n", "")
    assert "report: done before" in err


@pytest.mark.parametrize("verb", ["capture", "train", "evaluate", "atlas", "report"])
def test_stages_work_alone(verb: str, finished: Run, command: Command) -> None:
    assert parsed(command(verb, finished.folder, "--json"))["run"] == str(finished.folder.resolve())


def test_stages_one_after_the_other(command: Command, words: Words, tmp_path: Path) -> None:
    seconds: list[str] = []
    for verb in ("capture", "train", "evaluate", "atlas", "report"):
        values = parsed(command(verb, *words(tokens="2000"), "--out", tmp_path / "run", "--json"))
        assert isinstance(values["seconds"], dict)
        seconds.append(list(values["seconds"])[-1])
    assert seconds == ["capture", "train", "evaluate", "atlas", "report"]


def test_seed_and_the_list_of_keys(command: Command) -> None:
    values = parsed(command("run", "--keys", "--seed", "3", "--k", "7", "--json"))
    assert values["training"]["seed"] == values["atlas"]["seed"] == 3  # type: ignore[index]
    assert values["dictionary"]["k"] == 7  # type: ignore[index]
    code, out, _ = command("run", "--keys")
    assert code == 0
    assert "--k " in out


def test_train_on_a_matrix(command: Command, vectors: Path, tmp_path: Path) -> None:
    keys = ("--latents", "32", "--k", "4", "--batch", "256", "--seed", "1")
    values = parsed(command("train", "--activations", vectors, *keys, "--out", tmp_path / "d", "--json"))
    assert values["steps"] == 2700 // 256
    assert {"step_ms", "tokens_per_second", "held_out_fvu", "l0", "alive", "peak_memory_mb"} <= set(values)
    from monosema.dictionaries import load_dictionary

    assert load_dictionary(str(values["dictionary"])).n_latents == 32
    assert command("train", "--activations", vectors, *keys, "--out", tmp_path / "d2")[0] == 0


def test_the_atlas_answers(finished: Run, command: Command) -> None:
    listed = parsed(command("atlas", finished.folder, "list", "--limit", "3", "--json"))["features"]
    assert isinstance(listed, list)
    assert len(listed) == 3
    latent = listed[0]["latent"]
    shown = parsed(command("atlas", finished.folder, "show", latent, "--limit", "2", "--json"))
    assert shown["latent"] == latent
    assert len(shown["examples"]) == 2  # type: ignore[arg-type]
    rows = parsed(command("atlas", finished.folder, "sql", "select count(*) as n from features", "--json"))["rows"]
    assert rows == [{"n": 64}]
    found = parsed(command("atlas", finished.folder, "search", "a", "--json"))
    assert found["query"] == "a"


def test_the_atlas_is_printed_for_people(finished: Run, command: Command) -> None:
    latent = finished.atlas().features(limit=1)[0]["latent"]
    for words, says in (
        (("list",), "density"),
        (("list", "--sort", "max"), "max"),
        (("show", latent), f"feature {latent}"),
        (("sql", "select latent, density from features limit 2"), "latent"),
        (("search", "nowhere-to-be-found"), "No feature found"),
    ):
        code, out, _ = command("atlas", finished.folder, *words)
        assert code == 0
        assert says in out


def test_inspect(command: Command, tiny_directory: Path, tmp_path: Path) -> None:
    one = parsed(command("inspect", tiny_directory, "--json"))
    assert one["path"] == str(tiny_directory.resolve())
    assert one["layers"] == 2
    assert one["parameters"]["total"] == 26_880  # type: ignore[index]
    two = parsed(command("inspect", tiny_directory, tiny_directory, "--json"))
    assert [facts["vocab"] for facts in two["models"]] == [259, 259]  # type: ignore[index,attr-defined]
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(tiny_directory / "config.json", bare)
    code, out, err = command("inspect", bare)
    assert (code, "32" in out, "There are no weights" in err) == (1, True, True)
    code, out, _ = command("inspect", tiny_directory, tiny_directory)
    assert code == 0
    assert "26,880" in out


def test_doctor(command: Command) -> None:
    values = parsed(command("doctor", "--device", "cpu", "--json"))
    assert set(values) == {"machine", "products", "gpu", "versions", "kernels"}
    assert values["products"]["fp32_gflops"] > 0  # type: ignore[index]
    code, out, _ = command("doctor", "--device", "cpu")
    assert code == 0
    assert "fp32 gflops" in out


def test_plan(command: Command, tmp_path: Path) -> None:
    values = parsed(command("plan", "--tokens", "1000000", "--json"))
    assert [stage["stage"] for stage in values["stages"]] == ["capture", "train", "evaluate", "atlas"]  # type: ignore[union-attr]
    assert values["seconds"] > 0  # type: ignore[operator]
    code, out, _ = command("plan", "--tokens", "1000000")
    assert (code, "TFLOP" in out, "together" in out) == (0, True, True)
    assert not any(tmp_path.iterdir())


def test_a_sweep_on_a_matrix(command: Command, vectors: Path, tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    keys = ("--architecture", "l1", "--latents", "24", "--batch", "256", "--sweep", "alpha=0.1,1", "--out", out)
    values = parsed(command("train", "--activations", vectors, *keys, "--json"))
    assert [member["name"] for member in values["members"]] == ["alpha=0.1", "alpha=1"]  # type: ignore[union-attr]
    assert set(values["front"]) <= {"alpha=0.1", "alpha=1"}  # type: ignore[arg-type]
    assert values["front"]
    assert (out / "trade-off.svg").exists()
    code, text, _ = command("train", "--activations", vectors, *keys)
    assert code == 0
    assert "front: no other" in " ".join(text.split())
    assert "best" not in text, "members of different L0 are not ranked"


def test_one_bad_member_of_a_sweep_tells_by_the_exit_code(command: Command, vectors: Path, tmp_path: Path) -> None:
    keys = ("--latents", "24", "--k", "2", "--batch", "256", "--log-every", "1", "--epsilon", "1e-12")
    code, out, err = command(
        "train", "--activations", vectors, *keys, "--sweep", "lr=0.01,1e6", "--out", tmp_path / "s", "--json"
    )
    assert code == 1
    assert "lr=1e6 stopped at step" in err
    assert [member["stopped"] is None for member in json.loads(out)["members"]] == [True, False]
