"""Templates, scripts and style of the pages, as text."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import jinja2

SCRIPTS = ("data.js", "heatmap.js", "plots.js", "table.js", "feature.js", "page.js")
"""Scripts of the report, in the order in which they must be read. All but page.js serve the web app too."""


@cache
def static(name: str) -> str:
    """A file of `pages/static` as text."""
    return (files("monosema.pages") / "static" / name).read_text(encoding="utf-8")


def scripts() -> str:
    """All scripts of the report in one."""
    return "\n".join(static(name) for name in SCRIPTS)


def style() -> str:
    """The style sheet."""
    return static("pages.css")


@cache
def environment() -> jinja2.Environment:
    """Jinja2 over `pages/templates`, everything escaped unless marked safe, an unknown name an error."""
    import jinja2

    def load(name: str) -> str | None:
        source = files("monosema.pages") / "templates" / name
        return source.read_text(encoding="utf-8") if source.is_file() else None

    return jinja2.Environment(
        loader=jinja2.FunctionLoader(load),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
