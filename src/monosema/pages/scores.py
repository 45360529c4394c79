"""Scores of all explanations of an atlas, put together by how they were found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from monosema.atlas import Atlas
from monosema.core import Estimate, bootstrap_mean


@dataclass(frozen=True)
class MethodScore:
    """How well the explanations of one method do by one scorer.

    Attributes:
        scorer: what was measured.
        method: how the explanations were found; with the model's name where one wrote them.
        estimate: mean over features, with a bootstrap interval over them.
        control: mean of the controls, over the features that have one; None where none has.
    """

    scorer: str
    method: str
    estimate: Estimate
    control: float | None


def scores_by_method(atlas: Atlas) -> list[MethodScore]:
    """Means of each scorer and method; the scorers in the order of how much they scored, the best method first."""
    rows = atlas.sql("""
        select scorer, if(model is null, method, method || ', ' || model) as name, list(value order by latent) as found,
            list(control order by latent) filter (control is not null) as controls
        from scores group by scorer, name
        order by sum(count(*)) over (partition by scorer) desc, scorer, avg(value) desc, name
    """)
    return [
        MethodScore(
            row["scorer"],
            row["name"],
            bootstrap_mean(np.array(row["found"])),
            float(np.mean(row["controls"])) if row["controls"] else None,
        )
        for row in rows
    ]
