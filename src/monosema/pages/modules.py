"""ES modules of `static/`, joined into one script for pages that have no server to load them from.

The app loads the modules as they are; the report and notebooks get one script, in which each module is a function of
its own that returns its exports. The modules keep to a part of the language that can be joined by looking at its lines:
``import {a, b as c} from "./x.js";``, ``import "./x.js";``, and ``export`` before a function, a class or a constant.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files

_IMPORT = re.compile(r'^import (?:\{([^}]*)\} from )?"(\.{1,2}/[\w./-]+\.js)";\n', re.M)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|class|const)\*? +(\w+))", re.M)
_COMMENT = re.compile(r"^ *(?://[^\n]*|/\*\*(?:(?!\*/).)*\*/)\n", re.M | re.S)
_OTHER = re.compile(r"^(?:import|export)\b.*", re.M)


@cache
def static(name: str) -> str:
    """Return the text of a file of `static/`."""
    return (files("monosema.pages") / "static" / name).read_text(encoding="utf-8")


@cache
def join(*entries: str) -> str:
    """Return one script that runs these modules and all that they import, each once and what is imported first.

    Args:
        entries: names of files of `static/`. The exports of ``data.js`` are the script's constant ``$data``.

    Raises:
        ValueError: a module uses another form of import or export, or modules import each other in a circle.
    """
    done: dict[str, str] = {}
    for entry in entries:
        _add(entry, done, ())
    return '"use strict";\n' + "\n".join(done.values())


def lean(text: str) -> str:
    """Return a module without the whole lines of comments, and of types in them, that no browser needs."""
    return _COMMENT.sub("", text)


def digest(script: str) -> str:
    """Return the source by which a Content-Security-Policy knows a script."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def _add(name: str, done: dict[str, str], above: tuple[str, ...]) -> None:
    if name in done:
        return
    if name in above:
        raise ValueError(f"Modules import each other in a circle: {' → '.join((*above, name))}.")
    text = static(name)
    for _, path in _IMPORT.findall(text):
        _add(_beside(name, path), done, (*above, name))

    def taken(found: re.Match[str]) -> str:
        names = (found[1] or "").replace(" as ", ": ").strip()
        return f"const {{ {names} }} = {_constant(_beside(name, found[2]))};\n" if names else ""

    exports = ", ".join(found[1] for found in _EXPORT.finditer(text))
    body = lean(_EXPORT.sub("", _IMPORT.sub(taken, text)))
    if other := _OTHER.search(body):
        raise ValueError(f"{name} has a line that can't be joined: {other[0]}")
    done[name] = f"const {_constant(name)} = (() => {{\n{body}return {{ {exports} }};\n}})();"


def _beside(name: str, path: str) -> str:
    """Return the name in `static/` that a path in the module `name` means."""
    parts = name.split("/")[:-1]
    for part in path.split("/"):
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def _constant(name: str) -> str:
    return "$" + re.sub(r"\W", "_", name.removesuffix(".js"))
