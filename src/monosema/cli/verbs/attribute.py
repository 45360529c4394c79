"""attribute: which words, latents, heads or neurons an answer is owed to, by many methods."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from monosema.cli.asking import Asked, Played
from monosema.cli.common import DEFAULTS, Common, deliver, errors_console
from monosema.cli.judged import judge_methods
from monosema.cli.printing import number
from monosema.cli.verbs.steer import labels_of
from monosema.core import InputError
from monosema.core.language import translate

if TYPE_CHECKING:
    from monosema.attribution import Attribution, Game, Method, Tokens
    from monosema.models import LanguageModel
    from monosema.runs.subject import Subject

_WARM, _COLD = (194, 65, 12), (27, 108, 168)
_LARGEST = 4
_WIDE = 0.01
"""Gap, as a share of the difference that is divided, from which a method is said to miss it."""
_MISSED = "The scores miss the difference by more than 1 %: divide by a twin, or by shapley or deep_lift, which do not."
LIKELIEST, TOKENS = Asked(), Played()


def attribute(
    *prompt: str,
    asked: Asked = LIKELIEST,
    played: Played = TOKENS,
    methods: str | None = None,
    judge: bool = False,
    prompts: int = 50,
    tests: str = "twin,mean",
    model: str | None = None,
    run: Path | None = None,
    keep: str | None = None,
    common: Common = DEFAULTS,
) -> int:
    """Say why a model answers one thing rather than another: which parts of the prompt, or of the model, it is owed to.

    Each method divides the same figure, in nats, among the same players. Without more it is asked why the likeliest
    next token, rather than the second. What is warm speaks for the answer, what is cold against it.

    ```
    monosema attribute "Mary and John went to the store. John gave a drink to" --target Mary --foil John
    monosema attribute --task ioi --players heads
    monosema attribute --task ioi --judge --methods all
    monosema attribute "Lovely film, well played. The review is" --twin "Awful film, badly played. The review is"
    monosema attribute "The capital of France is" --run runs/demo --players latents --methods occlusion,shapley
    monosema attribute --task ioi --run runs/demo --keep names
    monosema attribute "Name the capital of France." --chat --model smollm2 --players words
    ```

    Parameters
    ----------
    prompt
        A text. With --chat: messages, yours and the model's in turn, beginning with yours.
    methods
        Names with commas between, or all. Without it: the default ones.
    judge
        Test the methods on the held-out prompts of --task: whether the answer changes with what they rank first, beside
        random and reversed orders, and whether they look at the weights at all.
    prompts
        With --judge: prompts; intervals are over these.
    tests
        With --judge: what stands for absent tokens where scores are tested, with commas between.
    model
        `specimen`; `smollm2`; a Hugging Face directory; a GGUF file; or a name on the hub. Without it: that of --run.
    run
        A run folder, or a dictionary in any format.
    keep
        Keep the answer in the folder of --run under this name, with lens, parts of the logit and attention: the run's
        report shows it once it is made anew, by monosema report RUN.
    """
    from monosema.attribution import methods_named
    from monosema.runs.subject import open_subject

    if keep is not None and (judge or run is None or not (run / "recipe.toml").exists()):
        raise InputError(f"--keep {keep} is not valid: an answer is kept in a run, --run RUN, and without --judge.")
    chosen = methods_named(None if methods is None else [name.strip() for name in methods.split(",")])
    subject = open_subject(run, model, device=common.device)
    opened = _precise(subject, common)
    if judge:
        return judge_methods(opened, prompt, asked, played, chosen, prompts, tests, common)
    game = played.game(opened, asked.question(opened, prompt, common.seed or 0), subject)
    if keep is not None:
        return _keep(game, chosen, subject, keep, common)
    found: list[Attribution | tuple[str, str]] = []
    with errors_console().status("") as status:
        for method in chosen:
            status.update(Text(method.name, style="dim"))
            found.append(_tried(game, method.name, common.seed or 0))
    if all(isinstance(one, tuple) for one in found):
        raise InputError(next(one[1] for one in found if isinstance(one, tuple)))
    values = {
        "model": opened.name,
        "target": game.question.target.name(opened),
        "value": game.full,
        "empty": game.empty,
        "removal": game.players.removal,
        "players": list(game.players.names),
        "methods": [one.to_dict() for one in found if not isinstance(one, tuple)],
        "left_out": {one[0]: one[1] for one in found if isinstance(one, tuple)},
    }
    return deliver(values, common, lambda console: _show(opened, subject, game, found, console))


def _keep(game: Game, methods: Sequence[Method], subject: Subject, name: str, common: Common) -> int:
    from monosema.attribution.answers import answer_in_full, keep_answer

    assert subject.place is not None
    with errors_console().status(""):
        values = answer_in_full(game, methods, common.seed or 0, subject.dictionary)
    path = keep_answer(subject.place, name, values)
    said = Text(translate(f"Kept in {path}. To see it in the report: monosema report {subject.place}"))
    return deliver({"path": str(path), **values}, common, lambda console: console.print(said, soft_wrap=True))


def _precise(subject: Subject, common: Common) -> LanguageModel:
    """Return the model in float32: differences of passes are lost in fewer bits."""
    import torch

    from monosema.models import load_model

    if subject.model.dtype == torch.float32:
        return subject.model
    return load_model(subject.model.name, dtype=torch.float32, device=common.device)


def _tried(game: Game, method: str, seed: int) -> Attribution | tuple[str, str]:
    """Return what a method gives, or its name and the reason why it has no definition here."""
    from monosema.attribution import attribute as divide

    try:
        return divide(game, method, seed)
    except InputError as error:
        return method, str(error)


def _show(
    model: LanguageModel,
    subject: Subject,
    game: Game,
    found: Sequence[Attribution | tuple[str, str]],
    console: Console,
) -> None:
    from monosema.attribution import Tokens

    said = f": {game.full:.2f} nats; with nothing present {game.empty:.2f}"
    console.print(Text.assemble((game.question.target.name(model), "bold"), translate(said)))
    console.print(
        Text(translate(f"{len(game)} players; for an absent one stands: {game.players.removal}"), style="dim")
    )
    labels = labels_of(subject, [int(name) for name in game.players.names if name.isdecimal()]) if subject.run else {}
    for one in found:
        console.print()
        if isinstance(one, tuple):
            console.print(Text.assemble((one[0], "bold"), "  ", (translate(one[1]), "dim")))
            continue
        console.print(Text.assemble((one.method, "bold"), (f"  {_facts(one)}", "dim")))
        if one.gap is not None and abs(one.gap) > _WIDE * abs(one.total):
            console.print(Text(translate(_MISSED), style="dim"))
        if not isinstance(game.players, Tokens):
            console.print(_largest(one, labels))
        else:
            console.print(_coloured(model, game.question.ids, game.players.groups, one))
            console.print(Text("  ".join(_ranked(one, game.players)), style="dim"))


def _facts(found: Attribution) -> str:
    gap = "" if found.gap is None else f", {translate('gap')} {number(found.gap)}"
    notes = "".join(f", {translate(name)} {number(value)}" for name, value in found.notes.items())
    total = f"{translate('sum')} {float(found.scores.sum()):.2f}{gap}{notes}"
    passes = translate("pass" if found.rows == 1 else "passes")
    return f"{total}, {found.rows:,} {passes}, {found.seconds:.2f} s"


def _ranked(found: Attribution, players: Tokens) -> list[str]:
    """Return the players of the largest scores, with these; one whose name another has too, with its position."""
    names, said = [name.strip() for name in found.names], []
    for index in found.scores.abs().argsort(descending=True).tolist()[:_LARGEST]:
        place = f" ({players.groups[index][0]})" if names.count(names[index]) > 1 else ""
        said.append(f"{names[index]}{place} {round(float(found.scores[index]), 2) + 0.0:+.2f}")
    return said


def _largest(found: Attribution, labels: dict[int, str]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    for index in found.scores.abs().argsort(descending=True).tolist()[: 2 * _LARGEST]:
        name, error = found.names[index], None if found.errors is None else float(found.errors[index])
        spread = "" if error is None else f" ± {error:.2f}"
        label = labels.get(int(name), "") if name.isdecimal() else ""
        table.add_row(name, f"{float(found.scores[index]):+.2f}{spread}", Text(label))
    return table


def _coloured(model: LanguageModel, ids: Sequence[int], groups: Sequence[Sequence[int]], found: Attribution) -> Text:
    """Return the prompt, each token on a background as warm or cold as its player's score."""
    from monosema.models import shown_tokens, visible

    largest = max(float(found.scores.abs().max()), 1e-9)
    scores = {at: float(score) for group, score in zip(groups, found.scores, strict=True) for at in group}
    text = Text(overflow="fold")
    for one in shown_tokens(model.tokenizer.tokens(list(ids))):
        own = [scores[at] for at in range(one.start, one.stop) if at in scores]
        if not own:
            text.append(visible(one.text), style="dim")
            continue
        share = max(own, key=abs) / largest
        near = _WARM if share > 0 else _COLD
        red, green, blue = (round(255 + (part - 255) * abs(share)) for part in near)
        style = "" if abs(share) < 0.05 else f"{'black' if abs(share) < 0.6 else 'white'} on rgb({red},{green},{blue})"
        text.append(visible(one.text), style=style)
    return text
