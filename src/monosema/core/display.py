"""Values that show themselves in notebooks: a class asks here, and a view of another station draws it.

`VIEWS` is an open list of names, as what draws stands above what is drawn and is imported when a notebook asks for it.
"""

from __future__ import annotations

import importlib

VIEWS: dict[str, str] = {
    "monosema.atlas.feature.Feature": "monosema.pages.notebook:of_feature",
    "monosema.atlas.feature.Example": "monosema.pages.notebook:of_example",
    "monosema.atlas.query.Atlas": "monosema.pages.notebook:of_atlas",
    "monosema.steering.sweep.SweepResult": "monosema.pages.notebook:of_sweep",
    "monosema.runs.run.Run": "monosema.runs.notebook:of_run",
    "monosema.evaluation.side_by_side.SideBySide": "monosema.pages.notebook:of_texts",
}
"""Full names of classes, and MODULE:FUNCTION that returns the HTML of such a value, or None."""


class Shown:
    """A class whose values notebooks show as `VIEWS` says; without a view, as their text."""

    __slots__ = ()

    def _repr_html_(self) -> str | None:
        kind = type(self)
        view = VIEWS.get(f"{kind.__module__}.{kind.__qualname__}")
        if view is None:
            return None
        module, _, function = view.partition(":")
        html: str | None = getattr(importlib.import_module(module), function)(self)
        return html
