"""A run: a folder that holds one recipe and all that was made from it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from monosema.atlas import Atlas, open_atlas
from monosema.core import Log, RunError, read_json
from monosema.core.display import Shown
from monosema.dictionaries import Dictionary, load_dictionary
from monosema.evaluation import Evaluation
from monosema.interpretation import scores_path
from monosema.runs.budget import decided
from monosema.runs.checks import check
from monosema.runs.context import RunContext
from monosema.runs.interpretation import home_of
from monosema.runs.ledger import Ledger, StageRecord, run_lock
from monosema.runs.overrides import flags_of, flatten
from monosema.runs.pipeline import advance, needed, stages_of, upgrade
from monosema.runs.recipe import SHORT_KEYS, Recipe
from monosema.training.distribution import Mesh

METRICS = ("fvu", "variance_explained", "l0", "alive", "ce_clean", "ce_spliced", "ce_zero", "loss_recovered")
"""Metrics of the dictionary that stand at the top of a summary."""


class Run(Shown):
    """A run on disk.

    Attributes:
        folder: where it is.
        recipe: what it is made from.
    """

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        self.folder = folder
        self.recipe = recipe
        self._ctx = RunContext(recipe, folder)

    @classmethod
    def open(cls, folder: str | Path) -> Run:
        """Open an existing run. Raises RunError where the folder holds none."""
        folder = Path(folder)
        path = folder / "recipe.toml"
        if not path.exists():
            there = "holds no run (no recipe.toml)" if folder.is_dir() else "does not exist"
            raise RunError(f"The folder {folder} {there}. Make a run with: monosema run --out {folder}")
        return cls(folder, Recipe.read(path))

    def __repr__(self) -> str:
        recipe, done = self.recipe, [name for name, record in self.stages.items() if record.state == "done"]
        where = f"{', '.join(site.short for site in recipe.sites)} of {recipe.model.name}"
        what = f"{recipe.dictionary.title} of {recipe.dictionary.n_latents:,} latents"
        return f"Run({self.folder}: {what}, {where}, done: {', '.join(done) or 'nothing'})"

    @property
    def stages(self) -> Mapping[str, StageRecord]:
        """The stages that were begun, by name."""
        return Ledger(self.folder).records()

    @property
    def report(self) -> Path | None:
        """The report's page, where it is written."""
        return self._ctx.report_path if self._ctx.report_path.exists() else None

    def dictionary(self) -> Dictionary:
        """The dictionary. Raises RunError where it isn't trained, or brought into the run, yet."""
        self._require("open" if self.recipe.given else "train")
        return load_dictionary(self._ctx.dictionary_dir)

    def evaluation(self) -> Evaluation:
        """The evaluation on held-out text. Raises RunError where it isn't made yet."""
        self._require("evaluate")
        return Evaluation.from_dict(read_json(self._ctx.evaluation_path))

    def atlas(self) -> Atlas:
        """The atlas. Raises RunError where it isn't built yet."""
        self._require("atlas")
        return open_atlas(self._ctx.atlas_dir)

    def summary(self) -> dict[str, Any]:
        """Plain values of the stages that are done, as `monosema run --json` prints them; what is not made yet, or
        could not be measured, is absent."""
        ctx, done = self._ctx, {name: record for name, record in self.stages.items() if record.state == "done"}
        summary: dict[str, Any] = {}
        if "evaluate" in done:
            summary |= _evaluated(self.evaluation().to_dict(), self.recipe.row_names)
        if "atlas" in done:
            summary["features"] = done["atlas"].counts["features"]
        if "capture" in done:
            summary[self.recipe.unit] = done["capture"].counts["rows"]
        if "train" in done:
            summary["training"] = dict(done["train"].counts)
        if "train" in done or "open" in done:
            summary["dictionary"] = str(ctx.dictionary_dir.resolve())
        if "score" in done:
            meaning = read_json(scores_path(home_of(ctx)))
            summary["meaning"] = {name: meaning[name] for name in ("features", "rule", "rows")}
        summary["seconds"] = {name: round(record.seconds, 3) for name, record in done.items()}
        if "report" in done:
            summary["report"] = str(ctx.report_path.resolve())
        summary["run"] = str(self.folder.resolve())
        return summary

    def _require(self, stage: str) -> None:
        if not _is_done(self.folder, stage):
            raise RunError(
                f"The run {self.folder} has not finished the stage {stage!r}. Make it with: monosema run {self.folder}"
            )


def _evaluated(measured: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return the dictionary's metrics, and the rows of an evaluation, named by kind as `names` says."""
    first = measured["rows"][0]
    metrics = first["metrics"]
    rows = [
        {**row, "name": names.get(row["kind"], row["name"]) + (f" at {row['site']}" if row.get("site") else "")}
        for row in measured["rows"]
    ]
    return {
        **{name: metrics[name]["value"] for name in METRICS if name in metrics},
        "intervals": {name: [metric["low"], metric["high"]] for name, metric in metrics.items()},
        "absent": first["absent"],
        "evaluation": rows,
        **({"difference": measured["difference"]} if "difference" in measured else {}),
    }


def run(
    recipe: Recipe,
    out: str | Path | None = None,
    *,
    until: str | None = None,
    device: str | None = None,
    update: bool = False,
    log: Log | None = None,
    latent_shards: int = 1,
) -> Run:
    """Do what the recipe says, in a folder: skip stages that are done, go on with one that was killed, make the rest.

    Started by torchrun, its processes share the training; the first one does all else, and the others wait.

    Args:
        recipe: what to make.
        out: the run folder; None for ``runs/NAME``.
        until: the last stage to make: capture, train (of a given dictionary: open), evaluate, atlas, explain, score or
            report; None makes all.
        device: where to compute; None for the best there is.
        update: let the recipe replace another one that the folder was made by; only stages that depend on the
            difference are made again.
        log: receives one line for people about each stage.
        latent_shards: parts that several processes divide the latents into; the rest of them share the batch.

    Returns:
        The run.

    Raises:
        RunError: the folder belongs to another recipe or is in use by another process; or another process was lost.
        InputError: the model, site or text isn't there.
        MonosemaError: a stage failed; run again to go on from there.
    """
    folder = Path(out) if out is not None else Path("runs") / recipe.name
    mesh = Mesh.join(latent_shards)
    done = run_together(mesh, recipe, folder, until=until, device=device, update=update, log=log)
    mesh.leave()
    return done


def run_together(
    mesh: Mesh,
    recipe: Recipe,
    folder: Path,
    *,
    until: str | None = None,
    device: str | None = None,
    update: bool = False,
    log: Log | None = None,
) -> Run:
    """Do as `run` does, in processes that have joined already."""
    opened: list[RunContext] = []
    stages = needed(stages_of(recipe), until)
    with ExitStack() as held:

        def begin() -> Recipe:
            """Decide what is left open, and take the folder."""
            previous = _previous(folder)
            ctx = RunContext(recipe.resolve(previous, device), folder, device, mesh)
            ctx.recipe = decided(ctx.recipe, ctx.model)
            if previous is not None and not update and _has_work(ctx):
                _require_same(previous, ctx.recipe, folder)
            if previous != ctx.recipe or not all(_is_done(folder, stage.name) for stage in stages):
                check(ctx, [stage.name for stage in stages])
            held.enter_context(run_lock(folder))
            for leftover in folder.rglob(".*.tmp"):
                leftover.unlink(missing_ok=True)
            if previous is not None:
                upgrade(folder, previous, Recipe.values(folder / "recipe.toml"), ctx.sources)
            if previous is None and log is not None and (measured := recipe.left_to_machine(ctx.recipe)):
                log(f"Chosen by speeds measured on this machine: {measured}. Give these keys to repeat it elsewhere.")
            if ctx.recipe != previous:
                ctx.recipe.write(folder / "recipe.toml")
            opened.append(ctx)
            return ctx.recipe

        resolved = mesh.by_first(begin)
        ctx = opened[0] if opened else RunContext(resolved, folder, device, mesh)
        advance(ctx, until, log or (lambda line: None))
    return Run(folder, resolved)


def _previous(folder: Path) -> Recipe | None:
    path = folder / "recipe.toml"
    if path.exists():
        return Recipe.read(path)
    if folder.is_file() or (folder.is_dir() and any(not entry.name.startswith(".lock") for entry in folder.iterdir())):
        raise RunError(
            f"{folder} is not a run folder: it holds other things, and no recipe.toml. Choose another with --out."
        )
    return None


def _is_done(folder: Path, stage: str) -> bool:
    record = Ledger(folder).records().get(stage)
    return record is not None and record.state == "done"


def _has_work(ctx: RunContext) -> bool:
    """True where another recipe would lose something: a finished stage, or a shard of activations."""
    done = any(record.state == "done" for record in Ledger(ctx.folder).records().values())
    return done or any(ctx.store_dir.glob("*.safetensors"))


def _require_same(previous: Recipe, recipe: Recipe, folder: Path) -> None:
    old, new = flatten(previous.to_dict()), flatten(recipe.to_dict())
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    if keys:
        flags = flags_of(previous, SHORT_KEYS) | flags_of(recipe, SHORT_KEYS)
        lines = [
            f"{flags.get(key, key)} is {old.get(key, 'none')} there and {new.get(key, 'none')} here" for key in keys
        ]
        raise RunError(
            f"The run folder {folder} was made by another recipe: {'; '.join(lines)}. Choose another with --out, "
            f"go on with that recipe by `monosema run {folder}`, or change this run with --update."
        )
