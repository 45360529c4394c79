"""The data of a report, gathered from a run's folder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from monosema.attribution import Game, ask, first_question, methods_named, tokens_of
from monosema.attribution.answers import KeptAnswer, answer_in_full, compact, kept_answers
from monosema.circuits.shown import shown_in
from monosema.core import MonosemaError, read_json
from monosema.data.tasks import ALL_TASKS
from monosema.evaluation import Evaluation
from monosema.items import ItemModel, Items
from monosema.models import LanguageModel, load_model, model_facts
from monosema.pages import ReportData, StageRow
from monosema.runs.context import RunContext
from monosema.runs.interpretation import home_of, opened_dictionary
from monosema.runs.ledger import Ledger, StageRecord

_LABELS = (
    "Labels name the fact in the columns of the items that best tells where a feature is active. They are found on one "
    "half of the items, by hash, and scored on the other."
)


def report_data(ctx: RunContext) -> ReportData:
    """Gather a run's facts for its report; the stages before the report must be done."""
    if ctx.recipe.of_items and isinstance(ctx.model, ItemModel):
        return _of_items(_report_data(ctx), ctx, ctx.model.items)
    return _report_data(ctx)


def _of_items(data: ReportData, ctx: RunContext, items: Items) -> ReportData:
    """Return the data of a run over items, without what is about a text or a language model."""
    recipe = ctx.recipe
    values, share = recipe.to_dict(), recipe.text.heldout_share
    files = {"vectors": recipe.model.name, "names": recipe.corpus.source, "name column": recipe.corpus.column}
    parts = ("dictionary", "stream", "training")
    held = f"All metrics are measured on {data.heldout_tokens:,} items that training never saw"
    return replace(
        data,
        title=recipe.report.title or f"Features of {Path(recipe.model.name).name}",
        model_name=f"{len(items):,} items with vectors of {ctx.model.d_model} values ({Path(recipe.model.name).name})",
        site="",
        corpus="",
        heldout_tokens=None,
        sinks_left_out=None,
        evaluation=[replace(row, absent={}) for row in data.evaluation],
        recipe={**files, "held-out share": share, **{name: values[name] for name in parts if name in values}},
        notes=(f"{held}: about {share:.0%} of all, chosen by a hash of the row’s number.", *data.notes, _LABELS),
        items=items,
    )


def _report_data(ctx: RunContext) -> ReportData:
    recipe = ctx.recipe
    stages = Ledger(ctx.folder).records()
    evaluation = Evaluation.from_dict(read_json(ctx.evaluation_path))
    names = recipe.row_names
    captured = stages["capture"].counts if recipe.given is None else {}
    models = " and ".join(recipe.model_names)
    title = (
        f"What {models} compute at {recipe.place}"
        if recipe.other_model
        else f"What {models} computes at {recipe.place}"
    )
    return ReportData(
        title=recipe.report.title or title,
        model_name=models,
        site=recipe.place,
        architecture="" if recipe.of_directions else recipe.dictionary.title,
        corpus=ctx.corpus.name,
        tokens=captured.get("rows"),
        heldout_tokens=evaluation.tokens,
        sinks_left_out=captured.get("sinks"),
        evaluation=[
            replace(row, name=f"{names.get(row.kind, row.name)}{f' at {row.site}' if row.site else ''}")
            for row in evaluation.rows
        ],
        training=_metrics(ctx.dictionary_dir / "metrics.jsonl") if recipe.given is None else (),
        stages=[_stage_row(name, record, recipe.of_items) for name, record in stages.items() if record.state == "done"],
        recipe=recipe.to_dict(),
        model=_model(recipe.model.name),
        notes=(*_origin(ctx), *evaluation.notes),
        run=str(ctx.folder),
        pictures=pictures(ctx),
        circuits=shown_in(ctx.folder),
        answers=kept_answers(ctx.folder),
    )


def with_answer(data: ReportData, ctx: RunContext) -> ReportData:
    """Return the data with the answer to the recipe's question before those that the run keeps; with a note why there
    is none where the model can't be asked it."""
    question = ctx.recipe.report.question
    if question is None or ctx.recipe.of_items:
        return data
    try:
        values = _answer(ctx, question)
    except MonosemaError as error:
        return replace(data, notes=(*data.notes, f"The question {question!r} was not answered: {error}"))
    return replace(data, answers=(KeptAnswer("question", values), *data.answers))


def _answer(ctx: RunContext, text: str) -> dict[str, Any]:
    model = _precise(ctx)
    asked = first_question(model, text) if text in ALL_TASKS else ask(model, text)
    game = Game(model, asked, tokens_of(model, asked), memory_mb=ctx.recipe.evaluation.memory_mb)
    dictionary = opened_dictionary(ctx) if ctx.recipe.other_model is None else None
    return compact(answer_in_full(game, methods_named(), dictionary=dictionary))


def _precise(ctx: RunContext) -> LanguageModel:
    """Return the model in float32, since differences of passes are lost in fewer bits; of two models the first."""
    if ctx.recipe.other_model is None and ctx.model.dtype == torch.float32:
        return ctx.model
    return load_model(ctx.recipe.model.name, device=ctx.device, dtype="float32")


def _origin(ctx: RunContext) -> list[str]:
    """Return sentences about a given dictionary: where it comes from, and what its files say of its training."""
    if ctx.recipe.given is None:
        return []
    about = opened_dictionary(ctx).metadata
    if ctx.recipe.of_directions:
        return [
            f"The features are directions, read from {ctx.recipe.given}: of each the two sides of the text’s mean, so "
            "that one of the two is active on any token."
        ]
    said = [f"The dictionary was not trained in this run: it is {ctx.recipe.given}."]
    said += [f"Its files say that it learnt from {about.tokens:,} tokens."] if about.tokens else []
    return said + ([f"Its files say that it learnt from the text {about.dataset}."] if about.dataset else [])


def comparison_path(ctx: RunContext) -> Path:
    """Return the path of the table that compares the dictionary with baselines; the chart is beside it as SVG."""
    return home_of(ctx) / "comparison.json"


def pictures(ctx: RunContext) -> list[str]:
    """Return the run's charts that stand in its report, as SVG."""
    plot = comparison_path(ctx).with_suffix(".svg")
    return [plot.read_text(encoding="utf-8")] if plot.exists() else []


def _metrics(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _stage_row(name: str, record: StageRecord, of_items: bool) -> StageRow:
    """Return a stage with its counts in words; over items, without those of passages and of a language model."""
    foreign = {"few_passages", "model_tokens"} if of_items else set()
    counts = {key: value for key, value in record.counts.items() if isinstance(value, int) and key not in foreign}
    note = ", ".join(f"{n:,} {key.replace('_', ' ')}" for key, n in counts.items())
    return StageRow(name=name, seconds=record.seconds, note=note)


def _model(name: str) -> dict[str, Any]:
    """Return the model's facts; nothing where its shape is known to its own code only."""
    try:
        facts = model_facts(name).to_dict()
    except MonosemaError:
        return {}
    return {key: value for key, value in facts.items() if key not in ("name", "path")}
