"""Sweeps over keys of a recipe: one pass over the data, a dictionary for each combination of values.

RUN/sweeps/NAME/sweep.json        the typed result
RUN/sweeps/NAME/trade-off.svg     FVU against L0, a line an architecture
RUN/sweeps/NAME/MEMBER/           each dictionary, as train leaves it
"""

from __future__ import annotations

import itertools
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monosema.activations import ActivationStream, Store, activations_at, capture_to_store
from monosema.core import ConfigError, Log, Site, choose_device, progress_bar
from monosema.dictionaries import DictionaryConfig, Trainable, at_sites, is_architecture
from monosema.pages.charts import Axis, Series, xy
from monosema.pages.svg import write_svg
from monosema.runs.context import RunContext
from monosema.runs.display import training_display
from monosema.runs.end_to_end import WindowsOfRun, refuse_end_to_end
from monosema.runs.ledger import run_lock
from monosema.runs.overrides import flatten, override
from monosema.runs.recipe import SHORT_KEYS, Recipe
from monosema.runs.run import run_together
from monosema.runs.stages import untrained
from monosema.runs.vectors import VECTOR_KEYS, VectorRecipe, metadata_of, sites_there
from monosema.training import (
    Objective,
    Reconstruction,
    SweepResult,
    TrainConfig,
    TrainingRows,
    TrainingRun,
    Trial,
    train_sweep,
)
from monosema.training.distribution import Mesh
from monosema.training.rows import HELD_OUT

ARCHITECTURE = "architecture"
SEED = {"seed": "training.seed"}
"""In a sweep, the seed is that of the dictionary's start; all members see the same batches."""
COMMON = ("objective", "log_every", "track", "checkpoint_seconds", "checkpoint_steps", "keep", "start_rows")
"""Keys of training that are the run's, not a member's."""
SPARSITY = ("k", "alpha", "target_l0", "seed", "l1_coefficient", "l0_coefficient")
"""Keys along which a curve runs."""


@dataclass(frozen=True)
class Choice:
    """One combination of a sweep: what it is called, what was chosen, the recipe with it."""

    name: str
    settings: dict[str, str]
    recipe: Any


def parse_sweep(words: Sequence[str]) -> dict[str, list[str]]:
    """Read ``key=value,value`` words. Raises ConfigError for other words and for a key given twice."""
    sweep: dict[str, list[str]] = {}
    for word in words:
        key, sign, text = word.removeprefix("--").partition("=")
        values = [value.strip() for value in text.split(",") if value.strip()]
        if not sign or not key or not values:
            raise ConfigError(f"--sweep {word} is not valid: give a key and its values, as in --sweep k=16,32,64.")
        if key in sweep or len(set(values)) < len(values):
            raise ConfigError(f"--sweep {word} is not valid: it names the same thing twice.")
        sweep[key] = values
    return sweep


def choices(recipe: Any, sweep: Mapping[str, Sequence[str]], short: Mapping[str, str]) -> list[Choice]:
    """All combinations of the values, in order; ``topk.k`` is a key of one architecture, which the sweep then has.

    Raises:
        ConfigError: an unknown key, a value out of range, or a key that members of one pass can't differ in.
    """
    made = []
    for settings in _combinations(sweep):
        chosen = override(recipe, settings, {**short, **SEED})
        _require_one_pass(recipe, chosen)
        name = ",".join(f"{key.rpartition('.')[2]}={value}" for key, value in settings.items())
        made.append(Choice(name.replace("/", "-"), settings, chosen))
    return made


def _combinations(sweep: Mapping[str, Sequence[str]]) -> Iterator[dict[str, str]]:
    of_all: dict[str, Sequence[str]] = {}
    of_one: dict[str, dict[str, Sequence[str]]] = defaultdict(dict)
    for key, values in sweep.items():
        first, dot, rest = key.partition(".")
        name = first.replace("-", "_")
        if dot and is_architecture(name):
            of_one[name][rest] = values
        else:
            of_all[key.replace("dictionary.architecture", ARCHITECTURE)] = values
    names = [name.replace("-", "_") for name in of_all.get(ARCHITECTURE, [*of_one])]
    for name in set(of_one) - set(names):
        raise ConfigError(
            f"--sweep gives values for {name}, which is not among its architectures: {', '.join(names)}. Leave out "
            f"architecture=…, or add {name}."
        )
    grids = [of_all] if not of_one else [{**of_all, ARCHITECTURE: [name], **of_one[name]} for name in names]
    for grid in grids:
        for values in itertools.product(*grid.values()):
            yield dict(zip(grid, values, strict=True))


def _require_one_pass(base: Any, chosen: Any) -> None:
    old, new = flatten(base.to_dict()), flatten(chosen.to_dict())
    for key in {**old, **new}:
        section, _, leaf = key.partition(".")
        free = section in ("dictionary", "site", "output_site") or (section == "training" and leaf not in COMMON)
        if not free and old.get(key) != new.get(key):
            raise ConfigError(
                f"--sweep can't vary {key}: all dictionaries of a sweep learn from one pass over the same data. "
                "Vary keys of dictionary, training or site, or make a run for each value."
            )


def sweep_run(
    recipe: Recipe,
    folder: Path,
    sweep: Mapping[str, Sequence[str]],
    *,
    device: str | None = None,
    update: bool = False,
    log: Log | None = None,
    latent_shards: int = 1,
) -> tuple[SweepResult, Path]:
    """Capture a run's activations where that isn't done, and train all combinations on them in one pass.

    Started by torchrun, its processes share the training of every member; the first one does all else.

    Args:
        update: make a sweep again that was made by another recipe.
        latent_shards: parts that several processes divide the latents into; the rest of them share the batch.

    Returns:
        The result, and the sweep's folder.

    Raises:
        ConfigError: see `choices`.
        RunError: the run, or the sweep's folder, is of another recipe; or another process was lost.
        AnomalyError: every member was stopped.
    """
    choices(recipe, sweep, SHORT_KEYS)
    folder, mesh = Path(folder), Mesh.join(latent_shards)
    captured_by = _captured_by(recipe.resolve(None, device), folder)
    done = run_together(mesh, captured_by or recipe, folder, until="capture", device=device, log=log)
    ctx = RunContext(recipe.resolve(done.recipe, device) if captured_by else done.recipe, folder, device, mesh)
    members = choices(ctx.recipe, sweep, SHORT_KEYS)
    out = folder / "sweeps" / "-".join([ctx.recipe.dictionary_name, *(_of_folder(key) for key in sweep)])
    sites = list(dict.fromkeys(site for choice in members for site in choice.recipe.sites))
    captured = ctx.store_dir if set(sites) <= set(ctx.recipe.sites) else out / "activations"
    with ExitStack() as held:

        def begin() -> None:
            """Take the folder, and capture what is missing."""
            held.enter_context(run_lock(folder))
            if update:
                shutil.rmtree(out, ignore_errors=True)
            if captured != ctx.store_dir:
                _several_sites(ctx, sites, captured)

        mesh.by_first(begin)
        store = Store.open(captured)
        ground = _OfRun(ctx, store, TrainingRows(store, ctx.held_out_rows(store.rows)), out)
        found = _train(members, [choice.recipe.sites for choice in members], ground, ctx.recipe.training, out, mesh)
    mesh.leave()
    return found, out


def _captured_by(recipe: Recipe, folder: Path) -> Recipe | None:
    """Return a run's own recipe where it captures what this one learns from; None where there is no such run."""
    if not (folder / "recipe.toml").exists():
        return None
    own = Recipe.read(folder / "recipe.toml")
    recipe = recipe.replace(model=recipe.model.replace(dtype=own.model.dtype))
    same = all(
        getattr(own, key) == getattr(recipe, key) for key in ("model", "other_model", "corpus", "text", "capture")
    )
    return own if same else None


def _of_folder(key: str) -> str:
    """Return a key's part of a folder's name: its last part, or all of one architecture's."""
    return key if is_architecture(key.partition(".")[0].replace("-", "_")) else key.rpartition(".")[2]


def _several_sites(ctx: RunContext, sites: Sequence[Site], folder: Path) -> None:
    """One pass of the model for all sites of a sweep, which then give the same tokens."""
    text = ctx.recipe.text
    with progress_bar("capture", text.tokens, "tokens") as bar:
        batches = ctx.batches(text)
        capture_to_store(ctx.model, batches, sites, folder, ctx.recipe.capture, progress=bar)


def sweep_vectors(
    path: Path,
    out: Path,
    recipe: VectorRecipe,
    sweep: Mapping[str, Sequence[str]],
    device: str | None = None,
    update: bool = False,
    latent_shards: int = 1,
) -> SweepResult:
    """Train all combinations on the rows of a file or store, in one pass. Processes and errors as for `sweep_run`."""
    mesh, members = Mesh.join(latent_shards), choices(recipe, sweep, VECTOR_KEYS)
    refuse_end_to_end(recipe.training, "Training with --activations")
    rows = TrainingRows.open(path, recipe.batch, recipe.heldout)
    sites = [sites_there(rows, choice.recipe) for choice in members]

    def begin() -> None:
        if update:
            shutil.rmtree(out, ignore_errors=True)

    mesh.by_first(begin)
    found = _train(members, sites, _OfVectors(rows, recipe, device), recipe.training, out, mesh)
    mesh.leave()
    return found


class _OfVectors:
    """Rows of a matrix that a sweep learns from."""

    def __init__(self, rows: TrainingRows, recipe: VectorRecipe, device: str | None) -> None:
        self.rows, self._recipe, self._device = rows, recipe, device
        self._about = metadata_of(rows.source)

    def streams(self, sites: Sequence[tuple[Site, ...]]) -> list[ActivationStream]:
        """The stream of each member, of those sites; those of equal sites are one."""
        recipe = self._recipe
        shape = {"batch": recipe.batch, "passes": recipe.passes, "seed": recipe.training.seed}
        made = {own: self.rows.stream(own, **shape) for own in dict.fromkeys(sites)}
        return [made[own] for own in sites]

    def dictionary(self, config: DictionaryConfig, sites: tuple[Site, ...], training: TrainConfig) -> Trainable:
        """A member before training."""
        about = at_sites(self._about, sites, self._recipe.output_site is not None)
        widths = [self.rows.source.width(site) for site in sites]
        return config.make(widths, about, training.seed).to(choose_device(self._device))

    def objective(self, sites: tuple[Site, ...], training: TrainConfig) -> Objective:
        """A member's loss."""
        return Reconstruction()

    def held_out(self, sites: tuple[Site, ...]) -> Tensor | None:
        """Rows that members are measured on; None where there are none."""
        return self.rows.held_out(sites)


class _OfRun:
    """Source of a run's sweep: its activations, or its text where trials learn end to end."""

    def __init__(self, ctx: RunContext, store: Store, rows: TrainingRows, out: Path) -> None:
        self.rows, self._ctx = rows, ctx
        end_to_end = ctx.recipe.training.objective == "end-to-end"
        self._windows = WindowsOfRun(ctx, store, rows, out / "windows.npy") if end_to_end else None

    def streams(self, sites: Sequence[tuple[Site, ...]]) -> list[ActivationStream]:
        """As of `_OfVectors`; members that learn end to end all see the same windows."""
        if self._windows is not None:
            return [self._windows.stream] * len(sites)
        stream = self._ctx.recipe.stream
        shape = {"batch": stream.batch, "passes": stream.passes, "seed": self._ctx.recipe.training.seed}
        made = {own: self.rows.stream(own, memory_mb=stream.memory_mb, **shape) for own in dict.fromkeys(sites)}
        return [made[own] for own in sites]

    def dictionary(self, config: DictionaryConfig, sites: tuple[Site, ...], training: TrainConfig) -> Trainable:
        """A member before training."""
        return untrained(self._ctx, config, sites, [self.rows.source.width(site) for site in sites], training.seed)

    def objective(self, sites: tuple[Site, ...], training: TrainConfig) -> Objective:
        """A member's loss."""
        return Reconstruction() if self._windows is None else self._windows.objective(sites[-1], training)

    def held_out(self, sites: tuple[Site, ...]) -> Tensor | None:
        """As of `_OfVectors`; of items, those that a hash holds out."""
        if not self._ctx.recipe.of_items:
            return self.rows.held_out(sites)
        batches = self._ctx.batches(self._ctx.recipe.text.replace(split="heldout", tokens=HELD_OUT))
        return torch.cat([activations_at(self._ctx.model, sites, batch).flatten(0, 1) for batch in batches])


def _train(
    members: Sequence[Choice],
    sites: Sequence[tuple[Site, ...]],
    ground: _OfVectors | _OfRun,
    config: TrainConfig,
    out: Path,
    mesh: Mesh,
) -> SweepResult:
    own = ground.streams(sites)
    streams = list(dict.fromkeys(own))
    held = {of: ground.held_out(of) if mesh.first else None for of in dict.fromkeys(sites)}
    made = []
    for choice, of, stream in zip(members, sites, own, strict=True):
        training = choice.recipe.training
        dictionary = ground.dictionary(choice.recipe.dictionary, of, training)
        run = TrainingRun(
            dictionary,
            training,
            out / choice.name,
            name=choice.name,
            stream=streams.index(stream),
            heldout=held[of],
            objective=ground.objective(of, training),
        )
        made.append(run)
    vectors = made[0].objective.row_vectors
    step, unit = streams[0].batch * vectors, "rows" if vectors == 1 else "tokens"
    with training_display((streams[0].batches or 0) * step, unit, step, mesh.first) as display:
        settings = [choice.settings for choice in members]
        result = train_sweep(made, settings, streams, config, out, progress=display, trackers=[display], mesh=mesh)
    if mesh.first:
        (out / "windows.npy").unlink(missing_ok=True)
        draw_trade_off(result, out / "trade-off.svg")
    return result


def draw_trade_off(result: SweepResult, path: Path) -> None:
    """Draw FVU against L0, a curve for each kind of dictionary; nothing where L0 was not measured."""
    front = result.front
    groups: dict[str, list[tuple[float, float, str]]] = defaultdict(list)
    for trial in result.trials:
        if trial.fvu is not None and trial.l0 is not None and trial.l0 > 0:
            said = f"{trial.name}: FVU {trial.fvu:.4f}, L0 {trial.l0:.1f}"
            groups[_kind(trial)].append((trial.l0, trial.fvu, said + ", on the front" * (trial.name in front)))
    if not groups:
        return
    series = []
    for kind, points in groups.items():
        points.sort()
        series.append(Series(kind, [(x, y) for x, y, _ in points], [label for _, _, label in points]))
    x, y = Axis("L0: active latents per row", logarithmic=True), Axis("FVU")
    write_svg(xy("What sparsity costs: FVU against L0", x, y, series), path)


def _kind(trial: Trial) -> str:
    """Name the curve that a trial is on: its settings, but for those along which a curve runs."""
    kept = {key: value for key, value in trial.settings.items() if key.split(".")[-1].replace("-", "_") not in SPARSITY}
    return ", ".join(value if key == ARCHITECTURE else f"{key} = {value}" for key, value in kept.items())
