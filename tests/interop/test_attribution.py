"""Captum and LXT divide the answer of the same model as we do."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from monosema.attribution import Contrast, Game, Question, attribute, tokens_of
from monosema.models import Role, load_model

pytestmark = pytest.mark.interop


def test_scores_are_those_of_the_libraries(peers_python: str, tiny_directory: Path, tmp_path: Path) -> None:
    model = load_model(str(tiny_directory), dtype=torch.float32)
    ids, twin = [5, 17, 40, 77, 30, 8], [9, 17, 41, 60, 30, 12]
    asked = Question(ids=tuple(ids), roles=(Role.PROMPT,) * len(ids), target=Contrast((20,), (33,)), twin=tuple(twin))
    (tmp_path / "model").symlink_to(tiny_directory)
    tensors = {"ids": torch.tensor([ids]), "twin": torch.tensor([twin])}
    save_file(tensors | {"right": torch.tensor(20), "wrong": torch.tensor(33)}, tmp_path / "asked.safetensors")
    script = Path(__file__).parent / "peers" / "run_attribution.py"
    done = subprocess.run(
        [peers_python, "-W", "ignore", str(script), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    theirs = load_file(tmp_path / "found.safetensors")
    twin_game, zero_game = (Game(model, asked, tokens_of(model, asked, removal=one)) for one in ("twin", "zero"))
    for name, scores in theirs.items():
        ours = attribute(zero_game if name == "gradient_input" else twin_game, name).scores
        if name == "attn_lrp":
            assert float(torch.corrcoef(torch.stack([ours, scores]))[0, 1]) >= 0.999, name
        torch.testing.assert_close(ours, scores, atol=1e-4, rtol=1e-3, msg=lambda said, name=name: f"{name}: {said}")
