"""Features as files: JSON, Parquet, tab-separated, Neuronpedia's JSON, a page of its own."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response

from monosema.server.library import ServedRun
from monosema.server.routes.features import Asked, Latent, known
from monosema.server.state import OfRun, Spoken

router = APIRouter(prefix="/api/runs/{run}/features", tags=["export"])
MOST_IN_FULL = 200
"""Features with all their passages in one file at most."""
Rows = Sequence[dict[str, Any]]


def _json(run: ServedRun, rows: Rows, whole: bool, spoken: str) -> bytes:
    content: Any = rows[0] if whole and len(rows) == 1 else {"run": run.name, "features": rows}
    return json.dumps(content, ensure_ascii=False, indent=1).encode("utf-8", "replace")


def _parquet(run: ServedRun, rows: Rows, whole: bool, spoken: str) -> bytes:
    """Write a row for each feature; tokens with their weights are structures."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = ("top_tokens", "promoted", "suppressed")
    plain = [dict(row) for row in rows]
    for row in plain if whole else ():
        row |= {name: [{"token": token, "weight": weight} for token, weight in row[name]] for name in names}
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(plain), file, compression="zstd")
    return file.getvalue()


def _tsv(run: ServedRun, rows: Rows, whole: bool, spoken: str) -> bytes:
    """Write a line for each feature; lists are JSON, and tabs and line breaks are written as \\t and \\n."""
    heads = [name for name in (rows[0] if rows else {}) if name not in ("spark", "passages")]

    def cell(value: Any) -> str:
        text = "" if value is None else json.dumps(value, ensure_ascii=False) if isinstance(value, list) else str(value)
        for sign, written in (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r")):
            text = text.replace(sign, written)
        return text

    lines = ["\t".join(heads), *("\t".join(cell(row[name]) for name in heads) for row in rows)]
    return ("\n".join(lines) + "\n").encode("utf-8", "replace")


def _neuronpedia(run: ServedRun, rows: Rows, whole: bool, spoken: str) -> bytes:
    from monosema.pages import neuronpedia

    recipe, atlas = run.run.recipe, run.atlas
    full = rows if whole else [run.described.tables.feature(row["latent"]) for row in rows[:MOST_IN_FULL]]
    layer, passages = atlas.site.layer or 0, atlas.meta["text"].get("passages", 0)
    batch = neuronpedia.batch(full, atlas.model_name, layer, recipe.dictionary_name, recipe.corpus.source, passages)
    return json.dumps(batch, ensure_ascii=False).encode("utf-8", "replace")


def _html(run: ServedRun, rows: Rows, whole: bool, spoken: str) -> bytes:
    """Write a page that opens without a server: the report's modules with these features in it."""
    from monosema.pages.notebook import page

    if not whole:
        title = f"Features of {run.name}"
        return page("features", {"features": rows, "said": title}, title, spoken)
    title, shown = f"Feature {rows[0]['latent']} of {run.name}", {"feature": rows[0]}
    if run.run.recipe.of_items:
        return page("feature", shown, title, spoken)
    tables = run.described.tables
    return page("page", {**shown, "sides": tables.sides, "buckets": tables.buckets}, title, spoken)


FORMATS: Mapping[str, tuple[Callable[[ServedRun, Rows, bool, str], bytes], str, str]] = {
    "json": (_json, "application/json", "json"),
    "parquet": (_parquet, "application/vnd.apache.parquet", "parquet"),
    "tsv": (_tsv, "text/tab-separated-values", "tsv"),
    "neuronpedia": (_neuronpedia, "application/json", "neuronpedia.json"),
    "html": (_html, "text/html", "html"),
}
"""Writers by name, each with the type and the ending of its files."""
_FILE: dict[int | str, dict[str, Any]] = {
    200: {"description": "A file.", "content": {kind: {} for _, kind, _ in FORMATS.values()}}
}
Format = Literal["json", "parquet", "tsv", "neuronpedia", "html"]


@router.get("/export", response_class=Response, responses=_FILE)
def export_list(
    asked: Asked, spoken: Spoken, format: Format = "json", limit: Annotated[int, Query(ge=1, le=100_000)] = 1000
) -> Response:
    """Give the list, as it is searched and filtered, as a file: figures, labels and tokens of each feature.

    Neuronpedia's form has each feature in full, of at most 200.
    """
    run, page = asked.run, asked.page(0, limit, spoken)
    return _file(run, page["features"], format, f"{run.name}-features", False, spoken)


@router.get("/{latent}/export", response_class=Response, responses=_FILE)
def export_feature(run: OfRun, latent: Latent, spoken: Spoken, format: Format = "json") -> Response:
    """Give one feature in full as a file."""
    rows = [run.described.tables.feature(known(run, latent))]
    return _file(run, rows, format, f"{run.name}-feature-{latent}", True, spoken)


def _file(run: ServedRun, rows: Rows, format: Format, name: str, whole: bool, spoken: str) -> Response:
    write, kind, ending = FORMATS[format]
    plain = "".join(sign if sign.isascii() and (sign.isalnum() or sign in "-_.") else "-" for sign in name)
    headers = {"content-disposition": f'attachment; filename="{plain}.{ending}"', "cache-control": "no-cache"}
    return Response(write(run, rows, whole, spoken), media_type=kind, headers=headers)
