"""explain: what a run's features mean, by rules or by a language model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Console

from monosema.cli.clients import NOBODY, ClientOptions
from monosema.cli.common import DEFAULTS, Common, deliver, errors_console, results_console
from monosema.cli.verbs.run import run_until

if TYPE_CHECKING:
    from monosema.runs.context import RunContext

_SHOWN = 10
"""Most features that are printed with all their explanations."""
Step = Literal["now", "send", "status", "retrieve", "parse"]
Latents = Annotated[str | None, Parameter(help="Features, such as 3,17,40-49. Without it, some drawn at random.")]
ShowReplies = Annotated[
    bool, Parameter(negative="", show_default=False, help="Print every reply of the model as it came.")
]
Limit = Annotated[int, Parameter(help="How many features are drawn where none are named; 0 for all that ever fire.")]


def explain(
    run: Path,
    step: Step = "now",
    *,
    latents: Latents = None,
    limit: Limit = 100,
    form: Literal["activations", "highlighted", "brief"] | None = None,
    max_tokens: int = 512,
    self_explanation: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    at: str | None = None,
    show_replies: ShowReplies = False,
    options: ClientOptions = NOBODY,
    common: Common = DEFAULTS,
) -> int:
    """Say what a run's features mean, by rules or by a language model, and record it in the atlas.

    Without a client, rules are found, as in `monosema run`; a stage that is done is skipped. A run of a chat model can
    explain itself: each feature's direction takes the place of a word that it is asked about. Another model is asked
    at once, or through the provider's Batch service in steps, each of which can be repeated and goes on after a kill.
    What it costs is said before anything is asked, and `--max-cost` is never exceeded.

    ```
    monosema explain runs/demo
    monosema explain runs/chat --self-explanation --at 2.resid_post --limit 20
    monosema explain runs/demo --client local:models/qwen --latents 0-9
    monosema explain runs/demo --client openai:gpt-5.4-mini --max-cost 1
    monosema explain runs/demo send --client anthropic:claude-haiku-5-5 --limit 0 --max-cost 5
    monosema explain runs/demo status --client anthropic:claude-haiku-5-5
    monosema explain runs/demo retrieve --client anthropic:claude-haiku-5-5
    monosema explain runs/demo parse --client anthropic:claude-haiku-5-5
    ```

    Parameters
    ----------
    run
        A run folder with an atlas.
    step
        Without it all is done at once; otherwise a step of a batch: `send`, `status`, `retrieve` or `parse`.
    form
        Form of the passages: every token with its activation from 0 to 10 (`activations`); active tokens marked
        (`highlighted`); or, for small models, excerpts after a few answered examples (`brief`). Without it, `brief`
        for local models and `activations` for others.
    max_tokens
        Most tokens of an answer, hidden reasoning included.
    self_explanation
        Let the run's own model say what directions in it mean. It must be a chat model.
    at
        Site where self-explanation puts the direction; without it, the dictionary's site. Early sites leave the model
        more room to read it.
    """
    from monosema.interpretation import (
        LanguageModelExplainerConfig,
        draw_chosen,
        explain_live,
        parse_explanations,
        send_explanations,
    )
    from monosema.llm import check_client, follow_batches, llm_dir
    from monosema.runs.interpretation import heldout, subject_of

    if self_explanation:
        return _itself(run, step, latents, limit, at, options, common)
    if options.client is None and step == "now":
        code = run_until("explain", (str(run),), None, False, common)
        if not code and not common.json:
            _show_best(run, results_console())
        return code
    client = options.config()
    ctx, console = open_context(run, common), errors_console()
    recipe, folder = ctx.recipe, llm_dir(ctx.folder)

    def log(line: str) -> None:
        console.out(line, style="dim")

    if step in ("now", "send"):
        config = LanguageModelExplainerConfig(
            form=form or ("brief" if client.kind == "local" else "activations"), max_tokens=max_tokens
        )
        check_client(client)
        subject, named = subject_of(ctx), None if latents is None else read_latents(latents)
        drawn = draw_chosen(subject, heldout(ctx), recipe.samples, named, limit or None, common.seed or 0)
        if step == "now":
            result = explain_live(subject, drawn, client, config, folder, log, common.device)
        else:
            result = send_explanations(subject, drawn, client, config, folder, recipe.dictionary_name, log)
    elif step == "parse":
        result = parse_explanations(ctx.atlas_dir, client, folder, recipe.dictionary_name)
    else:
        result = follow_batches("status" if step == "status" else "retrieve", client, folder)
    return _delivered(result, common, run, show_replies)


def _show_best(run: Path, console: Console) -> None:
    """Print the features whose labels stand highest above their controls."""
    from monosema.cli.features import show_features, show_standing
    from monosema.runs import Run

    atlas = Run.open(run).atlas()
    show_features(atlas.features(sort="label_margin", limit=_SHOWN), console)
    show_standing(atlas, console)
    console.print(f"All features: monosema atlas {run} list --limit 0", soft_wrap=True, markup=False)


def _delivered(result: dict[str, Any], common: Common, run: Path, replies: bool = False) -> int:
    """Deliver the result; exit code 1 where something was asked, nothing was explained, and no answer is awaited."""

    def show(console: Console) -> None:
        texts = result.get("explanations", {})
        if texts:
            _show_explained(run, [int(latent) for latent in texts][:_SHOWN], console)
            if len(texts) > _SHOWN:
                console.print(f"and {len(texts) - _SHOWN:,} more features: monosema atlas {run} list", markup=False)
        show_values({name: value for name, value in result.items() if name != "explanations"}, console)
        if replies:
            show_all_replies(result, console)
        if result.get("explained") and (failed := sum(result.get("failures", {}).values())):
            console.print(f"{failed} of {result['requests']} requests gave no explanation.")
        elif result.get("explained") == 0 and result.get("requests"):
            console.print("Nothing was explained.")

    deliver(result, common, show)
    awaited = result.get("failures", {}).get("pending", 0) or result.get("before", 0)
    return int(result.get("explained") == 0 and not awaited)


def _itself(
    run: Path, step: Step, latents: str | None, limit: int, at: str | None, options: ClientOptions, common: Common
) -> int:
    """Ask the run's model about directions in it."""
    from monosema.core import InputError
    from monosema.interpretation import choose_latents, explain_itself
    from monosema.runs.interpretation import subject_of

    if options.client is not None or step != "now":
        raise InputError("A model that explains itself asks no other: leave out --client and the step of a batch.")
    ctx, console = open_context(run, common), errors_console()
    named = None if latents is None else read_latents(latents)
    subject = subject_of(ctx)
    chosen = choose_latents(subject.atlas, named, limit or None, common.seed or 0)
    result = explain_itself(subject, chosen, at, lambda line: console.out(line, style="dim"))
    return _delivered(result, common, run)


def _show_explained(run: Path, latents: list[int], console: Console) -> None:
    from monosema.cli.features import show_explanations
    from monosema.runs import Run

    atlas = Run.open(run).atlas()
    for latent in latents:
        console.print(f"[bold]feature {latent}")
        show_explanations(atlas.feature(latent), console)


def show_all_replies(result: dict[str, Any], console: Console) -> None:
    """Print the replies that a command kept, as they came, with the failures among them."""
    from rich.text import Text

    if "replies" not in result:
        return
    for line in Path(result["replies"]).read_text(encoding="utf-8").splitlines():
        reply = json.loads(line)
        failure = reply["failure"]
        said = f"{failure['kind']}: {failure['detail']}" if failure else "used"
        console.print(Text(f"feature {reply['latent']} ({said})", style="dim"))
        for text in (*reply["discarded"], reply["text"]):
            console.print(Text(f"  {text or '(nothing)'}"))


def open_context(folder: Path, common: Common) -> RunContext:
    """Open a run for its stages. Raises RunError where it has no atlas."""
    from monosema.runs import Run
    from monosema.runs.context import RunContext

    opened = Run.open(folder)
    opened.atlas()
    return RunContext(opened.recipe, folder, common.device)


def read_latents(words: str) -> list[int]:
    """Read the numbers in words such as 3,17,40-49. Raises InputError for anything else."""
    from monosema.core import InputError

    numbers: list[int] = []
    for part in words.split(","):
        low, dash, high = part.strip().partition("-")
        if not low.isdecimal() or (dash and not high.isdecimal()):
            raise InputError(f"{part.strip()!r} names no features. Write them as in 3,17,40-49.")
        numbers += range(int(low), int(high if dash else low) + 1)
    return numbers


def show_values(result: dict[str, Any], console: Console) -> None:
    """Print one value per line; batches as a table."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value in result.items():
        if name == "batches":
            for batch in value:
                counts = ", ".join(f"{count} {state}" for state, count in batch["counts"].items())
                table.add_row(batch["provider_id"] or batch["id"], batch["state"], f"{batch['size']} requests", counts)
            continue
        one = f"{value:.1f}" if isinstance(value, float) else str(value)
        shown = ", ".join(f"{key} {one}" for key, one in value.items()) if isinstance(value, dict) else one
        table.add_row(name.replace("_", " "), Text(shown or "none"))
    console.print(table)
