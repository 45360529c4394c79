"""Annotated shapes are checked at run time, in the functions and classes that have any.

jaxtyping's own hook wraps every function of the package, which takes half of the tests' time; what is annotated
besides shapes, mypy has checked.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path

from beartype import beartype
from jaxtyping import _import_hook, install_import_hook

__all__ = ["beartype", "check_shapes"]

_SHAPES = "Bool|Float|Int|Int8|Int64|Shaped|UInt64"
_names: set[str] = set()


class _OnlyShapes(_import_hook.JaxtypingTransformer):
    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:  # noqa: N802
        return super().visit_FunctionDef(node) if _has_shapes(node) else self.generic_visit(node) or node

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
    # The hook keeps compiled modules under this name.
    install_import_hook(package, "shape_checks.beartype")
