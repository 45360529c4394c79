"""Agreement of explanations with rules on the passages that activate a feature, whatever the feature does.

Each two methods with rules for the same features predict the active passages among test passages of the feature
itself, and as many of other features; no explainer has seen them. Their answers are compared by Krippendorff's α (see
`monosema.atlas.agreement`), its interval by a bootstrap over features. Two explainers may agree and both be wrong: the
scores tell.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from monosema.atlas import Agreement, Atlas, krippendorff
from monosema.core import numpy_generator
from monosema.interpretation.explainers.columns import METHOD as COLUMNS
from monosema.interpretation.rules import Rule, predict, rule_from_json


def passage_agreement(atlas: Atlas, features: int = 500, passages: int = 8, seed: int = 0) -> list[Agreement]:
    """Return the agreement of each two methods whose explanations have rules over tokens.

    Args:
        atlas: with rules and test examples.
        features: at most so many of those that both methods explain, drawn at random.
        passages: test passages of a feature, at most; as many of other features are beside them.
        seed: decides what is drawn.
    """
    rows = atlas.sql(
        "select method, latent, program from explanations where program is not null and method <> ? order by all",
        [COLUMNS],
    )
    rules: dict[str, dict[int, Rule]] = {}
    for row in rows:
        rules.setdefault(row["method"], {})[row["latent"]] = rule_from_json(row["program"])
    return [
        _compare(atlas, (a, rules[a]), (b, rules[b]), features, passages, seed)
        for a, b in itertools.combinations(sorted(rules), 2)
    ]


def _compare(
    atlas: Atlas,
    first: tuple[str, dict[int, Rule]],
    second: tuple[str, dict[int, Rule]],
    features: int,
    passages: int,
    seed: int,
) -> Agreement:
    names = (first[0], second[0])
    draw = numpy_generator(seed, "agreement", *names)
    shared = np.array(sorted(first[1].keys() & second[1].keys()), np.int64)
    latents = np.sort(draw.permutation(shared)[:features])
    found = atlas.sql(
        "select latent, token_ids from examples where test and list_contains(?, latent) "
        "qualify row_number() over (partition by latent order by passage_hash, kind) <= ? order by latent",
        [latents.tolist(), passages],
    )
    if not found:
        return Agreement(names, "passages", None, absent="no feature has rules of both and test passages")
    row = np.searchsorted(latents, [one["latent"] for one in found])
    ids = _ids(found)
    which = np.concatenate([row, row])
    ids = ids[np.concatenate([np.arange(len(row)), _of_others(row, draw)])]
    ratings = np.stack([_answers(rules, latents, which, ids) for _, rules in (first, second)], axis=1)
    estimate = krippendorff(ratings, which.tolist())
    return Agreement(names, "passages", estimate, absent=None if estimate else "all answers are alike")


def _answers(
    rules: dict[int, Rule], latents: NDArray[np.int64], which: NDArray[np.int64], ids: Any
) -> Float[NDArray[np.float64], " n"]:
    """Return 1 where a rule predicts its feature to be active in the passage, else 0."""
    made = [rules[latent] for latent in latents.tolist()]
    threshold = np.array([one.threshold for one in made])
    return (predict(made, which, ids).max(axis=1, initial=0) > threshold[which]).astype(np.float64)


def _of_others(row: NDArray[np.int64], draw: np.random.Generator) -> NDArray[np.int64]:
    """Return for each passage one of another feature, where there is another."""
    other = draw.permutation(len(row))
    for _ in range(20):
        same = np.flatnonzero(row[other] == row)
        if not len(same):
            break
        other[same] = draw.integers(0, len(row), len(same))
    return other


def _ids(rows: list[dict[str, Any]]) -> NDArray[np.int32]:
    """Return token ids of passages, one passage per row, filled with -1."""
    ids = np.full((len(rows), max(len(row["token_ids"]) for row in rows)), -1, np.int32)
    for number, row in enumerate(rows):
        ids[number, : len(row["token_ids"])] = row["token_ids"]
    return ids
