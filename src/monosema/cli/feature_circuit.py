"""The circuit of a task over latents of dictionaries, for the verb `circuit`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from monosema.cli.common import Common, deliver
from monosema.cli.printing import number
from monosema.core import RunError, Site, write_json
from monosema.core.language import translate

if TYPE_CHECKING:
    from monosema.circuits import FeatureFound, FindConfig
    from monosema.circuits.judging import Said
    from monosema.models import Transformer

Labels = Mapping[tuple[Site, int], str]


def feature_circuit(
    model: Transformer, task: str, place: Path, config: FindConfig, said: Said, out: Path | None, common: Common
) -> int:
    """Find the feature circuit of a task over the dictionaries of a place, write it and deliver it."""
    from monosema.circuits import find_features
    from monosema.runs.encode import open_dictionaries

    dictionaries, homes = open_dictionaries(place)
    found = find_features(model, task, dictionaries, config, said)
    by_site = {
        written: homes.get(key) for key, written in zip(dictionaries, _written(found, list(dictionaries)), strict=True)
    }
    labels = _labels(found, by_site)
    if out is not None:
        own = out.parent.parent.resolve()
        others = {site: home for site, home in by_site.items() if home is None or home.resolve() != own}
        names = {site: "" if home is None else home.name for site, home in others.items()}
        write_json(out / "circuit.json", found.to_dict())
        found.shown(labels, names).write(out)
    values = {"model": model.name, **found.to_dict(), "labels": {f"{s.short}#{n}": t for (s, n), t in labels.items()}}
    return deliver(values, common, lambda console: _show(found, labels, console))


def _written(found: FeatureFound, keys: list[Site | str]) -> list[Site]:
    """Return the site that each dictionary writes, in the order of the keys."""
    nodes = found.scores.nodes
    place = {read[-1]: written for read, written in zip(nodes.reads, nodes.places, strict=True)}
    return [place[nodes.model.find(key)] for key in keys]


def _labels(found: FeatureFound, homes: Mapping[Site, Path | None]) -> Labels:
    from monosema.circuits.feature_finding import SHOWN
    from monosema.runs import Run

    labels = dict[tuple[Site, int], str]()
    shown = [found.scores.nodes[one] for one in found.scores.order()[:SHOWN].tolist()]
    for site, home in homes.items():
        if home is None:
            continue
        try:
            atlas = Run.open(home).atlas()
        except RunError:  # its features are not described yet
            continue
        latents = [node.latent for node in shown if node.site == site and node.latent is not None]
        labels |= {(site, latent): label for latent in latents if (label := atlas.feature(latent).label)}
    return labels


def _show(found: FeatureFound, labels: Labels, console: Console) -> None:
    from monosema.circuits import say

    right = f": {found.accuracy.value:.0%} of {len(found.contrasts)} held-out prompts right"
    console.print(Text.assemble((found.contrasts.task, "bold"), translate(right)))
    for sentence in found.sentences:
        console.print(Text(translate(sentence)))
    curve = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for name in ("nodes", "f", "f, without errors", "f, random"):
        curve.add_column(name, justify="right", no_wrap=True)
    without = {one.size: say(one.faithfulness) for one in found.dropped.curve}
    for one in found.trial.curve:
        drawn = "–" if one.random is None else say(one.random)
        curve.add_row(f"{one.size:,}", say(one.faithfulness), without.get(one.size, "–"), drawn)
    console.print(curve)
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for name in ("node", "predicted", "measured"):
        table.add_column(name, justify="left" if name == "node" else "right", no_wrap=True)
    table.add_column("label", overflow="fold")
    for index in found.scores.order()[:12].tolist():
        node, measured = found.scores.nodes[index], found.measured[index]
        label = "" if node.latent is None else labels.get((node.site, node.latent), "–")
        table.add_row(node.name, number(float(found.scores.values[index])), say(measured), Text(label))
    console.print(table)
