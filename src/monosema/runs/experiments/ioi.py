"""Feature identification on indirect object identification: does a sparse dictionary need fewer features, and smaller
edits, than others to carry an answer over? (Cunningham et al. 2023, arXiv:2309.08600, § 4.)

Departures: prompts and templates are our own; thresholds are fewer and coarser unless asked for; features are chosen
with some prompts and measured on others; each divergence is measured against the corrupted run too, which is one and
the same for all dictionaries.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from monosema.activations import Store
from monosema.circuits import identification
from monosema.circuits.contrast import Contrasts, contrasts
from monosema.circuits.halfway import Curve, needed, needed_against
from monosema.circuits.identification import Patching, identify, measure
from monosema.circuits.metrics import metric_of
from monosema.circuits.running import end_metrics
from monosema.core import Estimate, InputError, Site, atomic_path, derive_seed, progress_bar, wilson
from monosema.data.tasks import ioi
from monosema.dictionaries import Dictionary, Ica, Pca, RandomDirections
from monosema.dictionaries.signs_apart import SignsApart
from monosema.models import Transformer
from monosema.pages.charts import Axis, Series, xy
from monosema.pages.experiment import ExperimentPage, Figure, Table
from monosema.runs.experiments.experiment import Experiment, Work, register_experiment
from monosema.runs.experiments.trained import Member, captured, sample_of, sparse_name, trained

ABLE = 0.6
"""Share of prompts that a model must answer rightly for its features to be looked for."""
ICA_ROWS, ICA_ITERATIONS = 4_096, 100
PCA, PCA_APART, ICA, RANDOM = "PCA", "PCA, signs apart", "ICA", "random directions"

Maker = Callable[[], Dictionary]
Row = dict[str, Any]


def run(work: Work) -> ExperimentPage:
    """Train, choose features with some prompts, measure on others, and compare."""
    (site, *more) = work.sites((work.model.n_layers // 2,))
    if more:
        raise InputError("The experiment ioi is about one layer: give --layers one number.")
    chosen_with, measured_on = (_prompts(work, part) for part in ("choice", "measurement"))
    accuracy = _accuracy(work, measured_on)
    store = captured(work.reader, [site], work.config.training, work.folder / "activations")
    members = trained(store, work.config.training, work.folder / "dictionaries", work.device)
    makers = _makers(store, site, members, work.config.training.seeds, work.folder)
    thresholds = np.geomspace(work.config.finest, 1, work.config.thresholds).tolist()
    rows = []
    with progress_bar("identify", len(makers) * len(thresholds), "thresholds") as bar:
        for (name, seed), make in makers.items():
            key = f"{name.replace(' ', '-')}-{seed}"

            def found(make: Maker = make, seed: int = seed, key: str = key) -> Row:
                dictionary = make().to(work.model.device)
                patching = Patching(work.model, site, chosen_with, dictionary)
                selections = [tuple(one) for one in work.kept(key)]
                bar.advance(max(0, len(selections) - 1))
                for one in identify(patching, thresholds, derive_seed(work.config.seed, "order", seed), selections):
                    selections.append(one)
                    work.keep(key, selections)
                    bar.advance(int(len(selections) > 1))
                falling = list(dict.fromkeys([*selections, ()]))
                on_others = Patching(work.model, site, measured_on, dictionary)
                return {
                    "selections": falling,
                    "chosen": _plain(measure(patching, falling)),
                    "measured": _plain(measure(on_others, falling)),
                }

            part = work.part(key, found)
            rows.append({"name": name, "seed": seed, **part})
    return _page(work, site, accuracy, members, rows)


def _prompts(work: Work, part: str) -> Contrasts:
    rng = random.Random(derive_seed(work.config.seed, "ioi", part))
    return contrasts(ioi.prompts(rng, work.config.prompts, "test", corruption="io"), work.model)


def _accuracy(work: Work, prompts: Contrasts) -> Estimate:
    assert isinstance(work.model, Transformer)
    clean, _ = end_metrics(work.model, prompts, metric_of(prompts, work.model))
    found = wilson(int((clean > 0).sum()), len(clean))
    if found.value < ABLE:
        raise InputError(
            f"{work.model.name} prefers the indirect object in {found.value:.0%} of {found.n} prompts only, so there "
            "is nothing to identify. Take a model that can do the task."
        )
    return found


def _makers(store: Store, site: Site, members: list[Member], seeds: int, folder: Path) -> dict[tuple[str, int], Maker]:
    """Return what makes each dictionary, by name and seed; what has no seed of its own is tried in as many orders."""

    @functools.cache
    def sample() -> torch.Tensor:
        return sample_of(store, site)

    @functools.cache
    def pca() -> Pca:
        return Pca.fit(sample().split(4096), store.width(site))

    @functools.cache
    def ica() -> Ica:
        path = folder / "ica.safetensors"
        if not path.exists():
            made = Ica.fit(sample()[:ICA_ROWS], store.width(site), iterations=ICA_ITERATIONS)
            tensors = {"mean": made.mean, "unmixing": made.reading, "directions": made.directions}
            with atomic_path(path) as temporary:
                save_file(tensors, str(temporary))
        return Ica(**load_file(str(path)))

    l0 = [member.l0 for member in members if member.alpha > 0 and member.l0]
    k = max(1, round(float(np.median(l0)))) if l0 else 32
    width = members[0].open().n_latents
    makers: dict[tuple[str, int], Maker] = {}
    for seed in range(seeds):
        makers |= {(sparse_name(one.alpha), seed): one.open for one in members if one.seed == seed}
        makers[PCA, seed], makers[PCA_APART, seed] = pca, lambda: SignsApart(pca())
        makers[ICA, seed] = ica
        makers[RANDOM, seed] = lambda seed=seed: RandomDirections.fit(sample(), width, min(k, width), seed)  # type: ignore[misc]
    return makers


def _plain(path: identification.Path) -> dict[str, Any]:
    return {
        "sizes": path.sizes.tolist(),
        **{name: getattr(path, name).double().tolist() for name in ("divergence", "distance", "edit")},
    }


def _curves(rows: list[Row], name: str, part: str, against: str, amounts: str) -> list[Curve]:
    found = []
    for row in rows:
        if row["name"] == name:
            spent = np.asarray(row[part][amounts], dtype=np.float64)
            found.append(Curve(spent[:, None] if spent.ndim == 1 else spent, np.asarray(row[part][against])))
    return found


def _page(work: Work, site: Site, accuracy: Estimate, members: list[Member], rows: list[Row]) -> ExperimentPage:
    names = list(dict.fromkeys(row["name"] for row in rows))
    penalised = [sparse_name(alpha) for alpha in work.config.training.alphas if alpha > 0]
    # The weight is chosen where features were, and judged on other prompts.
    best = min(penalised, key=lambda name: needed(_curves(rows, name, "chosen", "divergence", "sizes")))
    curve = functools.partial(_curves, rows)
    table, ratios, corrupted = [], dict[str, dict[str, Estimate | None]](), dict[str, float]()
    for name in names:
        own = {
            (to, of): curve(name, "measured", to, of) for to in ("divergence", "distance") for of in ("sizes", "edit")
        }
        figures = {key: needed(curves) for key, curves in own.items()}
        reach = 1 - np.mean(
            [one.divergences[0].mean() / one.divergences[-1].mean() for one in own["distance", "sizes"]]
        )
        ratios[name] = {
            "features": needed_against(curve(best, "measured", "divergence", "sizes"), own["divergence", "sizes"]),
            "edit": needed_against(curve(best, "measured", "divergence", "edit"), own["divergence", "edit"]),
            "features to corrupted": needed_against(
                curve(best, "measured", "distance", "sizes"), own["distance", "sizes"]
            ),
        }
        corrupted[name] = figures["distance", "sizes"]
        said = [_amount(figures[key]) for key in sorted(own)]
        table.append([name, f"{own['divergence', 'sizes'][0].amounts.max():.0f}", f"{reach:.0%}", *said])
    return ExperimentPage(
        title=f"Feature identification on IOI: {work.model.name}, {site.short}",
        question=(
            "How few features, and how small an edit, carry the answer over when the name of the indirect object alone "
            "is another? The paper finds that sparse dictionaries need fewer and smaller than PCA, and that without a "
            "penalty they are no better."
        ),
        verdict=_verdict(best, ratios, corrupted),
        method=(
            f"{accuracy.n} prompts to choose features and as many others to measure; the model answers "
            f"{accuracy.value:.0%} of these rightly. At all positions of {site.short} the codes of chosen features are "
            "taken from the corrupted prompt, the reconstruction's error stays. Features are dropped in random order "
            f"at {work.config.thresholds} thresholds from {work.config.finest:g} to 1; "
            f"{work.config.training.seeds} seeds of dictionary and order. "
            f"Dictionaries have {work.config.training.ratio} latents for each dimension, trained on "
            f"{work.config.training.tokens:,} tokens."
        ),
        figures=_figures(rows, names),
        tables=[_table(table), _ratio_table(best, ratios), _dictionaries(members)],
        notes=_notes(),
        values={
            "model": work.model.name,
            "site": str(site),
            "accuracy": accuracy.to_dict(),
            "best": best,
            "ratios": {name: {of: _values(one) for of, one in found.items()} for name, found in ratios.items()},
            "half_way": table,
            "settings": work.config.to_dict(),
        },
    )


def _verdict(best: str, ratios: dict[str, dict[str, Estimate | None]], corrupted: dict[str, float]) -> str:
    parts, fewer = [], []
    for name in (PCA, PCA_APART, sparse_name(0.0)):
        if name in ratios:
            one = ratios[name]["features"]
            fewer.append(one is not None and one.high < 1)
            parts.append(f"{name}: never half-way" if one is None else f"{name}: × {one}")
    small = ratios[PCA]["edit"]
    edits = "" if small is None else f"; the edit is × {small} that of PCA"
    holds = "holds here" if all(fewer) and small is not None and small.high < 1 else "does not hold here in full"
    shown = dict.fromkeys((best, *(name for name in (sparse_name(0.0), PCA, ICA) if name in corrupted)))
    ways = ", ".join(f"{name} {_amount(corrupted[name])}" for name in shown)
    others = [corrupted[name] for name in (PCA, sparse_name(0.0)) if name in corrupted]
    by_that = "it holds too" if corrupted[best] < min(others) else "it does not"
    return (
        f"To come half-way to the run with all features patched, the best sparse dictionary ({best}) needs this many "
        f"features of what others need: {'; '.join(parts)}{edits}. By this measure, the paper's, its claim {holds}. To "
        f"come half-way to the corrupted run itself, which is one for all, it takes so many features: {ways}; by that "
        f"measure {by_that}."
    )


def _values(ratio: Estimate | None) -> dict[str, Any] | None:
    """Return plain values; JSON has no infinite ends, so these are null."""
    if ratio is None:
        return None
    ends = {name: end if np.isfinite(end) else None for name, end in (("low", ratio.low), ("high", ratio.high))}
    return ratio.to_dict() | ends


def _amount(value: float) -> str:
    return f"{value:.3g}" if np.isfinite(value) else "never"


def _table(rows: list[list[str]]) -> Table:
    about = (
        "What it takes to halve the divergence, on held-out prompts (geometric mean over seeds). Reach: how much of "
        "the way to the corrupted run is gone when all features are patched."
    )
    head = ["edit, to corrupted", "features, to corrupted", "edit, to all patched", "features, to all patched"]
    return Table(about, ["dictionary", "features in all", "reach", *head], rows)


def _ratio_table(best: str, ratios: dict[str, dict[str, Estimate | None]]) -> Table:
    rows = [[name, *("–" if one is None else str(one) for one in of.values())] for name, of in ratios.items()]
    head = ["against", "features, to all patched", "edit, to all patched", "features, to corrupted"]
    about = f"What {best} needs as a share of what each needs, with 95 % intervals over prompts and seeds."
    return Table(about, head, rows)


def _dictionaries(members: list[Member]) -> Table:
    rows = [
        [sparse_name(one.alpha), str(one.seed), "–" if one.l0 is None else f"{one.l0:.1f}",
         "–" if one.fvu is None else f"{one.fvu:.3f}"]
        for one in members
    ]  # fmt: skip
    return Table("The sparse dictionaries on held-out activations.", ["dictionary", "seed", "L0", "FVU"], rows)


def _notes() -> list[str]:
    return [
        "A dictionary that explains little changes little when all its features are patched, and half of that way is "
        "short: read features to all patched beside reach, or the columns to the corrupted run.",
        "PCA and ICA have no seed of their own: their rows are over orders of dropping alone.",
        "All sparse dictionaries start from points of the data, so that one without a penalty is sparse too after a "
        "short training: see its L0.",
    ]


def _figures(rows: list[Row], names: list[str]) -> list[Figure]:
    return [
        _figure(rows, names, "features", "divergence", "sizes", "Features patched", "KL to all patched, nats"),
        _figure(rows, names, "edits", "divergence", "edit", "Mean ‖x′ − x‖", "KL to all patched, nats"),
        _figure(rows, names, "features-corrupted", "distance", "sizes", "Features patched", "KL to corrupted, nats"),
    ]


def _figure(rows: list[Row], names: list[str], name: str, against: str, amounts: str, x: str, y: str) -> Figure:
    series = []
    for kind in names:
        first = next(row for row in rows if row["name"] == kind)["measured"]
        left = np.asarray(first[against]).mean(1)
        spent = np.asarray(first[amounts])
        spent = spent if spent.ndim == 1 else spent.mean(1)
        points = [(float(a), float(b)) for a, b in zip(spent, left, strict=True) if a > 0 and b > 1e-6]
        if points:
            said = [f"{kind}: {a:.3g}, KL {b:.3g}" for a, b in points]
            series.append(Series(kind, points, said))
    spec = xy(f"{y} against {x.lower()}", Axis(x, logarithmic=True), Axis(y, logarithmic=True), series, size=(520, 340))
    return Figure(name, spec, f"{y} against {x.lower()}, held-out prompts, the first seed of each.")


register_experiment(Experiment("ioi", "few features carry an answer over: sparse dictionaries against PCA", run))
