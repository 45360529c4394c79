"""A model that says what stands in it says what is put there, and chooses the scale at which it is surest."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor
from worlds import World, word_model

from monosema.core import InputError
from monosema.dictionaries import Metadata
from monosema.interpretation.explainers.self_explanation import SelfExplainer, SelfExplainerConfig
from monosema.models import Captured, ChatTemplate, Transformer

SITE = "0.resid_post"
CONFIG = SelfExplainerConfig(question=None, prompt="kugoku means X is", placeholder="X", max_new_tokens=2)
CHAT = CONFIG.replace(question="lalala X mememe")
TEMPLATE = "{% for message in messages %}gogogo {{ message.content }} {% endfor %}fifide "


class Talker(Transformer):
    """Each word that it writes is the one whose vector is nearest to the sum of all that stands in it."""

    def __call__(self, tokens: Tensor, attention_mask: Tensor | None = None, cache: object = None) -> Tensor:
        x = self.embed.weight[tokens]
        for fn in self.edits:
            x = fn(x)
        self.seen = x
        return 4.0 * x.cumsum(1) @ self.embed.weight.T

    @property
    def can_cache(self) -> bool:
        return False

    def next_logits(self, tokens: Tensor, attention_mask: Tensor, cache: object, roles: object = None) -> Tensor:
        return self(tokens)[:, -1]

    @contextlib.contextmanager
    def edit(self, site: object, fn: Callable[[Tensor], Tensor]) -> Iterator[None]:
        self.edits.append(fn)
        yield
        self.edits.pop()

    @contextlib.contextmanager
    def capture(self, *sites: object) -> Iterator[dict[object, Tensor]]:
        talker = self

        class Got(dict[object, Tensor]):
            def __missing__(self, key: object) -> Tensor:
                return talker.seen

        yield Got()


class Directions:
    """A direction for each latent: the mean of its words' vectors; none for the last."""

    def __init__(self, world: World, model: Transformer) -> None:
        self.d_in = self.d_out = model.d_model
        self.n_latents, self.metadata = max(world.latents) + 1, Metadata()
        self.directions = torch.zeros(self.n_latents, self.d_in)
        for latent, words in list(world.words.items())[:-1]:
            self.directions[latent] = model.embed.weight[[world.tokenizer.id(word) for word in words]].mean(0)

    def to(self, device: object) -> object:
        return self

    def encode(self, x: Tensor, matmul_dtype: object = None) -> object:
        raise NotImplementedError

    decode = __call__ = encode


@pytest.fixture(scope="module")
def world() -> World:
    return World(latents=4, each=4)


@pytest.fixture(scope="module")
def talker(world: World) -> Talker:
    model = word_model(world)
    model.__class__ = Talker
    model.edits = []
    with torch.no_grad():
        model.embed.weight /= model.embed.weight.norm(dim=1, keepdim=True)
    return model


@pytest.fixture(params=["plain", "chat"])
def config(world: World, request: pytest.FixtureRequest) -> Iterator[SelfExplainerConfig]:
    """For a model that continues text, and for one that answers."""
    if request.param == "plain":
        yield CONFIG
        return
    world.tokenizer.chat_template = ChatTemplate(TEMPLATE, {})
    yield CHAT
    world.tokenizer.chat_template = None


def test_it_says_the_words_of_the_direction(world: World, talker: Talker, config: SelfExplainerConfig) -> None:
    explainer = SelfExplainer(talker, Directions(world, talker), SITE, config)
    made = explainer.explain(world.samples)
    found = {latent: one.text.split() for latent, one in made.items()}
    # The last latent has no direction, and no explanation.
    assert set(found) == set(world.latents[:-1])
    for latent, words in found.items():
        assert words[0] in world.words[latent]
    assert {one.identity[:2] for one in made.values()} == {(talker.name, "self-explanation (0.resid_post)")}


def test_the_surest_scale_is_chosen(world: World, talker: Talker) -> None:
    """A direction that is too weak to be heard leaves what the sentence says anyway, which earns no confidence."""
    directions, latent = Directions(world, talker), world.latents[0]
    weak = SelfExplainer(talker, directions, SITE, CONFIG.replace(scales=(0.01,)))._best(latent)
    both = SelfExplainer(talker, directions, SITE, CONFIG.replace(scales=(0.01, 4.0)))._best(latent)
    assert weak.split()[0] not in world.words[latent]
    assert both.split()[0] in world.words[latent]


@torch.no_grad()
def test_the_direction_stands_in_its_places_alone_and_leaves_nothing_behind(
    world: World, config: SelfExplainerConfig
) -> None:
    model = word_model(world)
    model.tokenizer.chat_template = world.tokenizer.chat_template
    explainer = SelfExplainer(model, Directions(world, model), SITE, config.replace(scales=(2.0, 3.0)))
    tokens = torch.tensor([explainer._ids] * 2)
    before = model(tokens)
    with model.capture(SITE) as plain:
        model(tokens)
    unit = torch.nn.functional.normalize(torch.randn(model.d_model), dim=0)
    got: Captured
    with model.edit(SITE, explainer._putting(unit)), model.capture(SITE) as got:
        model(tokens)
    # "kugoku means X is", and after the template's "gogogo lalala X mememe fifide".
    places = [2] if config is CONFIG else [2, 7]
    assert explainer._places == places
    others = [i for i in range(tokens.shape[1]) if i not in places]
    torch.testing.assert_close(got[SITE][:, others], plain[SITE][:, others])
    for place in places:
        norm = plain[SITE][0, place].norm()
        torch.testing.assert_close(got[SITE][:, place], torch.stack([2 * norm * unit, 3 * norm * unit]))
    explainer.explain(world.samples)
    torch.testing.assert_close(model(tokens), before)
    assert not len(model.hooks)


def test_a_model_that_was_not_taught_to_answer_is_refused(world: World, talker: Talker) -> None:
    with pytest.raises(InputError, match="no chat template"):
        SelfExplainer(talker, Directions(world, talker), SITE)


def test_a_prompt_without_a_placeholder_is_refused(world: World, talker: Talker) -> None:
    with pytest.raises(InputError, match="no placeholder"):
        SelfExplainer(talker, Directions(world, talker), SITE, SelfExplainerConfig(question=None, prompt="nothing"))
