"""A question about the embedded model's answer to a prompt with names, and its twin."""

from __future__ import annotations

import pytest
import torch
from tests.helpers.names_prompt import PROMPT, TWIN

from monosema.attribution import Question, ask
from monosema.models import LanguageModel, load_model


@pytest.fixture(scope="session")
def model() -> LanguageModel:
    return load_model("specimen", dtype=torch.float32)


@pytest.fixture(scope="session")
def question(model: LanguageModel) -> Question:
    return ask(model, PROMPT, target="Kevin", foil="Nicholas", twin=TWIN)
