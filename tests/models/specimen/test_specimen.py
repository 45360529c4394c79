"""The shipped weights load where others expect them, have the skills they exist for, and match their card."""

import hashlib
import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import monosema
from monosema.data.tasks import ALL_TASKS, ioi
from monosema.data.tasks.induction import repeated
from specimen.measures import score, token_losses

FOLDER = Path(monosema.__file__).parent / "models" / "specimen"
LEARNT = ("ioi", "greater_than", "gender", "truth", "sentiment", "weekdays", "brackets")


@pytest.fixture(scope="module")
def model():
    return AutoModelForCausalLM.from_pretrained(FOLDER).eval()


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(FOLDER)


@pytest.fixture(scope="module")
def card():
    return json.loads((FOLDER / "skills.json").read_text())


def test_is_small_and_loads_by_its_layout(model, tokenizer):
    assert (FOLDER / "model.safetensors").stat().st_size <= 16_000_000
    assert model.config.model_type == "llama"
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(6.2e6, rel=0.05)
    assert tokenizer("Hello").input_ids[0] == tokenizer.bos_token_id == model.config.bos_token_id
    assert tokenizer.decode(tokenizer("Hello, world").input_ids, skip_special_tokens=True) == "Hello, world"
    assert len(tokenizer) == model.config.vocab_size


def test_generates_text(model, tokenizer):
    tokens = tokenizer("The old man", return_tensors="pt")
    out = model.generate(**tokens, max_new_tokens=8, do_sample=False)
    assert out.shape[1] > tokens.input_ids.shape[1]


def test_ioi_on_held_out_pairs(model, tokenizer):
    scores = score(model, tokenizer.backend_tokenizer, ioi.prompts(random.Random(11), 100, "test"))
    assert scores.accuracy >= 0.95
    assert scores.metric >= 2


@pytest.mark.parametrize("order", ioi.ORDERS)
def test_ioi_on_unseen_templates_agrees_with_the_card(model, tokenizer, card, order):
    task = ioi.prompts(random.Random(11), 100, "test", templates="unseen", order=order)
    name = f"ioi {order}, {ioi.TEMPLATE_SETS['unseen']}: accuracy"
    stated = next(figure for figure in card["figures"] if figure["name"] == name)
    assert abs(score(model, tokenizer.backend_tokenizer, task).accuracy - stated["value"]) < 0.2


@pytest.mark.parametrize("name", [name for name in LEARNT if name != "ioi"])
def test_skills_agree_with_the_card(model, tokenizer, card, name):
    scores = score(model, tokenizer.backend_tokenizer, ALL_TASKS[name].prompts(random.Random(12), 100, "test"))
    stated = next(figure for figure in card["figures"] if figure["name"] == f"{name}: accuracy")
    assert abs(scores.accuracy - stated["value"]) < 0.15


def test_induction_on_random_tokens(model):
    tokens, _ = repeated(np.random.default_rng(3), 16, 64, periods=(32, 32), vocabulary=np.arange(3, 4096))
    rows = torch.from_numpy(np.concatenate([np.zeros((16, 1), dtype=np.int64), tokens], axis=1))
    losses = token_losses(model, rows)
    assert losses[:, 33:].mean() < 0.5 * losses[:, :32].mean()


def test_the_card_belongs_to_the_weights(card):
    digest = hashlib.sha256((FOLDER / "model.safetensors").read_bytes()).hexdigest()
    assert card["weights_sha256"] == digest
    text = (FOLDER / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert digest in text
    for figure in card["figures"]:
        assert f"| {figure['name']} |" in text
