"""Circuits that were found in a run's model: their graphs, and parts of them tested by exchange."""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

from fastapi import APIRouter
from pydantic import BaseModel, Field

from monosema.circuits.latent_parts import LatentTrial
from monosema.circuits.parts import PartFigures, PartTrial
from monosema.circuits.shown import FILE, ShownGraph, graph_files
from monosema.core import InputError, MonosemaError, nearest
from monosema.core.language import translate
from monosema.models import LanguageModel
from monosema.server.errors import NotFoundError
from monosema.server.library import ServedRun
from monosema.server.state import OfRun, Served, Spoken
from monosema.server.text import Asking
from monosema.server.worker import Source

if TYPE_CHECKING:
    from monosema.runs import Recipe

router = APIRouter(prefix="/api/runs/{run}/circuits", tags=["circuits"])
MOST = 2_000_000
"""Edges and nodes that can be asked for; no file holds as many."""


class CircuitCard(BaseModel):
    """A circuit at a glance; `problem` says why it can't be read."""

    name: str
    title: str = ""
    edges: int = 0
    nodes: int = 0
    about: dict[str, Any] = {}
    problem: str | None = None


class CircuitList(BaseModel):
    """The circuits of a run."""

    circuits: list[CircuitCard]


class PartAsked(Asking):
    """A size, whose first edges or latents are tested by themselves; with nodes, the whole model without these."""

    size: int = Field(ge=0, le=MOST)
    nodes: list[Annotated[str, Field(min_length=1, max_length=200)]] = Field([], max_length=1000)


@router.get("", response_model=CircuitList)
def circuits(run: OfRun) -> Any:
    """List the circuits that lie in the run's folder."""
    return {"circuits": [_card(folder) for folder in folders(run)]}


@router.get("/{circuit}", response_model=ShownGraph)
def circuit(run: OfRun, circuit: str) -> Any:
    """Give a circuit's graph: nodes in rows and columns, edges by importance, faithfulness by size."""
    return read_graph(_folder(run, circuit))


@router.post("/{circuit}/test", response_model=PartFigures)
def tested(run: OfRun, circuit: str, asked: PartAsked, served: Served, spoken: Spoken) -> Any:
    """Test a part of a circuit on its prompts: what it keeps by itself, or what is lost without some nodes."""
    folder = _folder(run, circuit)
    read_graph(folder)
    changed = (folder / FILE).stat().st_mtime_ns

    def work(model: LanguageModel) -> PartFigures:
        try:
            tester = _tester(cast(Hashable, model), folder, changed)
        except InputError as error:
            return PartFigures(size=asked.size, absent=translate(str(error), spoken))
        return tester.test(asked.size, asked.nodes)

    return served.worker.call(_source(run.run.recipe), work)


def folders(run: ServedRun) -> list[Path]:
    """Return the folders of a run's circuits, by name."""
    return [path.parent for path in graph_files(run.folder)]


def _folder(run: ServedRun, name: str) -> Path:
    found = {folder.name: folder for folder in folders(run)}
    if name not in found:
        raise NotFoundError(f"The run {run.name} has no circuit {name[:80]!r}.{nearest(name[:80], found)}")
    return found[name]


def read_graph(folder: Path) -> ShownGraph:
    """Return the graph of a circuit's folder, read again where it has changed; MonosemaError for a damaged one."""
    return _kept(folder, (folder / FILE).stat().st_mtime_ns)


@lru_cache(8)
def _kept(folder: Path, changed: int) -> ShownGraph:
    return ShownGraph.read(folder)


@lru_cache(2)  # Models are hashed by identity.
def _tester(model: Any, folder: Path, changed: int) -> PartTrial | LatentTrial:
    shown = _kept(folder, changed)
    if shown.unit == "edges":
        return PartTrial(model, shown)
    if "dictionaries" not in shown.about:
        raise InputError("This graph’s file doesn’t say which dictionaries it can be tested with.")
    from monosema.runs.encode import open_dictionaries

    dictionaries, _ = open_dictionaries(folder / str(shown.about["dictionaries"]))
    return LatentTrial(model, shown, dictionaries)


def _card(folder: Path) -> CircuitCard:
    try:
        shown = read_graph(folder)
    except MonosemaError as error:
        return CircuitCard(name=folder.name, problem=str(error))
    return CircuitCard(
        name=folder.name, title=shown.title, edges=len(shown.edges), nodes=len(shown.nodes), about={**shown.about}
    )


def _source(recipe: Recipe) -> Source:
    """Return the run's model in float32, in which causes are measured."""
    from monosema.models import load_model

    name = recipe.model.name
    return Source(f"{name} float32 for circuits", lambda: load_model(name, dtype="float32"))
