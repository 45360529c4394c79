"""Features of a run: the list with its searches and filters, and one in full."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, nan
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from monosema.core import InputError, digest
from monosema.core.language import translate
from monosema.server.errors import NotFoundError, language_of
from monosema.server.library import ServedRun
from monosema.server.listing import Filters, Found, Labels, Sort, State
from monosema.server.replies import PlainJSON
from monosema.server.schemas import (
    Activations,
    ActivationsOf,
    FeatureDetail,
    FeatureList,
    LabelGiven,
    Limit,
    Offset,
    VoteGiven,
)
from monosema.server.state import OfRun, Served, Serving

if TYPE_CHECKING:
    from monosema.atlas import FiredText
    from monosema.models import LanguageModel

router = APIRouter(prefix="/api/runs/{run}", tags=["features"])
Mode = Literal["words", "token", "effect", "passage", "meaning"]
Ends = Annotated[str | None, Query(max_length=50, description="Ends, the lower first, such as 0.001,0.01.")]
_NUMBERS = re.compile(r"[0-9]{1,9}(,[0-9]{1,9})*")
Latent = Annotated[int, Path(ge=0, le=2**31 - 1)]


@dataclass(frozen=True)
class Question:
    """A query of a run's list of features."""

    run: ServedRun
    served: Serving
    text: str
    mode: Mode
    sort: Sort | None
    filters: Filters
    on: frozenset[int] = frozenset()

    def page(self, offset: int, limit: int, language: str) -> dict[str, Any]:
        """Return a part of the list, and how was searched."""
        found = self._found()
        sort: Sort = self.sort or ("margin" if found is None else "fit")
        page = self.run.described.listing.page(self.filters, sort, offset, limit, found)
        note = None
        if found is not None:
            note = found.note and translate(found.note, language)
            for line in page["features"]:
                line["why"] = line["why"] and translate(line["why"], language)
        about = {
            "run": self.run.name,
            "offset": offset,
            "limit": limit,
            "note": note,
            "waits": found is not None and found.waits,
        }
        return {**about, "mode": self.mode if found is None else found.mode, **page}

    def _found(self) -> Found | None:
        """Return what the search finds; None without a text. A blank is a token, but no word."""
        if not (self.text.strip() or (self.text and self.mode in ("token", "effect"))):
            return None
        if self.mode == "passage":
            return _fires_on(self.run, self.served, self.text, self.on)
        return self.run.described.find(self.text, self.mode)


async def _question(
    run: OfRun,
    served: Served,
    q: Annotated[str, Query(max_length=2000)] = "",
    mode: Mode = "words",
    sort: Sort | None = None,
    alive: State = "alive",
    density: Ends = None,
    score: Ends = None,
    margin: Ends = None,
    labels: Labels = "any",
    latents: Annotated[str | None, Query(max_length=20_000, description="Numbers of features, such as 3,17.")] = None,
    on: Annotated[
        str | None,
        Query(max_length=2000, description="Tokens of a passage, from 0, that features fire on, such as 3,17."),
    ] = None,
) -> Question:
    chosen = None if latents is None else _numbers(latents)
    filters = Filters(alive, _ends(density), _ends(score), _ends(margin), labels, chosen)
    return Question(run, served, q, mode, sort, filters, frozenset(() if on is None else _numbers(on)))


def _numbers(text: str) -> list[int]:
    if not _NUMBERS.fullmatch(text):
        raise InputError(f"{text[:80]!r} is no list of numbers. Give whole numbers with commas between, such as 3,17.")
    return [int(one) for one in text.split(",")]


Asked = Annotated[Question, Depends(_question)]
"""Parameter of a route: the list as a query asks for it."""


@router.get("/features", response_model=FeatureList)
async def features(asked: Asked, request: Request, offset: Offset = 0, limit: Limit = 50) -> Response:
    """List features that fit a search and filters, a page of them at a time."""

    def answer() -> Response:
        described, language = asked.run.described, language_of(request)
        headers = _headers(described.tables.state, *described.states.values(), language)
        if _is_known(request, headers):
            return Response(status_code=304, headers=headers)
        return PlainJSON(asked.page(offset, limit, language), headers=headers)

    waits = asked.mode == "passage"  # for the model, maybe long
    return await (run_in_threadpool(answer) if waits else asked.served.read(answer))


def _headers(*state: str) -> dict[str, str]:
    """Return headers by which a reader asks next time only whether anything has changed."""
    return {"etag": f'W/"{digest(state)}"', "cache-control": "no-cache", "vary": "accept-language"}


def _is_known(request: Request, headers: Mapping[str, str]) -> bool:
    return request.headers.get("if-none-match") == headers["etag"]


def _fires_on(run: ServedRun, served: Serving, text: str, on: frozenset[int]) -> Found:
    """Find features that fire on a passage, or on some of its tokens; `fit` is their activation as a part of their
    maximum."""
    import numpy as np

    tables, fired = run.described.tables, _fired(run, served, text)
    strongest: dict[int, tuple[float, int]] = {}
    for one in fired.firings:
        places = [pair for pair in zip(one.activations, one.positions, strict=True) if not on or pair[1] in on]
        if places:
            strongest[tables.row_of(one.latent)] = max(places)

    def why(row: int) -> str:
        value, place = strongest[row]
        return f"{value:.3g} on “{fired.tokens[place].strip()}”"

    rows = np.array(sorted(strongest), np.int64)
    values = np.array([strongest[row][0] for row in rows.tolist()], np.float64)
    return Found(rows, values / np.maximum(tables.columns["max"][rows], 1e-9), "passage", why)


def _fired(run: ServedRun, served: Serving, text: str) -> FiredText:
    from monosema.atlas import fires_on

    return served.with_model(run, lambda model: fires_on(run.atlas, model, run.dictionary, text, None))


def _ends(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.replace("..", ",").split(","))
    except ValueError:
        low = high = nan
    if not (isfinite(low) and isfinite(high)):
        raise InputError(f"{text!r} is no range. Give two numbers, such as 0.001,0.01.")
    if low > high:
        raise InputError(f"{text!r} is no range: its lower end comes first, as in {high:g},{low:g}.")
    return low, high


@router.get("/features/{latent}", response_model=FeatureDetail)
async def feature(run: OfRun, latent: Latent, request: Request, served: Served) -> Response:
    """Show one feature with all that its page shows."""

    def answer() -> Response:
        tables = run.described.tables
        headers = _headers(tables.state)
        if _is_known(request, headers):
            return Response(status_code=304, headers=headers)
        return PlainJSON(tables.feature(known(run, latent)), headers=headers)

    return await served.read(answer)


@router.post("/activations", response_model=Activations)
def activations_of(run: OfRun, served: Served, asked: ActivationsOf) -> Any:
    """Run a text through the model and the dictionary: each latent's activation on each token.

    Without `latents` they are those that fire, the nearest to their own maximum first.
    """
    fired = _fired(run, served, asked.text)
    found = {one.latent: one for one in fired.firings}
    wanted = list(found)[: asked.limit] if asked.latents is None else asked.latents
    tables = run.described.tables
    unknown = [latent for latent in wanted if latent >= len(tables)]
    if unknown:
        raise NotFoundError(f"There is no feature {unknown[0]}: this run has 0 to {len(tables) - 1}.")
    latents = {latent: [0.0] * len(fired.tokens) for latent in wanted}
    for latent in latents.keys() & found.keys():
        for position, value in zip(found[latent].positions, found[latent].activations, strict=True):
            latents[latent][position] = value
    maxima = {latent: float(tables.columns["max"][tables.row_of(latent)]) for latent in latents}
    labels = {latent: tables.labels[tables.row_of(latent)] for latent in latents}
    about = {"tokens": fired.tokens, "looked_at": fired.looked_at, "active": fired.active}
    costs = None if asked.without is None else _costs(run, served, asked.text, asked.without, len(fired.tokens))
    return {**about, "latents": latents, "maxima": maxima, "labels": labels, "costs": costs}


def _costs(run: ServedRun, served: Serving, text: str, latent: int, tokens: int) -> list[float | None]:
    """Return by how many nats each token gets less likely without a latent; None for the first."""
    from monosema.server.reading import DictionaryReading, PromptReading

    def read(model: LanguageModel) -> list[float | None]:
        before, without = DictionaryReading(PromptReading(model, text), run.dictionary).losses_without(latent)
        costs: list[float | None] = (without - before).tolist()
        return [None] * (tokens - len(costs)) + costs

    return served.with_model(run, read)


@router.post("/features/{latent}/label", response_model=FeatureDetail)
def label(run: OfRun, latent: Latent, given: LabelGiven) -> Any:
    """Label a feature in a person's name, in place of that person's earlier label; an empty text takes it back."""
    import monosema.atlas as station

    shown = known(run, latent)
    if given.text.strip():
        station.label(run.atlas, shown, given.text, given.author)
    else:
        station.unlabel(run.atlas, shown, given.author)
    return run.described.tables.feature(latent)


@router.post("/features/{latent}/vote", response_model=FeatureDetail)
def vote(run: OfRun, latent: Latent, given: VoteGiven) -> Any:
    """Say that an explanation is right (1) or wrong (-1), or take that back (0)."""
    import monosema.atlas as station

    shown = known(run, latent)
    if given.vote:
        station.vote(run.atlas, shown, given.vote > 0, given.voter, given.of)
    else:
        station.withdraw(run.atlas, shown, given.voter, given.of)
    return run.described.tables.feature(latent)


def known(run: ServedRun, latent: int) -> int:
    """Return the latent. Raises NotFoundError where the run has none of this number."""
    try:
        run.described.tables.row_of(latent)
    except InputError as error:
        raise NotFoundError(str(error)) from None
    return latent
