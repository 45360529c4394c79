"""Results of evaluations: metrics with intervals, in rows beside their controls."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from monosema.core import Estimate
from monosema.evaluation.model_difference import ModelDifference


@dataclass(frozen=True)
class DensityHistogram:
    """Histogram of the latents' densities.

    Attributes:
        edges: of the bins, in log₁₀ of the share of tokens; one more than there are counts.
        counts: latents in each bin.
        never: latents that never fired on the text.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    never: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"edges": list(self.edges), "counts": list(self.counts), "never": self.never}


@dataclass(frozen=True)
class EvaluationRow:
    """The metrics of one dictionary.

    Attributes:
        name: "dictionary", or the name of the control.
        kind: likewise; reports tell controls apart by it.
        n_latents: number of its latents.
        metrics: by name: fvu, variance_explained, cosine, l0, alive; ce_clean, ce_spliced, ce_zero, ce_mean,
            loss_recovered, kl (in nats per token).
        absent: metrics that could not be computed, and why.
        density: how often its latents fire.
        site: where its output is put, where the rows of an evaluation differ in that.
    """

    name: str
    kind: str
    n_latents: int
    metrics: dict[str, Estimate]
    absent: dict[str, str]
    density: DensityHistogram
    site: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "name": self.name,
            "kind": self.kind,
            "n_latents": self.n_latents,
            "metrics": {name: metric.to_dict() for name, metric in self.metrics.items()},
            "absent": dict(self.absent),
            "density": self.density.to_dict(),
            **({} if self.site is None else {"site": self.site}),
        }


@dataclass(frozen=True)
class Evaluation:
    """Metrics of a dictionary and its controls on one held-out text.

    Attributes:
        rows: the dictionary first, then the controls.
        tokens: tokens that metrics are of.
        left_out: tokens that are neither scored nor edited: padding is not counted among them.
        unit, units: what intervals draw, and how many there are.
        model, site: where the activations come from; None for vectors without a model.
        notes: what a reader should know besides.
        difference: of a crosscoder over two models, which latents belong to which.
    """

    rows: tuple[EvaluationRow, ...]
    tokens: int
    left_out: int
    unit: str
    units: int
    model: str | None = None
    site: str | None = None
    notes: tuple[str, ...] = field(default=())
    difference: ModelDifference | None = None

    @property
    def dictionary(self) -> EvaluationRow:
        """The row that is not a control."""
        return self.rows[0]

    def row(self, name: str) -> EvaluationRow:
        """The row of this name. Raises KeyError."""
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(name)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "model": self.model,
            "site": self.site,
            "tokens": self.tokens,
            "left_out": self.left_out,
            "unit": self.unit,
            "units": self.units,
            "rows": [row.to_dict() for row in self.rows],
            "notes": list(self.notes),
            **({} if self.difference is None else {"difference": self.difference.to_dict()}),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Evaluation:
        """Read what `to_dict` gave; earlier versions called metrics figures."""
        rows = tuple(
            EvaluationRow(
                row["name"],
                row["kind"],
                row["n_latents"],
                {name: Estimate(**metric) for name, metric in row.get("metrics", row.get("figures")).items()},
                dict(row["absent"]),
                DensityHistogram(
                    tuple(row["density"]["edges"]), tuple(row["density"]["counts"]), row["density"]["never"]
                ),
                row.get("site"),
            )
            for row in values["rows"]
        )
        rest = {name: value for name, value in values.items() if name not in ("rows", "notes", "difference")}
        said = values.get("difference")
        difference = None if said is None else ModelDifference.from_dict(said)
        return cls(rows, notes=tuple(values["notes"]), difference=difference, **rest)
