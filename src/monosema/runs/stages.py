"""The stages: capture → train → evaluate → atlas → explain → score → report; open in place of the first two, where the
recipe gives a dictionary.

Each calls its station and counts what it did.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.activations import ActivationStream, JoinedStream, Store, capture_to_store
from monosema.atlas import build_atlas, check_tables, open_atlas
from monosema.attribution.answers import answer_files
from monosema.circuits.shown import graph_files
from monosema.core import MonosemaError, Site, choose_device, digest, progress_bar, write_json
from monosema.dictionaries import (
    Dictionary,
    DictionaryConfig,
    Metadata,
    SparseCoder,
    at_sites,
    number_of_sites,
    save_dictionary,
)
from monosema.evaluation import Evaluation, evaluate, evaluate_crosscoder, fit_controls, model_difference
from monosema.interpretation.causes import all_kept_causes
from monosema.models import vector_width, weight_directions
from monosema.pages import write_report
from monosema.runs.budget import CONTROL_ROWS, MOST
from monosema.runs.context import RunContext
from monosema.runs.directions import centred, name_features, names_of
from monosema.runs.display import training_display
from monosema.runs.end_to_end import WindowsOfRun, windows_path
from monosema.runs.interpretation import (
    FITTED_ROWS,
    ORIGIN,
    active_per_row,
    damage_of_explain,
    damage_of_score,
    explain,
    opened_dictionary,
    rows_of_text,
    score,
)
from monosema.runs.pipeline import Stage, register_stage
from monosema.runs.report_data import pictures, report_data, with_answer
from monosema.training import Objective, Reconstruction, TrainingRows, train


def _capture(ctx: RunContext) -> Mapping[str, Any]:
    recipe = ctx.recipe
    batches = ctx.batches(recipe.text)
    with progress_bar("capture", recipe.text.tokens, recipe.unit) as bar:
        store = capture_to_store(
            ctx.model,
            batches,
            list(recipe.sites),
            ctx.store_dir,
            recipe.capture,
            corpus_digest=ctx.corpus.digest,
            text=recipe.text,
            progress=bar,
        )
    counts = store.manifest.counts
    if recipe.of_items:
        return {"rows": counts["rows"]}
    return {name: counts[name] for name in ("tokens", "rows", "sinks")} | {"extreme": counts["extreme_tokens"]}


def _train(ctx: RunContext) -> Mapping[str, Any]:
    recipe, mesh = ctx.recipe, ctx.mesh
    store = Store.open(ctx.store_dir)
    rows = TrainingRows(store, ctx.held_out_rows(store.rows))
    trained = untrained(
        ctx, recipe.dictionary, recipe.sites, [store.width(site) for site in recipe.sites], recipe.training.seed
    )
    stream: ActivationStream
    objective: Objective = Reconstruction()
    if recipe.training.objective == "end-to-end":
        windows = WindowsOfRun(ctx, store, rows, windows_path(ctx))
        objective, stream = windows.objective(ctx.site, recipe.training), windows.stream
    else:
        stream = rows.stream(
            recipe.sites,
            batch=recipe.stream.batch,
            seed=recipe.training.seed,
            passes=recipe.stream.passes,
            memory_mb=recipe.stream.memory_mb,
        )
    step = stream.batch * objective.row_vectors
    with training_display((stream.batches or 0) * step, recipe.unit, step, mesh.first) as display:
        result = train(
            trained,
            stream,
            recipe.training,
            ctx.dictionary_dir,
            heldout=rows.held_out(recipe.sites) if mesh.first else None,
            progress=display,
            trackers=[display],
            mesh=mesh,
            objective=objective,
        )
    if mesh.first:
        windows_path(ctx).unlink(missing_ok=True)
    return {name: value for name, value in result.to_dict().items() if name != "dictionary"}


def _open(ctx: RunContext) -> Mapping[str, Any]:
    """Bring the given dictionary into the run, in monosema's own layout, with where it comes from beside it."""
    given = ctx.given
    assert given is not None
    if names_of(given):
        given = centred(given, rows_of_text(ctx, ctx.recipe.sites, FITTED_ROWS).cpu())
    folder, digest = save_dictionary(given, ctx.dictionary_dir), ctx.sources["the given dictionary"]
    l0 = given.activation.kept or _l0_of(ctx, given)
    write_json(folder / ORIGIN, {"given": ctx.recipe.given, "digest": digest, "l0": l0})
    return {"latents": given.n_latents, "l0": l0}


def _l0_of(ctx: RunContext, dictionary: SparseCoder) -> float:
    """Measure the number of latents that are active per row, on training text."""
    sites = ctx.recipe.sites[:1] if ctx.recipe.output_site else ctx.recipe.sites
    rows = rows_of_text(ctx, sites, FITTED_ROWS)
    with torch.inference_mode():
        coder = dictionary.to(rows.device)
        counts = [(coder.encode(part).values > 0).sum() for part in rows.split(ctx.recipe.stream.batch)]
    return float(torch.stack(counts).sum()) / len(rows)


def untrained(
    ctx: RunContext, config: DictionaryConfig, sites: Sequence[Site], widths: Sequence[int], seed: int
) -> SparseCoder:
    """Make a dictionary of sites of these widths, on the device.

    Only the first of several processes says where it comes from, since it alone saves; the others don't open the model
    for that.
    """
    about = _metadata(ctx, sites) if ctx.mesh.first else at_sites(Metadata(), sites, ctx.recipe.output_site is not None)
    made = config.make(widths, about, seed)
    if config.start == "weights" and made.d_out == vector_width(ctx.model, sites[0]):
        made.given = weight_directions(ctx.model, sites[0])
    return made.to(choose_device(ctx.device))


def _metadata(ctx: RunContext, sites: Sequence[Site]) -> Metadata:
    """Make the metadata of a dictionary of these sites."""
    objective, other = ctx.recipe.training.objective, ctx.recipe.other_model
    extra: dict[str, Any] = {} if objective == "reconstruction" else {"objective": objective}
    if other is not None:
        extra["other_model"] = other
    about = Metadata(
        model=ctx.recipe.model.name,
        context=ctx.recipe.text.window,
        prepend_bos=ctx.model.tokenizer.bos_id is not None,
        dataset=ctx.corpus.name,
        extra=extra,
    )
    return at_sites(about, sites, ctx.recipe.output_site is not None)


def _evaluate(ctx: RunContext) -> Mapping[str, Any]:
    recipe = ctx.recipe
    dictionary = opened_dictionary(ctx)
    tokens = recipe.evaluation_tokens or MOST
    text = recipe.text.replace(split="heldout", tokens=tokens)
    passes = number_of_sites(dictionary)
    controls, mean = _controls(ctx)
    with progress_bar("evaluate", passes * tokens, recipe.unit) as bar:
        rest = (ctx.batches(text), recipe.evaluation, controls, bar)
        kept: dict[str, Any] = {"mean": mean, "parts": _evaluation_parts(ctx)}
        if isinstance(dictionary, SparseCoder) and dictionary.n_sites > 1:
            evaluation = evaluate_crosscoder(ctx.model, dictionary, *rest, **kept)
            if recipe.other_model is not None:
                evaluation = _compared(ctx, dictionary, evaluation)
        else:
            read = ctx.site if recipe.output_site else None
            evaluation = evaluate(ctx.model, dictionary, recipe.sites[-1], *rest, read=read, **kept)
    if recipe.of_items:
        evaluation = replace(evaluation, unit="items")
    write_json(ctx.evaluation_path, evaluation.to_dict())
    shutil.rmtree(_evaluation_parts(ctx), ignore_errors=True)
    return {recipe.unit: evaluation.tokens}


def _evaluation_parts(ctx: RunContext) -> Path:
    """Return the folder of an unfinished evaluation's sums."""
    return ctx.evaluation_path.with_suffix(".parts")


def _compared(ctx: RunContext, crosscoder: SparseCoder, evaluation: Evaluation) -> Evaluation:
    """The evaluation with what tells the two models apart, on the rows that training held out."""
    first, second = ctx.recipe.model_names
    if ctx.recipe.given is None:
        store = Store.open(ctx.store_dir)
        rows = TrainingRows(store, ctx.held_out_rows(store.rows)).held_out(ctx.recipe.sites)
    else:
        rows = rows_of_text(ctx, ctx.recipe.sites, FITTED_ROWS, "heldout")
    if rows is None:
        return evaluation
    found = model_difference(crosscoder, rows.to(ctx.model.device), (first, second))
    return replace(evaluation, difference=found, notes=(*evaluation.notes, found.sentence))


def _controls(ctx: RunContext) -> tuple[dict[str, Dictionary], Tensor]:
    """Return the controls of an evaluation, PCA with as many components as latents are kept and an untrained
    dictionary, both fitted on rows that the dictionary was trained on; and the mean of these rows."""
    recipe, k = ctx.recipe, active_per_row(ctx)
    # A crosscoder's controls see all its sites side by side; others see the site that is written.
    sites = recipe.sites if recipe.dictionary.architecture == "crosscoder" else recipe.sites[-1:]
    sample = _training_sample(ctx, sites) if recipe.given is None else rows_of_text(ctx, sites, CONTROL_ROWS)
    controls = fit_controls(sample, recipe.dictionary.n_latents, k, recipe.training.seed)
    return controls, sample.mean(dim=0, dtype=torch.float64)


def _training_sample(ctx: RunContext, sites: Sequence[Site]) -> Float[Tensor, "rows width"]:
    """Return rows that the dictionary was trained on, of several sites side by side, drawn from the store."""
    recipe, store = ctx.recipe, Store.open(ctx.store_dir)
    rows = slice(0, store.rows - ctx.held_out_rows(store.rows))
    batch = min(recipe.stream.batch, rows.stop)
    stream = JoinedStream.over(
        [(store, site) for site in sites],
        batch=batch,
        seed=recipe.training.seed,
        memory_mb=recipe.evaluation.memory_mb,
        rows=rows,
    )
    wanted = min(max(1, CONTROL_ROWS // batch), stream.batches or 1)
    # Room for all first: parts beside their whole would take twice the memory.
    sample = torch.empty(wanted * batch, sum(store.width(site) for site in sites))
    for room, part in zip(sample.split(batch), stream, strict=False):
        room.copy_(part)
    return sample.to(ctx.model.device)


def _atlas(ctx: RunContext) -> Mapping[str, Any]:
    recipe = ctx.recipe
    tokens = recipe.atlas_tokens or recipe.text.tokens
    batches = ctx.batches(recipe.text.replace(tokens=tokens, split=ctx.recipe.described))
    with progress_bar("atlas", tokens, recipe.unit) as bar:
        atlas = build_atlas(
            ctx.model, opened_dictionary(ctx), ctx.site, batches, ctx.atlas_dir, recipe.atlas, progress=bar
        )
    name_features(ctx.atlas_dir, opened_dictionary(ctx))
    alive = atlas.sql("select count(*) as n from features where alive")[0]["n"]
    return {recipe.unit: batches.counts.kept, "features": recipe.dictionary.n_latents, "alive": alive}


def _damage_of_atlas(ctx: RunContext) -> list[str]:
    """Explanations, scores and votes are added to a finished atlas, so it is compared with its own checksums."""
    try:
        check_tables(ctx.atlas_dir, checksums=True)
    except MonosemaError as error:
        return [str(error).removesuffix(".").partition(". Build")[0]]
    return []


def _report(ctx: RunContext) -> Mapping[str, Any]:
    data = with_answer(report_data(ctx), ctx)
    path = write_report(data, open_atlas(ctx.atlas_dir), ctx.report_path, ctx.recipe.report.limit_mb)
    return {"bytes": path.stat().st_size}


def _facts_of_report(ctx: RunContext) -> Mapping[str, str]:
    """Digests of what is added to a run after its stages: labels, votes, scores, comparisons, circuits, answers and
    causes."""
    atlas = open_atlas(ctx.atlas_dir, checksums=False)
    facts = {"the atlas's labels, votes or scores": atlas.state, "the comparison": digest(pictures(ctx))}
    circuits = [path.read_text(encoding="utf-8") for path in graph_files(ctx.folder)]
    answers = [path.read_text(encoding="utf-8") for path in answer_files(ctx.folder)]
    causes = [one.to_dict() for one in all_kept_causes(atlas)]
    added: dict[str, list[Any]] = {"the circuits": circuits, "the answers": answers, "the causes": causes}
    return facts | {name: digest(values) for name, values in added.items() if values}


for _stage in (
    Stage(
        name="capture",
        make=_capture,
        writes=lambda ctx: [ctx.store_dir],
        reads=("site", "output_site", "model", "corpus", "text", "capture"),
        resumes=True,
        given=False,
    ),
    Stage(
        name="train",
        make=_train,
        writes=lambda ctx: [ctx.dictionary_dir],
        needs=("capture",),
        reads=("dictionary", "stream", "training"),
        resumes=True,
        shared=True,
        given=False,
    ),
    Stage(
        name="open",
        make=_open,
        writes=lambda ctx: [ctx.dictionary_dir],
        reads=("given", "site", "output_site", "other_model", "model", "corpus", "text", "capture", "dictionary"),
        given=True,
    ),
    Stage(
        name="evaluate",
        make=_evaluate,
        writes=lambda ctx: [ctx.evaluation_path, _evaluation_parts(ctx)],
        needs=("train", "open"),
        reads=("evaluation", "evaluation_tokens"),
        version=2,
        resumes=True,
    ),
    Stage(
        name="atlas",
        make=_atlas,
        writes=lambda ctx: [ctx.atlas_dir],
        needs=("train", "open"),
        reads=("atlas", "atlas_tokens"),
        version=2,
        resumes=True,
        replaces=True,
        damage=_damage_of_atlas,
    ),
    Stage(
        name="explain",
        make=explain,
        writes=lambda ctx: [],
        needs=("atlas",),
        reads=("samples", "explain"),
        resumes=True,
        damage=damage_of_explain,
    ),
    Stage(
        name="score",
        make=score,
        writes=lambda ctx: [],
        needs=("explain",),
        reads=("score",),
        resumes=True,
        damage=damage_of_score,
    ),
    Stage(
        name="report",
        make=_report,
        writes=lambda ctx: [ctx.report_path],
        needs=("evaluate", "atlas", "score"),
        reads=("name", "report"),
        facts=_facts_of_report,
    ),
):
    register_stage(_stage)
