"""The stages explain and score: every feature explained by programs, and the explanations scored beside controls.

    explain   atlas + held-out text ─► samples ─► programs ─► the atlas
    score     samples + programs ─► scores ─► the atlas, and the table in interpretation/NAME/scores.json

The table has its controls in it: for each figure the shuffled explanations and random latents, and a row for the empty
answer (see `controls`).

Both work block by block over the latents. The samples of a block are kept between the stages, together with what was
found of it, so that a killed stage goes on with the next block; they are removed when all is scored.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monosema.atlas import Atlas, open_atlas, record
from monosema.core import Estimate, digest, progress_bar, read_json, write_json
from monosema.dictionaries import Dictionary, load_dictionary
from monosema.interpretation.explaining import AUTHOR, atlas_explanations, explain_by_programs, programs_in
from monosema.interpretation.pool import Pool
from monosema.interpretation.programs import TokenLookup, program_from_json
from monosema.interpretation.protocol import Explained
from monosema.interpretation.readers.programs import ProgramReader
from monosema.interpretation.samples import Samples
from monosema.interpretation.sampling import draw_samples, latents_of, pool_of, too_few
from monosema.interpretation.scoring import (
    CONTROLS_RULE,
    RANDOM_RULE,
    Scores,
    TableRow,
    atlas_scores,
    merged,
    score,
    table_row,
)
from monosema.runs.context import RunContext
from monosema.runs.controls import random_latents

EMPTY = "nothing activates"
"""Method of the control that says nothing."""


def scores_path(ctx: RunContext) -> Path:
    """The table of results."""
    return _home(ctx) / "scores.json"


def _home(ctx: RunContext) -> Path:
    return ctx.folder / "interpretation" / ctx.recipe.dictionary_name


class _Blocks:
    """The latents of a run in blocks; samples of each are drawn once and kept on disk."""

    def __init__(self, ctx: RunContext) -> None:
        recipe = ctx.recipe
        self.ctx, self.atlas = ctx, open_atlas(ctx.atlas_dir)
        loaded: Any = load_dictionary(ctx.dictionary_dir)
        self.dictionary: Dictionary = loaded.to(ctx.model.device) if hasattr(loaded, "to") else loaded
        self.latents = latents_of(self.atlas, recipe.explain.most, recipe.samples.seed)
        made_from = [self.atlas.meta["id"], self.atlas.meta["tables"]["examples"]["sha256"]]
        key = [made_from, recipe.samples.to_dict(), recipe.explain.to_dict(), ctx.corpus.digest]
        self.folder = _home(ctx) / f"blocks-{digest(key)}"
        for other in _home(ctx).glob("blocks-*"):
            if other != self.folder:
                shutil.rmtree(other)
        self._pool: Pool | None = None

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        step = self.ctx.recipe.explain.block
        return (self.latents[low : low + step] for low in range(0, len(self.latents), step))

    def path(self, index: int, name: str) -> Path:
        return self.folder / f"{name}-{index:05d}"

    def samples(self, index: int, latents: NDArray[np.int64]) -> Samples:
        """The samples of a block, drawn where they are not there yet."""
        path = self.path(index, "samples").with_suffix(".safetensors")
        if path.exists():
            return Samples.load(path)
        recipe = self.ctx.recipe
        if self._pool is None:
            text = recipe.text.replace(split="heldout", tokens=recipe.samples.tokens)
            batches = self.ctx.batches(text)
            self._pool = pool_of(self.atlas, self.ctx.model, self.dictionary, batches, recipe.samples)
        drawn = draw_samples(self.atlas, self.ctx.model, self.dictionary, self._pool, recipe.samples, latents)
        drawn.save(path)
        return drawn


def explain(ctx: RunContext) -> Mapping[str, Any]:
    """The stage explain."""
    blocks = _Blocks(ctx)
    found: dict[str, dict[int, Explained]] = {method: {} for method in ctx.recipe.explain.methods}
    few = tokens = 0
    with progress_bar("explain", len(blocks.latents), "features") as bar:
        for index, latents in enumerate(blocks):
            part = _explained(blocks, index, latents)
            for method, rows in part["explained"].items():
                read = (Explained(latent, text, program_from_json(program)) for latent, text, program in rows)
                found[method] |= {one.latent: one for one in read}
            few, tokens = few + part["few"], tokens + part["tokens"]
            bar.advance(len(latents))
    record(ctx.atlas_dir, atlas_explanations(found))
    counts: dict[str, Any] = {method: len(explained) for method, explained in found.items()}
    write_json(_home(ctx) / "explained.json", counts)
    return {"features": len(blocks.latents), **counts, "few_passages": few, "model_tokens": tokens}


def _explained(blocks: _Blocks, index: int, latents: NDArray[np.int64]) -> dict[str, Any]:
    """What is found of a block, as plain values; read where it was found before."""
    path = blocks.path(index, "explained").with_suffix(".json")
    if path.exists():
        return dict(read_json(path))
    ctx = blocks.ctx
    samples = blocks.samples(index, latents)
    found = explain_by_programs(blocks.atlas, ctx.model, blocks.dictionary, samples, ctx.recipe.explain)
    explained = {
        method: [[one.latent, one.text, one.program.to_json()] for one in said.values() if one.program is not None]
        for method, said in found.explained.items()
    }
    part = {"explained": explained, "few": len(too_few(samples)), "tokens": found.tokens}
    write_json(path, part)
    return part


def score_stage(ctx: RunContext) -> Mapping[str, Any]:
    """The stage score."""
    blocks = _Blocks(ctx)
    programs = programs_in(blocks.atlas)
    programs = {method: programs.get(method, {}) for method in ctx.recipe.explain.methods}
    parts: dict[str, list[Scores]] = {method: [] for method in (*programs, EMPTY)}
    with progress_bar("score", len(blocks.latents), "features") as bar:
        for index, latents in enumerate(blocks):
            samples = blocks.samples(index, latents)
            here: dict[str, Mapping[int, Explained]] = {
                method: {latent: said[latent] for latent in latents.tolist() if latent in said}
                for method, said in programs.items()
            }
            here[EMPTY] = {latent: Explained(latent, "", TokenLookup({})) for latent in latents.tolist()}
            for method, said in here.items():
                parts[method].append(score(ProgramReader(), said, samples, ctx.recipe.score))
            bar.advance(len(latents))
    scores = {method: merged(some) for method, some in parts.items()}
    for method in programs:
        record(ctx.atlas_dir, scores=atlas_scores(scores[method], AUTHOR, method))
    random = random_latents(ctx, _home(ctx))
    rows = table(scores, random, len(blocks.latents))
    recorded = _recorded(open_atlas(ctx.atlas_dir))
    write_json(
        scores_path(ctx),
        {
            "features": len(blocks.latents),
            "random_latents": ctx.recipe.score.random_latents,
            "rule": f"{CONTROLS_RULE} {RANDOM_RULE}" if random else CONTROLS_RULE,
            "recorded": recorded,
            "rows": [row.to_dict() for row in rows],
        },
    )
    shutil.rmtree(blocks.folder, ignore_errors=True)
    return {"features": len(blocks.latents), "scores": recorded}


def table(scores: Mapping[str, Scores], random: Mapping[str, Mapping[str, Estimate]], latents: int) -> list[TableRow]:
    """A row for each method and scorer; `random` has what random latents score on the mean, by method and scorer."""
    rows = []
    for method, some in scores.items():
        means = random.get(method, {})
        for one in some.figures:
            own = replace(one, controls=one.controls if method != EMPTY else {})
            rows.append(table_row(method, own, some.details, latents, means.get(one.scorer)))
    return rows


def _recorded(atlas: Atlas) -> int:
    """Scores of programs that an atlas holds, beside those that it is built with."""
    query = "select count(*) as n from scores where author = ? and scorer <> 'balanced accuracy'"
    return int(atlas.sql(query, [AUTHOR])[0]["n"])


def damage_of_explain(ctx: RunContext) -> list[str]:
    """Whether the atlas has lost what was recorded, as one that was built again has."""
    path = _home(ctx) / "explained.json"
    if not path.exists():
        return [f"{path.relative_to(ctx.folder)} is missing"]
    there = {method: len(said) for method, said in programs_in(open_atlas(ctx.atlas_dir)).items()}
    lost = [method for method, count in read_json(path).items() if there.get(method, 0) != count]
    return [f"the atlas does not have the explanations by {' and '.join(lost)}"] if lost else []


def damage_of_score(ctx: RunContext) -> list[str]:
    """Whether the table is there, and the atlas still has the scores."""
    path = scores_path(ctx)
    if not path.exists():
        return [f"{path.relative_to(ctx.folder)} is missing"]
    if read_json(path)["recorded"] != _recorded(open_atlas(ctx.atlas_dir)):
        return ["the atlas does not have the scores"]
    return []
