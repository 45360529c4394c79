"""Experiments as pages: a question, its answer in a sentence, figures and tables; as HTML and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monosema.core import atomic_path, write_json
from monosema.pages.report import environment, style
from monosema.pages.svg import Spec, svg


@dataclass(frozen=True)
class Figure:
    """A chart, and what it shows."""

    name: str
    spec: Spec
    caption: str


@dataclass(frozen=True)
class Table:
    """Rows of words under a head; the first column names the row."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, kw_only=True)
class ExperimentPage:
    """An experiment's result.

    Attributes:
        title, question: what was asked.
        verdict: the answer, a sentence with numbers.
        method: how it was done, a paragraph.
        figures, tables: what was found.
        notes: what an honest reader should know besides.
        values: the same as plain values, for JSON.
    """

    title: str
    question: str
    verdict: str
    method: str
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()
    notes: Sequence[str] = ()
    values: Mapping[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        """Write index.html, result.md, result.json and a picture of each figure; returns the path of the page."""
        folder.mkdir(parents=True, exist_ok=True)
        pictures = {figure.name: svg(figure.spec) for figure in self.figures}
        write_json(folder / "result.json", {"title": self.title, "verdict": self.verdict, **self.values})
        html = environment().get_template("experiment.html.j2").render(page=self, pictures=pictures, style=style())
        files = {"index.html": html, "result.md": self.markdown(), **{f"{n}.svg": p for n, p in pictures.items()}}
        for name, text in files.items():
            with atomic_path(folder / name) as temporary:
                temporary.write_text(text, encoding="utf-8")
        return folder / "index.html"

    def markdown(self) -> str:
        """Return the page as Markdown; its pictures are files beside it."""
        parts = [f"# {self.title}", self.question, f"**{self.verdict}**", self.method]
        parts += [f"![{figure.caption}]({figure.name}.svg)\n\n{figure.caption}" for figure in self.figures]
        parts += [f"{table.caption}\n\n{_rows(table)}" for table in self.tables]
        parts += ["\n".join(f"- {note}" for note in self.notes)] if self.notes else []
        return "\n\n".join(parts) + "\n"


def _rows(table: Table) -> str:
    rule = ["---", *("--:" for _ in table.head[1:])]
    return "\n".join(f"| {' | '.join(row)} |" for row in (table.head, rule, *table.rows))
