"""Sweeps over keys of a recipe: one pass over the data, a dictionary for each combination of values.

RUN/sweeps/NAME/sweep.json        the typed result
RUN/sweeps/NAME/trade-off.svg     FVU against L0, the best marked
RUN/sweeps/NAME/MEMBER/           each dictionary, as train leaves it
"""

from __future__ import annotations

import itertools
import shutil
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monosema.activations import Store, capture_to_store
from monosema.core import Config, ConfigError, Site, atomic_path, choose_device, progress_bar
from monosema.dictionaries import Metadata, at_sites
from monosema.models import LanguageModel
from monosema.pages.plots import Axis, Series, chart
from monosema.runs.architectures import fitted, make_dictionary, override
from monosema.runs.display import training_display
from monosema.runs.end_to_end import refuse_end_to_end
from monosema.runs.lock import run_lock
from monosema.runs.overrides import flatten
from monosema.runs.recipe import SHORT_KEYS, Recipe
from monosema.runs.run import run
from monosema.runs.stages import Tell
from monosema.runs.vectors import VECTOR_KEYS, VectorRecipe, sites_there
from monosema.runs.walk import metadata
from monosema.runs.workbench import Workbench
from monosema.training import Member, SweepResult, TrainConfig, TrainingRows, held_out_rows, train_sweep
from monosema.training.distribution import require_one_process

__all__ = ["Choice", "choices", "draw_trade_off", "parse_sweep", "sweep_run", "sweep_vectors"]

SEED = {"seed": "training.seed"}
"""In a sweep, the seed is that of the dictionary's start; all members see the same batches."""
COMMON = ("log_every", "track", "checkpoint_seconds", "checkpoint_steps", "keep", "start_rows")
"""Keys of training that are the run's, not a member's."""
SPARSITY = ("k", "alpha", "seed", "l1_coefficient", "l0_coefficient")
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
    """All combinations of the values, in order.

    Raises:
        ConfigError: an unknown key, a value out of range, or a key that members of one pass can't differ in.
    """
    made = []
    for values in itertools.product(*sweep.values()):
        settings = dict(zip(sweep, values, strict=True))
        chosen = override(recipe, settings, {**short, **SEED})
        _require_one_pass(recipe, chosen)
        name = ",".join(f"{key.rpartition('.')[2]}={value}" for key, value in settings.items())
        made.append(Choice(name.replace("/", "-"), settings, chosen))
    return made


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
    tell: Tell | None = None,
) -> tuple[SweepResult, Path]:
    """Capture a run's activations where that isn't done, and train all combinations on them in one pass.

    Args:
        update: make a sweep again that was made by another recipe.

    Returns:
        The result, and the sweep's folder.

    Raises:
        ConfigError: see `choices`.
        RunError: the run, or the sweep's folder, is of another recipe.
        AnomalyError: every member was stopped.
    """
    done = run(recipe, folder, until="capture", device=device, tell=tell)
    bench = Workbench(done.recipe, Path(folder), device)
    members = choices(bench.recipe, sweep, SHORT_KEYS)
    out = Path(folder) / "sweeps" / "-".join([bench.recipe.dictionary_name, *(key.rpartition(".")[2] for key in sweep)])
    sites = list(dict.fromkeys(site for choice in members for site in choice.recipe.sites))
    with run_lock(Path(folder)):
        if update:
            shutil.rmtree(out, ignore_errors=True)
        store = Store.open(bench.store) if set(sites) <= set(bench.recipe.sites) else _several_sites(bench, sites, out)
        rows = TrainingRows(store, held_out_rows(store.rows))
        stream = bench.recipe.stream
        found = _train(
            members,
            [choice.recipe.sites for choice in members],
            rows,
            {"batch": stream.batch, "passes": stream.passes, "memory_mb": stream.memory_mb},
            bench.recipe.training,
            out,
            lambda config, sites: metadata(bench, config, sites),
            str(bench.model.device),
            bench.model,
        )
    return found, out


def _several_sites(bench: Workbench, sites: Sequence[Site], out: Path) -> Store:
    """One pass of the model for all sites of a sweep, which then give the same tokens."""
    text = bench.recipe.text
    with progress_bar("capture", text.tokens, "tokens") as bar:
        batches = bench.batches(text)
        return capture_to_store(bench.model, batches, sites, out / "activations", bench.recipe.capture, progress=bar)


def sweep_vectors(
    path: Path,
    out: Path,
    recipe: VectorRecipe,
    sweep: Mapping[str, Sequence[str]],
    device: str | None = None,
    update: bool = False,
) -> SweepResult:
    """Train all combinations on the rows of a file or store, in one pass. Errors as for `sweep_run`."""
    require_one_process("a sweep")
    members = choices(recipe, sweep, VECTOR_KEYS)
    rows = TrainingRows.open(path, recipe.batch, recipe.heldout)
    sites = [sites_there(rows, choice.recipe) for choice in members]
    if update:
        shutil.rmtree(out, ignore_errors=True)
    shape = {"batch": recipe.batch, "passes": recipe.passes}
    dataset = Path(path).name
    return _train(
        members,
        sites,
        rows,
        shape,
        recipe.training,
        out,
        lambda config, sites: at_sites(Metadata(dataset=dataset), config, sites),
        device,
    )


def _train(
    members: Sequence[Choice],
    sites: Sequence[tuple[Site, ...]],
    rows: TrainingRows,
    shape: Mapping[str, Any],
    config: TrainConfig,
    out: Path,
    about: Callable[[Config, Sequence[Site]], Metadata],
    device: str | None,
    model: LanguageModel | None = None,
) -> SweepResult:
    for choice in members:
        refuse_end_to_end(choice.recipe.training, "A sweep")
    several = list(dict.fromkeys(sites))
    streams = [rows.stream(own, seed=config.seed, **shape) for own in several]
    held = [rows.held_out(own) for own in several]
    made = []
    for choice, own in zip(members, sites, strict=True):
        number = several.index(own)
        config_of = fitted(choice.recipe.dictionary, [rows.source.width(site) for site in own])
        training = choice.recipe.training
        dictionary = make_dictionary(config_of, about(config_of, own), training.seed, model).to(choose_device(device))
        made.append(
            Member(dictionary, training, out / choice.name, name=choice.name, stream=number, heldout=held[number])
        )
    total = streams[0].batches * streams[0].batch
    with training_display(total, "rows", streams[0].batch) as display:
        settings = [choice.settings for choice in members]
        result = train_sweep(made, settings, streams, config, out, progress=display, trackers=[display])
    draw_trade_off(result, out / "trade-off.svg")
    return result


def draw_trade_off(result: SweepResult, path: Path) -> None:
    """Draw FVU against L0, a curve for each kind of dictionary, the best marked; nothing where L0 was not measured."""
    groups: dict[str, list[tuple[float, float, str]]] = defaultdict(list)
    for member in result.members:
        if member.fvu is not None and member.l0 is not None and member.l0 > 0:
            kind = ", ".join(f"{key} = {value}" for key, value in member.settings.items() if key not in SPARSITY)
            groups[kind].append((member.l0, member.fvu, f"{member.name}: FVU {member.fvu:.4f}, L0 {member.l0:.1f}"))
    if not groups:
        return
    series = []
    for kind, points in groups.items():
        points.sort()
        series.append(Series(kind, [(x, y) for x, y, _ in points], [label for _, _, label in points]))
    best = next(member for member in result.members if member.name == result.best)
    marked = (best.l0, best.fvu, best.name) if best.l0 and best.fvu is not None else None
    picture = chart(
        "What sparsity costs: FVU against L0", Axis("L0: active latents per row", True), Axis("FVU"), series, marked
    )
    with atomic_path(path) as temporary:
        temporary.write_text(picture, encoding="utf-8")
