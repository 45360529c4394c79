"""The pages' shells and their static files: HTML with the facts of a page; its module in static/app/ does the rest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cache, partial
from importlib.resources import files
from types import MappingProxyType
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, Response

from monosema.core import MonosemaError
from monosema.server.errors import NOT_FOUND, NotFoundError, language_of
from monosema.server.library import ServedRun
from monosema.server.state import OfRun

router = APIRouter(include_in_schema=False)
TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".json": "application/json"}
"""Types of static files; others are not served."""


def page(
    request: Request, name: str, title: str, shown: Mapping[str, Any] = MappingProxyType({}), **facts: Any
) -> HTMLResponse:
    """Return the shell of a page: `shown` is what its template says, `facts` what its module is told."""
    from monosema.pages.packing import script_json
    from monosema.pages.report import environment
    from monosema.pages.words import languages, say

    found = sorted(request.app.state.serving.library.runs(), key=_is_damaged)
    runs = [{"name": one.name, "folder": str(one.folder)} for one in found]
    spoken = languages()
    if "accept-language" in request.headers:
        spoken["language"] = language_of(request)
    known = {"page": name, "title": title, **spoken, "words": [], "runs": runs, **facts}
    template = environment().get_template(f"app/{name}.html.j2")
    text = template.render(page=name, title=title, facts=script_json(known), **{"say": say, **shown})
    return HTMLResponse(text, headers={"vary": "accept-language"})


def trouble(request: Request, message: str, status: int) -> HTMLResponse:
    """Return a page that says what was wrong with an address, with a way back."""
    title = "Nothing here" if status == NOT_FOUND else "This page can’t be shown"
    answer = page(request, "trouble", title, {"message": message})
    answer.status_code = status
    return answer


def _drawer(request: Request) -> Callable[..., HTMLResponse]:
    return partial(page, request)


Draw = Annotated[Callable[..., HTMLResponse], Depends(_drawer)]
"""Parameter of a route: draws a page for the request."""


def _is_damaged(run: ServedRun) -> bool:
    """Return whether a run can't be opened, so that the pages don't begin with it."""
    try:
        return run.run is None
    except MonosemaError:
        return True


@router.get("/")
def runs(draw: Draw) -> HTMLResponse:
    """Show all runs."""
    return draw("runs", "Runs")


@router.get("/runs/{run}")
def run(run: OfRun, draw: Draw) -> HTMLResponse:
    """Show one run: what its report says, as far as it is made."""
    from monosema.pages.report import said

    try:
        shown = said(*run.report)
    except MonosemaError as error:
        shown = {"data": None, "problem": str(error)}
    return draw("run", run.name, shown, run=run.name)


@router.get("/runs/{run}/features")
def features(run: OfRun, draw: Draw) -> HTMLResponse:
    """Show the list of features."""
    return draw("features", f"Features of {run.name}", run=run.name)


@router.get("/runs/{run}/features/{latent}")
def feature(run: OfRun, latent: int, draw: Draw) -> HTMLResponse:
    """Show one feature."""
    return draw("feature", f"Feature {latent} of {run.name}", run=run.name, latent=latent)


@router.get("/runs/{run}/circuits")
def circuits(run: OfRun, draw: Draw) -> HTMLResponse:
    """Show the list of circuits."""
    return draw("circuits", f"Circuits of {run.name}", run=run.name, circuit=None)


@router.get("/runs/{run}/circuits/{circuit}")
def circuit(run: OfRun, circuit: str, draw: Draw) -> HTMLResponse:
    """Show one circuit."""
    return draw("circuits", f"Circuit {circuit} of {run.name}", run=run.name, circuit=circuit)


def _alone(name: str, title: str) -> None:
    """Serve a page that belongs to no run."""

    @router.get(f"/{name}", name=name)
    def alone(draw: Draw) -> HTMLResponse:
        return draw(name, title)


for _name, _title in {
    "prompt": "Prompt",
    "steer": "Steer",
    "jobs": "Jobs",
}.items():
    _alone(_name, _title)


@router.get("/compare")
def compare(draw: Draw) -> HTMLResponse:
    """Show two runs side by side."""
    from monosema.pages.glossary import METRICS

    return draw("compare", "Compare", metrics=[asdict(metric) for metric in METRICS])


@router.get("/help")
def help_(draw: Draw) -> HTMLResponse:
    """Show keys, terms, controls and the API."""
    from monosema.pages.help import help_page

    return draw("help", "Help", help_page())


@router.get("/static/{path:path}")
def static(path: str, request: Request) -> Response:
    """Serve a file of pages/static; style.css is the style sheet of all pages with the charts' palette."""
    body, kind, tag = _static(path)
    headers = {"etag": tag, "cache-control": "no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(body, media_type=kind, headers=headers)


@cache
def _static(path: str) -> tuple[bytes, str, str]:
    """Return a file's bytes, its type and its tag."""
    home = files("monosema") / "pages" / "static"
    parts = path.split("/")
    suffix = "." + parts[-1].rpartition(".")[2]
    if path == "style.css":
        body = _style().encode()
    elif suffix in TYPES and all(part.strip(".") and "\\" not in part and "\0" not in part for part in parts):
        source = home.joinpath(*parts)
        if not source.is_file():
            raise NotFoundError("There is nothing at this address.")
        body = source.read_bytes()
        if suffix == ".js":
            from monosema.pages.modules import lean

            body = lean(body.decode()).encode()
    else:
        raise NotFoundError("There is nothing at this address.")
    return body, TYPES[suffix], f'"{hashlib.sha256(body).hexdigest()[:16]}"'


def _style() -> str:
    from monosema.pages.report import style

    own = files("monosema") / "pages" / "static" / "app" / "app.css"
    return style() + (own.read_text(encoding="utf-8") if own.is_file() else "")
