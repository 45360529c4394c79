"""Features of a run: the list with its searches and filters, and one in full."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from monosema.core import InputError
from monosema.server.errors import NotFoundError
from monosema.server.listing import Filters, Labels, Sort, State
from monosema.server.schemas import FeatureDetail, FeatureList, Limit, Offset
from monosema.server.state import OfRun

router = APIRouter(prefix="/api/runs/{run}/features", tags=["features"])
Mode = Literal["words", "token", "effect"]
Ends = Annotated[
    str | None, Query(pattern=r"^[0-9.eE+-]{1,24}(,|\.\.)[0-9.eE+-]{1,24}$", description="Ends, such as 0.001,0.01.")
]
Text = Annotated[str, Query(max_length=2000)]
Latent = Annotated[int, Field(ge=0, le=2**31 - 1)]


@router.get("", response_model=FeatureList)
def features(
    run: OfRun,
    request: Request,
    q: Text = "",
    mode: Mode = "words",
    sort: Sort | None = None,
    alive: State = "alive",
    density: Ends = None,
    score: Ends = None,
    margin: Ends = None,
    labels: Labels = "any",
    latents: Annotated[str | None, Query(pattern=r"^\d{1,9}(,\d{1,9})*$", max_length=20_000)] = None,
    offset: Annotated[Offset, Query()] = 0,
    limit: Annotated[Limit, Query()] = 50,
) -> Response:
    """List features that fit a search and filters, a page of them at a time."""
    described = run.described
    tag = f'"{described.tables.state}"'
    headers = {"etag": tag, "cache-control": "no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    found = getattr(described.searches, mode)(q) if q.strip() else None
    chosen = None if latents is None else [int(one) for one in latents.split(",")]
    filters = Filters(alive, _ends(density), _ends(score), _ends(margin), labels, chosen)
    page = described.listing.page(filters, sort or ("fit" if found is not None else "margin"), offset, limit, found)
    about = {"run": run.name, "offset": offset, "limit": limit, "mode": mode if found is None else found.mode}
    return JSONResponse({**about, "note": None if found is None else found.note, **page}, headers=headers)


def _ends(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.replace("..", ",").split(","))
    except ValueError:
        raise InputError(f"{text!r} is no range. Give two numbers, such as 0.001,0.01.") from None
    return low, high


@router.get("/{latent}", response_model=FeatureDetail)
def feature(run: OfRun, latent: Latent, request: Request) -> Response:
    """Show one feature with all that its page shows."""
    tables = run.described.tables
    tag = f'"{tables.state}"'
    headers = {"etag": tag, "cache-control": "no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    try:
        shown = tables.feature(latent)
    except InputError as error:
        raise NotFoundError(str(error)) from None
    return JSONResponse(shown, headers=headers)
