"""score: how well explanations tell what a run's features do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from monosema.cli.clients import NOBODY, ClientOptions
from monosema.cli.common import DEFAULTS, Common, deliver, errors_console
from monosema.cli.verbs.explain import Latents, Step, open_context, read_latents, show_figures
from monosema.cli.verbs.run import run_until


def score(
    run: Path,
    step: Step = "now",
    *,
    scorers: str | None = None,
    compare: str | None = None,
    sites: str | None = None,
    tokens: int = 100_000,
    training_tokens: int = 200_000,
    method: str | None = None,
    latents: Latents = None,
    limit: Annotated[int, Parameter(help="At most so many features; 0 for all that have an explanation.")] = 100,
    controls: bool = True,
    base: str | None = None,
    encoder: str | None = None,
    spare_tokens: int = 32,
    log_probabilities: bool = True,
    options: ClientOptions = NOBODY,
    common: Common = DEFAULTS,
) -> int:
    """Score the explanations of a run's features, and record the scores in the atlas.

    Without a client and scorers, programs are scored by what they predict, as in `monosema run`; a stage that is done
    is skipped. A language model is asked at once, or through the provider's Batch service in the same steps as for
    `monosema explain`. What it costs is said before anything is asked, and `--max-cost` is never exceeded.

    ```
    monosema score runs/demo
    monosema score runs/demo --compare neurons,random,pca,ica,nmf
    monosema score runs/demo --compare random,pca,randomised-model --sites 1.resid_post,3.resid_post,5.resid_post
    monosema score runs/demo --client openai:gpt-5.4-mini --max-cost 1
    monosema score runs/demo --scorers simulation,intruder --client local:models/qwen --limit 10
    monosema score runs/demo --scorers surprisal,embedding --encoder models/all-MiniLM-L6-v2
    monosema score runs/demo --method "token lookup" --client anthropic:claude-haiku-5-5
    monosema score runs/demo send --client anthropic:claude-haiku-5-5 --max-cost 5
    monosema score runs/demo retrieve --client anthropic:claude-haiku-5-5
    monosema score runs/demo parse --client anthropic:claude-haiku-5-5
    ```

    Parameters
    ----------
    run
        A run folder with explanations in its atlas.
    step
        Without it all is done at once; otherwise a step of a batch: `send`, `status`, `retrieve` or `parse`.
    scorers
        Some of simulation, detection, fuzzing, intervention, intruder (which ask the client), surprisal and embedding
        (which do not). With a client, detection and fuzzing unless others are named.
    compare
        Some of neurons, random, pca, ica, nmf and randomised-model (the recipe's dictionary on the same model with
        weights drawn anew): these are explained and scored beside the dictionary.
    sites
        Sites to compare, such as 1.resid_post,3.resid_post; without it, the dictionary's own. At several, the recipe's
        dictionary is trained at each of them.
    tokens
        Tokens that each of the compared dictionaries is described on.
    training_tokens
        Tokens that dictionaries are trained on for the comparison, over as many passes as give about the run's steps;
        with 0, the run's own is the only one.
    method
        Which explanations; without it, all that a language model or a person wrote.
    controls
        Score shuffled explanations, too, and the empty answer on 20 features at most. With scorers that ask, that at
        least doubles the cost.
    base
        Base model of surprisal; without it, the run's own model.
    encoder
        Encoder of embedding: a directory or a hub id.
    spare_tokens
        Tokens that an answer may have beyond what is asked for. Models that reason first need thousands.
    log_probabilities
        Weigh answers by their log-probabilities where the provider gives them. Batches to models that refuse them fail.
    """
    if compare is not None:
        return _compare(run, compare, sites, (tokens, training_tokens), limit, common)
    if step in ("status", "retrieve", "parse"):
        return _received(run, step, options, common)
    if options.client is None and scorers is None and step == "now":
        return run_until("score", (str(run),), None, False, common)
    from monosema.runs.language_model_scores import LanguageModelScoring, score_with

    config = LanguageModelScoring(
        scorers=[name.strip() for name in (scorers or "detection,fuzzing").split(",") if name.strip()],
        method=method,
        latents=None if latents is None else read_latents(latents),
        most=limit or None,
        controls=controls,
        base=base,
        encoder=encoder,
        spare_tokens=spare_tokens,
        log_probabilities=log_probabilities,
        seed=common.seed or 0,
    )
    client = options.config() if options.client is not None or step == "send" else None
    console = errors_console()

    def log(line: str) -> None:
        console.out(line, style="dim")

    if step == "send" and client is not None:
        from monosema.runs.batched_scores import send_scores

        result = send_scores(open_context(run, common), client, config, log)
        return deliver(result, common, lambda console: show_figures(result, console))
    result = score_with(open_context(run, common), client, config, log)
    deliver(result, common, lambda console: _show(result, console))
    # What nobody got a score from has failed.
    return int(all(line["mean"] is None for line in result["scores"]))


def _received(run: Path, step: Step, options: ClientOptions, common: Common) -> int:
    """What became of batches, or of the answers that came."""
    from monosema.llm import batch_status, llm_dir, retrieve_batches
    from monosema.runs.batched_scores import parse_scores

    client = options.config()
    ctx = open_context(run, common)
    if step == "parse":
        scores = parse_scores(ctx, client)
        return deliver(scores, common, lambda console: _show(scores, console))
    look = batch_status if step == "status" else retrieve_batches
    result = look(client, llm_dir(ctx.folder))
    return deliver(result, common, lambda console: show_figures(result, console))


def _compare(run: Path, names: str, sites: str | None, tokens: tuple[int, int], limit: int, common: Common) -> int:
    """The dictionary beside baselines, written to the run and into its report."""
    from monosema.cli.meaning import show_comparison
    from monosema.runs.comparison import CompareConfig, compare, comparison_path, read_baselines

    ctx = open_context(run, common)
    config = CompareConfig(
        baselines=read_baselines(names),
        sites=tuple(site.strip() for site in (sites or "").split(",") if site.strip()),
        tokens=tokens[0],
        training_tokens=tokens[1],
        most=limit or None,
    )
    notes = errors_console()
    result = compare(ctx, config, lambda line: notes.print(line, style="dim"))
    path = comparison_path(ctx)
    result |= {"table": str(path.resolve()), "plot": str(path.with_suffix(".svg").resolve())}

    def show(console: Console) -> None:
        show_comparison(result, console)
        console.print(result["plot"], soft_wrap=True)

    return deliver(result, common, show)


def _show(result: dict[str, Any], console: Console) -> None:
    """Means as a table, then what was asked."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("author", "method", "scorer", "features", "mean", "control", "no score"):
        table.add_column(name, justify="left" if name in ("author", "method", "scorer", "no score") else "right")
    for line in result["scores"]:
        absent = "; ".join(f"{count}: {reason}" for reason, count in line["absent"].items())
        figures = ["–" if line[name] is None else f"{line[name]:.3f}" for name in ("mean", "control")]
        if line["interval"] is not None:
            figures[0] += " [{:.3f}, {:.3f}]".format(*line["interval"])
        words = [Text(str(line[name])) for name in ("author", "method", "scorer", "features")]
        table.add_row(*words, *figures, absent)
    console.print(table)
    show_figures({name: value for name, value in result.items() if name != "scores"}, console)
