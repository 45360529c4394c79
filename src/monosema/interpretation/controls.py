"""Other dictionaries, interpreted exactly as a run's own: controls of its scores.

Each is described on a stretch of the training text by an atlas of its own, some of its latents are explained by the
same explainers, and the explanations are scored on the same held-out text by the same scorers; so nothing but the
dictionary, or the model, differs.

Every run has one such control, *random latents*: random unit directions at the run's site, as many as the dictionary
has latents and as many of them active on a token. Their scores stand beside those of the run's features. They tell
how much of a score is owed to the text and the scorer alone: tokens that look alike to the model excite a random
direction alike. They are described on fewer tokens than the run's features (`score.random_tokens`), so their strongest
passages are less strong; the comparison (`monosema compare RUN`) describes all on the same tokens.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.atlas import AtlasConfig, Explanation, build_atlas
from monosema.core import Site, read_json, write_json
from monosema.data import TokenBatch
from monosema.dictionaries import Dictionary
from monosema.interpretation.explaining import ExplainConfig, explain_latents, rule_predictor
from monosema.interpretation.protocol import Subject
from monosema.interpretation.samples import Samples
from monosema.interpretation.sampling import SampleConfig, draw_samples, latents_of
from monosema.interpretation.scorers import ScoringConfig
from monosema.interpretation.scores import RandomScores, ScoreTable
from monosema.interpretation.scoring import ScoringSession
from monosema.models import LanguageModel

RANDOM_SAMPLES = "random-latents.safetensors"
_RANDOM = "random-latents.json"
TextOf = Callable[[str, int], Iterable[TokenBatch]]
"""Returns so many tokens of a split, "train" or "heldout"."""


@dataclass(frozen=True)
class InterpretSettings:
    """Settings under which dictionaries are interpreted alike.

    Attributes:
        text: the training text, on which latents are described, and held-out text.
        atlas, samples, explain, score: of the stations.
    """

    text: TextOf
    atlas: AtlasConfig
    samples: SampleConfig
    explain: ExplainConfig
    score: ScoringConfig

    def to_list(self) -> list[dict[str, Any]]:
        """Return the settings as plain values, without the text."""
        return [part.to_dict() for part in (self.atlas, self.samples, self.explain, self.score)]


@dataclass(frozen=True)
class Interpreted:
    """Scores of the explanations of a dictionary's latents.

    Attributes:
        tables: by method.
        latents: number of latents of the dictionary.
        alive: number of them that were ever active.
        scored: number of these that were to be explained and scored.
        rules: explanations of them, by method.
        samples: their passages.
    """

    tables: Mapping[str, list[ScoreTable]]
    latents: int
    alive: int
    scored: int
    rules: Mapping[str, Mapping[int, Explanation]]
    samples: Samples


def interpret(
    model: LanguageModel,
    dictionary: Dictionary,
    site: Site,
    folder: Path,
    settings: InterpretSettings,
    tokens: int,
    most: int | None,
    heldout: int | None = None,
) -> Interpreted:
    """Describe, explain and score latents of a dictionary.

    Args:
        model: the dictionary reads its activations at `site`.
        folder: of the atlas.
        tokens: number of tokens that latents are described on.
        most: most latents that are explained and scored, drawn by a hash; None for all alive ones.
        heldout: tokens of held-out text for random and inactive passages; None for the settings' number.
    """
    atlas = build_atlas(model, dictionary, site, settings.text("train", tokens), folder, settings.atlas)
    subject = Subject(model, dictionary, atlas)
    latents = latents_of(atlas, most, settings.samples.seed)
    unseen = settings.text("heldout", heldout or settings.samples.tokens)
    samples = draw_samples(subject, unseen, settings.samples, latents)
    scorers = settings.score.make()
    session = ScoringSession(samples, model.tokenizer, rule_predictor(model), subject=subject, seed=settings.score.seed)
    rules = {
        method: explanations
        for method, explanations in explain_latents(subject, samples, settings.explain).items()
        if all(one.program is not None for one in explanations.values())
    }
    tables = {method: session.scores(explanations, scorers) for method, explanations in rules.items()}
    return Interpreted(tables, dictionary.n_latents, len(latents_of(atlas)), len(latents), rules, samples)


def random_latents(
    model: LanguageModel,
    site: Site,
    make: Callable[[], Dictionary],
    home: Path,
    settings: InterpretSettings,
    key: str,
) -> RandomScores:
    """Return the scores of random latents, by method and metric; empty where the settings ask for none.

    Args:
        make: makes the random directions at `site`.
        home: folder for the result, which is read again as long as the key is the same.
        key: tells apart all that the result depends on.
    """
    config = settings.score
    if not config.random_latents:
        return {}
    path, folder = home / _RANDOM, home / "random-latents"
    stored: dict[str, Any] = read_json(path) if path.exists() else {}
    if stored.get("key") != key or "rules" not in stored or not (home / RANDOM_SAMPLES).exists():
        tokens = config.random_tokens
        heldout = min(tokens, settings.samples.tokens)
        found = interpret(model, make(), site, folder, settings, tokens, config.random_latents, heldout)
        found.samples.save(home / RANDOM_SAMPLES)
        rules = {method: {str(n): asdict(one) for n, one in some.items()} for method, some in found.rules.items()}
        scores = {method: score_values(tables) for method, tables in found.tables.items()}
        stored = {"key": key, "scores": scores, "rules": rules}
        write_json(path, stored)
    shutil.rmtree(folder, ignore_errors=True)
    found_scores: RandomScores = stored["scores"]
    return found_scores


def score_values(tables: Iterable[ScoreTable]) -> dict[str, list[float]]:
    """Return the scores in tables, by metric; without metrics beside scorers' own."""
    return {
        one.scorer: [score.value for score in one.estimates.values()]
        for one in tables
        if one.estimates and one.part != "detail"
    }


def random_rules(home: Path) -> dict[str, dict[int, Explanation]]:
    """Return the rules of the random latents that were scored in a folder, by method and latent."""
    rules = read_json(home / _RANDOM)["rules"]
    return {method: {int(n): Explanation(**one) for n, one in some.items()} for method, some in rules.items()}


@torch.inference_mode()
def rows_at(model: LanguageModel, batches: Iterable[TokenBatch], site: Site, wanted: int) -> Float[Tensor, "rows d"]:
    """Return at most so many activations of a model at a site, on kept tokens of a text."""
    parts: list[Tensor] = []
    for batch in batches:
        got = model.activations(batch.tokens.to(model.device), [site])[site].flatten(2).float()
        parts.append(got[batch.keep.to(got.device)])
    return torch.cat(parts)[:wanted].clone()
