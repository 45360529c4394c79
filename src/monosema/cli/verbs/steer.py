"""steer: what edits do to a model's texts, at which strength, and which latent to take for a concept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from monosema.cli.common import DEFAULTS, Common, deliver, errors_console
from monosema.cli.printing import number
from monosema.cli.writing import AS_USUAL, NO_EDITS, Drawing, Edits, require_template
from monosema.core import InputError, nearest
from monosema.core.language import translate

if TYPE_CHECKING:
    from monosema.core import Estimate
    from monosema.models import Prompt
    from monosema.runs.subject import Subject
    from monosema.steering import Comparison, Concept, Steering, SweepConfig, SweepPoint, SweepResult

_TOKENS, _LISTED = 40, 10
_NOTHING = 1e-6
"""Divergence below which edits have changed nothing but rounding."""
_KL = (0.25, 0.5, 1.0)
"""Divergences of a comparison."""


def steer(
    run: Path,
    /,
    *prompts: str,
    model: str | None = None,
    edits: Edits = NO_EDITS,
    sweep: str | None = None,
    seeds: int = 1,
    kl: float | None = None,
    chat: Annotated[bool, Parameter(negative="")] = False,
    concept: str | None = None,
    choose: str | None = None,
    skills: int = 0,
    out: Path | None = None,
    keep: Path | None = None,
    drawing: Drawing = AS_USUAL,
    common: Common = DEFAULTS,
) -> int:
    """Steer a model by a run's features: see what edits do, at which strength, and find a latent for a concept.

    With edits and prompts, texts stand beside the unsteered ones, drawn with the same noise, with the divergence they
    cost, fluency and repetition. With --concept and no edits, latents that stand for the concept are compared with a
    prompt, a mean difference and random directions at equal divergence, or, with --choose, listed.

    ```
    monosema steer runs/demo "The weather today" --steer 17=+2
    monosema steer runs/demo "The weather today" --steer 17=+1 --sweep 0.5,1,2,4 --seeds 4 --temperature 0.8
    monosema steer runs/demo --steer 17=+1 --concept sentiment --sweep 1,2,4 --temperature 1 --keep sweep.jsonl
    monosema steer runs/demo "The weather today" --steer 17=+1 --kl 0.5 --out happy.toml
    monosema steer runs/demo --concept sentiment --choose output
    monosema steer runs/demo --concept sentiment
    ```

    Parameters
    ----------
    run
        A run folder, or a dictionary in any format.
    prompts
        Texts to go on from. Without any: those of --concept.
    model
        A model in place of the run's own, such as a fine-tuned copy.
    sweep
        Strengths to try, with commas between: multiples of all edits together.
    seeds
        Texts of each prompt, each with noise of its own. More than one needs --temperature.
    kl
        Solve the strength, so that next-token distributions move by so many nats a token along the unsteered texts.
    chat
        Prompts are messages of a user, and the model answers.
    concept
        sentiment, french, code, name, or a TOML file of your own. With edits: the effect is how much of it texts show.
    choose
        List the latents that stand for the concept by one score: input, output, confidence or effect.
    skills
        Prompts of each side skill whose accuracy is measured too; 0 measures none.
    out
        Write the steering, at the strength that --kl found: .toml, .json or .safetensors; .gguf for llama.cpp and
        repeng; .pt for lm-evaluation-harness.
    keep
        A file of finished texts: the same command, or one with more strengths or seeds, goes on from it.
    """
    from monosema.runs.subject import open_subject
    from monosema.steering import CHOICES, concept_named

    about = None if concept is None else concept_named(concept)
    if not edits.given and about is None:
        raise InputError("Say what to steer: edits, as in --steer 17=+2, or a concept, as in --concept sentiment.")
    if choose is not None and (about is None or edits.given):
        raise InputError("--choose looks for latents that stand for a --concept: give that, and no edits.")
    if choose is not None and choose not in CHOICES:
        raise InputError(f"--choose {choose} is not valid.{nearest(choose, CHOICES)} Choose from {', '.join(CHOICES)}.")
    if sweep is not None and kl is not None:
        raise InputError("--sweep and --kl are two ways to choose strengths: give one of them.")
    if sweep is not None and not edits.given:
        raise InputError("--sweep tries strengths of edits: give some with --steer, or leave it out.")
    drawing.check(drawn=not edits.given and choose is None)
    strengths = _strengths(sweep)
    subject = open_subject(run, model, device=common.device)
    if not edits.given and about is not None:
        if choose is None:
            if chat:
                require_template(subject.model)
            return _compared(subject, about, kl, chat, seeds, skills, drawing, keep, common)
        return _chosen(subject, about, choose, out, common)
    if chat:
        require_template(subject.model)
    given = _prompts(prompts, about, chat)
    steering = edits.open(subject)
    if kl is not None:
        steering = _solved(subject, steering, given, kl, drawing, common)
    if out is not None:
        _save(out, steering, subject)
    result = _swept(subject, steering, strengths, given, about, seeds, skills, drawing, keep, common)
    values = {"model": subject.model.name, "steering": steering.to_dict(), **result.to_dict()}
    return deliver(values, common, lambda console: _show(result, steering, bool(strengths), out, console))


def _prompts(prompts: Sequence[str], concept: Concept | None, chat: bool) -> list[Prompt]:
    if prompts:
        return [[{"role": "user", "content": text}] for text in prompts] if chat else list(prompts)
    if concept is None:
        raise InputError('Give a text to go on from: monosema steer RUN "The weather today" --steer 17=+2.')
    return list(concept.beginnings(chat))


def _strengths(sweep: str | None) -> list[float]:
    if sweep is None:
        return []
    try:
        return [float(one) for one in sweep.split(",")]
    except ValueError:
        raise InputError(f"--sweep {sweep} is not valid: give numbers with commas between, as in 0.5,1,2.") from None


def _solved(
    subject: Subject, steering: Steering, prompts: Sequence[Prompt], kl: float, drawing: Drawing, common: Common
) -> Steering:
    """Return the steering at the strength that moves predictions by `kl` along the unsteered texts."""
    from monosema.models import GenerationConfig
    from monosema.steering import UnsteeredTexts

    texts = UnsteeredTexts.write(subject.model, prompts, GenerationConfig(**drawing.settings(common, _TOKENS)))
    search = texts.search(steering, kl)
    if search.best is not None:
        return steering.at(search.best)
    if max(search.tried, default=(0.0, 0.0))[0] < _NOTHING:
        raise InputError(
            f"No strength moves predictions by {kl:g} nats a token: these edits change nothing here, at any strength. "
            "A latent that is set, scaled or taken out must fire on the texts."
        )
    about = 0.95 * min(search.nearest[0], kl)
    strength, nearest = min((at, found) for found, at in search.tried if found >= about)
    raise InputError(
        f"No strength moves predictions by {kl:g} nats a token: the nearest found is {nearest:.3g}, at strength "
        f"{strength:.3g}. Ask for that with --kl, or steer otherwise."
    )


def _save(out: Path, steering: Steering, subject: Subject) -> None:
    from monosema.steering import write_steering

    write_steering(out, steering, subject.model)


def _swept(
    subject: Subject,
    steering: Steering,
    strengths: Sequence[float],
    prompts: Sequence[Prompt],
    concept: Concept | None,
    seeds: int,
    skills: int,
    drawing: Drawing,
    keep: Path | None,
    common: Common,
) -> SweepResult:
    from monosema.steering import at_strengths, sweep

    if seeds > 1 and drawing.temperature == 0:
        raise InputError(f"--seeds {seeds} draws texts that differ by their noise: give --temperature too, as in 0.8.")
    config = _config(drawing, drawing.temperature, seeds, skills, common)
    candidates = at_strengths(steering, [steering.strength * one for one in strengths or [1.0]])
    return sweep(subject.model, prompts, candidates, config, None if concept is None else concept.effect, keep)


def _config(drawing: Drawing, temperature: float, seeds: int, skills: int, common: Common) -> SweepConfig:
    from monosema.steering import SweepConfig

    if seeds < 1:
        raise InputError(f"--seeds {seeds} is not valid: give 1 or more.")
    first = common.seed or 0
    return SweepConfig(
        max_new_tokens=_TOKENS if drawing.tokens is None else drawing.tokens,
        temperature=temperature,
        top_k=drawing.top_k,
        top_p=drawing.top_p,
        seeds=tuple(range(first, first + seeds)),
        skill_prompts=skills,
    )


COLUMNS: Mapping[str, str] = {
    "kl": "KL per token",
    "perplexity_ratio": "perplexity ratio",
    "distinct_2": "distinct 2-grams",
    "distinct_3": "3-grams",
    "zlib": "zlib",
    "effect": "effect",
    "skills_lost": "skills lost",
}
"""Figures of a sweep's table, and their headings."""
_WITH_INTERVALS = ("kl", "perplexity_ratio", "effect", "effect_gain", "skills_lost")
_SHOWN = 4


def _show(result: SweepResult, steering: Steering, swept: bool, out: Path | None, console: Console) -> None:
    """Print the texts beside the unsteered ones, and the table."""
    from monosema.models import visible

    points = [result.base, *result.points]
    texts = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    texts.add_column(no_wrap=True)
    texts.add_column(overflow="fold")
    for place, prompt in enumerate(result.prompts[:_SHOWN]):
        texts.add_row("", Text(visible(prompt), style="dim"))
        for point in points:
            sample = next(one for one in point.samples if one.prompt == place)
            texts.add_row(Text(_named(point), style="bold"), Text(visible(sample.text)))
        texts.add_row("", "")
    console.print(texts)
    shown, written = min(len(result.prompts), _SHOWN), len(result.base.samples)
    if shown < written:
        seed = result.base.samples[0].seed
        console.print(
            Text(translate(f"Shown: {shown} of {written} texts at each strength, with seed {seed}; --json has all."))
        )
    _table(points, console)
    console.print(Text(translate(FIGURES), style="dim"))
    if not swept and steering.strength != 1:
        console.print(Text(translate(f"strength {steering.strength:.4g}")))
    if out is not None:
        console.print(Text(translate(f"The steering is in {out}.")))


FIGURES = (
    "KL per token: how far next-token distributions moved, in nats, along each text. perplexity ratio: to the "
    "unsteered texts, under the unsteered model. distinct 2-grams, 3-grams: share that are different; zlib: bytes "
    "deflated, of each byte; they fall where a text repeats itself. All draw the same noise; intervals are over "
    "prompts, or over seeds of one prompt."
)


def _named(point: SweepPoint) -> str:
    return translate(point.name) if point.strength is None else f"{point.strength:.3g}"


def _table(points: Sequence[SweepPoint], console: Console) -> None:
    have = [name for name in COLUMNS if any(name in point.figures for point in points)]
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("strength")
    for name in have:
        table.add_column(COLUMNS[name], justify="right")
    for point in points:
        table.add_row(_named(point), *(_cell(name, point.figures.get(name)) for name in have))
    console.print(table)


def _cell(name: str, figure: Estimate | None) -> str:
    if figure is None:
        return "–"
    alone = name not in _WITH_INTERVALS or figure.n < 2 or figure.low == figure.high
    return number(figure.value) if alone else f"{figure.value:.3g} [{figure.low:.3g}, {figure.high:.3g}]"


def _chosen(subject: Subject, concept: Concept, by: str, out: Path | None, common: Common) -> int:
    """List the latents that stand for a concept by one score."""
    from monosema.steering import Add, Edit, Evidence, Steering, choose, named

    evidence = Evidence(subject.model, subject.dictionary, concept, subject.site)
    found = choose(subject.model, subject.dictionary, concept, by, _LISTED, evidence=evidence)
    labels = labels_of(subject, [one.latent for one in found])
    rows: list[dict[str, Any]] = [
        {"latent": one.latent, "score": one.score, "heldout": one.heldout, "label": labels.get(one.latent)}
        for one in found
    ]
    best = subject.resolver.latent(found[0].latent, subject.site)
    largest = evidence.latent(best.index).maximum or 1.0
    # Without an atlas the largest activation is not known but on the concept's own texts.
    edit = Edit(best, Add(1.0), unit="max") if best.maximum else Edit(best, Add(float(f"{largest:.3g}")))
    if out is not None:
        _save(out, Steering(edit), subject)

    def show(console: Console) -> None:
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
        for name in ("latent", f"score by {by}", "AUC on other texts"):
            table.add_column(name, justify="right")
        table.add_column("label", overflow="fold")
        for row in rows:
            table.add_row(str(row["latent"]), number(row["score"]), f"{row['heldout']:.2f}", Text(row["label"] or "–"))
        console.print(table)
        said = f"Try one: monosema steer {subject.place} --steer {named(edit)} --concept {concept.name}"
        console.print(Text(translate(said), style="dim"))

    return deliver({"concept": concept.name, "by": by, "latents": rows}, common, show)


def labels_of(subject: Subject, latents: Sequence[int]) -> dict[int, str]:
    """Return labels of latents in the run's atlas; none without one."""
    from monosema.core import MonosemaError

    if subject.run is None:
        return {}
    try:
        atlas = subject.run.atlas()
    except MonosemaError:
        return {}
    return {latent: label for latent in latents if (label := atlas.feature(latent).label) is not None}


def _compared(
    subject: Subject,
    concept: Concept,
    kl: float | None,
    chat: bool,
    seeds: int,
    skills: int,
    drawing: Drawing,
    keep: Path | None,
    common: Common,
) -> int:
    """Compare latents with other ways to steer, at equal divergence."""
    from rich.progress import Progress

    from monosema.steering import ComparisonConfig, comparison_steps
    from monosema.steering.sweep import result_of

    sweep = _config(drawing, drawing.temperature or 1.0, seeds, skills, common)
    config = ComparisonConfig(kl=_KL if kl is None else (kl,), chat=chat, sweep=sweep, seed=common.seed or 0)
    steps = comparison_steps(subject.model, subject.dictionary, concept, config, at=subject.site, keep=keep)
    with Progress(console=errors_console(), transient=True) as progress:
        task = progress.add_task(translate("comparing"))
        result = result_of(steps, lambda step: progress.update(task, completed=step.done, total=step.total))
    return deliver(result.to_dict(), common, lambda console: _show_comparison(result, console))


METHOD_COLUMNS: Mapping[str, str] = {
    "effect_gain": "gain of effect",
    "effect": "effect",
    "perplexity_ratio": "perplexity ratio",
    "distinct_2": "distinct 2-grams",
    "skills_lost": "skills lost",
}
"""Figures of a comparison's table, and their headings."""


def _show_comparison(result: Comparison, console: Console) -> None:
    for sentence in result.sentences:
        console.print(Text(translate(sentence)))
    have = [name for name in METHOD_COLUMNS if any(name in one.point.figures for one in result.entries)]
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("KL", justify="right")
    table.add_column("method", overflow="fold")
    for name in have:
        table.add_column(METHOD_COLUMNS[name], justify="right")
    for one in sorted(result.entries, key=lambda one: (one.kl is not None, one.kl or 0.0)):
        method = translate(one.method)
        named = f"{method} ({translate(one.about)})" if one.about else method
        cells = (_cell(name, one.point.figures.get(name)) for name in have)
        table.add_row("–" if one.kl is None else f"{one.kl:g}", Text(named), *cells)
    console.print(table)
    for name, why in result.absent.items():
        console.print(Text(f"{name}: {translate(why)}", style="dim"))
