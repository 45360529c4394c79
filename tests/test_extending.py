"""docs/extending.md, executed as it stands: one file outside the package that the command line is told to import."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from monosema.dictionaries import load_dictionary

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the page's code as one module, and what else its examples read."""
    folder = tmp_path_factory.mktemp("outside")
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (folder / "my_features.py").write_text("\n\n".join(blocks), encoding="utf-8")
    return folder


def monosema(folder: Path, *words: object) -> str:
    """Run a command in the folder with the module imported; return its output."""
    environment = {**os.environ, "MONOSEMA_EXTENSIONS": "my_features", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "monosema", *map(str, words)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def run(extended: Path, small_keys: dict[str, str]) -> dict[str, Any]:
    """A run with everything on the page that a recipe can name; what it prints."""
    model = Path(shutil.copytree(small_keys["model"], extended / "model"))
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    (model / "config.json").write_text(json.dumps({**config, "model_type": "my_llama"}), encoding="utf-8")
    keys = {
        **small_keys,
        "model": "model",
        "architecture": "sqrt",
        "alpha": "0.05",
        "explain.methods": '["token lookup", "strongest token"]',
        "score.scorers": '["simulation", "mentions"]',
    }
    words = [word for key, value in keys.items() if key != "k" for word in (f"--{key}", value)]
    return json.loads(monosema(extended, "run", "demo", "--out", "run", "--json", *words))


def test_everything_on_the_page_takes_part_in_a_run(extended: Path, run: dict[str, Any]) -> None:
    rows = {(row["method"], row["scorer"]): row for row in run["meaning"]["rows"]}
    mentions = rows["strongest token", "mentions"]
    assert mentions["mean"]["value"] > mentions["control"]["value"]
    assert rows["strongest token", "simulation"]["mean"]["n"] > 10
    assert len((extended / "run" / "longest.txt").read_text().splitlines()) == 10
    assert len(monosema(extended, "longest", "run", "--limit", 2).splitlines()) == 2
    assert "longest" in monosema(extended, "--help")
    assert "Square root" in next((extended / "run" / "report").glob("*.html")).read_text(encoding="utf-8")


def test_a_sweep_over_the_new_activation(extended: Path, run: dict[str, Any]) -> None:
    printed = json.loads(monosema(extended, "train", "run", "--sweep", "alpha=0.01,0.5", "--json"))
    gentle, strict = printed["members"]
    assert gentle["l0"] > strict["l0"]


def test_the_new_format_is_read(extended: Path) -> None:
    folder, draw = extended / "theirs", np.random.default_rng(0)
    folder.mkdir()
    weights = {"W_enc": (12, 4), "b_enc": (12,), "W_dec": (12, 4), "b_dec": (4,)}
    arrays = {name: draw.normal(size=shape).astype(np.float32) for name, shape in weights.items()}
    np.savez(folder / "my_sae.npz", k=3, **arrays)
    monosema(extended, "convert", folder, extended / "ours", "--to", "monosema")
    converted = load_dictionary(extended / "ours")
    x = torch.from_numpy(draw.normal(size=(5, 4)).astype(np.float32))
    z = (x - torch.from_numpy(arrays["b_dec"])) @ torch.from_numpy(arrays["W_enc"]).T + torch.from_numpy(
        arrays["b_enc"]
    )
    largest = z.topk(3, dim=1)
    expected = torch.zeros_like(z).scatter(1, largest.indices, largest.values.relu())
    torch.testing.assert_close(converted.encode(x).dense().detach(), expected)


def test_the_new_format_of_steerings_is_written_and_read(extended: Path) -> None:
    code = (
        "import my_features, torch\n"
        "from monosema.steering import *\n"
        "from monosema.core import Site\n"
        "site = Site.parse('3.resid_post')\n"
        "write_steering('one.lines', Steering(Edit(Direction(site, torch.arange(1.0, 4.0)), Add(1.0))))\n"
        "(one,) = read_directions('one.lines', site)\n"
        "print(one.site.short, one.vector.tolist())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=extended, capture_output=True, text=True, check=True)
    assert done.stdout == "3.resid_post [1.0, 2.0, 3.0]\n"


def test_new_ways_to_choose_and_to_measure_take_part(extended: Path, run: dict[str, Any]) -> None:
    (toml,) = re.findall(r"^```toml\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (extended / "polite.toml").write_text(toml, encoding="utf-8")
    code = """if True:
        import my_features
        from monosema.runs.subject import open_subject
        from monosema.steering import ComparisonConfig, SweepConfig, compare_choices, concept_named

        texts = SweepConfig(max_new_tokens=4)
        config = ComparisonConfig(choices=["loudest"], baselines=["shouting"], kl=[0.1], sweep=texts)
        subject, concept = open_subject("run"), concept_named("polite.toml")
        found = compare_choices(subject.model, subject.dictionary, concept, config, at=subject.site)
        for entry in found.entries:
            print(entry.method, entry.point.figures["questions"].n)
    """
    done = subprocess.run([sys.executable, "-c", code], cwd=extended, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["loudest 2", "shouting 2"], done.stderr


def test_an_extension_that_is_not_there_is_named(extended: Path) -> None:
    environment = {**os.environ, "MONOSEMA_EXTENSIONS": "nowhere"}
    command = [sys.executable, "-m", "monosema", "doctor", "--help"]
    done = subprocess.run(command, cwd=extended, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert "nowhere" in done.stderr


def test_a_kind_of_place_is_patched(extended: Path) -> None:
    found = json.loads(monosema(extended, "patch", "ioi", "--what", "gates", "--prompts", "8", "--json"))
    assert (found["what"], len(found["rows"])) == ("gates", 6)


def test_a_circuit_method_an_ablation_and_a_planted_model_take_part(extended: Path) -> None:
    words = ("--method", "size", "--ablation", "neighbour", "--prompts", "8", "--tests", "curve", "--json")
    found = json.loads(monosema(extended, "circuit", "gender", *words))
    scores = found["circuits"][0]["scores"]
    assert (scores["method"], scores["ablation"]) == ("size", "neighbour")
    code = """if True:
        import my_features
        from monosema.circuits import METHODS, Problem, ablation_named, metric_of
        from monosema.circuits.planted import PLANTED

        first = PLANTED["first"](8)
        metric = metric_of(first.contrasts, first.model)
        problem = Problem(first.model, first.contrasts, ablation_named(first.ablation), metric)
        print(*(first.auroc(METHODS[name](problem)) for name in ("exact", "size")))
    """
    done = subprocess.run([sys.executable, "-c", code], cwd=extended, capture_output=True, text=True)
    exact, size = map(float, done.stdout.split())
    assert exact == pytest.approx(1.0), done.stderr
    assert size < exact
