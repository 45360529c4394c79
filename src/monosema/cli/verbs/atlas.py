"""atlas: build, list, search and read the features of a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from monosema.cli.common import DEFAULTS, Common, deliver
from monosema.cli.keys import Keys
from monosema.cli.verbs.run import Out, Update, run_until

_ACTIONS = ("list", "search", "show", "sql")


def atlas(
    *words: Keys,
    out: Out = None,
    update: Update = False,
    sort: str = "label_margin",
    limit: Annotated[int, Parameter(help="Features listed, or passages shown, at most; 0 for all.")] = 20,
    common: Common = DEFAULTS,
) -> int:
    """Build the atlas of a run's features, or read it.

    ```
    monosema atlas runs/demo                                build it where it is not there yet
    monosema atlas runs/demo list --sort max
    monosema atlas runs/demo search Monday
    monosema atlas runs/demo show 17
    monosema atlas runs/demo sql "select latent, label from features where density > 0.01"
    ```

    Parameters
    ----------
    words
        A run folder, then `list`, `search TEXT`, `show FEATURE` or `sql QUERY`; without one of these the atlas is
        built, and words and `--key value` are as for `run`.
    sort
        Order of a list: label_margin (how far the label's score stands above its controls), label_score, density, max,
        mean_active or latent; the greatest first, latent upwards.
    """
    from monosema.core import InputError, nearest

    if len(words) < 2 or words[1].startswith("--") or words[0].startswith("--"):
        return run_until("atlas", words, out, update, common)
    folder, action, *rest = words
    if action.isdecimal():
        action, rest = "show", [action, *rest]
    if action not in _ACTIONS:
        raise InputError(
            f"An atlas has no action {action!r}.{nearest(action, _ACTIONS)} Use one of: {', '.join(_ACTIONS)}."
        )
    argument = _argument(action, rest)
    from monosema.runs import Run

    with_atlas = Run.open(Path(folder)).atlas()
    result, show = _READERS[action](with_atlas, argument, sort, limit or None)
    return deliver(result, common, show)


_Shown = tuple[dict[str, Any], Callable[[Console], None]]


def _argument(action: str, rest: list[str]) -> str:
    from monosema.core import InputError

    if action == "list":
        if rest:
            raise InputError(f"`list` takes no further words, got {' '.join(rest)!r}.")
        return ""
    if not rest:
        what = {"search": "a text", "show": "the number of a feature", "sql": "a query in quotes"}[action]
        raise InputError(f"`{action}` needs {what}: monosema atlas RUN {action} …")
    return " ".join(rest)


def _list(opened: Any, argument: str, sort: str, limit: int | None) -> _Shown:
    from monosema.cli.features import show_features, show_standing

    features = opened.features(sort=sort, limit=limit)
    metric = sort if sort in ("max", "mean", "mean_active", "n_active") else "density"

    def show(console: Console) -> None:
        show_features(features, console, metric)
        show_standing(opened, console)

    return {"features": features, "standing": opened.standing()}, show


def _search(opened: Any, argument: str, sort: str, limit: int | None) -> _Shown:
    from monosema.cli.features import show_features

    features = opened.search(argument, limit=limit)
    return {"query": argument, "features": features}, lambda console: show_features(features, console)


def _show(opened: Any, argument: str, sort: str, limit: int | None) -> _Shown:
    from monosema.cli.features import feature_values, show_feature
    from monosema.core import InputError

    if not argument.isdecimal():
        raise InputError(
            f"{argument!r} is not the number of a feature. Search for a text with: monosema atlas RUN search …"
        )
    feature = opened.feature(int(argument))
    return feature_values(feature, limit), lambda console: show_feature(feature, limit, console)


def _sql(opened: Any, argument: str, sort: str, limit: int | None) -> _Shown:
    from monosema.cli.printing import show_rows

    rows = opened.sql(argument)
    return {"rows": rows}, lambda console: show_rows(rows, console)


_READERS: dict[str, Callable[[Any, str, str, int | None], _Shown]] = {
    "list": _list,
    "search": _search,
    "show": _show,
    "sql": _sql,
}
