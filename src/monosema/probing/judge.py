"""Probes judged: the place and the setting by cross-validation, then once on texts that nothing was chosen by.

Beside each figure stands what would expose it: the share of the larger class; a probe of the same kind on labels drawn
at random for each type of text (selectivity is the difference, Hewitt & Liang 2019, arXiv:1909.03368); probes fitted to
labels in random order, whose AUROC must be ½ on the test where nothing leaks; and a new probe after LEACE has erased
the concept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from monosema.core import Estimate, Site, bootstrap_mean, bootstrap_ratio, numpy_generator
from monosema.probing.erasure import leace
from monosema.probing.examples import Examples
from monosema.probing.features import Words
from monosema.probing.probes import Fitted, Labels, Probe, Rows, fit_pooled

Groups = Sequence[str] | np.ndarray
"""The group of each row."""
FOLDS, SHUFFLES = 5, 20
_BINS, _RESAMPLES = 10, 500


@dataclass(frozen=True, eq=False, kw_only=True)
class Judged:
    """A probe and its figures on the test.

    Attributes:
        method, site: what was fitted, where.
        setting: chosen by cross-validation.
        validated: accuracy in cross-validation at this place; a choice was made by it, so that it flatters.
        accuracy, auroc: on the test.
        error: expected calibration error, ten bins of equal width.
        majority: share of the larger class in the test.
        control: accuracy on the control task; None where texts have no types.
        leak: mean AUROC on the test of probes that were fitted to labels in random order.
        erased: accuracy of a new probe after LEACE.
        fitted: the probe; None for one that is no function of single rows.
    """

    method: str
    site: Site
    setting: float
    validated: float
    accuracy: Estimate
    auroc: Estimate
    error: float
    majority: float
    control: Estimate | None
    leak: Estimate | None
    erased: Estimate | None
    fitted: Fitted | None

    @property
    def selectivity(self) -> float | None:
        """Accuracy less that on the control task."""
        return None if self.control is None else self.accuracy.value - self.control.value

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        estimates = {
            name: None if (figure := getattr(self, name)) is None else asdict(figure)
            for name in ("accuracy", "auroc", "control", "leak", "erased")
        }
        return {
            "method": self.method,
            "site": self.site.short,
            "setting": self.setting,
            "validated": self.validated,
            **estimates,
            "calibration_error": self.error,
            "majority": self.majority,
            "selectivity": self.selectivity,
        }


def judge(name: str, probe: Probe, places: Mapping[Site, Tensor], examples: Examples, seed: int = 0) -> Judged:
    """Choose place and setting on the texts to fit on, fit there, and measure on the test.

    Args:
        places: the rows of all texts at each place that may be chosen.
    """
    fit, held = ~examples.test, examples.test
    y = examples.labels
    scores = {
        (site, setting): validation(probe, _array(x)[fit], y[fit], np.asarray(examples.groups)[fit], setting, seed)
        for site, x in places.items()
        for setting in probe.settings
    }
    site, setting = max(scores, key=lambda key: scores[key])
    x = _array(places[site])
    fitted = probe.fit(x[fit], y[fit], setting)
    erase = leace(torch.from_numpy(x[fit]), torch.from_numpy(y[fit].astype(np.float64)))
    clean = erase(torch.from_numpy(x)).numpy()
    p, apart = fitted.probability(x[held]), np.asarray(examples.groups)[held]
    return Judged(
        method=name,
        site=site,
        setting=setting,
        validated=scores[site, setting],
        accuracy=accuracy(p, y[held], apart),
        auroc=auroc(p, y[held], apart, seed),
        error=calibration_error(p, y[held]),
        majority=float(max(y[held].mean(), 1 - y[held].mean())),
        control=_on_control(probe, x, examples, setting, seed),
        leak=_leak(probe, x, examples, setting, seed),
        erased=accuracy(probe.fit(clean[fit], y[fit], setting).probability(clean[held]), y[held], apart),
        fitted=fitted,
    )


def validation(
    probe: Probe, x: Rows, y: Labels, groups: Groups, setting: float, seed: int = 0, folds: int = FOLDS
) -> float:
    """Return the accuracy over folds that no group crosses."""
    right = np.zeros(len(y), dtype=bool)
    for aside in fold_masks(groups, folds, seed):
        right[aside] = (probe.fit(x[~aside], y[~aside], setting).probability(x[aside]) > 0.5) == y[aside]
    return float(right.mean())


def fold_masks(groups: Groups, folds: int, seed: int = 0) -> list[np.ndarray]:
    """Return which rows each fold puts aside."""
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    fold = numpy_generator(seed, "folds").permutation(len(names)) % folds
    return [fold[index] == one for one in range(min(folds, len(names)))]


def _on_control(probe: Probe, x: Rows, examples: Examples, setting: float, seed: int) -> Estimate | None:
    """Return the accuracy on labels drawn for each type, on the test's texts of types that are fitted on too."""
    labels = examples.control(seed)
    if labels is None or examples.types is None:
        return None
    types, fit = np.asarray(examples.types), ~examples.test
    held = examples.test & np.isin(types, types[fit])
    if not held.any() or len(set(labels[fit].tolist())) < 2:
        return None
    return accuracy(probe.fit(x[fit], labels[fit], setting).probability(x[held]), labels[held], types[held].tolist())


def _leak(probe: Probe, x: Rows, examples: Examples, setting: float, seed: int) -> Estimate:
    """Return the mean AUROC on the test after fits to labels that were exchanged between groups, over the fits."""
    fit, held, y = ~examples.test, examples.test, examples.labels
    _, index = np.unique(np.asarray(examples.groups)[fit], return_inverse=True)
    of_group, found = y[fit][np.unique(index, return_index=True)[1]], list[float]()
    for draw in range(SHUFFLES):
        labels = numpy_generator(seed, f"leak {draw}").permutation(of_group)[index]
        found.append(_area(probe.fit(x[fit], labels, setting).probability(x[held]), y[held]))
    return bootstrap_mean(found)


def accuracy(p: Float[np.ndarray, " n"], y: Labels, groups: Groups) -> Estimate:
    """Return the share of right answers at a threshold of ½, with a bootstrap interval over groups."""
    return mean_by_group((p > 0.5) == y, groups)


def mean_by_group(values: np.ndarray, groups: Groups) -> Estimate:
    """Return the mean of values, with a bootstrap interval over groups."""
    _, index = np.unique(np.asarray(groups), return_inverse=True)
    return bootstrap_ratio(np.bincount(index, values.astype(float)), np.bincount(index))


def auroc(p: Float[np.ndarray, " n"], y: Labels, groups: Groups, seed: int = 0) -> Estimate:
    """Return the area under the ROC curve, with a bootstrap interval over groups."""
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    members = [np.flatnonzero(index == one) for one in range(len(names))]
    draws = numpy_generator(seed, "auroc").integers(0, len(names), (_RESAMPLES, len(names)))
    rows = (np.concatenate([members[one] for one in drawn]) for drawn in draws)
    low, high = np.nanquantile([_area(p[one], y[one]) for one in rows], [0.025, 0.975])
    return Estimate(_area(p, y), float(low), float(high), len(names))


def _area(p: np.ndarray, y: Labels) -> float:
    """Return the area, ties counted half; NaN where a draw holds one class only."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(y, p)) if 0 < y.sum() < len(y) else float("nan")


def calibration_error(p: Float[np.ndarray, " n"], y: Labels) -> float:
    """Return Σ_bins share · |mean confidence − accuracy| (Guo et al. 2017, arXiv:1706.04599), of the class chosen."""
    sure, right = np.maximum(p, 1 - p), (p > 0.5) == y
    bins = np.minimum((sure * _BINS).astype(int), _BINS - 1)
    gaps = [
        abs(sure[bins == one].mean() - right[bins == one].mean()) * (bins == one).mean() for one in set(bins.tolist())
    ]
    return float(sum(gaps))


def judge_pooled(words: Words, site: Site, examples: Examples, seed: int = 0) -> Judged:
    """Judge an attention-pooled probe at one place; its setting is the decay of weights."""
    fit, held, y = ~examples.test, examples.test, examples.labels

    def part(rows: np.ndarray) -> Words:
        return Words(words.x[rows], words.mask[rows])

    groups = np.asarray(examples.groups)[fit]
    scores = {}
    for decay in (0.01, 0.1):
        right = np.zeros(int(fit.sum()), dtype=bool)
        index = np.flatnonzero(fit)
        for aside in fold_masks(groups, 3, seed):
            learned = fit_pooled(part(index[~aside]), y[index[~aside]], decay, seed)
            right[aside] = (learned(part(index[aside])) > 0.5) == y[index[aside]]
        scores[decay] = float(right.mean())
    decay = max(scores, key=lambda one: scores[one])
    p, apart = fit_pooled(part(fit), y[fit], decay, seed)(part(held)), np.asarray(examples.groups)[held]
    return Judged(
        method="attention-pooled",
        site=site,
        setting=decay,
        validated=scores[decay],
        accuracy=accuracy(p, y[held], apart),
        auroc=auroc(p, y[held], apart, seed),
        error=calibration_error(p, y[held]),
        majority=float(max(y[held].mean(), 1 - y[held].mean())),
        control=None,
        leak=None,
        erased=None,
        fitted=None,
    )


def _array(x: Tensor) -> Rows:
    return x.double().numpy()
