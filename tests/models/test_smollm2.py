"""A real chat model from a GGUF file: it reads as transformers does, knows something, answers, and explains itself."""

from __future__ import annotations

import pytest
import torch

from monosema.dictionaries import Metadata
from monosema.interpretation import prompts
from monosema.interpretation.explainers.self_explanation import SelfExplainer, SelfExplainerConfig
from monosema.interpretation.simulator import judged
from monosema.llm import LocalClient, Message, Request
from monosema.models import Transformer, load_model, model_folder

pytestmark = pytest.mark.slow
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
SITE = "4.resid_post"


@pytest.fixture(scope="module")
def model() -> Transformer:
    return load_model("smollm2", device="cpu", dtype="float32")


def test_token_ids_and_template_are_those_of_transformers(model: Transformer) -> None:
    from transformers import AutoTokenizer

    path = model_folder("smollm2")
    theirs = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    text = "It was the best of times — naïve 漢字.\n\tdef f(x):\n    return x\n<|im_start|>user\nHi 2024<|im_end|>\n"
    tokenizer = model.tokenizer
    assert tokenizer.encode(text, bos=False) == theirs(text).input_ids
    assert tokenizer.chat_template is not None
    assert tokenizer.chat_template.render(QUESTION) == theirs.apply_chat_template(
        QUESTION, tokenize=False, add_generation_prompt=True
    )
    assert tokenizer.token(1) == "<|im_start|>"


def test_digits_stay_alone_after_any_number_of_spaces(model: Transformer) -> None:
    shown = model.tokenizer.tokens(model.tokenizer.encode("in   1999", bos=False))
    assert shown == ["in", "   ", "1", "9", "9", "9"]


@torch.inference_mode()
def test_it_was_read_as_it_was_trained(model: Transformer) -> None:
    """A wrongly arranged weight would leave little of this: the loss on well-known words, and what follows them."""
    ids = torch.tensor(
        [model.tokenizer.encode("It was the best of times, it was the worst of times, it was the age of")]
    )
    logits = model(ids)
    assert float(torch.nn.functional.cross_entropy(logits[0, :-1], ids[0, 1:])) < 3.0
    assert model.generate("The capital of France is", max_new_tokens=1).text == " Paris"


def test_it_answers_as_a_client(model: Transformer) -> None:
    asked = Request(messages=(Message(role="user", content=QUESTION[0]["content"]),), max_tokens=12)
    (reply,) = LocalClient(model).complete([asked])
    assert reply.text == "The capital of France is Paris."


def test_it_explains_and_judges(model: Transformer) -> None:
    """That answers come, and from the model, is all that is held: a judge this small may well be wrong."""
    marked = ["In the« morning» he fed the hens", "a long« evening» by the fire", "She left in the« afternoon»"]
    passages = ["The dog barked at the cat.", "He paid the bill and left.", "A horse ran across the field."]
    asked = [
        Request(
            messages=prompts.explain_briefly(marked, ["morning", "evening", "afternoon"]),
            response_schema=prompts.EXPLANATION_SCHEMA,
        ),
        Request(
            messages=prompts.judge(prompts.DETECTION, "animals", passages),
            response_schema=prompts.judgement_schema(3),
            log_probabilities=20,
        ),
    ]
    explained, answered = LocalClient(model).complete(asked)
    assert explained.ok
    assert explained.usage.output_tokens <= 61
    assert isinstance(explained.parsed, dict)
    assert explained.parsed["explanation"]
    assert answered.ok
    assert answered.usage.output_tokens == 3
    assert all(0 < share < 1 for share in judged(answered))


class Words:
    """A direction for each word: the model's own activation at it."""

    def __init__(self, model: Transformer, words: list[str]) -> None:
        texts = [model.tokenizer.encode(f"I said the word {word}", bos=False) for word in words]
        rows = [model.activations(torch.tensor([ids]), [SITE])[SITE][0, -1] for ids in texts]
        self.directions = torch.stack(rows).detach().float()
        self.d_in = self.d_out = model.d_model
        self.n_latents, self.metadata = len(words), Metadata()

    def to(self, device: object) -> object:
        return self

    def encode(self, x: object, matmul_dtype: object = None) -> object:
        raise NotImplementedError

    decode = __call__ = encode


def test_it_says_what_its_own_directions_mean(model: Transformer) -> None:
    words = ["France", "beautiful"]
    explainer = SelfExplainer(model, Words(model, words), SITE, SelfExplainerConfig(scales=(0.5, 1.0)))
    assert [one.text for one in explainer.explain_latents(range(len(words))).values()] == words
