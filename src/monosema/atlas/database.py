"""The tables of an atlas in DuckDB, read in place, and what gives every feature its label."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monosema.atlas.labels import VIEWS
from monosema.atlas.tables import LATER, NAMES, schema, table_path
from monosema.core import DamagedFileError, InputError

_STORED = {"features": "figures", "explanations": "placed"}


def connect(folder: Path, meta: Mapping[str, Any]) -> Any:
    """Open the tables that meta.json names; nothing else can be read through the connection.

    Raises:
        DamagedFileError: a table can't be read.
    """
    import duckdb

    database = duckdb.connect(
        ":memory:", config={"autoinstall_known_extensions": False, "autoload_known_extensions": False}
    )
    database.execute("set enable_progress_bar = false")
    try:
        for name in NAMES:
            if name in LATER and name not in meta["tables"]:
                database.from_arrow(schema(name).empty_table()).create(name)
                continue
            table = database.read_parquet(str(table_path(folder, meta, name)), file_row_number=name == "explanations")
            if name == "explanations":
                table = table.project("* exclude (file_row_number), file_row_number as place")
            table.create_view(_STORED.get(name, name))
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
    """What an error says, in one line."""
    return str(error).strip().splitlines()[0]
