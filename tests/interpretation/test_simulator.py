"""A language model as predictor: its predictions, and unanswered ones."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from worlds import WIDTH, Scripted, World

from monosema.interpretation import prompts
from monosema.interpretation.simulator import Simulator, SimulatorConfig, expectations
from monosema.llm import Absent, Alternative, Reply, Request, TokenLogProbability

DIGITS = {str(n): float(n) for n in range(11)}


@pytest.fixture(scope="module")
def world() -> World:
    return World(latents=3, each=4)


def simulator(world: World, client: object = None, **fields: object) -> Simulator:
    return Simulator(client or Scripted(), world.tokenizer, SimulatorConfig(**fields))


def token(text: str, *others: tuple[str, float], p: float = 1.0) -> TokenLogProbability:
    alternatives = tuple(Alternative(token=said, log_probability=math.log(q)) for said, q in others)
    return TokenLogProbability(token=text, log_probability=math.log(p), alternatives=alternatives)


class TestPredictions:
    def test_true_explanations_predict_and_false_ones_do_not(self, world: World) -> None:
        entries, samples = world.tests(), world.samples
        truth = samples.activations[entries] > 0
        made = simulator(world)
        assert (made.active(world.oracle, samples, entries) == truth.any(axis=1)).all()
        assert ((made.activations(world.oracle, samples, entries) > 0) == truth).all()
        active = entries[truth.any(axis=1)]
        marks = samples.activations[active] > 0
        assert made.highlighted(world.oracle, samples, active, marks).all()
        assert not made.highlighted(world.oracle, samples, active, np.roll(marks, 1, axis=1) & ~marks).any()
        assert not made.active(world.wrong, samples, active).any()
        assert not made.active(world.empty, samples, active).any()
        assert not made.stats.failures

    def test_several_passages_a_request_in_an_order_that_tells_nothing(self, world: World) -> None:
        client = Scripted()
        entries = world.tests()
        made = simulator(world, client, passages=5)
        questions = list(made._judgements(prompts.DETECTION, world.oracle, world.samples, entries, None))
        made.active(world.oracle, world.samples, entries)
        each = len(entries) // 3
        assert len(client.asked) == len(questions) == 3 * math.ceil(each / 5) == made.stats.requests
        places = np.concatenate([question.indices for question in questions])
        assert sorted(places.tolist()) == list(range(len(entries)))
        assert (np.diff(places[:each]) != 1).mean() > 0.8
        assert made.stats.to_dict()["requests_per_latent"] == math.ceil(each / 5)
        assert made.stats.to_dict()["tokens_per_latent"] == 110 * math.ceil(each / 5)

    def test_what_is_refused_is_nan_and_counted(self, world: World) -> None:
        entries = world.tests()
        made = simulator(world, Scripted("refusal", share=0.5))
        answers = made.active(world.oracle, world.samples, entries)
        missing = np.isnan(answers)
        assert 0 < missing.sum() < len(entries)
        assert (answers[~missing] == (world.samples.activations[entries] > 0).any(axis=1)[~missing]).all()
        refused = made.stats.failures["refusal"]
        assert 0 < refused <= missing.sum() <= 5 * refused
        predicted = simulator(world, Scripted("refusal")).activations(world.oracle, world.samples, entries)
        assert np.isnan(predicted).all()


class Forgets(Scripted):
    """Leaves a line out, the first so many times that it is asked."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def answer(self, request: Request) -> str:
        text = super().answer(request)
        return text.partition("\n")[2] if (request.seed or 0) < self.times else text


class TestWrongLengths:
    def test_a_reply_of_another_length_is_asked_for_again(self, world: World) -> None:
        entries = world.tests()[:4]
        made = simulator(world, Forgets(2), attempts=3)
        predicted = made.activations(world.oracle, world.samples, entries)
        assert ((predicted > 0) == (world.samples.activations[entries] > 0)).all()
        assert (made.stats.requests, made.stats.failures) == (12, {})

    def test_and_is_unanswered_after_all_attempts(self, world: World) -> None:
        entries = world.tests()[:4]
        made = simulator(world, Forgets(9), attempts=2)
        assert np.isnan(made.activations(world.oracle, world.samples, entries)).all()
        assert (made.stats.requests, made.stats.failures) == (8, {"wrong length": 4})

    def test_judgements_of_another_number_do_not_count(self, world: World) -> None:
        class Short(Scripted):
            def answer(self, request: Request) -> str:
                return json.dumps({"active": [True]})

        made = simulator(world, Short())
        assert np.isnan(made.active(world.oracle, world.samples, world.tests()[:4])).all()
        assert made.stats.failures == {"malformed": 1}

    def test_a_short_passage_is_filled_with_zeros(self) -> None:
        world = World(latents=1, each=4)
        entry = world.tests()[0]
        world.samples.ids[world.samples.passage[entry], 5:] = -1
        predicted = simulator(world).activations(world.oracle, world.samples, np.array([entry]))
        assert predicted.shape == (1, WIDTH)
        assert (predicted[0, 5:] == 0).all()


class TestExpectations:
    def test_it_is_the_mean_over_the_levels(self) -> None:
        tokens = (token("a"), token("\t"), token("3", ("3", 0.5), ("4", 0.25), ("x", 0.25), p=0.5), token("\n"))
        reply = Reply(text="a\t3\n", log_probabilities=tokens)
        assert expectations(reply, [("3", 2)], DIGITS) == [pytest.approx((3 * 0.5 + 4 * 0.25) / 0.75)]

    def test_a_number_that_shares_its_token_with_what_is_before(self) -> None:
        tokens = (token("a"), token("\t7", ("\t7", 0.6), ("\t0", 0.4), (" 0", 0.0001), p=0.6))
        reply = Reply(text="a\t7", log_probabilities=tokens)
        assert expectations(reply, [("7", 2)], DIGITS) == [pytest.approx(4.2)]

    def test_ten_in_one_token_and_in_two(self) -> None:
        one = Reply(text="\t10", log_probabilities=(token("\t"), token("10", ("1", 0.5), p=0.5)))
        assert expectations(one, [("10", 1)], DIGITS) == [pytest.approx(5.5)]
        two = (token("\t"), token("1", ("0", 0.5), p=0.5), token("0", ("\n", 0.2), p=0.8))
        reply = Reply(text="\t10", log_probabilities=two)
        assert expectations(reply, [("10", 1)], DIGITS) == [pytest.approx(0.5 * (0.2 * 1 + 0.8 * 10))]

    def test_without_log_probabilities_the_number_itself(self) -> None:
        for logs in (Absent(reason="withdrawn"), (token("other"), token("text"))):
            assert expectations(Reply(text="a\t3", log_probabilities=logs), [("3", 2)], DIGITS) == [3.0]

    def test_a_judges_doubt_is_seen(self, world: World) -> None:
        class Doubts(Scripted):
            def reply(self, request: Request) -> Reply:
                made = super().reply(request)
                texts = made.text.replace(", ", " , ").replace("[", "[ ").replace("]", " ]").split(" ")
                tokens = tuple(
                    token(text, ("true", 0.7), ("false", 0.3), p=0.7 if text == "true" else 0.3)
                    if text in ("true", "false")
                    else token(text)
                    for text in texts
                )
                return made.replace(text="".join(texts), log_probabilities=tokens)

        answers = simulator(world, Doubts()).active(world.oracle, world.samples, world.tests())
        assert answers == pytest.approx(np.full(len(answers), 0.7), abs=1e-6)
