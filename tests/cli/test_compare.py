"""compare, and the table of explanations that a run prints."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

from monosema.cli.meaning import show_comparison
from monosema.runs import Run

Command = Callable[..., tuple[int, str, str]]


def test_a_run_prints_how_well_its_features_are_explained(finished: Run, command: Command) -> None:
    code, out, _ = command("score", finished.folder)
    assert code == 0
    for words in (
        "Neuron2Graph",
        "token lookup",
        "activates",
        "detection",
        "above the controls",
        "Above random means",
    ):
        assert words in " ".join(out.split()), words


def test_baselines_stand_beside_the_dictionary(finished: Run, command: Command, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished.folder, tmp_path / "run"))
    words = ("compare", folder, "--baselines", "neurons,pca", "--tokens", "1500", "--limit", "4")
    code, out, _ = command(*words, "--json")
    assert code == 0
    result = json.loads(out)
    assert [one["dictionary"] for one in result["dictionaries"]][1:] == ["neurons", "PCA"]
    assert Path(result["plot"]).read_text(encoding="utf-8").startswith("<svg")
    assert Path(result["table"]).is_file()
    code, out, err = command(*words)
    assert "done before" in err
    assert "described on 1,500 tokens" in " ".join(out.split())
    code, _, _ = command("run", folder)
    report = next((folder / "report").glob("*.html")).read_text(encoding="utf-8")
    assert "How well latents are explained" in report
    assert "Random directions were explained and scored alike" in report


def test_an_unknown_baseline_is_refused(finished: Run, command: Command) -> None:
    code, _, err = command("compare", finished.folder, "--baselines", "neuron")
    assert code == 2
    assert "neurons" in err


def test_sites_are_told_apart(finished: Run) -> None:
    from rich.console import Console

    row = {"method": "it", "scorer": "detection", "dictionary": "PCA", "absent": {"none": 3}}
    told = {"site": "0.resid_post", "dictionary": "PCA", "scored": 3}
    result = {
        "rows": [{**row, "site": site} for site in ("0.resid_post", "1.resid_post")],
        "dictionaries": [told],
        "tokens": 5,
        "rule": "",
    }
    out = io.StringIO()
    show_comparison(result, Console(width=160, file=out))
    assert "1.resid_post" in out.getvalue()
