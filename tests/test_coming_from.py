"""docs/coming-from.md and the edit in the README, executed: what they say runs, and gives what they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

README = Path(__file__).parents[1] / "README.md"
PAGE = Path(__file__).parents[1] / "docs" / "coming-from.md"


def test_every_line_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 6
    space: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), space)
    x, codes, parts, got = (space[name] for name in ("x", "feature_acts", "parts", "got"))
    assert isinstance(x, torch.Tensor)
    assert isinstance(codes, torch.Tensor)
    assert codes.shape == (*x.shape[:2], 256)
    assert space["x_hat"].shape == x.shape  # type: ignore[attr-defined]
    assert float(got["3.z"].grad.abs().max()) > 0  # type: ignore[index]
    assert float(parts["3.resid_post"].codes.values.grad.abs().max()) > 0  # type: ignore[index]


def test_the_edit_in_the_readme_does_what_its_comments_say(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    lines = ["import monosema as ms", *block[block.index("model = ") :].splitlines()]
    exec("\n".join(lines), {})
    said = [line.split("  # ")[1] for line in lines if line.lstrip().startswith("print(")]
    assert [line.strip() for line in capsys.readouterr().out.splitlines()] == said == ["Mary", "Anna"]
