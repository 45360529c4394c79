"""Side skills, against a count by hand."""

from __future__ import annotations

import pytest
import torch

from monosema.core import InputError, Site
from monosema.models import Transformer, load_model, random_model
from monosema.steering import Add, Direction, Edit, Steering, Where
from monosema.steering.candidates import Prefix
from monosema.steering.metrics.skills import Skills


@pytest.fixture(scope="module")
def specimen() -> Transformer:
    model = load_model("specimen", dtype="float32")
    assert isinstance(model, Transformer)
    return model


def test_the_embedded_model_keeps_its_skills_until_it_is_pushed_out_of_them(specimen: Transformer) -> None:
    skills = Skills(specimen, ["sentiment", "greater_than"], n=12)
    assert skills.right().mean() > 0.9
    vector = torch.randn(256, generator=torch.Generator().manual_seed(0))
    for where in (Where(), Where(prompt=None)):
        push = Steering(Edit(Direction(Site(3, "resid_post"), vector), Add(50.0), where))
        assert skills.right([push]).mean() < 0.8
        half = skills.right([None, push])
        assert (half[::2] == skills.right()[::2]).all()
        assert (half[1::2] == skills.right([push])[1::2]).all()


def test_a_prompt_is_right_as_its_own_logits_say(specimen: Transformer) -> None:
    skills = Skills(specimen, ["weekdays"], n=10)
    for question, right in zip(skills.questions, skills.right([Prefix("Mind this: ")]), strict=True):
        ids = torch.tensor([specimen.tokenizer.encode("Mind this: " + question.text)])
        logits = specimen(ids)[0, -1]
        assert bool(logits[list(question.right)].max() > logits[list(question.wrong)].max()) == right


def test_answers_that_begin_alike_are_no_question() -> None:
    bytes_only = random_model()  # every answer begins with the byte of a space
    assert Skills(bytes_only, ["sentiment"], n=5).questions == []
    with pytest.raises(InputError, match=r"no task 'sentimnt'"):
        Skills(bytes_only, ["sentimnt"])
