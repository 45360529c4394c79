"""Rows of the tables put together to a feature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monosema.atlas.feature import (
    Example,
    Explanation,
    Feature,
    Histogram,
    Neighbour,
    Score,
    SiteShare,
    TokenWeight,
    Vote,
)
from monosema.core import Estimate

RELATED = {
    "examples": "if(kind = 'top', 10, coalesce(try_cast(substr(kind, 2) as integer), -1)) desc, rank",
    "histograms": "low",
    "neighbours": "kind desc, rank",
    "explanations": "author, method, model, prompt_version",
    "scores": "author, method, model, prompt_version, scorer",
    "votes": "voter, author, method, model, prompt_version",
    "sites": "place",
}
"""Tables beside that of features, and the order of a feature's rows in each."""
_PLAIN = (
    "latent",
    "alive",
    "density",
    "n_active",
    "mean",
    "mean_active",
    "max",
    "label",
    "label_author",
    "label_method",
    "label_scorer",
)


def feature_of(row: dict[str, Any], related: dict[str, list[dict[str, Any]]]) -> Feature:
    """A feature from its row of the view `features` and its rows of the tables of `RELATED`."""
    histograms = [Histogram(one["low"], one["high"], tuple(one["counts"])) for one in related["histograms"]]
    return Feature(
        **{name: row[name] for name in _PLAIN},
        label_score=None if row["label_score"] is None else _estimate(row, "label_score", "label_"),
        promoted=_weights(row["promoted_ids"], row["promoted"], row["promoted_logits"]),
        suppressed=_weights(row["suppressed_ids"], row["suppressed"], row["suppressed_logits"]),
        top_tokens=_weights(row["top_token_ids"], row["top_tokens"], row["top_token_shares"]),
        position_profile=tuple(row["position_profile"]),
        histogram=histograms[0] if histograms else None,
        neighbours=tuple(Neighbour(**one) for one in related["neighbours"]),
        examples=tuple(_example(one) for one in related["examples"]),
        explanations=tuple(Explanation(**one) for one in related["explanations"]),
        scores=tuple(_score(one) for one in related["scores"]),
        votes=tuple(Vote(**one) for one in related["votes"]),
        sites=tuple(SiteShare(one["site"], one["share"]) for one in related["sites"]),
    )


def _example(row: dict[str, Any]) -> Example:
    return Example(**row | {name: tuple(row[name]) for name in ("tokens", "token_ids", "activations")})


def _score(row: dict[str, Any]) -> Score:
    identity = (row["author"], row["method"], row["model"], row["prompt_version"])
    random = None
    if row["random"] is not None:
        random = Estimate(row["random"], row["random_low"], row["random_high"], row["random_n"], "percentiles")
    estimate = _estimate(row, "value", "")
    return Score(*identity, row["scorer"], estimate, row["control"], row["rank"], row["chance"], random)


def _estimate(row: dict[str, Any], value: str, prefix: str) -> Estimate:
    low, high, n, interval = (row[prefix + name] for name in ("low", "high", "n", "interval"))
    return Estimate(row[value], low, high, n, interval)


def _weights(ids: Sequence[int], tokens: Sequence[str], weights: Sequence[float]) -> tuple[TokenWeight, ...]:
    return tuple(TokenWeight(*fields) for fields in zip(tokens, weights, ids, strict=True))
