"""graph: the attribution graph of a prompt's next token over transcoders."""

from __future__ import annotations

from collections.abc import Mapping
from os.path import relpath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from monosema.cli.common import DEFAULTS, Common, deliver, errors_console
from monosema.cli.printing import slug
from monosema.core import ConfigError, InputError, RunError, Site, atomic_path, write_json
from monosema.core.language import translate

if TYPE_CHECKING:
    from monosema.circuits import GraphChecks, PromptGraph, Pruned

_LISTED = 12


def graph(
    prompt: str,
    /,
    *,
    transcoders: Path,
    model: str = "specimen",
    latents: int = 2000,
    nodes: float = 0.8,
    edges: float = 0.98,
    checks: int = 64,
    memory_mb: int = 1024,
    run: Path | None = None,
    out: Path | None = None,
    common: Common = DEFAULTS,
) -> int:
    """Trace a prompt's next token back to its tokens, through the latents of transcoders, and test the graph.

    Each MLP is written as the latents of its transcoder and an error, attention and norms are held, and edges are exact
    direct effects in what is left. Beside the scores of circuit-tracer stands what happens when latents are really
    taken out, with all else held and with the whole model running free.

    ```
    monosema graph "Tom and Anna went home. Tom gave a book to" --transcoders transcoders --out graphs/tom
    ```

    Parameters
    ----------
    prompt
        The text whose next token is explained.
    transcoders
        A folder with a dictionary, or a run, for each layer. monosema.recipes.transcoders makes one.
    model
        `specimen`, the embedded model; `smollm2`; a Hugging Face directory; a GGUF file; or a name on the hub.
    latents
        Latents in the graph at most: those of the largest effect on the logits.
    nodes
        Share of the influence of all nodes that pruning keeps.
    edges
        Share of the influence of the edges between those that pruning keeps.
    checks
        Latents that are taken out, one at a time, to test the graph.
    memory_mb
        Megabytes that a backward pass may take.
    run
        A run folder of this model, whose report and app show the graph.
    out
        Folder for graph.json, circuit-tracer.json and graph.dot. With --run: its circuits/PROMPT.
    """
    import torch

    from monosema.circuits import (
        GraphConfig,
        Replacement,
        check_graph,
        graph_of,
        prune,
        score_graph,
        show_graph,
        to_circuit_tracer,
    )
    from monosema.circuits.graph_files import to_dot
    from monosema.models import load_model, require_decoder
    from monosema.runs import Run
    from monosema.runs.encode import open_dictionaries

    if checks < 2:
        raise InputError(f"--checks {checks} is not valid: a correlation needs 2 or more.")
    try:
        config = GraphConfig(max_latents=latents, memory_mb=memory_mb)
    except ConfigError as error:
        raise InputError(str(error).replace("GraphConfig.max_", "--").replace("GraphConfig.", "--")) from None
    if run is not None:
        Run.open(run)
    coders, homes = open_dictionaries(transcoders)
    opened = require_decoder(load_model(model, dtype="float32", device=common.device))
    with errors_console().status(translate("tracing the prompt")):
        tokens = torch.tensor(opened.tokenizer.encode_batch([prompt]), device=opened.device)
        replacement = Replacement(opened, tokens, coders)
        traced = graph_of(replacement, config)
        pruned, scores = prune(traced, nodes, edges), score_graph(traced)
        tested = check_graph(replacement, traced, pruned, checks, common.seed or 0)
    labels = _labels(traced, pruned, homes)
    names = {opened.find(site).layer: homes[site].name if site in homes else "" for site in coders}
    about = {"replacement": scores.replacement, "completeness": scores.completeness}
    tests = {
        "constrained": tested.constrained.spearman,
        "freed": [
            {"free": row.name, "shown": row.shown and row.shown.to_dict(), "drawn": row.drawn and row.drawn.to_dict()}
            for row in tested.freed
        ],
        "taken out": {"shown": tested.shown, "drawn": tested.drawn},
    }
    findings = [
        f"Replacement score {scores.replacement:.2f}, completeness score {scores.completeness:.2f}.",
        *tested.sentences,
    ]
    place = out or (run and run / "circuits" / slug(prompt))
    if place is not None:
        known: dict[str, str | int | float | bool] = {**about, "prompt": prompt}
        known |= {"right": int(traced.logits[0]), "dictionaries": relpath(transcoders, place)}
        show_graph(traced, pruned, title=prompt, labels=labels, runs=names, about=known, notes=tuple(findings)).write(
            place
        )
        write_json(
            place / "circuit-tracer.json", to_circuit_tracer(traced, pruned, labels, slug=place.name, nodes=nodes)
        )
        with atomic_path(place / "graph.dot") as temporary:
            temporary.write_text(to_dot(traced, pruned, labels), encoding="utf-8")
    effects = traced.total_effects[0].tolist()
    kept = pruned.sources[: traced.n_latents].nonzero()[:, 0].tolist()
    listed = [_row(traced, index, effects[index], labels) for index in sorted(kept, key=lambda at: -abs(effects[at]))]
    values = {
        "model": opened.name,
        "prompt": prompt,
        "logits": dict(zip(traced.logit_texts, traced.probabilities.tolist(), strict=True)),
        "latents": traced.n_latents,
        "active": traced.n_active,
        "nodes": int(pruned.sources.sum()),
        "edges": int(pruned.edges.sum()),
        **about,
        **tests,
        "kept": listed,
    }
    return deliver(values, common, lambda console: _show(values, listed, tested, console))


def _labels(traced: PromptGraph, pruned: Pruned, homes: Mapping[Site | str, Path]) -> dict[tuple[int, int], str]:
    """Return labels of the latents that are kept, of layers whose dictionary lies in a run with an atlas."""
    from monosema.runs import Run

    labels = dict[tuple[int, int], str]()
    for site, path in homes.items():
        try:
            atlas = Run.open(path).atlas()
        except RunError:  # its features are not described yet
            continue
        layer = Site.parse(site).layer
        for source in pruned.sources[: traced.n_latents].nonzero()[:, 0].tolist():
            _, at, _, latent = traced.place(source)
            if at == layer and latent is not None and (label := atlas.feature(latent).label):
                labels[layer, latent] = label
    return labels


def _row(traced: PromptGraph, index: int, effect: float, labels: Mapping[tuple[int, int], str]) -> dict[str, Any]:
    layer, position, latent = traced.latents[index].tolist()
    return {
        "layer": layer,
        "position": position,
        "token": traced.texts[position],
        "latent": latent,
        "activation": float(traced.activations[index]),
        "effect": effect,
        "label": labels.get((layer, latent), ""),
    }


def _show(values: Mapping[str, Any], listed: list[dict[str, Any]], tested: GraphChecks, console: Console) -> None:
    from monosema.circuits.graph_checks import say

    said = ", ".join(f"{text!r} {share:.0%}" for text, share in list(values["logits"].items())[:5])
    console.print(Text.assemble((translate("next token"), "bold"), f": {said}"))
    counts = f"{values['active']:,} latents are active; {values['latents']:,} are in the graph"
    left = f"pruned: {values['nodes']:,} nodes, {values['edges']:,} edges"
    console.print(Text(f"{translate(counts)}; {translate(left)}"))
    scores = f"replacement score {values['replacement']:.2f}, completeness score {values['completeness']:.2f}"
    console.print(Text(translate(scores)))
    console.print(Text(translate(tested.sentences[0])))
    steps = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    steps.add_column(translate("whole effects on logits beside what happens (ρ)"))
    steps.add_column(translate(f"{tested.shown} latents shown"), justify="right", no_wrap=True)
    steps.add_column(translate(f"{tested.drawn} at random"), justify="right", no_wrap=True)
    for step in tested.freed:
        steps.add_row(translate(step.name), say(step.shown), say(step.drawn))
    console.print(steps)
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for name in ("layer", "token", "latent", "strength", "effect"):
        table.add_column(name, justify="left" if name == "token" else "right", no_wrap=True)
    table.add_column("label")
    for row in listed[:_LISTED]:
        figures = (f"{row['activation']:.2f}", f"{row['effect']:+.3f}")
        place = f"{row['token']!r} @{row['position']}"
        table.add_row(str(row["layer"]), place, str(row["latent"]), *figures, row["label"])
    console.print(table)
