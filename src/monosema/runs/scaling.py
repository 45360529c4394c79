"""The scaling law of a sweep over widths and k: fitted, written and drawn beside the sweep."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from monosema.core import ConfigError, write_json
from monosema.pages.charts import Axis, Series, xy
from monosema.pages.svg import Spec, write_svg
from monosema.training import ScalingFit, ScalingPoint, SweepResult, fit_scaling
from monosema.training.scaling import RESAMPLES

WIDTH_KEYS = ("latents", "n_latents", "dictionary.n_latents")
SPARSITY_KEYS = ("k", "dictionary.k")
STEPS = 40
"""Points that a fitted curve is drawn with."""


def fit_sweep(result: SweepResult, folder: Path, seed: int = 0, resamples: int = RESAMPLES) -> ScalingFit:
    """Fit the joint power law to a sweep's dictionaries; writes scaling.json and scaling.svg into its folder.

    Where a penalty sets sparsity instead of k, the measured L0 takes its place, rounded to two digits.

    Raises:
        ConfigError: the sweep does not vary latents, or has too few widths or k.
    """
    fit = fit_scaling(_points(result), seed, resamples)
    write_json(folder / "scaling.json", fit.to_dict())
    write_svg(scaling_chart(fit), folder / "scaling.svg")
    return fit


def _points(result: SweepResult) -> list[ScalingPoint]:
    points = []
    for trial in result.trials:
        if trial.fvu is None:
            continue
        width = next((trial.settings[key] for key in WIDTH_KEYS if key in trial.settings), None)
        k = next((trial.settings[key] for key in SPARSITY_KEYS if key in trial.settings), None)
        k = float(f"{trial.l0:.2g}") if k is None and trial.l0 else k
        if width is None or k is None:
            raise ConfigError(
                "--fit-scaling needs to know latents and k of each dictionary: vary both, as in "
                "--sweep latents=1024,2048,4096 --sweep k=16,32,64."
            )
        points.append(ScalingPoint(float(width), float(k), trial.fvu))
    return points


def scaling_chart(fit: ScalingFit) -> Spec:
    """Return FVU against latents at each k: measurements as points, the law as curves."""
    widths = sorted({point.n for point in fit.points})
    along = np.geomspace(widths[0], widths[-1], STEPS).tolist()
    series = []
    for k in sorted({point.k for point in fit.points}):
        measured = [(point.n, point.fvu) for point in fit.points if point.k == k]
        labels = [f"k = {k:g}, {n:g} latents: FVU {fvu:.4g}" for n, fvu in measured]
        series.append(Series(f"k = {k:g}", measured, labels, line=False))
        series.append(Series(f"k = {k:g}", [(n, fit.predict(n, k)) for n in along], dots=False))
    return xy("FVU against latents", Axis("latents", True), Axis("FVU", True), series)
