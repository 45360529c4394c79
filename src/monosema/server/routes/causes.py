"""Causes: what a feature does to the model's predictions beside others, and its places in the run's circuits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from monosema.circuits.of_latent import Place, places_of
from monosema.core import InputError, MonosemaError
from monosema.models import LanguageModel
from monosema.server.library import ServedRun
from monosema.server.routes.circuits import folders, read_graph
from monosema.server.routes.features import Latent, known
from monosema.server.routes.prompts import events
from monosema.server.schemas import Measured
from monosema.server.state import OfRun, Served, Serving, Spoken
from monosema.server.worker import Source

router = APIRouter(prefix="/api/runs/{run}/features/{latent}/causes", tags=["features"])


class CausesOf(BaseModel):
    """Figures of a feature, beside those of others that were drawn at random.

    Attributes:
        figures: by name: input, output, confidence, loss, kl, and random_loss and random_kl of a random direction.
        raised, lowered: tokens whose probability it raises or lowers most where it fires, and by how much.
        absent: why figures are left out, by name.
        tokens, passages: on how many it was taken out.
        others: the others' figures by name, the smallest first.
        drawn: the others.
    """

    latent: int
    figures: dict[str, Measured]
    raised: list[tuple[str, float]]
    lowered: list[tuple[str, float]]
    absent: dict[str, str]
    tokens: int
    passages: int
    others: dict[str, list[float]]
    drawn: list[int]


class FeatureCauses(BaseModel):
    """Causes of a feature: null where they were not measured yet; and its places in the run's circuits."""

    causes: CausesOf | None
    circuits: list[Place]


@router.get("", response_model=FeatureCauses)
def causes(run: OfRun, latent: Latent, served: Served) -> Any:
    """Give what was measured of a feature before, and its places in the run's circuits."""
    from monosema.interpretation.causes import kept_causes

    kept = kept_causes(run.atlas, known(run, latent)) if served.model is None else None
    return {"causes": None if kept is None else kept.to_dict(), "circuits": _places(run, latent)}


@router.post("", response_class=StreamingResponse, responses={200: {"content": {"text/event-stream": {}}}})
def measured(run: OfRun, latent: Latent, served: Served, spoken: Spoken) -> StreamingResponse:
    """Measure a feature with the run's model in float32, as server-sent events; what was measured is kept in the run.

    Events: `progress` {done, total}, then `causes`, or `error`.
    """
    if run.run.recipe.of_items:
        raise InputError("This run is of items: there is no model whose predictions a feature could change.")
    shown = known(run, latent)

    def work(model: LanguageModel) -> Iterator[tuple[str, dict[str, Any]]]:
        from monosema.interpretation.causes import CauseFinder, JudgedCauses

        for step in CauseFinder(run.atlas, model, run.dictionary, keep=served.model is None).steps(shown):
            if isinstance(step, JudgedCauses):
                yield "causes", CausesOf.model_validate(step.to_dict()).model_dump()
            else:
                yield "progress", {"done": step[0], "total": step[1]}

    return events(served, _source(served, run), work, spoken)


def _source(served: Serving, run: ServedRun) -> Source:
    """Return the model in float32, or two models as the run has them."""
    return served.source(run) if run.run.recipe.other_model else served.precise(run)


def _places(run: ServedRun, latent: int) -> list[Place]:
    graphs = {}
    for folder in folders(run):
        try:
            graphs[folder.name] = read_graph(folder)
        except MonosemaError:
            continue  # the list of circuits says what is wrong with it
    return places_of(latent, graphs, run.name)
