"""How far explanations that run agree on which passages activate a feature, whatever the feature does.

Each two methods that have programs for the same features predict, for passages that no explainer has seen, whether the
feature is active: on test passages of the feature itself, and on as many of other features. Their answers are compared
by Krippendorff's α (see `monosema.atlas.agreement`), its interval by a bootstrap over features. Two explainers may
agree and both be wrong: that is for the scores to say.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from monosema.atlas import Agreement, Atlas, krippendorff
from monosema.core import numpy_generator
from monosema.interpretation.programs import Patterns, TokenLookup, predict, program_from_json


def passage_agreement(atlas: Atlas, features: int = 500, passages: int = 8, seed: int = 0) -> list[Agreement]:
    """Agreement of each two methods whose explanations have programs.

    Args:
        atlas: with programs and test examples.
        features: at most so many of those that both methods explain, drawn at random.
        passages: test passages of a feature, at most; as many of other features are beside them.
        seed: decides what is drawn.
    """
    rows = atlas.sql("select method, latent, program from explanations where program is not null order by all")
    programs: dict[str, dict[int, TokenLookup | Patterns]] = {}
    for row in rows:
        programs.setdefault(row["method"], {})[row["latent"]] = program_from_json(row["program"])
    return [
        _compare(atlas, (a, programs[a]), (b, programs[b]), features, passages, seed)
        for a, b in itertools.combinations(sorted(programs), 2)
    ]


def _compare(
    atlas: Atlas,
    first: tuple[str, dict[int, TokenLookup | Patterns]],
    second: tuple[str, dict[int, TokenLookup | Patterns]],
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
        return Agreement(names, "passages", None, absent="no feature has programs of both and test passages")
    row = np.searchsorted(latents, [one["latent"] for one in found])
    ids = _ids(found)
    which = np.concatenate([row, row])
    ids = ids[np.concatenate([np.arange(len(row)), _of_others(row, draw)])]
    ratings = np.stack([_answers(programs, latents, which, ids) for _, programs in (first, second)], axis=1)
    estimate = krippendorff(ratings, which.tolist())
    return Agreement(names, "passages", estimate, absent=None if estimate else "all answers are alike")


def _answers(
    programs: dict[int, TokenLookup | Patterns], latents: NDArray[np.int64], which: NDArray[np.int64], ids: Any
) -> Float[NDArray[np.float64], " n"]:
    """1 where a program says that its feature is active in the passage, else 0."""
    made = [programs[latent] for latent in latents.tolist()]
    threshold = np.array([one.threshold for one in made])
    return (predict(made, which, ids).max(axis=1, initial=0) > threshold[which]).astype(np.float64)


def _of_others(row: NDArray[np.int64], draw: np.random.Generator) -> NDArray[np.int64]:
    """For each passage one of another feature, where there is another."""
    other = draw.permutation(len(row))
    for _ in range(20):
        same = np.flatnonzero(row[other] == row)
        if not len(same):
            break
        other[same] = draw.integers(0, len(row), len(same))
    return other


def _ids(rows: list[dict[str, Any]]) -> NDArray[np.int32]:
    """Token ids of passages, one passage per row, filled with -1."""
    ids = np.full((len(rows), max(len(row["token_ids"]) for row in rows)), -1, np.int32)
    for number, row in enumerate(rows):
        ids[number, : len(row["token_ids"])] = row["token_ids"]
    return ids
