"""What a language model would have answered on average, from the log-probabilities of its reply.

A model that writes "3" may have been torn between 3 and 4. With probabilities p(v) of the values v at the place where
it wrote one, the expectation is

    E = Σ_v p(v) · v / Σ_v p(v)

over the values among the likeliest alternatives that the provider gives (Bills et al. 2023 for "0" … "10"). "10" is one
token in some vocabularies; where it is "1" and "0", the probability of "0" after "1" is known only if "1" was written,
and 1 counts as 1 elsewhere.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from math import exp

from monosema.llm import Reply, TokenLogProbability


def expectations(reply: Reply, written: Sequence[tuple[str, int]], values: Mapping[str, float]) -> list[float]:
    """The expected value in each place of a reply.

    Args:
        reply: with log-probabilities, or without: then the values are those that were written.
        written: what stands in each place, and where in the reply's text it begins.
        values: what each possible text there means.
    """
    plain = [values[text] for text, _ in written]
    logs = reply.log_probabilities
    if not isinstance(logs, tuple) or "".join(token.token for token in logs) != reply.text:
        return plain
    starts = [0, *accumulate(len(token.token) for token in logs)]
    return [_expected(logs, starts, bisect_right(starts, place) - 1, place, text, values) for text, place in written]


def _expected(
    logs: Sequence[TokenLogProbability],
    starts: Sequence[int],
    index: int,
    place: int,
    text: str,
    values: Mapping[str, float],
) -> float:
    token = logs[index]
    before = token.token[: place - starts[index]]
    tail = token.token[len(before) :].strip()
    weights: dict[str, float] = {}
    for other in (token, *token.alternatives):
        said = other.token[len(before) :].strip()
        if other.token.startswith(before) and said in values:
            weights[said] = max(weights.get(said, 0.0), exp(other.log_probability))
    total = sum(weights.values())
    if total <= 0:
        return values[text]
    means = {said: values[said] for said in weights}
    if tail == "1" and "10" in values and index + 1 < len(logs):
        second = {other.token: exp(other.log_probability) for other in (logs[index + 1], *logs[index + 1].alternatives)}
        means["1"] += (values["10"] - values["1"]) * min(sum(p for said, p in second.items() if said[:1] == "0"), 1.0)
    return sum(weight * means[said] for said, weight in weights.items()) / total
