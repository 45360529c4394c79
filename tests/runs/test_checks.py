"""What can't work is said before the first stage, and a folder without finished work takes another recipe."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from monosema.core import InputError, RunError
from monosema.recipes import demo
from monosema.runs import SHORT_KEYS, Recipe, apply_overrides, run, sweep_run


@pytest.fixture
def small(small_keys: dict[str, str]) -> Recipe:
    return apply_overrides(demo(), small_keys, SHORT_KEYS)


def changed(recipe: Recipe, **keys: str) -> Recipe:
    return apply_overrides(recipe, keys, SHORT_KEYS)


def written(path: Path, *texts: str) -> str:
    path.write_text("\n".join(json.dumps({"text": text}) for text in texts), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"tokens": "300"}, r"needs 512 tokens for a batch.*--tokens"),
        ({"heldout_share": "0"}, r"no held-out document.*--heldout-share"),
        ({"window": "6", "tokens": "700"}, r"no stretch of 8 tokens.*--samples\.least"),
        ({"explain.methods": "self-explanation"}, "has no chat template"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_a_later_stage_would_refuse(keys: dict[str, str], says: str, small: Recipe, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=says):
        run(changed(small, **keys), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_five_documents_of_which_none_is_held_out(small: Recipe, tmp_path: Path) -> None:
    text = written(tmp_path / "five.jsonl", *(f"{number} " + "the cat sat on the mat. " * 80 for number in range(5)))
    recipe = changed(small, corpus=text, heldout_share="0.001")
    with pytest.raises(InputError, match="no held-out document"):
        run(recipe, tmp_path / "run")
    assert run(recipe, tmp_path / "run", until="capture").stages["capture"].state == "done"


def test_text_in_another_encoding_is_told_how_to_convert_it(small: Recipe, tmp_path: Path) -> None:
    (tmp_path / "old.txt").write_bytes("Größe und Maß".encode("latin-1"))
    with pytest.raises(InputError, match=r"iconv -f LATIN1 -t UTF-8 old\.txt"):
        run(changed(small, corpus=str(tmp_path / "old.txt")), tmp_path / "run")


def test_a_member_of_a_sweep_is_checked_before_capture(small: Recipe, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="k = 65"):
        sweep_run(small, tmp_path / "run", {"k": ["4", "65"]})
    assert not (tmp_path / "run").exists()


def test_a_folder_without_finished_work_takes_another_recipe(
    small: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise InputError("no")

    with monkeypatch.context() as patch:
        patch.setattr("monosema.runs.stages.capture_to_store", broken)
        with pytest.raises(InputError, match="no"):
            run(small, tmp_path / "run", until="capture")
    run(changed(small, tokens="2000"), tmp_path / "run", until="capture")
    with pytest.raises(RunError, match=r"made by another recipe: --tokens is 2000 there and 3000 here"):
        run(changed(small, tokens="3000"), tmp_path / "run", until="capture")
