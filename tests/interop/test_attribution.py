"""Captum, LXT, shapiq and inseq divide the answer of the same model as we do; interpreto tests an order as we do."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from monosema.attribution import MEASURES, Contrast, Game, Question, Token, attribute, faithfulness, tokens_of
from monosema.attribution.faithfulness import counts_of
from monosema.attribution.methods import Shapley
from monosema.attribution.methods.value_zeroing import zeroed_layers
from monosema.attribution.removals import unknown_id
from monosema.models import Role, Transformer, load_model

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


def test_exact_shapley_values_occlusion_value_zeroing_and_curves_are_those_of_the_libraries(
    attribution_python: str, tiny_directory: Path, tmp_path: Path
) -> None:
    model = load_model(str(tiny_directory), dtype=torch.float32)
    assert isinstance(model, Transformer)
    text, scores = "the cat", torch.tensor([1.0, 5, 2, 7, 3, 4, 6])
    ids, twin = (model.tokenizer.encode(one, bos=False) for one in (text, "the dog"))
    (right,), (wrong,) = (model.tokenizer.encode(one, bos=False) for one in "nb")
    asked = {"text": text, "ids": ids, "twin": twin, "right": right, "wrong": wrong, "scores": scores.tolist()}
    (tmp_path / "model").symlink_to(tiny_directory)
    (tmp_path / "asked.json").write_text(json.dumps({**asked, "unknown": unknown_id(model)}))
    script = Path(__file__).parent / "peers" / "run_black_box.py"
    done = subprocess.run(
        [attribution_python, "-W", "ignore", str(script), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    theirs = load_file(tmp_path / "found.safetensors")
    roles = (Role.PROMPT,) * len(ids)
    question = Question(ids=tuple(ids), roles=roles, target=Contrast((right,), (wrong,)), twin=tuple(twin))

    by_twin, by_unknown = (
        Game(model, question, tokens_of(model, question, removal=one)) for one in ("twin", "unknown")
    )
    torch.testing.assert_close(attribute(by_twin, Shapley()).scores, theirs["shapley"], atol=1e-5, rtol=0)
    torch.testing.assert_close(attribute(by_unknown, "occlusion").scores.abs(), theirs["occlusion"], atol=1e-4, rtol=0)
    # inseq reads the last layer off behind the final norm.
    tables = torch.stack([table[-1] for table in zeroed_layers(model, torch.tensor([ids]), 8)], dim=1)
    torch.testing.assert_close(tables[:, :-1], theirs["value_zeroing"][:, :-1], atol=1e-4, rtol=0)

    alone = Question(ids=tuple(ids), roles=roles, target=Token(right))
    game = Game(model, alone, tokens_of(model, alone, removal="unknown"))
    tested, counts = faithfulness(game, [scores], random=2), list(counts_of(len(ids)))
    for name, sign in (("deletion", -1), ("insertion", 1)):
        column = MEASURES.index(name)
        ours = sign * tested.orders[0, column] + tested.chance[column]
        torch.testing.assert_close(ours, theirs[name][counts].mean(), atol=1e-5, rtol=1e-3)
