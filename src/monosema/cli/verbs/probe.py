"""probe: what can be read off activations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from monosema.cli.common import DEFAULTS, Common, deliver, errors_console
from monosema.core import InputError, check_writable
from monosema.core.language import translate

if TYPE_CHECKING:
    from monosema.core import Estimate, Site
    from monosema.models import LanguageModel, Transformer
    from monosema.probing import Examples, HeadDirection, Intervention, Judged, Tcav
    from monosema.runs.subject import Subject
    from monosema.steering import Steering

_FILES = (".toml", ".json", ".safetensors")
"""Endings of steering files that hold directions of any site."""


def probe(
    concept: str,
    /,
    *,
    model: str | None = None,
    run: Path | None = None,
    study: Literal["probes", "heads", "intervene", "tcav"] = "probes",
    layers: tuple[int, ...] = (),
    texts: int = 1000,
    text: str = "text",
    label: str = "label",
    group: str | None = None,
    out: Path | None = None,
    common: Common = DEFAULTS,
) -> int:
    """Fit probes: classifiers that read a concept off activations, with what would expose each.

    Layer and settings are chosen by cross-validation, and figures are of texts that nothing was chosen by. Beside them:
    the share of the larger class; selectivity, the accuracy less that on random labels; calibration error; the AUROC
    after fitting to shuffled labels, which is ½ where nothing leaks; and the accuracy of a new probe after LEACE.

    ```
    monosema probe truth
    monosema probe sentiment --run runs/demo --out sentiment.toml
    monosema probe truth --study intervene
    monosema probe reviews.csv --model smollm2 --text review --label verdict
    ```

    Parameters
    ----------
    concept
        truth, sentiment or gender; or a .csv, .jsonl or .parquet file of texts and labels of two kinds.
    model
        `specimen`, the embedded model; `smollm2`; a Hugging Face directory; a GGUF file; or a name on the hub. Without
        it: that of --run, or specimen.
    run
        A run folder, or a dictionary in any format: probes on k of its latents are fitted too.
    study
        probes; heads, the accuracy of each attention head's probe; intervene, the heads that tell the classes apart
        best moved while the model answers; tcav, which way the concept's direction moves the answer.
    layers
        Layer to choose from; may be repeated. Without it: all.
    texts
        Texts of a task to fit on, with half as many to test on; of a file, the most that are read.
    text
        Column of a file with the texts.
    label
        Column of a file with the labels.
    group
        Column of a file: texts of one group stay on one side of every split.
    out
        Steering file for the probe's direction, or the intervention: .toml, .json or .safetensors.
    """
    from monosema.models import load_model
    from monosema.probing import open_examples
    from monosema.runs.subject import open_subject

    if texts < 1:
        raise InputError(f"--texts {texts} is not valid: give 1 or more.")
    if out is not None and (out.suffix not in _FILES or study not in ("probes", "intervene")):
        raise InputError(f"--out {out} is not valid: probes and intervene write a steering file, {', '.join(_FILES)}.")
    if out is not None:
        check_writable(out)
    subject = None if run is None else open_subject(run, model, device=common.device)
    named = model or (None if subject is None else subject.model.name) or "specimen"
    opened = load_model(named, dtype="float32", device=common.device)
    wrong = [layer for layer in layers if not 0 <= layer < opened.n_layers]
    if wrong:
        raise InputError(f"--layers {wrong[0]} is not valid: {opened.name} has 0 to {opened.n_layers - 1}.")
    seed = common.seed or 0
    examples = open_examples(concept, texts, seed, text=text, label=label, group=group)
    with errors_console().status("") as status:
        if study == "probes":
            status.update(Text(translate("fitting probes"), style="dim"))
            return _probes(opened, subject, examples, _sites(opened, layers), seed, out, common)
        return _of_decoder(opened, study, examples, _sites(opened, layers), seed, out, common)


def _sites(model: LanguageModel, layers: Sequence[int]) -> list[Site]:
    from monosema.core import Site

    return [Site(layer, "resid_post") for layer in layers or range(model.n_layers)]


def _probes(
    model: LanguageModel,
    subject: Subject | None,
    examples: Examples,
    sites: list[Site],
    seed: int,
    out: Path | None,
    common: Common,
) -> int:
    from monosema.probing import LATENT_PROBES, PROBES, all_activations, judge, judge_pooled, last_activations

    places = last_activations(model, sites, examples.texts)
    judged = [judge(name, kind, places, examples, seed) for name, kind in PROBES.items()]
    best = max(judged, key=lambda one: one.validated)
    judged.append(judge_pooled(all_activations(model, best.site, examples.texts), best.site, examples, seed))
    if subject is not None:
        site = subject.site
        x = last_activations(model, [site], examples.texts)[site]
        codes = {site: subject.dictionary.encode(x.to(model.device)).dense().detach().float().cpu()}
        judged += [judge(name, kind, codes, examples, seed) for name, kind in LATENT_PROBES.items()]
    if out is not None:
        _write(best, examples, out, model)
    values = {
        "concept": examples.name,
        "classes": list(examples.classes),
        "fitted_on": int((~examples.test).sum()),
        "tested_on": int(examples.test.sum()),
        "probes": [one.to_dict() for one in judged],
    }
    return deliver(values, common, lambda console: _show(judged, examples, out, model, console))


def _write(best: Judged, examples: Examples, out: Path, model: LanguageModel) -> None:
    """Write the direction of the probe that validated best; added once it is the difference of the classes' means."""
    import torch

    from monosema.probing import last_activations
    from monosema.steering import Add, Direction, Edit, Steering, write_steering

    if best.fitted is None or best.fitted.direction is None:
        raise InputError(f"A {best.method} probe reads along no one direction, so there is none to write.")
    x = last_activations(model, [best.site], examples.texts)[best.site]
    ones, fit = torch.from_numpy(examples.labels == 1), torch.from_numpy(~examples.test)
    apart = x[ones & fit].mean(0) - x[~ones & fit].mean(0)
    unit = best.fitted.direction / best.fitted.direction.norm()
    name = f"{examples.name}: {examples.classes[1]} by {best.method}"
    direction = Direction(best.site, unit * float(apart @ unit), name)
    write_steering(out, Steering([Edit(direction, Add(1.0), unit="raw")]), model)


def _of_decoder(
    model: LanguageModel,
    study: str,
    examples: Examples,
    sites: list[Site],
    seed: int,
    out: Path | None,
    common: Common,
) -> int:
    import torch

    from monosema.data import TextConfig, open_corpus, token_batches
    from monosema.models import require_decoder
    from monosema.probing import intervene_at_inference, tcav, truthful_heads

    decoder = require_decoder(model)
    if study == "heads":
        heads = truthful_heads(decoder, examples, seed)
        plain = [{"head": one.name, "accuracy": one.validated} for one in heads]
        return deliver({"heads": plain}, common, lambda console: _show_heads(decoder, heads, console))
    if study == "tcav":
        other, answer = (decoder.tokenizer.id(f" {name}") for name in examples.classes)
        found = tcav(decoder, examples, sites, answer, other, seed)
        return deliver({"tcav": [one.to_dict() for one in found]}, common, lambda c: _show_tcav(found, examples, c))
    config = TextConfig(window=128, batch=8, tokens=6_000, split="heldout")
    windows = [one.tokens for one in token_batches(open_corpus("builtin"), model.tokenizer, config)]
    whole = [rows.to(model.device) for rows in windows if rows.shape == torch.Size((8, 128))]
    _, rows, kept = intervene_at_inference(decoder, examples, whole, seed)
    if out is not None:
        _write_intervention(rows, kept, out, decoder)
    return deliver({"interventions": [one.to_dict() for one in rows]}, common, lambda c: _show_rows(rows, c))


def _write_intervention(
    rows: Sequence[Intervention], kept: dict[Literal["shift", "gain"], Steering], out: Path, model: Transformer
) -> None:
    from monosema.steering import write_steering

    better = max(kept, key=lambda kind: next(one.gained.value for one in rows if one.name == kind))
    write_steering(out, kept[better], model)


def _said(figure: Estimate | None) -> str:
    return "–" if figure is None else f"{figure.value:.2f} [{figure.low:.2f}, {figure.high:.2f}]"


def _show(
    judged: Sequence[Judged], examples: Examples, out: Path | None, model: LanguageModel, console: Console
) -> None:
    fitted, tested = int((~examples.test).sum()), int(examples.test.sum())
    said = f"{examples.classes[1]} or {examples.classes[0]}; fitted on {fitted:,} texts, tested on {tested:,} others"
    console.print(Text.assemble((examples.name, "bold"), f": {translate(said)}"))
    figures: dict[str, Callable[[Judged], str]] = {
        "at": lambda one: one.site.short,
        "setting": lambda one: f"{one.setting:g}",
        "validated": lambda one: f"{one.validated:.2f}",
        "accuracy": lambda one: _said(one.accuracy),
        "AUROC": lambda one: _said(one.auroc),
    }
    controls: dict[str, Callable[[Judged], str]] = {
        "larger class": lambda one: f"{one.majority:.2f}",
        "calibration error": lambda one: f"{one.error:.2f}",
        "selectivity": lambda one: "–" if one.selectivity is None else f"{one.selectivity:+.2f}",
        "AUROC, shuffled": lambda one: _said(one.leak),
        "after LEACE": lambda one: _said(one.erased),
    }
    for columns in (figures, controls):
        table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
        table.add_column("probe", no_wrap=True)
        for name in columns:
            table.add_column(name, justify="left" if name == "at" else "right", overflow="fold")
        for one in judged:
            table.add_row(one.method, *(say(one) for say in columns.values()))
        console.print(table)
        console.print()
    if out is not None:
        said = f"The direction is in {out}: steer with it by --steering {out}."
        opens = f"To open it as a feature: monosema run --dictionary {out} --model {model.name} --out runs/{out.stem}"
        for line in (said, opens):
            console.print(Text(translate(line), style="dim"), soft_wrap=True)


def _show_heads(model: Transformer, heads: Sequence[HeadDirection], console: Console) -> None:
    by_place = {(one.layer, one.head): one.validated for one in heads}
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("layer", justify="right")
    for head in range(model.n_heads):
        table.add_column(f"h{head}", justify="right")
    for layer in range(model.n_layers):
        cells = []
        for head in range(model.n_heads):
            value = by_place[layer, head]
            green = round(255 - 190 * max(0.0, 2 * value - 1))
            cells.append(Text(f"{100 * value:.0f}", style=f"black on rgb(255,{green},{max(green - 60, 0)})"))
        table.add_row(str(layer), *cells)
    console.print(table)
    console.print("Accuracy in cross-validation of a mass-mean probe on each head's part of z, per cent.")


def _show_rows(rows: Sequence[Intervention], console: Console) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for heading in ("intervention", "heads", "α", "right", "gained", "loss on other text"):
        table.add_column(heading, justify="left" if heading == "intervention" else "right")
    for one in rows:
        cells = [_said(one.accuracy), _said(one.gained), _said(one.cost)]
        table.add_row(Text(translate(one.name)), str(one.heads), f"{one.alpha:+g}", *cells)
    console.print(table)
    best = max((one for one in rows if one.name in ("shift", "gain")), key=lambda one: one.gained.value)
    holds = best.gained.low > 0 and best.gained.value >= 0.05
    verdict = "gains 5 points or more" if holds else "does not gain 5 points: it failed"
    console.print(Text(translate(f"On texts that were not seen the better one, {best.name}, {verdict}.")))


def _show_tcav(found: Sequence[Tcav], examples: Examples, console: Console) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for heading in ("site", "TCAV score", "random labels", "p"):
        table.add_column(heading, justify="left" if heading == "site" else "right")
    for one in found:
        values = one.to_dict()
        table.add_row(one.site.short, f"{values['score']:.2f}", f"{values['random']:.2f}", f"{one.p:.2g}")
    console.print(table)
    said = (
        f"Share of texts whose answer {examples.classes[1]} the direction raises, means of {len(found[0].scores)} fits."
    )
    console.print(Text(translate(said), style="dim"))
