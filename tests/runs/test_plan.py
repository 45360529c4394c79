"""Predictions: their arithmetic, and memory beside what the operating system counted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from monosema.core import ConfigError
from monosema.models import model_facts
from monosema.recipes import demo
from monosema.runs import SHORT_KEYS, Recipe, override
from monosema.runs.plan import Machine, StagePlan, plan

MACHINE = Machine("m", memory_gb=8.0, gflops=1000.0, memory_gb_s=20.0, bf16=False)
RUN = """
import re, sys
from pathlib import Path
from monosema.runs import Recipe, run
run(Recipe.read(sys.argv[1]), sys.argv[2], until="train")
# Of this program alone: what getrusage says begins with the memory of the process that started it.
print(1024 * int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]))
"""


def stages(recipe: Recipe, keys: dict[str, str] | None = None) -> dict[str, StagePlan]:
    changed = override(recipe, keys or {}, SHORT_KEYS)
    return {stage.stage: stage for stage in plan(changed, MACHINE).stages}


@pytest.mark.timeout(180)
def test_memory_is_within_a_fifth_of_what_was_counted(small_keys: dict[str, str], tmp_path: Path) -> None:
    recipe = override(demo(), {**small_keys, "latents": "80000", "model.dtype": "float32"}, SHORT_KEYS)
    recipe.write(tmp_path / "recipe.toml")
    command = [sys.executable, "-c", RUN, str(tmp_path / "recipe.toml"), str(tmp_path / "run")]
    counted = float(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    predicted = max(stages(recipe)[name].memory_gb for name in ("capture", "train")) * 1e9
    assert predicted == pytest.approx(counted, rel=0.2)


def test_arithmetic_is_that_of_the_models_weights() -> None:
    """Counted by hand: four blocks before the site of six, windows so short that attention costs nothing."""
    facts = model_facts("specimen")
    recipe = override(demo(), {"window": "2", "tokens": "1000"}, SHORT_KEYS)
    block = 2 * (facts.parameters["attention"] + facts.parameters["mlp"]) / facts.layers
    found = stages(recipe)
    assert found["capture"].tflop * 1e12 == pytest.approx(1000 * 4 * block, rel=0.01)
    assert found["capture"].seconds == pytest.approx(found["capture"].tflop)
    assert found["train"].tflop * 1e12 == 2 * 2 * 4096 * 4096 * 256


def test_more_of_everything_takes_more() -> None:
    base = stages(demo())
    more = {"tokens": "2000000", "latents": "8192", "evaluation_tokens": "80000", "atlas_tokens": "1000000"}
    for name, stage in stages(demo(), more).items():
        assert stage.seconds > base[name].seconds
        assert stage.memory_gb >= base[name].memory_gb
        assert stage.disk_gb >= base[name].disk_gb


def test_several_sites_take_rows_of_all() -> None:
    one = stages(demo())
    both = stages(demo(), {"architecture": "crosscoder", "site": "2.resid_post,3.resid_post", "k": "32"})
    across = stages(demo(), {"architecture": "transcoder", "site": "3.mlp_in", "output_site": "3.mlp_out"})
    assert both["capture"].disk_gb == across["capture"].disk_gb == pytest.approx(2 * one["capture"].disk_gb)
    assert both["train"].memory_gb > one["train"].memory_gb
    assert one["train"].seconds <= across["train"].seconds <= 2 * one["train"].seconds, "rows are read, twice as wide"


def test_end_to_end_training_holds_the_logits() -> None:
    stored, model = stages(demo())["train"], stages(demo(), {"objective": "end-to-end"})["train"]
    assert model.tflop > 2 * stored.tflop
    assert model.memory_gb > stored.memory_gb + 8 * 4096 * 4096 * 4 / 1e9, "logits, and what follows from them"
    assert stages(demo(), {"objective": "end-to-end", "downstream": "1"})["train"].memory_gb > model.memory_gb


def test_a_given_dictionary_is_neither_captured_for_nor_trained() -> None:
    ours, given = stages(demo()), stages(demo().replace(given="somewhere"))
    assert list(given) == ["open", "evaluate", "atlas"]
    assert given["atlas"] == ours["atlas"]
    assert given["open"].seconds < ours["train"].seconds
    assert given["evaluate"].tflop > ours["evaluate"].tflop, "controls are fitted on rows that the model gives anew"


def test_text_without_a_number_of_tokens_can_not_be_planned() -> None:
    with pytest.raises(ConfigError, match="--tokens"):
        plan(demo().replace(text=demo().text.replace(tokens=None)), MACHINE)
