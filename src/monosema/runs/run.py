"""A run: a folder that holds one recipe and all that was made from it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from monosema.atlas import Atlas, open_atlas
from monosema.core import ConfigError, Log, RunError, nearest, read_json
from monosema.dictionaries import Dictionary, load_dictionary
from monosema.evaluation import Evaluation
from monosema.runs.budget import decided
from monosema.runs.context import RunContext
from monosema.runs.ledger import Ledger, StageRecord
from monosema.runs.lock import run_lock
from monosema.runs.meaning import scores_path
from monosema.runs.overrides import flatten
from monosema.runs.pipeline import advance, stage_inputs
from monosema.runs.recipe import Recipe
from monosema.runs.stages import STAGES
from monosema.runs.summary import summarise
from monosema.training.distribution import Mesh


class Run:
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

    @property
    def stages(self) -> Mapping[str, StageRecord]:
        """The stages that were begun, by name."""
        return Ledger(self.folder).records()

    @property
    def report(self) -> Path | None:
        """The report's page, where it is written."""
        return self._ctx.report_path if self._ctx.report_path.exists() else None

    def dictionary(self) -> Dictionary:
        """The dictionary. Raises RunError where it isn't trained yet."""
        self._require("train")
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
        """What is known by now, as plain figures."""
        ctx = self._ctx
        names = self.recipe.row_names
        return summarise(
            self.folder, self.stages, names, ctx.evaluation_path, ctx.dictionary_dir, scores_path(ctx), ctx.report_path
        )

    def _require(self, stage: str) -> None:
        record = self.stages.get(stage)
        if record is None or record.state != "done":
            raise RunError(
                f"The run {self.folder} has not finished the stage {stage!r}. Make it with: monosema run {self.folder}"
            )


def run(
    recipe: Recipe,
    out: str | Path | None = None,
    *,
    until: str = "report",
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
        until: the last stage to make: capture, train, evaluate, atlas, explain, score or report.
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
    names = [stage.name for stage in STAGES]
    if until not in names:
        raise ConfigError(f"There is no stage {until!r}.{nearest(until, names)} The stages are: {', '.join(names)}.")
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
    until: str,
    device: str | None = None,
    update: bool = False,
    log: Log | None = None,
) -> Run:
    """What `run` does, in processes that have joined already."""
    opened: list[RunContext] = []
    with ExitStack() as held:

        def begin() -> tuple[Recipe, dict[str, str]]:
            """Decide what is left open, and take the folder."""
            previous = _previous(folder)
            ctx = RunContext(recipe.resolve(previous, device), folder, device, mesh)
            ctx.recipe = decided(ctx.recipe, ctx.model)
            ctx.check_model(until)
            if previous is not None and not update:
                _require_same(previous, ctx.recipe, folder)
            sources = {"model": ctx.model.digest, "corpus": ctx.corpus.digest}
            inputs = stage_inputs(STAGES, ctx.recipe.to_dict(), sources)
            held.enter_context(run_lock(folder))
            for leftover in folder.rglob(".*.tmp"):
                leftover.unlink(missing_ok=True)
            if ctx.recipe != previous:
                ctx.recipe.write(folder / "recipe.toml")
            opened.append(ctx)
            return ctx.recipe, inputs

        resolved, inputs = mesh.by_first(begin)
        ctx = opened[0] if opened else RunContext(resolved, folder, device, mesh)
        advance(STAGES, until, folder, inputs, ctx, log or (lambda line: None), mesh)
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


def _require_same(previous: Recipe, recipe: Recipe, folder: Path) -> None:
    old, new = flatten(previous.to_dict()), flatten(recipe.to_dict())
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    if keys:
        lines = [f"{key} is {old.get(key, 'none')} there and {new.get(key, 'none')} here" for key in keys]
        raise RunError(
            f"The run folder {folder} was made by another recipe: {'; '.join(lines)}. Choose another with --out, "
            f"go on with that recipe by `monosema run {folder}`, or change this run with --update."
        )
