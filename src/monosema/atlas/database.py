"""The tables of an atlas in DuckDB, read in place, and what gives every feature its label."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monosema.atlas.labels import VIEWS
from monosema.atlas.tables import NAMES, schema, table_path
from monosema.core import DamagedFileError, InputError
from monosema.models import quoted, shown_text

_STORED = {
    "features": "stored_features",
    "examples": "stored_examples",
    "explanations": "placed",
    "scores": "stored_scores",
}
_DECODED = {
    "figures": (
        "stored_features",
        {"promoted": "promoted_ids", "suppressed": "suppressed_ids", "top_tokens": "top_token_ids"},
    ),
    "examples": ("stored_examples", {"tokens": "token_ids"}),
}
"""Views that add the text of tokens to a stored table: by view, the table, and for each new column that of the ids."""
_OPTIONS = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allocator_background_threads": True,  # gives back to the system what labels took while they were made
}


def connect(folder: Path, meta: Mapping[str, Any]) -> Any:
    """Open the tables that meta.json names; nothing else can be read through the connection.

    Raises:
        DamagedFileError: a table can't be read.
    """
    import duckdb

    database = duckdb.connect(":memory:", config=_OPTIONS)
    with contextlib.suppress(duckdb.InvalidInputException):  # In a notebook without ipywidgets there is none to set.
        database.execute("set enable_progress_bar = false")
    database.create_function("shown_text", shown_text, ["varchar[]"], "varchar")
    try:
        for name in NAMES:
            table = database.read_parquet(str(table_path(folder, meta, name)), file_row_number=name == "explanations")
            if name == "explanations":
                table = table.project("* exclude (file_row_number), file_row_number as place")
            # Tables of an earlier version may lack columns.
            lacking = [f"null::double as {column}" for column in schema(name).names if column not in table.columns]
            table.project(", ".join(["*", *lacking])).create_view(_STORED.get(name, name))
        spaced = bool(database.sql("select 1 from vocabulary where text like ' %' limit 1").fetchall())
        database.create_function("quoted", lambda token: quoted(token, spaced), ["varchar"], "varchar")
        database.execute("create table texts as select list(text order by token) as texts from vocabulary")
        for view, (table, columns) in _DECODED.items():
            # The one row of `texts` is captured by the list comprehension, not copied to each row of the table.
            texts = ", ".join(f"[texts[id + 1] for id in {ids}] as {name}" for name, ids in columns.items())
            database.execute(f"create view {view} as select {table}.*, {texts} from {table} cross join texts")
        for query in VIEWS:
            database.execute(query)
    except duckdb.Error as error:
        raise DamagedFileError(f"A table of {folder} can't be read: {first_line(error)}") from None
    database.execute("set allowed_directories = ?", [[f"{folder}/"]])
    database.execute("set enable_external_access = false")
    database.execute("set lock_configuration = true")
    return database


def statements(query: str) -> list[Any]:
    """The statements of a text in SQL. Raises InputError where it is none."""
    import duckdb

    try:
        return duckdb.extract_statements(query)
    except duckdb.Error as error:
        raise InputError(f"The query can't be read: {first_line(error)}") from None


def first_line(error: Exception) -> str:
    """Return the first line of an error."""
    return str(error).strip().splitlines()[0]
