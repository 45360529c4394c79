"""Run the tutorial again, and keep what its cells give: python docs/site/execute.py [FOLDER]

FOLDER is where it runs; without it a temporary one.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "tutorial.ipynb"


def execute(folder: str) -> nbformat.NotebookNode:
    """Return the tutorial as it is after every cell was run in a folder; the first cell that fails is an error."""
    book = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(book, timeout=600, kernel_name="python3", resources={"metadata": {"path": folder}}).execute()
    for cell in book.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = _kept(cell.outputs)
    return book


def _kept(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Return what a cell printed, in one piece, before all else that it gave; warnings and progress are nobody's."""
    printed = "".join(one.text for one in outputs if one.get("name") == "stdout")
    shown = [one for one in outputs if one.output_type == "execute_result"]
    return [*([nbformat.v4.new_output("stream", text=printed)] if printed else []), *shown]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as fresh:
        nbformat.write(execute(sys.argv[1] if len(sys.argv) > 1 else fresh), NOTEBOOK)
