"""The documentation strings and topics of the running Python's standard library.

Source files are parsed, never imported, so nothing happens but reading.
"""

from __future__ import annotations

import ast
import sysconfig
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path

SKIPPED = frozenset({"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__", "lib-dynload"})
"""Folders that hold no documentation of the library."""

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@cache
def library_files() -> tuple[tuple[str, Path], ...]:
    """(path within the library, file) of every source file, in the order of the paths."""
    root = Path(sysconfig.get_paths()["stdlib"])
    found = []
    pending = [root]
    while pending:
        for path in pending.pop().iterdir():
            if path.is_dir():
                if path.name not in SKIPPED and not path.name.startswith("config-"):
                    pending.append(path)
            elif path.suffix == ".py":
                found.append((path.relative_to(root).as_posix(), path))
    return tuple(sorted(found))


def topics() -> Iterator[tuple[str, str]]:
    """(source, text) of each topic of Python's interactive help, such as the one on ``for``."""
    from pydoc_data.topics import topics as texts

    for name, text in sorted(texts.items()):
        yield f"topic/{name}", text.strip()


def documentation() -> Iterator[tuple[str, str]]:
    """(source, text) of the documentation in each module: its own and its functions', then each class's.

    A definition is written as its signature and, indented below, its documentation string. What says the same as
    something before it is left out, and what has no documentation string too.
    """
    seen: set[str] = set()
    for name, path in library_files():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            continue
        module = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for text in _module_texts(tree, module, seen):
            yield f"stdlib/{module}", text


def _module_texts(tree: ast.Module, module: str, seen: set[str]) -> Iterator[str]:
    own = [f"Module {module}", doc] if (doc := _new_docstring(tree, seen)) else []
    classes = []
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            classes.append("\n\n".join(_definition(node, module, seen)))
        elif isinstance(node, Definition):
            own += _definition(node, module, seen)
    yield from (text for text in ("\n\n".join(own), *classes) if text)


def _definition(node: Definition, owner: str, seen: set[str]) -> list[str]:
    """The definition itself and those in a class's body, those without documentation left out."""
    parts = []
    if doc := _new_docstring(node, seen):
        indented = "\n".join(f"    {line}" if line else "" for line in doc.splitlines())
        parts.append(f"{_signature(node, owner)}\n{indented}")
    if isinstance(node, ast.ClassDef):
        for inner in node.body:
            if isinstance(inner, Definition):
                parts += _definition(inner, f"{owner}.{node.name}", seen)
    return parts


def _signature(node: Definition, owner: str) -> str:
    if isinstance(node, ast.ClassDef):
        bases = ", ".join(ast.unparse(base) for base in node.bases)
        return f"class {owner}.{node.name}({bases})" if bases else f"class {owner}.{node.name}"
    return f"{owner}.{node.name}({ast.unparse(node.args)})"


def _new_docstring(node: ast.Module | Definition, seen: set[str]) -> str | None:
    doc = ast.get_docstring(node)
    if not doc or doc in seen:
        return None
    seen.add(doc)
    return doc
