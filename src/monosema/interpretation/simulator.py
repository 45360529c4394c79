"""A language model as predictor: it is told an explanation and predicts from it where the latent is active.

*Simulation* (Bills et al. 2023; arXiv 2309.08600): one request per passage, in which the model repeats the tokens, each
with a whole number from 0 to 10. Where the provider gives log-probabilities, the prediction is the expectation

    E = Σ_v p(v) · v / Σ_v p(v)

over the numbers v among the likeliest alternatives; elsewhere it is the number. "10" is one token in some vocabularies;
where it is "1" and "0", the probability of "0" after "1" is known only if "1" was written, and 1 counts as 1 elsewhere.
(Bills et al. read all numbers off one pass over "unknown" placeholders, which chat services do not offer; here the
model writes them, so each is conditioned on those before it.) A reply with other lines than the passage's tokens is
requested again with another seed, and counts as unanswered after all attempts.

*Detection* and *fuzzing* (Paulo et al. 2024, arXiv 2410.13928): several passages of one latent per request, in an order
drawn at random, with one true or false each; with log-probabilities, the share of "true". Departure: no worked
examples are shown.

An unanswered prediction (a refusal, a cap, wrong lengths) is NaN and counted; it is never 0 or "no".
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import exp
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from pydantic import Field

from monosema.atlas import Explanation
from monosema.core import Config, numpy_generator
from monosema.interpretation import prompts
from monosema.interpretation.samples import Samples
from monosema.interpretation.wording import LEVELS, highlighted, read_lines, token_lines
from monosema.llm import Client, Message, Reply, Request, RequestStats, TokenLogProbability
from monosema.models import Tokenizer

_LEVELS = {str(level): float(level) for level in range(LEVELS + 1)}
_TRUTH = {"true": 1.0, "false": 0.0}
_ANSWER = re.compile(r"true|false")
_TOKENS_PER_LINE, _TOKENS_PER_ANSWER = 6, 4


class SimulatorConfig(Config):
    """Settings of the questions to the model."""

    passages: int = Field(5, gt=0)
    """Passages in one request of detection or fuzzing."""
    attempts: int = Field(3, gt=0)
    """Most requests for a simulation whose lines are not those of the passage; each attempt is paid."""
    log_probabilities: int = Field(20, ge=0, le=20)
    """Likely alternatives that are requested; 0 for whole answers only."""
    spare_tokens: int = Field(32, ge=0)
    """Tokens that a reply may have beyond its answer. Models that reason before they answer need thousands."""
    temperature: float | None = Field(None, ge=0, le=2)
    """Sampling temperature; None leaves it to the provider, as some take none."""
    seed: int = 0
    """Seed of the order of passages."""


@dataclass(frozen=True)
class _Question:
    """A request about one latent, and the indices into the entries that it is about, in its order."""

    latent: int
    indices: NDArray[np.int64]
    request: Request


class Simulator:
    """See `Predictor`.

    Args:
        client: answers.
        tokenizer: of the model whose latents are explained.
        config: how the model is asked.
        stats: counts requests, tokens and failures.
    """

    def __init__(
        self,
        client: Client,
        tokenizer: Tokenizer,
        config: SimulatorConfig | None = None,
        stats: RequestStats | None = None,
    ) -> None:
        self.client, self.tokenizer = client, tokenizer
        self.config = config or SimulatorConfig()
        self.stats = RequestStats() if stats is None else stats

    def activations(
        self, explanations: Mapping[int, Explanation], samples: Samples, entries: Int[np.ndarray, " n"]
    ) -> Float[NDArray[np.float32], "n width"]:
        """Predict the activation on each token, from 0 to 10; 0 beyond a passage's end, NaN where unanswered."""
        predicted = np.zeros((len(entries), samples.ids.shape[1]), np.float32)
        unread = list(self._simulations(explanations, samples, entries))
        for attempt in range(self.config.attempts):
            requests = [one.request if attempt == 0 else one.request.replace(seed=attempt) for one in unread]
            asked, unread = unread, []
            for question, reply in zip(asked, self.client.complete(requests), strict=True):
                self.stats.add(question.latent, reply)
                index = int(question.indices[0])
                values = simulated(reply, self._tokens(samples, int(entries[index]))) if reply.ok else None
                predicted[index] = np.nan if values is None else 0.0
                if values is not None:
                    predicted[index, : len(values)] = values
                elif reply.ok:
                    unread.append(question)
        self.stats.fail("wrong length", len(unread))
        return predicted

    def active(
        self, explanations: Mapping[int, Explanation], samples: Samples, entries: Int[np.ndarray, " n"]
    ) -> Float[NDArray[np.float32], " n"]:
        """Predict the probability that the latent is active in each passage; NaN where unanswered."""
        return self._judge(prompts.DETECTION, explanations, samples, entries, None)

    def highlighted(
        self,
        explanations: Mapping[int, Explanation],
        samples: Samples,
        entries: Int[np.ndarray, " n"],
        marks: Bool[np.ndarray, "n width"],
    ) -> Float[NDArray[np.float32], " n"]:
        """Predict the probability that the marked tokens activate the latent; NaN where unanswered."""
        return self._judge(prompts.FUZZING, explanations, samples, entries, marks)

    def _simulations(
        self, explanations: Mapping[int, Explanation], samples: Samples, entries: NDArray[np.int64]
    ) -> Iterator[_Question]:
        latents = samples.latents[samples.row[entries]]
        for index, (entry, latent) in enumerate(zip(entries.tolist(), latents.tolist(), strict=True)):
            lines = token_lines(self._tokens(samples, entry))
            # A byte per token is more than any vocabulary needs; the cost cap counts on it.
            room = len(lines.encode()) + _TOKENS_PER_LINE * (lines.count("\n") + 1)
            request = self._request(prompts.simulate(explanations[latent].text, lines), room)
            yield _Question(latent, np.array([index]), request)

    def _judge(
        self,
        task: str,
        explanations: Mapping[int, Explanation],
        samples: Samples,
        entries: NDArray[np.int64],
        marks: NDArray[np.bool_] | None,
    ) -> NDArray[np.float32]:
        questions = list(self._judgements(task, explanations, samples, entries, marks))
        answers = np.full(len(entries), np.nan, np.float32)
        replies = self.client.complete([question.request for question in questions])
        for question, reply in zip(questions, replies, strict=True):
            self.stats.add(question.latent, reply)
            if reply.ok:
                answers[question.indices] = judged(reply)
        return answers

    def _judgements(
        self,
        task: str,
        explanations: Mapping[int, Explanation],
        samples: Samples,
        entries: NDArray[np.int64],
        marks: NDArray[np.bool_] | None,
    ) -> Iterator[_Question]:
        latents = samples.latents[samples.row[entries]]
        name = "detection" if marks is None else "fuzzing"
        for latent in dict.fromkeys(latents.tolist()):
            order = numpy_generator(self.config.seed, name, latent).permutation(np.flatnonzero(latents == latent))
            for start in range(0, len(order), self.config.passages):
                indices = order[start : start + self.config.passages]
                texts = []
                for index in indices.tolist():
                    tokens = self._tokens(samples, int(entries[index]))
                    texts.append(highlighted(tokens, None if marks is None else marks[index, : len(tokens)]))
                messages = prompts.judge(task, explanations[latent].text, texts)
                schema = prompts.judgement_schema(len(indices))
                yield _Question(latent, indices, self._request(messages, _TOKENS_PER_ANSWER * len(indices), schema))

    def _request(self, messages: tuple[Message, ...], room: int, schema: dict[str, Any] | None = None) -> Request:
        return Request(
            messages=messages,
            max_tokens=room + self.config.spare_tokens,
            temperature=self.config.temperature,
            log_probabilities=self.config.log_probabilities,
            response_schema=schema,
        )

    def _tokens(self, samples: Samples, entry: int) -> list[str]:
        return self.tokenizer.tokens(samples.tokens_of(entry))


def simulated(reply: Reply, tokens: list[str]) -> list[float] | None:
    """Read the activations in a simulator's reply; None where its lines are not those of the tokens."""
    lines = read_lines(reply.text, tokens)
    if lines is None:
        return None
    return expectations(reply, [(str(value), start) for value, start in lines], _LEVELS)


def judged(reply: Reply) -> list[float]:
    """Read the share of "true" in each answer of a reply that fits the schema of judgements."""
    parsed = reply.parsed
    assert isinstance(parsed, dict)
    answers = parsed["active"]
    assert isinstance(answers, list)
    written = [(match[0], match.start()) for match in _ANSWER.finditer(reply.text)]
    if [text == "true" for text, _ in written] != answers:
        return [float(bool(answer)) for answer in answers]
    return expectations(reply, written, _TRUTH)


def expectations(reply: Reply, written: Sequence[tuple[str, int]], values: Mapping[str, float]) -> list[float]:
    """Return the expected value at each place of a reply; see the module's equation.

    Args:
        reply: with log-probabilities; without, the written values are returned.
        written: text at each place, and its start in the reply's text.
        values: of each possible text there.
    """
    plain = [values[text] for text, _ in written]
    logs = reply.log_probabilities
    if not isinstance(logs, tuple) or "".join(token.token for token in logs) != reply.text:
        return plain
    starts = [0, *accumulate(len(token.token) for token in logs)]
    return [_expected(logs, starts, bisect_right(starts, start) - 1, start, text, values) for text, start in written]


def _expected(
    logs: Sequence[TokenLogProbability],
    starts: Sequence[int],
    index: int,
    start: int,
    text: str,
    values: Mapping[str, float],
) -> float:
    token = logs[index]
    # A token may begin before the value, as in '["true': alternatives must begin alike.
    before = token.token[: start - starts[index]]
    weights: dict[str, float] = {}
    for other in (token, *token.alternatives):
        value = other.token[len(before) :].strip()
        if other.token.startswith(before) and value in values:
            weights[value] = max(weights.get(value, 0.0), exp(other.log_probability))
    total = sum(weights.values())
    if total <= 0:
        return values[text]
    means = {value: values[value] for value in weights}
    if token.token[len(before) :].strip() == "1" and "10" in values and index + 1 < len(logs):
        # The "1" may be the beginning of "10": its value is the expectation over the next token.
        following = (logs[index + 1], *logs[index + 1].alternatives)
        second = {other.token: exp(other.log_probability) for other in following}
        means["1"] += (values["10"] - values["1"]) * min(sum(p for next_, p in second.items() if next_[:1] == "0"), 1.0)
    return sum(weight * means[value] for value, weight in weights.items()) / total
