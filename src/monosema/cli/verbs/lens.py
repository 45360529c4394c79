"""lens: one prediction, layer by layer and part by part."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from monosema.cli.common import DEFAULTS, Common, deliver
from monosema.core import InputError, check_writable
from monosema.core.language import translate

if TYPE_CHECKING:
    from monosema.attribution.lenses import Lens, LensFigures, LensReading, LogitParts, Step
    from monosema.models import Transformer

_GRID = 12
"""Positions of a grid, the last of a text."""


def lens(
    prompt: str | None = None,
    /,
    *,
    model: str | None = None,
    lens: Annotated[str, Parameter(name="--lens")] = "logit",
    at: int = -1,
    target: str | None = None,
    foil: str | None = None,
    grid: Annotated[bool, Parameter(negative="")] = False,
    by: Literal["layer", "head", "neuron", "latent"] | None = None,
    run: Path | None = None,
    steps: Annotated[bool, Parameter(negative="")] = False,
    temperature: float = 1.0,
    top: int = 5,
    fit: Path | None = None,
    kind: Literal["tuned", "jacobian"] = "tuned",
    text: str = "builtin",
    common: Common = DEFAULTS,
) -> int:
    """Show how a prediction comes about: what each layer would say next, what each part adds to the logit.

    A lens gives each layer's residual stream to the model's own final norm and unembedding. KL is that of the model's
    distribution from the lens'. With --by a logit is a sum over parts of the model. With --steps all is shown from
    tokens to choice.

    ```
    monosema lens "When Mary and John went to the store, John gave a drink to"
    monosema lens "The day after Monday is" --grid
    monosema lens "When Mary and John went to the store, John gave a drink to" --by head --target " Mary" --foil " John"
    monosema lens "The day after Monday is" --steps
    monosema lens --fit tuned.safetensors
    ```

    Parameters
    ----------
    prompt
        The text to read.
    model
        `specimen`, the embedded model; `smollm2`; a Hugging Face directory; a GGUF file; or a name on the hub. Without
        it: that of --run, or specimen.
    lens
        logit, or a lens that was fitted: its .safetensors file, or a folder that tuned-lens wrote.
    at
        The position after which the next token is asked for; negative ones count from the end.
    target
        The token that is asked for, with its leading space. Without it: the likeliest one.
    foil
        A token that the target is asked for rather than. With --by: the difference of their logits is split.
    grid
        The likeliest token at each layer and position.
    by
        Split the logit: by layer, head, neuron, or latent of the dictionary of --run.
    run
        A run folder, or a dictionary in any format.
    steps
        All steps from the tokens to the choice, with their numbers.
    temperature
        That logits are divided by, for --steps.
    top
        Tokens listed for each layer; parts listed are four times as many.
    fit
        Fit a lens, write it to this .safetensors file, and judge it beside the logit lens on held-out text.
    kind
        tuned: affine maps that bring each layer nearest to the model's own output; jacobian: the mean Jacobian of the
        final stream by each layer's.
    text
        A corpus to fit on: `builtin`, a file or folder of text, or `hf:NAME`.
    """
    from monosema.models import load_model, require_decoder
    from monosema.runs.subject import open_subject

    if not 0 < temperature < math.inf or top < 1:
        raise InputError(f"--temperature {temperature} --top {top} is not valid: give numbers above 0.")
    if foil is not None and by is None:
        raise InputError("--foil goes with --by: a difference of logits is split into parts.")
    if sum((grid, by is not None, steps)) > 1:
        raise InputError("--grid, --by and --steps are three views: take one of them.")
    if (prompt is None) == (fit is None):
        raise InputError("Give a prompt to read, or --fit and a file to fit a lens: one of the two.")
    subject = None if run is None else open_subject(run, model, device=common.device)
    named = model or (None if subject is None else subject.model.name) or "specimen"
    opened = require_decoder(load_model(named, dtype="float32", device=common.device))
    if prompt is None:
        assert fit is not None
        return _fit(opened, fit, kind, text, common)
    ids = opened.tokenizer.encode(prompt)
    if not -len(ids) <= at < len(ids):
        raise InputError(f"--at {at} is not valid: the prompt has {len(ids)} tokens, 0 to {len(ids) - 1}.")
    wanted = None if target is None else opened.tokenizer.id(target)
    if steps:
        from monosema.attribution.lenses import prediction_steps

        found = prediction_steps(opened, ids, at, temperature, top)
        plain = {one.name: {"formula": one.formula, **one.values} for one in found}
        return deliver(plain, common, lambda console: _show_steps(found, console))
    if by is not None:
        from monosema.attribution.lenses import logit_parts

        wanted = _likeliest(opened, ids, at) if wanted is None else wanted
        dictionary = None if subject is None else subject.dictionary
        other = None if foil is None else opened.tokenizer.id(foil)
        parts = logit_parts(opened, ids, wanted, other, by=by, position=at, dictionary=dictionary)
        return deliver(parts.to_dict(), common, lambda console: _show_parts(parts, 4 * top, console))
    from monosema.attribution.lenses import read_lens

    positions = range(max(0, len(ids) - _GRID), len(ids)) if grid else [at]
    reading = read_lens(opened, _lens_named(lens), ids, positions, wanted, top)
    show = _show_grid if grid else _show_layers
    return deliver(reading.to_dict(), common, lambda console: show(reading, console))


def _fit(model: Transformer, path: Path, kind: str, text: str, common: Common) -> int:
    """Fit a lens, write it and judge it."""
    from monosema.attribution.lenses import Lens, LensConfig, fit_jacobian, fit_tuned, judge_lenses, save_lens
    from monosema.data import open_corpus

    if path.suffix != ".safetensors":
        raise InputError(f"--fit {path} is not valid: name a .safetensors file.")
    check_writable(path)
    seed, corpus = common.seed or 0, open_corpus(text)
    config = LensConfig(seed=seed)
    made = (fit_tuned if kind == "tuned" else fit_jacobian)(model, corpus, config)
    save_lens(path, made)
    found = judge_lenses(model, corpus, [Lens(), made], seed=seed)
    plain = {"path": str(path), "about": made.about, "layers": [one.to_dict() for one in found]}
    return deliver(plain, common, lambda console: _show_judged(found, path, console))


def _show_judged(found: Sequence[LensFigures], path: Path, console: Console) -> None:
    from monosema.attribution.lenses import layer_name

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for heading in ("lens", "after", "KL", "token falls", "random direction"):
        table.add_column(heading, justify="left" if heading in ("lens", "after") else "right", no_wrap=True)
    for one in found:
        cells = [f"{f.value:.2f} [{f.low:.2f}, {f.high:.2f}]" for f in (one.divergence, one.fall, one.control)]
        table.add_row(Text(translate(one.lens)), Text(translate(layer_name(one.layer))), *cells)
    console.print(table)
    said = (
        "KL of the model’s next token from the lens’, nats, on held-out text. Token falls: what the likeliest token "
        "of the lens loses in the model, in nats, when its direction is taken out of the last position; beside it a "
        "random direction of the same length."
    )
    console.print(Text(translate(said), style="dim"))
    console.print(Text(translate(f"The lens is in {path}: read with it by --lens {path}."), style="dim"))


def _lens_named(name: str) -> Lens:
    from monosema.attribution.lenses import Lens, load_lens

    return Lens() if name == "logit" else load_lens(name)


def _likeliest(model: Transformer, ids: list[int], at: int) -> int:
    import torch

    with torch.inference_mode():
        return int(model(torch.tensor([ids], device=model.device))[0, at].argmax())


def _show_layers(reading: LensReading, console: Console) -> None:
    from monosema.attribution.lenses import layer_name
    from monosema.models import visible

    target = visible(reading.vocabulary[int(reading.target[0])])
    console.print(_prompt(reading.tokens, reading.positions[0]))
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("after", no_wrap=True)
    table.add_column(Text(f"p({target})"), justify="right", no_wrap=True)
    table.add_column("rank", justify="right")
    table.add_column("KL", justify="right")
    table.add_column("likeliest next")
    for layer in range(len(reading.top)):
        named = zip(reading.top[layer, 0].tolist(), reading.probabilities[layer, 0].tolist(), strict=True)
        listed = Text("  ").join(_shaded(f"{visible(reading.vocabulary[token])} {p:.0%}", p) for token, p in named)
        table.add_row(
            Text(translate(layer_name(layer)) if layer < len(reading.top) - 1 else translate("the model")),
            f"{float(reading.followed[layer, 0]):.1%}",
            f"{int(reading.ranks[layer, 0]):,}",
            f"{float(reading.divergence[layer, 0]):.2f}",
            listed,
        )
    console.print(table)


def _show_grid(reading: LensReading, console: Console) -> None:
    from monosema.attribution.lenses import layer_name
    from monosema.models import visible

    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("after", no_wrap=True)
    for position in reading.positions:
        table.add_column(Text(visible(reading.tokens[position])), no_wrap=True, overflow="ellipsis")
    for layer in reversed(range(len(reading.top))):
        name = "the model" if layer == len(reading.top) - 1 else layer_name(layer)
        best = zip(reading.top[layer, :, 0].tolist(), reading.probabilities[layer, :, 0].tolist(), strict=True)
        cells = [_shaded(visible(reading.vocabulary[token]), share) for token, share in best]
        table.add_row(Text(translate(name)), *cells)
    console.print(table)


def _shaded(text: str, share: float) -> Text:
    """Return a text on a ground that is the warmer the larger its share."""
    if share < 0.05:
        return Text(text, style="dim")
    red, green, blue = (round(255 + (part - 255) * 0.7 * min(share, 1.0)) for part in (194, 65, 12))
    return Text(text, style=f"black on rgb({red},{green},{blue})")


def _prompt(tokens: tuple[str, ...], at: int) -> Text:
    from monosema.models import shown_text

    before, asked, after = shown_text(tokens[:at]), tokens[at], shown_text(tokens[at + 1 :])
    return Text.assemble((before, "dim"), (asked, "bold underline"), (after, "dim"))


def _show_parts(parts: LogitParts, n: int, console: Console) -> None:
    from monosema.models import visible

    rather = "" if parts.foil is None else f" − {visible(parts.foil)}"
    console.print(Text.assemble((f"{visible(parts.target)}{rather}", "bold"), f": {parts.value:.3f}"))
    listed = parts.largest(n) if parts.by != "layer" else list(zip(parts.names, parts.scores.tolist(), strict=True))
    most = max((abs(score) for _, score in listed), default=1.0) or 1.0
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("part", no_wrap=True)
    table.add_column("adds", justify="right")
    table.add_column("")
    for name, score in listed:
        bar = ("█" if score > 0 else "░") * round(30 * abs(score) / most)
        table.add_row(Text(translate(name)), f"{score:+.3f}", bar)
    rest = len(parts.names) - len(listed)
    if rest > 0:
        left = float(parts.scores.sum()) - sum(score for _, score in listed)
        table.add_row(Text(translate(f"{rest:,} others")), f"{left:+.3f}", "")
    console.print(table)
    summed = parts.value - parts.gap
    console.print(Text(translate(f"The parts sum to {summed:.4f}; the model gives {parts.value:.4f}.")))


def _show_steps(steps: list[Step], console: Console) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for heading in ("step", "formula", "numbers"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "step")
    for step in steps:
        table.add_row(Text(translate(step.name), style="bold"), Text(step.formula), Text(translate(step.said)))
    console.print(table)
    gap = next(step.values["largest difference from the model"] for step in steps if step.name == "logits")
    said = f"Computed again by these formulas, the logits differ from the model’s by at most {gap:.2g}."
    console.print(Text(translate(said), style="dim"))
