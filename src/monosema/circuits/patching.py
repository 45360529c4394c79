"""Activation patching: one place after another exchanged, and what becomes of the answer.

    noising     m(clean) − m(clean, with the place as on the corrupted prompt)       is the place needed?
    denoising   m(corrupt, with the place as on the clean prompt) − m(corrupt)       is it enough?

Positive figures help the task in both (Vig et al. 2020; Meng et al. 2022, arXiv:2202.05262; Zhang & Nanda 2024,
arXiv:2309.16042; Heimersheim & Nanda 2024, arXiv:2404.15255). As shares they are ratios of means over prompts to the
whole difference m(clean) − m(corrupt). What comes before a place is computed once; many versions of it go on from
there as one batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from monosema.circuits.ablations import Ablation, Resample
from monosema.circuits.contrast import Contrast, Contrasts
from monosema.circuits.memory import forward_bytes, rows_within
from monosema.circuits.metrics import Metric, last_logits
from monosema.circuits.places import Places, Positions, places_named
from monosema.circuits.scores import Provenance, provenance
from monosema.core import Estimate, InputError, Site, bootstrap_ratio, numpy_generator
from monosema.interventions import Part, patch, side_by_side, within
from monosema.models import Fork, ForwardContext, Transformer

Direction = Literal["noising", "denoising"]
_FLIPS = 1000
_LEAST = 1e-3
Said = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Patching:
    """A table of effects.

    Attributes:
        what, direction: the places, and which of the two questions was asked.
        rows, columns: names of places.
        moved: effect of each place on each prompt, positive where it helps.
        gap: the metric on each clean prompt less that on the corrupted one.
        about: how they came about.
    """

    what: str
    direction: Direction
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    moved: Float[Tensor, "rows columns n"]
    gap: Float[Tensor, " n"]
    about: Provenance

    @property
    def shares(self) -> Float[Tensor, "rows columns"]:
        """Mean effects as shares of the mean difference."""
        return self.moved.mean(-1) / self.gap.mean()

    def share(self, row: int, column: int) -> Estimate:
        """Return a share with the interval over prompts."""
        return bootstrap_ratio(self.moved[row, column].numpy(), self.gap.numpy())

    @property
    def told_apart(self) -> Bool[Tensor, "rows columns"]:
        """Places whose effect is not chance: in all the table together one in twenty times any is by chance."""
        return told_apart(self.moved, self.gap)

    def largest(self, n: int) -> list[tuple[int, int]]:
        """Return row and column of the places with the largest shares, either sign."""
        order = self.shares.abs().flatten().argsort(descending=True, stable=True)[:n].tolist()
        return [divmod(place, len(self.columns)) for place in order]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "what": self.what,
            "direction": self.direction,
            **asdict(self.about),
            "rows": list(self.rows),
            "columns": list(self.columns),
            "difference": float(self.gap.mean()),
            "told_apart": self.told_apart.tolist(),
            "shares": [
                [self.share(row, column).to_dict() for column in range(len(self.columns))]
                for row in range(len(self.rows))
            ],
        }


def told_apart(moved: Float[Tensor, "*places n"], gap: Float[Tensor, " n"]) -> Bool[Tensor, "*places"]:
    """Return true where a mean over prompts is larger than the largest of all places is by chance.

    Means over their standard errors, against the 95 % quantile of the largest where each prompt's sign is drawn at
    random, one for all its places (Westfall & Young 1993). Shares below a thousandth, rounding among them, don't count.
    """
    x = moved.double().flatten(0, -2).numpy()
    n = x.shape[-1]
    signs = numpy_generator(0, "sign flips").choice([-1.0, 1.0], size=(n, _FLIPS))
    square = (x**2).mean(-1)

    def sizes(means: NDArray[np.float64], square: NDArray[np.float64]) -> NDArray[np.float64]:
        errors = np.sqrt(np.maximum(square - means**2, 1e-12 * square + 1e-30) / max(n - 1, 1))
        return np.asarray(np.abs(means) / errors)

    bar = np.quantile(sizes(x @ signs / n, square[:, None]).max(0), 0.95)
    large = np.abs(x.mean(-1)) > _LEAST * abs(float(gap.mean()))
    return torch.from_numpy((sizes(x.mean(-1), square) > bar) & large).view(moved.shape[:-1])


@torch.no_grad()
def patching(
    model: Transformer,
    contrasts: Contrasts,
    what: str | Places,
    metric: Metric,
    *,
    ablation: Ablation | None = None,
    direction: Direction = "noising",
    positions: Positions | None = None,
    said: Said = lambda _: None,
) -> Patching:
    """Exchange every place of a kind, alone, and measure.

    Args:
        what: a kind of place, or a name of `PLACES`.
        ablation: what stands in where places are noised; None for the corrupted prompt's own values.
        positions: columns; None for roles.

    Raises:
        InputError: no such places, an ablation where places are denoised, or no difference that could be restored.
    """
    places, began = places_named(what) if isinstance(what, str) else what, time.perf_counter()
    ablation = Resample() if ablation is None else ablation
    positions = Positions.of(contrasts, model) if positions is None else positions
    groups, gaps = list[Tensor](), list[Tensor]()
    for group in contrasts:
        ends = Ends.of(model, group, metric, ablation, direction)
        values = Exchanged.of(model, group, [site for _, site, _ in places.rows(model)], ends)
        cells = []
        for name, site, head in places.rows(model):
            said(f"{places.name}: {name}")
            parts = places.parts(model, positions, group, head)
            cells.append(ends.moved(versions_with(model, group, site, parts, values, metric)))
        groups.append(torch.stack(cells))
        gaps.append(ends.gap)
    moved, gap = torch.cat(groups, -1).cpu(), torch.cat(gaps).cpu()
    require_difference(contrasts, moved, gap)
    n_places = moved.shape[0] * moved.shape[1]
    about = provenance(model, contrasts, metric, ablation, "exact nodes", 4 + n_places, began)
    return Patching(
        what=places.name,
        direction=direction,
        rows=tuple(name for name, _, _ in places.rows(model)),
        columns=places.columns(model, positions),
        moved=moved,
        gap=gap,
        about=about,
    )


@dataclass(frozen=True, eq=False)
class Ends:
    """The two ends of a contrast, and which of them is changed.

    Attributes:
        clean, corrupt: metric of each prompt.
        ablation: what stands in where the clean end is changed.
        direction: "noising" changes the clean end, "denoising" the corrupted one.
    """

    clean: Float[Tensor, " n"]
    corrupt: Float[Tensor, " n"]
    ablation: Ablation
    direction: Direction

    @classmethod
    def of(cls, model: Transformer, group: Contrast, metric: Metric, ablation: Ablation, direction: Direction) -> Ends:
        """Measure both. Raises InputError for a direction that there is not, or an ablation of denoising."""
        if direction not in ("noising", "denoising"):
            raise InputError(f"direction = {direction!r} is not valid: choose from noising, denoising.")
        if direction == "denoising" and ablation.name != Resample.name:
            raise InputError(
                f"Denoising puts the clean prompt's values into the corrupted prompt's pass: leave out the ablation "
                f"{ablation.name!r}, or take noising."
            )
        clean, corrupt = (metric(last_logits(model, ids), group) for ids in (group.clean, group.corrupt))
        return cls(clean, corrupt, ablation, direction)

    @property
    def gap(self) -> Float[Tensor, " n"]:
        """Difference of the ends."""
        return self.clean - self.corrupt

    def moved(self, figures: Float[Tensor, "*versions n"]) -> Float[Tensor, "*versions n"]:
        """Return the effects from the metric of changed versions."""
        return self.clean - figures if self.direction == "noising" else figures - self.corrupt

    def base(self, group: Contrast) -> Tensor:
        """Return the tokens of the end that is changed."""
        return group.clean if self.direction == "noising" else group.corrupt


@dataclass(frozen=True, eq=False)
class Exchanged:
    """Values of sites on the end that is changed, and what is put in their place."""

    tokens: Tensor
    own: dict[Site, Tensor]
    put: dict[Site, Tensor]

    @classmethod
    def of(cls, model: Transformer, group: Contrast, sites: Sequence[Site], ends: Ends) -> Exchanged:
        """Read the values of sites."""
        sites = list(dict.fromkeys(sites))
        clean, corrupt = (dict(model.activations(ids, sites)) for ids in (group.clean, group.corrupt))
        if ends.direction == "denoising":
            return cls(group.corrupt, corrupt, clean)
        put = {site: ends.ablation.values(clean[site], corrupt[site], group) for site in sites}
        return cls(group.clean, clean, put)


def versions_with(
    model: Transformer,
    group: Contrast,
    site: Site,
    parts: Sequence[Part],
    values: Exchanged,
    metric: Metric,
) -> Float[Tensor, "parts n"]:
    """Return the metric of each prompt with each part of a site exchanged, alone."""
    actions = [within(site, part, patch(values.put[site])) for part in parts]
    if site.component.startswith("resid"):
        context = ForwardContext(values.tokens)
        return figures_of(model, group, site, [action(values.own[site], context) for action in actions], metric)
    # The nearest place before the site from which versions can go on: the stream that attention or the MLP reads.
    late = site.component.startswith(("mlp", "ln2")) and not model.config.parallel
    start = Site(site.layer, "resid_mid" if late else "resid_pre")
    fork, found = Fork(model, start, values.tokens), list[Tensor]()
    at_once = versions_within(model, group)
    for first in range(0, len(actions), at_once):
        chunk = actions[first : first + at_once]
        with model.attach(site, side_by_side(chunk)):
            found += [metric(model.logits(x[:, -1]), group) for x in fork.run([None] * len(chunk))]
    return torch.stack(found)


def figures_of(
    model: Transformer, group: Contrast, site: Site, versions: Sequence[Tensor], metric: Metric
) -> Float[Tensor, "versions n"]:
    """Return the metric of each prompt under each version of the residual stream at a site."""
    tokens, found = group.clean, list[Tensor]()
    at_once = versions_within(model, group)
    for first in range(0, len(versions), at_once):
        chunk = versions[first : first + at_once]
        whole = model.resume(site, torch.cat(list(chunk)), tokens.repeat(len(chunk), 1))
        found += [metric(model.logits(x[:, -1]), group) for x in whole.chunk(len(chunk))]
    return torch.stack(found)


def versions_within(model: Transformer, group: Contrast) -> int:
    """Return the number of versions of all prompts of a group that run as one batch."""
    return max(rows_within(forward_bytes(model, group.clean.shape[1])) // len(group), 1)


def require_difference(contrasts: Contrasts, moved: Tensor, gap: Tensor) -> None:
    """Raise InputError where effects are no numbers, or the ends of the contrast don't differ."""
    if not bool(moved.isfinite().all()) or not bool(gap.isfinite().all()):
        raise InputError(f"The metric of some prompts of {contrasts.task!r} is no number: take the model in float32.")
    if float(gap.mean()) <= 0:
        raise InputError(
            f"On {contrasts.task!r} the metric is no larger on clean prompts than on corrupted ones "
            f"(difference {float(gap.mean()):.3g}), so there is nothing to lose or restore."
        )
