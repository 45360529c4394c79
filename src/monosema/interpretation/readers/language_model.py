"""A language model as a reader: it is told an explanation, and predicts from it where the latent is active.

*Simulation* (Bills et al. 2023; arXiv 2309.08600): one request a passage, in which the model repeats the tokens, each
with a whole number from 0 to 10. Where the provider gives log-probabilities, the prediction is the expectation over
the numbers; elsewhere it is the number. (Bills et al. read all numbers off one pass over "unknown" placeholders, which
chat services do not offer; here the model writes them, so each is conditioned on those before it.) A reply with other
lines than the passage's tokens is asked for again with another seed, and counts as unanswered after all attempts.

*Detection* and *fuzzing* (Paulo et al. 2024, arXiv 2410.13928): several passages of one latent a request, in an order
drawn at random, with one true or false each; with log-probabilities, the share of "true". Departure: no worked
examples are shown.

What was not answered (a refusal, a cap, wrong lengths) is NaN and counted; it is never 0 or "no".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from pydantic import Field

from monosema.core import Config, numpy_generator
from monosema.interpretation import prompts
from monosema.interpretation.protocol import Explained
from monosema.interpretation.readers.expectation import expectations
from monosema.interpretation.samples import Samples
from monosema.interpretation.wording import LEVELS, highlighted, read_lines, token_lines
from monosema.llm import Client, Reply, Request, RequestStats
from monosema.models import Tokenizer

Task = Literal["simulation", "detection", "fuzzing"]
_LEVELS = {str(level): float(level) for level in range(LEVELS + 1)}
_TRUTH = {"true": 1.0, "false": 0.0}
_ANSWER = re.compile(r"true|false")
_TOKENS_A_LINE, _TOKENS_AN_ANSWER = 6, 4


class LanguageModelReaderConfig(Config):
    """How the model is asked."""

    passages: int = Field(5, gt=0)
    """Passages in one request of detection or fuzzing."""
    attempts: int = Field(3, gt=0)
    """How often a simulation is asked whose lines are not those of the passage; each attempt is paid."""
    log_probabilities: int = Field(20, ge=0, le=20)
    """Likely alternatives that are asked for; 0 for whole answers only."""
    spare_tokens: int = Field(32, ge=0)
    """Tokens that a reply may have beyond its answer. Models that reason before they answer need thousands."""
    temperature: float | None = Field(None, ge=0, le=2)
    """Sampling temperature; None leaves it to the provider, as some take none."""
    seed: int = 0
    """Seed of the order of passages."""


@dataclass(frozen=True)
class Question:
    """A request, and what it asks about.

    Attributes:
        latent: whose explanation is read.
        places: which of the entries that were given, in the order of the request.
        request: what is asked.
    """

    latent: int
    places: NDArray[np.int64]
    request: Request


class LanguageModelReader:
    """See `Reader`.

    Args:
        client: who answers.
        tokenizer: of the model whose latents are explained.
        config: how the model is asked.

    Attributes:
        tally: requests, tokens and failures so far.
    """

    def __init__(self, client: Client, tokenizer: Tokenizer, config: LanguageModelReaderConfig | None = None) -> None:
        self.client, self.tokenizer = client, tokenizer
        self.config = config or LanguageModelReaderConfig()
        self.tally = RequestStats()

    def questions(
        self,
        task: Task,
        explained: Mapping[int, Explained],
        samples: Samples,
        entries: Int[np.ndarray, " n"],
        marks: Bool[np.ndarray, "n width"] | None = None,
    ) -> list[Question]:
        """All that would be asked, for an estimate of its cost; asks nobody."""
        if task == "simulation":
            return list(self._simulations(explained, samples, entries))
        return list(self._judgements(task, explained, samples, entries, marks))

    def activations(
        self, explained: Mapping[int, Explained], samples: Samples, entries: Int[np.ndarray, " n"]
    ) -> Float[NDArray[np.float32], "n width"]:
        """Predicted activation on each token, from 0 to 10; 0 beyond a passage's end, NaN where unanswered."""
        predicted = np.zeros((len(entries), samples.ids.shape[1]), np.float32)
        open_questions = self.questions("simulation", explained, samples, entries)
        for attempt in range(self.config.attempts):
            asked = [q.request if attempt == 0 else q.request.replace(seed=attempt) for q in open_questions]
            unread = []
            for question, reply in zip(open_questions, self.client.complete(asked), strict=True):
                self.tally.add(question.latent, reply)
                tokens = self._tokens(samples, int(entries[question.places[0]]))
                row = predicted[question.places[0]]
                values = simulated(reply, tokens) if reply.ok else None
                row[:] = np.nan if values is None else 0.0
                if values is not None:
                    row[: len(values)] = values
                elif reply.ok:
                    unread.append(question)
            open_questions = unread
        self.tally.fail("wrong length", len(open_questions))
        return predicted

    def active(
        self, explained: Mapping[int, Explained], samples: Samples, entries: Int[np.ndarray, " n"]
    ) -> Float[NDArray[np.float32], " n"]:
        """How likely the latent is active anywhere in each passage; NaN where unanswered."""
        return self._judged(self.questions("detection", explained, samples, entries), len(entries))

    def highlighted(
        self,
        explained: Mapping[int, Explained],
        samples: Samples,
        entries: Int[np.ndarray, " n"],
        marks: Bool[np.ndarray, "n width"],
    ) -> Float[NDArray[np.float32], " n"]:
        """How likely the marked tokens of each passage are those that activate the latent; NaN where unanswered."""
        return self._judged(self.questions("fuzzing", explained, samples, entries, marks), len(entries))

    def _simulations(
        self, explained: Mapping[int, Explained], samples: Samples, entries: NDArray[np.int64]
    ) -> Iterator[Question]:
        latents = samples.latents[samples.row[entries]]
        for place, (entry, latent) in enumerate(zip(entries.tolist(), latents.tolist(), strict=True)):
            lines = token_lines(self._tokens(samples, entry))
            # A byte a token is more than any vocabulary needs; the cap counts on it.
            room = len(lines.encode()) + _TOKENS_A_LINE * (lines.count("\n") + 1)
            yield Question(
                latent,
                np.array([place]),
                Request(
                    messages=prompts.simulate(explained[latent].text, lines),
                    max_tokens=room + self.config.spare_tokens,
                    temperature=self.config.temperature,
                    log_probabilities=self.config.log_probabilities,
                ),
            )

    def _judgements(
        self,
        task: Task,
        explained: Mapping[int, Explained],
        samples: Samples,
        entries: NDArray[np.int64],
        marks: NDArray[np.bool_] | None,
    ) -> Iterator[Question]:
        system = prompts.DETECTION if task == "detection" else prompts.FUZZING
        latents = samples.latents[samples.row[entries]]
        for latent in dict.fromkeys(latents.tolist()):
            order = numpy_generator(self.config.seed, task, latent).permutation(np.flatnonzero(latents == latent))
            for start in range(0, len(order), self.config.passages):
                places = order[start : start + self.config.passages]
                shown = []
                for place in places.tolist():
                    tokens = self._tokens(samples, int(entries[place]))
                    shown.append(highlighted(tokens, None if marks is None else marks[place, : len(tokens)]))
                yield Question(
                    latent,
                    places,
                    Request(
                        messages=prompts.judge(system, explained[latent].text, shown),
                        max_tokens=_TOKENS_AN_ANSWER * len(places) + self.config.spare_tokens,
                        temperature=self.config.temperature,
                        log_probabilities=self.config.log_probabilities,
                        response_schema=prompts.judgement_schema(len(places)),
                    ),
                )

    def _judged(self, questions: list[Question], n: int) -> NDArray[np.float32]:
        answers = np.full(n, np.nan, np.float32)
        replies = self.client.complete([question.request for question in questions])
        for question, reply in zip(questions, replies, strict=True):
            self.tally.add(question.latent, reply)
            if reply.ok:
                answers[question.places] = judged(reply)
        return answers

    def _tokens(self, samples: Samples, entry: int) -> list[str]:
        ids = samples.ids[samples.passage[entry]]
        return self.tokenizer.tokens(ids[ids >= 0].tolist())


def simulated(reply: Reply, tokens: list[str]) -> list[float] | None:
    """Activations in a simulator's reply; None where its lines are not those of the tokens."""
    read = read_lines(reply.text, tokens)
    if read is None:
        return None
    return expectations(reply, [(str(value), place) for value, place in read], _LEVELS)


def judged(reply: Reply) -> list[float]:
    """The share of "true" in each answer of a judge's reply, which fits its schema."""
    parsed = reply.parsed
    assert isinstance(parsed, dict)
    said = parsed["active"]
    assert isinstance(said, list)
    written = [(found[0], found.start()) for found in _ANSWER.finditer(reply.text)]
    if [text == "true" for text, _ in written] != said:
        return [float(bool(answer)) for answer in said]
    return expectations(reply, written, _TRUTH)
