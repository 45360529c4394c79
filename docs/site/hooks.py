"""The site's sources, gathered: docs/, the READMEs, measurements, the model's card, the API and the tutorial.

Documents link each other as they lie in the repository. On the site a link to one of them leads to its page, and what
has no page (code, licences) is named without a link.
"""

from __future__ import annotations

import json
import posixpath
import re
import shutil
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
GATHERED = ROOT / "build/docs"
STATIONS = sorted(path.parent.name for path in (ROOT / "src/monosema").glob("*/__init__.py"))
OUTSIDE = {
    "README.md": "index.md",
    "README.ko.md": "index.ko.md",
    "CHANGELOG.md": "changelog.md",
    "src/monosema/models/specimen/MODEL_CARD.md": "model-card.md",
}
"""Pages that lie outside docs/ and the measurements, by their path in the repository."""
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]*)(#[^)\s]*)?\)")


def on_config(config: Any) -> Any:
    """Gather the sources, and let the site be made of them."""
    gather(GATHERED)
    config["docs_dir"] = str(GATHERED)
    return config


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Leave the reference, made from docstrings, to the English site: a name has one page."""
    target = page.file.dest_uri.removeprefix("ko/")
    if target == page.file.dest_uri or not target.startswith("api/"):
        return markdown
    title = markdown.partition("\n")[0]
    return f"{title}\n\n이 참조는 코드의 영어 설명에서 만들어집니다: <a href='../../{target}'>{title.strip('# ')}</a>\n"


def gather(out: Path) -> None:
    """Write the sources of all pages into a folder that is made anew."""
    shutil.rmtree(out, ignore_errors=True)
    pages = {path: page for path, page in OUTSIDE.items() if (ROOT / path).is_file()}
    for path in sorted((ROOT / "docs").rglob("*.md")):
        pages[path.relative_to(ROOT).as_posix()] = path.relative_to(ROOT / "docs").as_posix()
    for path in sorted((ROOT / "benchmarks/results").glob("*.md")):
        pages[path.relative_to(ROOT).as_posix()] = f"results/{path.name}"
    for source, page in pages.items():
        _write(out / page, _led((ROOT / source).read_text(encoding="utf-8"), source, page, pages))
    for folder, place in (("docs", ""), ("benchmarks/results", "results")):
        for suffix in ("svg", "png"):
            for picture in (ROOT / folder).rglob(f"*.{suffix}"):
                target = out / place / picture.relative_to(ROOT / folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(picture, target)
    _write(out / "tutorial.md", notebook(ROOT / "docs/tutorial.ipynb"))
    listed = " · ".join(f"[{name}](monosema.{name}.md)" for name in STATIONS)
    _write(out / "api/monosema.md", f"# monosema\n\nPackages: {listed}\n\n::: monosema\n")
    for name in STATIONS:
        _write(out / f"api/monosema.{name}.md", f"# monosema.{name}\n\n::: monosema.{name}\n")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _led(text: str, source: str, page: str, pages: dict[str, str]) -> str:
    """Return a page's text with its links led to pages of the site."""

    def lead(match: re.Match[str]) -> str:
        picture, words, target, anchor = match[1], match[2], match[3], match[4] or ""
        if not target or "://" in target:
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if path == "docs/tutorial.ipynb":
            inside = "tutorial.md"
        elif path in pages:
            inside = pages[path]
            if inside.endswith(".ko.md") and not page.endswith(".ko.md"):
                return f'<a href="ko/{inside.removesuffix(".ko.md")}.html">{words}</a>'
            inside = inside.replace(".ko.md", ".md")  # a page of a language links pages of its own
        elif picture:
            inside = path.removeprefix("docs/").replace("benchmarks/results/", "results/")
        else:
            return words
        return f"{picture}[{words}]({posixpath.relpath(inside, posixpath.dirname(page) or '.')}{anchor})"

    return _LINK.sub(lead, text)


def notebook(path: Path) -> str:
    """Return a notebook as Markdown: its texts, its code, and what the code gave."""
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            plain = "".join(output.get("text", data.get("text/plain", [])))
            if "text/html" in data:
                parts.append("".join(data["text/html"]))
            elif plain.strip():
                parts.append(f"```text\n{plain.rstrip()}\n```")
    return "\n\n".join(parts) + "\n"
