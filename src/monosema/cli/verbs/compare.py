"""compare: a run's dictionary beside baselines, explained and scored alike."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from monosema.cli.common import DEFAULTS, Common, deliver, errors_console
from monosema.cli.verbs.explain import open_context


def compare(
    run: Path,
    *,
    baselines: str = "neurons,random,pca,ica,nmf",
    sites: str | None = None,
    tokens: int = 100_000,
    training_tokens: int = 200_000,
    limit: int = 100,
    common: Common = DEFAULTS,
) -> int:
    """Compare how well features of a run and of baselines are explained; the table and plot go into its report.

    Every dictionary is described on the same text, and its features are explained and scored alike. Dictionaries that
    are finished are not done again.

    ```
    monosema compare runs/demo
    monosema compare runs/demo --baselines random,pca,randomised-model --sites 1.resid_post,3.resid_post,5.resid_post
    ```

    Parameters
    ----------
    run
        A run folder with an atlas.
    baselines
        Some of neurons, random, pca, ica, nmf and randomised-model (the recipe's dictionary on the same model with
        weights drawn anew).
    sites
        Sites to compare, such as 1.resid_post,3.resid_post; without it, the dictionary's own. At several, the recipe's
        dictionary is trained at each of them.
    tokens
        Tokens that each of the compared dictionaries is described on.
    training_tokens
        Tokens that dictionaries are trained on for the comparison, over as many passes as give about the run's steps;
        with 0, the run's own is the only one.
    limit
        Most features of each dictionary, drawn at random; 0 for all that ever fire.
    """
    from monosema.cli.meaning import show_comparison
    from monosema.runs.comparison import CompareConfig, read_baselines
    from monosema.runs.comparison import compare as compare_run
    from monosema.runs.report_data import comparison_path

    ctx = open_context(run, common)
    config = CompareConfig(
        baselines=read_baselines(baselines),
        sites=tuple(site.strip() for site in (sites or "").split(",") if site.strip()),
        tokens=tokens,
        training_tokens=training_tokens,
        most=limit or None,
    )
    notes = errors_console()
    result = compare_run(ctx, config, lambda line: notes.print(line, style="dim"))
    path = comparison_path(ctx)
    result |= {"table": str(path.resolve()), "plot": str(path.with_suffix(".svg").resolve())}

    def show(console: Console) -> None:
        show_comparison(result, console)
        console.print(result["plot"], soft_wrap=True)

    return deliver(result, common, show)
