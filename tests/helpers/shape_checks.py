"""Annotated shapes are checked at run time, in the functions and classes that have any.

jaxtyping's own hook wraps every function of the package, and checks every call: half of the tests' time. Here each
combination of shapes is checked when it first comes; what is annotated besides shapes, mypy has checked.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import jaxtyping
from beartype import beartype
from jaxtyping import _import_hook, install_import_hook, jaxtyped

_SHAPES = "Bool|Float|Int|Int8|Int64|Shaped|UInt64"
_names: set[str] = set()


def checked(wrapped: Any) -> Any:
    """Check the shapes of a dataclass, or those of a function's arguments and result, once for each combination."""
    if isinstance(wrapped, type):
        return jaxtyped(wrapped, typechecker=beartype)
    strict: Callable[..., Any] | None = None
    seen: set[Hashable] = set()

    @functools.wraps(wrapped)
    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal strict
        key = (*map(_kind, args), *((name, _kind(value)) for name, value in kwargs.items()))
        if key in seen:
            return wrapped(*args, **kwargs)
        strict = strict or jaxtyped(wrapped, typechecker=beartype)
        result = strict(*args, **kwargs)
        seen.add(key)
        return result

    return call


def _kind(value: Any) -> Hashable:
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return type(value), tuple(value.shape), value.dtype
    return value if isinstance(value, int) else type(value)


class _OnlyShapes(_import_hook.JaxtypingTransformer):
    def __init__(self, *, typechecker: Any) -> None:
        super().__init__(typechecker=typechecker)
        self._typechecker = self

    @staticmethod
    def get_ast() -> ast.expr:
        """Return the decorator."""
        return ast.parse("jaxtyping.checked", mode="eval").body

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:  # noqa: N802
        return super().visit_FunctionDef(node) if _has_shapes(node) else node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:  # noqa: N802
        fields = [field for field in node.body if isinstance(field, ast.AnnAssign)]
        return super().visit_ClassDef(node) if any(map(_has_shapes, fields)) else self.generic_visit(node) or node


def _has_shapes(node: ast.AST) -> bool:
    return any(isinstance(part, ast.Name) and part.id in _names for part in ast.walk(node))


def check_shapes(package: str) -> None:
    """Check the annotated shapes of all of a package that is imported from now on, those that have a name included."""
    found = importlib.util.find_spec(package)
    assert found is not None
    assert found.origin is not None
    _names.update(_SHAPES.split("|"))
    for path in Path(found.origin).parent.rglob("*.py"):
        _names.update(re.findall(rf"^(\w+) = .*\b(?:{_SHAPES})\[", path.read_text(encoding="utf-8"), re.MULTILINE))
    _import_hook.JaxtypingTransformer = _OnlyShapes
    jaxtyping.checked = checked
    # The hook keeps compiled modules under this name.
    install_import_hook(package, "shape_checks.checked")
