"""score: how well explanations tell what a run's features do."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from monosema.cli.clients import NOBODY, ClientOptions
from monosema.cli.common import DEFAULTS, Common, deliver, errors_console
from monosema.cli.verbs.explain import (
    Latents,
    ShowReplies,
    Step,
    open_context,
    read_latents,
    show_all_replies,
    show_values,
)
from monosema.cli.verbs.run import run_until


def score(
    run: Path,
    step: Step = "now",
    *,
    scorers: str | None = None,
    method: str | None = None,
    latents: Latents = None,
    limit: Annotated[int, Parameter(help="At most so many features; 0 for all that have an explanation.")] = 100,
    controls: bool = True,
    base: str | None = None,
    encoder: str | None = None,
    spare_tokens: int = 32,
    log_probabilities: bool = True,
    show_replies: ShowReplies = False,
    options: ClientOptions = NOBODY,
    common: Common = DEFAULTS,
) -> int:
    """Score the explanations of a run's features, and record the scores in the atlas.

    Without a client and scorers, rules are scored by what they predict, as in `monosema run`; a stage that is done is
    skipped. `--scorers list` explains all scorers. A language model is asked at once, or through the provider's Batch
    service in the same steps as for `monosema explain`. What it costs is said before anything is asked, and
    `--max-cost` is never exceeded.

    ```
    monosema score runs/demo
    monosema score runs/demo --scorers list
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
        Names of scorers, such as simulation,intruder; `list` explains them. With a client, detection and fuzzing unless
        others are named.
    method
        Method of the explanations; without it, all that a language model or a person wrote.
    controls
        Score shuffled explanations, too, and the empty answer on 20 features at most. With scorers that ask, that at
        least doubles the cost.
    base
        Base model that scores by its losses; without it, the run's own model.
    encoder
        Encoder of texts: a directory or a hub id.
    spare_tokens
        Tokens that an answer may have beyond what is asked for. Models that reason first need thousands.
    log_probabilities
        Weigh answers by their log-probabilities where the provider gives them. Batches to models that refuse them fail.
    """
    if scorers == "list":
        return _list(common)
    if step in ("status", "retrieve", "parse"):
        return _received(run, step, options, common)
    if options.client is None and scorers is None and step == "now":
        return run_until("score", (str(run),), None, False, common)
    from monosema.interpretation import ScoreOptions, score_with, send_scores
    from monosema.llm import llm_dir
    from monosema.runs.interpretation import heldout, home_of, subject_of

    asked = ScoreOptions(
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
    ctx, console = open_context(run, common), errors_console()
    recipe, folder = ctx.recipe, llm_dir(ctx.folder)

    def log(line: str) -> None:
        console.out(line, style="dim")

    if step == "send" and client is not None:
        text, name = heldout(ctx), recipe.dictionary_name
        result = send_scores(subject_of(ctx), text, recipe.samples, client, asked, folder, name, log)
        return deliver(result, common, lambda console: show_values(result, console))
    subject, text, home = subject_of(ctx), heldout(ctx), home_of(ctx)
    result = score_with(subject, text, recipe.samples, client, asked, folder, log, common.device, home)

    def show(console: Console) -> None:
        _show(result, console)
        if show_replies:
            show_all_replies(result, console)

    deliver(result, common, show)
    # A command that gave no explanation any score has failed.
    return int(all(line["mean"] is None for line in result["scores"]))


def _list(common: Common) -> int:
    """Print all scorers."""
    from monosema.interpretation import SCORERS, make_scorers

    infos = [scorer.info for scorer in make_scorers(SCORERS)]

    def show(console: Console) -> None:
        table = Table(box=None, padding=(0, 2, 0, 0))
        for name in ("scorer", "question", "score", "chance", "asks a language model", "needs"):
            table.add_column(name, overflow="fold")
        for info in infos:
            needs = ", ".join(f"--{need}" for need in info.needs)
            asks = ("yes, but not of rules" if info.scores_rules else "yes") if info.asks else "no"
            table.add_row(info.name, info.title, info.unit, f"{info.chance:.3g}", asks, needs)
        console.print(table)

    return deliver({"scorers": [asdict(info) for info in infos]}, common, show)


def _received(run: Path, step: Step, options: ClientOptions, common: Common) -> int:
    """Say how far batches are, fetch them, or read the answers that came."""
    from monosema.interpretation import parse_scores
    from monosema.llm import follow_batches, llm_dir
    from monosema.runs.interpretation import subject_of

    client = options.config()
    ctx = open_context(run, common)
    folder = llm_dir(ctx.folder)
    if step == "parse":
        scores = parse_scores(subject_of(ctx), client, folder, ctx.recipe.dictionary_name)
        return deliver(scores, common, lambda console: _show(scores, console))
    result = follow_batches("status" if step == "status" else "retrieve", client, folder)
    return deliver(result, common, lambda console: show_values(result, console))


def _show(result: dict[str, Any], console: Console) -> None:
    """Print means beside their controls as a table, then counts of requests."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("explanations", overflow="fold")
    table.add_column("scorer", overflow="fold")
    for name in ("scored", "mean", "shuffled", "random", "above\nshuffled", "above\nrandom"):
        table.add_column(name, justify="right", no_wrap=True)
    notes: dict[str, None] = {}
    for line in result["scores"]:
        cells = ["–" if line[name] is None else f"{line[name]:.3f}" for name in ("mean", "control", "random")]
        cells += ["–" if line[name] is None else f"{line[name]:.0%}" for name in ("above", "above_random")]
        who = line["method"] if line["author"] == "monosema" else f"{line['method']}, {line['author']}"
        table.add_row(Text(who), Text(line["scorer"]), str(line["features"]), *cells)
        notes |= {f"{line['scorer']}: {count} × {reason}": None for reason, count in line["absent"].items()}
    console.print(table)
    if any(line["random"] is None for line in result["scores"]):
        notes["random: – where no random directions were explained by the same method and scored alike"] = None
    for note in notes:
        console.print(Text(note, style="dim"))
    show_values({name: value for name, value in result.items() if name != "scores"}, console)
