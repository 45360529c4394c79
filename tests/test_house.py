"""The rules of the house that a linter can't hold."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import monosema

SOURCE = Path(monosema.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_nothing_imports_the_package_root(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert all(alias.name != "monosema" for alias in node.names), f"line {node.lineno}"
        if isinstance(node, ast.ImportFrom):
            assert node.module != "monosema", f"line {node.lineno}"
            assert node.level == 0, f"line {node.lineno}: imports are absolute"


def test_importing_the_package_imports_nothing_heavy() -> None:
    heavy = ("torch", "transformers", "datasets", "sklearn", "nltk", "plotly", "duckdb", "pyarrow")
    script = f"import sys, monosema, monosema.cli; print(sorted(set({heavy!r}) & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", script], text=True).strip() == "[]"


def test_every_station_names_what_is_public() -> None:
    for station in sorted(path.parent for path in SOURCE.glob("*/__init__.py")):
        tree = ast.parse((station / "__init__.py").read_text(encoding="utf-8"))
        names = {
            target.id
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        assert "__all__" in names, station.name
