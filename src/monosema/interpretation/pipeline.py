"""Explaining and scoring all features of an atlas without a language model, beside controls.

    explain   atlas + held-out text ─► samples ─► explanations with rules ─► the atlas
    score     samples + rules ─► scores ─► the atlas, and a table in scores.json

The table has its controls in it: for each score the shuffled explanations and random latents, and a row for the empty
answer (see `controls`).

Both work block by block over the latents. The samples of a block are kept between the two, together with its
explanations, so that a killed process goes on with the next block; they are removed when all is scored.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monosema.atlas import Atlas, Explanation, open_atlas, record
from monosema.core import Progress, digest, progress_bar, read_json, write_json
from monosema.data import TokenBatch
from monosema.interpretation.explaining import (
    ExplainConfig,
    by_latent,
    explain_latents,
    rule_predictor,
    rules_in,
)
from monosema.interpretation.pool import Pool
from monosema.interpretation.protocol import AUTHOR, BASELINE, Subject
from monosema.interpretation.samples import Samples
from monosema.interpretation.sampling import SampleConfig, draw_samples, latents_of, pool_of, too_few
from monosema.interpretation.scorers import ScoringConfig
from monosema.interpretation.scores import (
    CONTROLS_RULE,
    RANDOM_RULE,
    RandomScores,
    ScoreTable,
    atlas_scores,
    joined,
    table_rows,
)
from monosema.interpretation.scoring import ScoringSession


class Blocks:
    """The latents of an atlas in blocks; samples of each are drawn once and kept on disk.

    Args:
        subject: the latents.
        text: held-out text that random and inactive passages come from.
        text_digest: tells this text from others.
        home: folder for the table and for unfinished work.
        samples, explain: settings.
    """

    def __init__(
        self,
        subject: Subject,
        text: Iterable[TokenBatch],
        text_digest: str,
        home: Path,
        samples: SampleConfig,
        explain: ExplainConfig,
    ) -> None:
        self.subject, self.text, self.home = subject, text, home
        self.sample_config, self.explain_config = samples, explain
        self.latents = latents_of(subject.atlas, explain.most, samples.seed)
        meta = subject.atlas.meta
        made_from = [meta["id"], meta["tables"]["examples"]["sha256"]]
        self.folder = home / f"blocks-{digest([made_from, samples.to_dict(), explain.to_dict(), text_digest])}"
        for other in home.glob("blocks-*"):
            if other != self.folder:
                shutil.rmtree(other)

    def __iter__(self) -> Iterator[tuple[int, NDArray[np.int64]]]:
        step = self.explain_config.block
        return enumerate(self.latents[low : low + step] for low in range(0, len(self.latents), step))

    @cached_property
    def pool(self) -> Pool:
        """Passages of the held-out text with the codes of all latents."""
        return pool_of(self.subject, self.text, self.sample_config)

    def samples(self, index: int, latents: NDArray[np.int64]) -> Samples:
        """Return the samples of a block; draw them where they are not on disk yet."""
        path = self._samples_path(index)
        if not path.exists():
            draw_samples(self.subject, self.pool, self.sample_config, latents).save(path)
        return Samples.load(path)

    def _samples_path(self, index: int) -> Path:
        return self.folder / f"samples-{index:05d}.safetensors"

    def read_text(self) -> None:
        """Read the held-out text now, with a progress bar of its own, where samples are yet to be drawn from it."""
        if not all(self._samples_path(index).exists() for index, _ in self):
            _ = self.pool

    def explained(self, index: int, latents: NDArray[np.int64], progress: Progress) -> dict[str, Any]:
        """Return the explanations of a block as plain values; make them where they are not on disk yet."""
        path = self.folder / f"explanations-{index:05d}.json"
        if path.exists():
            progress.advance(len(latents))
        else:
            samples, before = self.samples(index, latents), self.subject.probe.tokens
            explained = explain_latents(self.subject, samples, self.explain_config, progress)
            rows = {method: {str(n): asdict(one) for n, one in some.items()} for method, some in explained.items()}
            tokens = self.subject.probe.tokens - before
            write_json(path, {"explanations": rows, "few": len(too_few(samples)), "tokens": tokens})
        return dict(read_json(path))


def explain_atlas(blocks: Blocks) -> dict[str, Any]:
    """Explain every feature, and record the explanations in the atlas.

    Returns:
        Counts: features, explanations by method, features with few passages, tokens that went through the model.
    """
    explained: dict[str, dict[int, Explanation]] = {method: {} for method in blocks.explain_config.methods}
    few = tokens = 0
    blocks.read_text()
    with progress_bar("explain", len(blocks.latents), "features") as bar:
        for index, latents in blocks:
            part = blocks.explained(index, latents, bar)
            for method, rows in part["explanations"].items():
                explained[method] |= {int(latent): Explanation(**row) for latent, row in rows.items()}
            few, tokens = few + part["few"], tokens + part["tokens"]
    record(blocks.subject.atlas.path, by_latent(*explained.values()))
    counts = dict(Counter(one.method for some in explained.values() for one in some.values()))
    write_json(blocks.home / "explained.json", counts)
    named = {method: len(some) for method, some in explained.items()}
    return {"features": len(blocks.latents), **named, "few_passages": few, "model_tokens": tokens}


def score_atlas(blocks: Blocks, config: ScoringConfig, random: RandomScores) -> dict[str, Any]:
    """Score all explanations with rules, record the scores in the atlas, and write the table.

    Args:
        random: scores of random latents.
    """
    subject, scorers = blocks.subject, config.make()
    atlas, tokenizer, rules = subject.atlas, subject.model.tokenizer, rule_predictor(subject.model)
    methods = rules_in(atlas, AUTHOR)
    kept = [method for method in blocks.explain_config.methods if method in methods]
    parts: dict[str, list[list[ScoreTable]]] = {method: [] for method in (*kept, BASELINE.method)}
    blocks.read_text()
    with progress_bar("score", len(blocks.latents) * len(parts), "explanations") as bar:
        for index, latents in blocks:
            samples = blocks.samples(index, latents)
            session = ScoringSession(samples, tokenizer, rules, subject=subject, seed=config.seed)
            numbers = latents.tolist()
            here = {method: {n: methods[method][n] for n in numbers if n in methods[method]} for method in kept}
            for method, explanations in {**here, BASELINE.method: dict.fromkeys(numbers, BASELINE)}.items():
                parts[method].append(session.scores(explanations, scorers))
                bar.advance(len(latents))
    tables = {method: joined(some) for method, some in parts.items()}
    for method in kept:
        record(atlas.path, scores=atlas_scores(tables[method], methods[method], False, random.get(method)))
    recorded = recorded_scores(open_atlas(atlas.path))
    count = len(blocks.latents)
    write_json(
        scores_path(blocks.home),
        {
            "features": count,
            "random_latents": config.random_latents,
            "rule": f"{CONTROLS_RULE} {RANDOM_RULE}" if random else CONTROLS_RULE,
            "recorded": recorded,
            "rows": [
                row for method, some in tables.items() for row in table_rows(method, some, count, random.get(method))
            ],
        },
    )
    shutil.rmtree(blocks.folder, ignore_errors=True)
    return {"features": count, "scores": recorded}


def scores_path(home: Path) -> Path:
    """Return the path of the table of scores."""
    return home / "scores.json"


def recorded_scores(atlas: Atlas) -> int:
    """Count the scores of rules that an atlas holds."""
    query = "select count(*) as n from scores where author = ?"
    return int(atlas.sql(query, [AUTHOR])[0]["n"])


def damage_of_explanations(atlas: Atlas, home: Path) -> list[str]:
    """Say which explanations an atlas has lost, as one that was built again has."""
    path = home / "explained.json"
    if not path.exists():
        return [f"{path.name} is missing"]
    rows = atlas.sql("select method, count(*) as n from explanations group by method")
    there = {row["method"]: row["n"] for row in rows}
    lost = [method for method, count in read_json(path).items() if there.get(method, 0) < count]
    return [f"the atlas does not have the explanations by {' and '.join(lost)}"] if lost else []


def damage_of_scores(atlas: Atlas, home: Path) -> list[str]:
    """Say what is missing: the table, scores that an atlas has lost, or the random directions beside them."""
    path = scores_path(home)
    if not path.exists():
        return [f"{path.name} is missing"]
    table = read_json(path)
    if any("random" in row and "random_spread" not in row for row in table["rows"]):
        return ["the scores are of an earlier version, without the spread of random directions beside each"]
    return [] if table["recorded"] == recorded_scores(atlas) else ["the atlas does not have the scores"]
