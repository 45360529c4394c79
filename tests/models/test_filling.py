"""Forms that models fill in: always whole, with the choices and probabilities of the model that is asked."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor

from monosema.core import AnomalyError
from monosema.interpretation import prompts
from monosema.llm import LocalClient, Message, Request
from monosema.models import byte_tokenizer, random_model
from monosema.models.filling import Value, fill, form_length
from monosema.models.forms import form_of
from monosema.models.generation import TextGeneration

SCHEMAS = [prompts.EXPLANATION_SCHEMA, prompts.judgement_schema(3), prompts.choice_schema(12), {"enum": [1, 10, "1"]}]


class Says(TextGeneration):
    """A model without a cache that writes one text whatever it reads."""

    tokenizer, context, device = byte_tokenizer(), 500, torch.device("cpu")
    can_cache = False

    def __init__(self, text: str, start: int) -> None:
        self.ids, self.start = self.tokenizer.encode(text, bos=False), start

    def next_logits(self, tokens: Tensor, attention_mask: Tensor | None, cache: object, roles: object = None) -> Tensor:
        logits = torch.zeros(len(tokens), 259)
        mask = torch.ones_like(tokens) if attention_mask is None else attention_mask
        for row, read in enumerate(mask.sum(1).tolist()):
            place = read - self.start
            logits[row, self.ids[place] if place < len(self.ids) else self.tokenizer.eos_id] = 9.0
        return logits


def text_of(values: tuple[Value, ...]) -> str:
    return "".join(value.text for value in values)


def schema_of(value: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": value}}


@pytest.mark.parametrize("schema", SCHEMAS)
@pytest.mark.parametrize("temperature", [None, 1.5])
def test_whatever_the_model_says_it_fits(schema: dict[str, Any], temperature: float | None) -> None:
    for seed in range(6):
        asked = [
            Request(
                messages=(Message(role="user", content=text),),
                response_schema=schema,
                max_tokens=12,
                temperature=temperature,
                seed=seed,
            )
            for text in ("a", "quite another", "b")
        ]
        client = LocalClient(random_model(seed=seed))
        replies = client.complete(asked)
        assert all(reply.ok and reply.usage.output_tokens <= 16 for reply in replies)
        assert [LocalClient(random_model(seed=seed)).complete([one])[0] for one in asked] == replies


@torch.no_grad()
@pytest.mark.parametrize("can_cache", [True, False])
def test_choices_are_the_likeliest_and_their_probabilities_those_of_the_model(
    can_cache: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TextGeneration, "can_cache", can_cache)
    model, form = random_model(seed=3), form_of(prompts.judgement_schema(4))
    assert form is not None
    encode = model.tokenizer.encode
    asked = ["the same beginning, then this", "the same beginning, and that", "else"]
    for text, values in zip(asked, fill(model, [encode(text) for text in asked], form, most=5), strict=True):
        read = text
        for value in values:
            if value.chosen:
                # A space before a value is the value's own first token, and no choice.
                logs = model(torch.tensor([encode(read)]))[0, -1].log_softmax(-1)
                expected = {word: float(logs[encode(word, bos=False)[0]]) for word in ("true", "false")}
                said = {value.text: value.log_probability, **dict(value.others)}
                assert said == pytest.approx(expected, abs=1e-4)
                assert value.text == max(expected, key=expected.__getitem__)
            read += value.text
        assert json.loads(read.removeprefix(text))["active"]
        assert sum(value.chosen for value in values) == 4


@pytest.mark.parametrize(
    ("says", "value"),
    [
        ('cats." and so on', "cats."),
        (r"the word \"the\" and \\" + '"', r'the word "the" and \ '.strip()),
        ("one line\nanother", "one line"),
        ("it ends", "it ends"),
        ("naïve 漢" + '"', "naïve 漢"),
        (r"no \escape" + '"', r"no \escape"),
        ("x" * 40, "x" * 30 + " …"),
    ],
)
def test_words_end_where_the_model_ends_them_or_at_the_limit(says: str, value: str) -> None:
    form = form_of(schema_of({"type": "string"}))
    assert form is not None
    # It reads one token, and what stands before the words.
    (values,) = fill(Says(says, 1 + len('{"a": "')), [[65]], form, most=30)
    assert json.loads(text_of(values)) == {"a": value}
    assert any(value.cut for value in values) == (len(says) == 40)


def test_a_number_is_told_from_one_that_it_begins() -> None:
    form = form_of(schema_of({"enum": [1, 10, 100]}))
    assert form is not None
    for number in (1, 10, 100):
        (values,) = fill(Says(f"{number}}}", 1 + len('{"a": ')), [[65]], form, most=3)
        text = text_of(values)
        assert json.loads(text) == {"a": number}
        assert len(text) <= form_length(form, Says.tokenizer, 3)


def test_logits_that_are_no_numbers_are_an_error() -> None:
    model, form = random_model(), form_of({"type": "boolean"})
    assert form is not None
    with torch.no_grad():
        model.ln_final.weight.fill_(float("nan"))
    with pytest.raises(AnomalyError, match="not finite"):
        fill(model, [[65]], form, most=3)


def test_a_special_token_in_a_message_is_text(monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_model()
    read: list[list[int]] = []
    generate = model.generate
    monkeypatch.setattr(model, "generate", lambda rows, **more: read.extend(rows) or generate(rows, **more))
    LocalClient(model).complete([Request(messages=(Message(role="user", content="a<eos>b"),), max_tokens=2)])
    assert model.tokenizer.eos_id not in read[0]
    assert model.tokenizer.decode(read[0]).startswith("a< eos>b")
