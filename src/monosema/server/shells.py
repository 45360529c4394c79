"""The pages' shells and their static files: HTML with the facts of a page; its module in static/app/ does the rest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from monosema.core import MonosemaError
from monosema.server.errors import NotFoundError
from monosema.server.library import ServedRun
from monosema.server.state import OfRun, Served, Serving

router = APIRouter(include_in_schema=False)
TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".json": "application/json"}
"""Types of static files; others are not served."""


def _page(
    name: str, serving: Serving, title: str, shown: Mapping[str, Any] = MappingProxyType({}), **facts: Any
) -> HTMLResponse:
    from monosema.pages.packing import script_json
    from monosema.pages.report import environment
    from monosema.pages.words import languages, say

    found = sorted(serving.library.runs(), key=_is_damaged)
    runs = [{"name": one.name, "folder": str(one.folder)} for one in found]
    known = {"page": name, "title": title, **languages(), "words": [], "runs": runs, **facts}
    template = environment().get_template(f"app/{name}.html.j2")
    return HTMLResponse(template.render(page=name, title=title, facts=script_json(known), **{"say": say, **shown}))


def _is_damaged(run: ServedRun) -> bool:
    """Return whether a run can't be opened, so that the pages don't begin with it."""
    try:
        return run.run is None
    except MonosemaError:
        return True


@router.get("/")
def runs(serving: Served) -> HTMLResponse:
    """Show all runs."""
    return _page("runs", serving, "Runs")


@router.get("/runs/{run}")
def run(run: OfRun, serving: Served) -> HTMLResponse:
    """Show one run: what its report says, as far as it is made."""
    from monosema.pages.report import said

    try:
        shown = said(*run.report)
    except MonosemaError as error:
        shown = {"data": None, "problem": str(error)}
    return _page("run", serving, run.name, shown, run=run.name)


@router.get("/runs/{run}/features")
def features(run: OfRun, serving: Served) -> HTMLResponse:
    """Show the list of features."""
    return _page("features", serving, f"Features of {run.name}", run=run.name)


@router.get("/runs/{run}/features/{latent}")
def feature(run: OfRun, latent: int, serving: Served) -> HTMLResponse:
    """Show one feature."""
    return _page("feature", serving, f"Feature {latent} of {run.name}", run=run.name, latent=latent)


def _alone(name: str, title: str) -> None:
    """Serve a page that belongs to no run."""

    @router.get(f"/{name}", name=name)
    def page(serving: Served) -> HTMLResponse:
        return _page(name, serving, title)


for _name, _title in {
    "prompt": "Prompt",
    "steer": "Steer",
    "jobs": "Jobs",
}.items():
    _alone(_name, _title)


@router.get("/compare")
def compare(serving: Served) -> HTMLResponse:
    """Show two runs side by side."""
    from monosema.pages.glossary import METRICS

    return _page("compare", serving, "Compare", metrics=[asdict(metric) for metric in METRICS])


@router.get("/help")
def help_(serving: Served) -> HTMLResponse:
    """Show keys, terms, controls and the API."""
    from monosema.pages.help import help_page

    return _page("help", serving, "Help", help_page())


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
