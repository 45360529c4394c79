"""Adding explanations, scores and votes to an atlas on disk, and removing them.

A row replaces the one with the same key; all others stay as they are. The new tables are written to new files, then
meta.json, which names them, is replaced in one rename, then the old files go: killed at any moment, an atlas holds all
rows of a call or none. One process writes at a time; others wait for it.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from monosema.atlas.feature import Explanation, Identity, Score, Vote
from monosema.atlas.tables import (
    check_tables,
    describe,
    remove_unnamed,
    schema,
    table_path,
    unused_path,
    write_table,
)
from monosema.core import InputError, RunError, write_json

PATIENCE = 60.0
"""Seconds to wait for another process that writes to the same atlas."""
_EXPLANATION = ("latent", "author", "method", "model", "prompt_version")
KEYS = {
    "explanations": _EXPLANATION,
    "scores": (*_EXPLANATION, "scorer"),
    "votes": (*_EXPLANATION, "text", "voter"),
}
"""Columns that tell the rows of a table apart."""


def record(
    path: str | Path,
    explanations: Mapping[int, Sequence[Explanation]] | None = None,
    scores: Mapping[int, Sequence[Score]] | None = None,
    votes: Mapping[int, Sequence[Vote]] | None = None,
) -> None:
    """Add explanations, scores and votes to an atlas, and replace those with the same key.

    The key of an explanation is latent, author, method, model and prompt version; of a score that and the scorer; of a
    vote that, the voter and the text voted on. Where an explanation is replaced by one that says something else, its
    scores go, unless they are replaced in the same call: they were measured on the old one.

    Args:
        path: folder of the atlas.
        explanations, scores, votes: by latent; of several with one key the last counts.

    Raises:
        InputError: no such latent, an empty text, a figure that is not finite, a vote that is not ±1, or a score or
            vote without its explanation. Nothing is written then.
        RunError: another process has been writing to the atlas for a minute.
        DamagedFileError: a table can't be read.
        DiskFullError: no room; the atlas is as it was.
    """

    def add(meta: Mapping[str, Any], tables: Mapping[str, Any]) -> dict[str, Any]:
        added = {
            "explanations": _rows(explanations, meta, _explanation_row),
            "scores": _rows(scores, meta, _score_row),
            "votes": _rows(votes, meta, _vote_row),
        }
        return {name: table for name, table in merge(tables, added).items() if table is not None}

    _rewrite(Path(path), add)


def remove(
    path: str | Path,
    explanations: Mapping[int, Sequence[Identity]] | None = None,
    votes: Mapping[int, Sequence[Vote]] | None = None,
) -> None:
    """Take explanations out of an atlas, with their scores and the votes on them; and votes alone.

    Args:
        path: folder of the atlas.
        explanations: by latent, author, method, model and prompt version of each.
        votes: by latent; their `vote` does not matter.

    Raises:
        InputError: there is no such explanation or vote. Nothing is removed then.
        RunError, DamagedFileError, DiskFullError: as for `record`.
    """
    identities = [(latent, *one) for latent, some in (explanations or {}).items() for one in some]
    cast = [(latent, *one.identity, one.text, one.voter) for latent, some in (votes or {}).items() for one in some]

    def take(meta: Mapping[str, Any], tables: Mapping[str, Any]) -> dict[str, Any]:
        kept = {name: _without(table, _EXPLANATION, identities) for name, table in tables.items()}
        kept["votes"] = _without(kept["votes"], KEYS["votes"], cast)
        for name, rows in (("explanations", identities), ("votes", cast)):
            if tables[name].num_rows - kept[name].num_rows < len(rows):
                raise InputError(f"Of what was to be removed from the {name} of {path}, some is not there: {rows}.")
        return {name: table for name, table in kept.items() if table.num_rows < tables[name].num_rows}

    _rewrite(Path(path), take)


def _rewrite(path: Path, change: Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, Any]]) -> None:
    """Replace tables of explanations, scores and votes, all of them or none.

    Args:
        change: from meta.json and the tables to those tables that are other ones now.
    """
    with write_lock(path):
        meta = check_tables(path, checksums=True, names=KEYS)
        changed = change(meta, {name: _read(table_path(path, meta, name), name) for name in KEYS})
        if not changed:
            return
        facts = dict(meta["tables"])
        try:
            for name, table in changed.items():
                file = unused_path(path, name)
                with write_table(file, name) as writer:
                    writer.write({column: table[column] for column in table.column_names})
                facts[name] = describe(file)
            write_json(path / "meta.json", {**meta, "tables": facts})
        finally:
            remove_unnamed(path)


@contextlib.contextmanager
def write_lock(path: Path) -> Iterator[None]:
    """Be the only process that writes to an atlas. The system lets go of it when the process ends, however it ends.

    Raises:
        RunError: another one has been writing for a minute.
    """
    from filelock import FileLock, Timeout

    path.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path / ".lock", timeout=PATIENCE)
    try:
        lock.acquire()
    except Timeout:
        raise RunError(
            f"Another process has been writing to the atlas {path} for {PATIENCE:.0f} seconds. "
            "Wait until it ends, and run the same command again."
        ) from None
    try:
        yield
    finally:
        lock.release()


def merge(tables: Mapping[str, Any], added: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Tables of explanations, scores and votes with rows added.

    Args:
        tables: as they are, Arrow tables by name.
        added: new rows by name.

    Returns:
        The tables that changed; None for the others. Rows are sorted by latent, and within it as first recorded.

    Raises:
        InputError: a score or vote without its explanation.
    """
    import duckdb

    rows = {name: _arrow(added[name], name) for name in KEYS}
    database = duckdb.connect(":memory:")
    for name in KEYS:
        database.register(f"old_{name}", _numbered(tables[name], 0))
        database.register(f"new_{name}", _numbered(rows[name], tables[name].num_rows))
    database.execute(f"""
        create view stale as select new.* from new_explanations as new join old_explanations as old
        on {_same("new", "old", KEYS["explanations"])}
        where new.text <> old.text or new.program <> old.program
    """)
    merged: dict[str, Any] = {}
    for name, key in KEYS.items():
        columns = ", ".join(schema(name).names)
        kept = f"from old_{name} as old"
        if name == "scores":
            kept += f" where not exists (from stale where {_same('stale', 'old', KEYS['explanations'])})"
        database.execute(f"""
            create table {name} as
            with everything as (select * {kept} union all by name select * from new_{name}),
            ranked as (
                select *, row_number() over (partition by {", ".join(key)} order by place desc) as newest,
                    min(place) over (partition by {", ".join(key)}) as first
                from everything
            )
            select {columns} from ranked where newest = 1 order by latent, first
        """)
        changed = rows[name].num_rows or database.table(name).shape[0] != tables[name].num_rows
        merged[name] = database.sql(f"select * from {name}").to_arrow_table() if changed else None
    _refuse_orphans(database)
    return merged


def _without(table: Any, key: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> Any:
    """A table without the rows that have one of these keys."""
    import pyarrow as pa

    gone = set(rows)
    columns = zip(*(table[column].to_pylist() for column in key), strict=True)
    return table.filter(pa.array([row not in gone for row in columns], pa.bool_())) if gone else table


def _refuse_orphans(database: Any) -> None:
    for name, key in (("scores", _EXPLANATION), ("votes", (*_EXPLANATION, "text"))):
        query = f"""
            select {", ".join(_EXPLANATION)} from new_{name} as one
            where not exists (from explanations as other where {_same("one", "other", key)}) limit 1
        """
        for latent, *identity in database.execute(query).fetchall():
            raise InputError(
                f"Feature {latent} has no explanation by {_who(identity)}, so it can't have {name}. "
                "Record the explanation first, or with them."
            )


def _who(identity: Sequence[str | None]) -> str:
    return ", ".join(repr(part) for part in identity if part is not None)


def _same(one: str, other: str, key: Iterable[str]) -> str:
    return " and ".join(f"{one}.{column} is not distinct from {other}.{column}" for column in key)


def _read(path: Path, name: str) -> Any:
    import pyarrow.parquet as pq

    return pq.read_table(path, schema=schema(name))


def _numbered(table: Any, first: int) -> Any:
    import numpy as np
    import pyarrow as pa

    return table.append_column("place", pa.array(np.arange(first, first + table.num_rows)))


def _arrow(rows: Sequence[Mapping[str, Any]], name: str) -> Any:
    import pyarrow as pa

    return pa.Table.from_pylist(list(rows), schema(name))


def _rows(values: Mapping[int, Sequence[Any]] | None, meta: Mapping[str, Any], row: Any) -> list[dict[str, Any]]:
    n_latents = meta["dictionary"]["n_latents"]
    rows = []
    for latent, items in (values or {}).items():
        if isinstance(latent, bool) or not 0 <= latent < n_latents:
            raise InputError(f"There is no feature {latent!r}: this atlas has 0 to {n_latents - 1}.")
        rows += [{"latent": int(latent), **row(latent, item)} for item in items]
    return rows


def _explanation_row(latent: int, explanation: Explanation) -> dict[str, Any]:
    if not explanation.text.strip() or not explanation.author or not explanation.method:
        raise InputError(f"The explanation {explanation} of feature {latent} needs a text, an author and a method.")
    return asdict(explanation)


def _score_row(latent: int, score: Score) -> dict[str, Any]:
    estimate = score.estimate
    controls = [score.control, score.chance]
    if (random := score.random) is not None:
        controls += [random.value, random.low, random.high]
    figures = [estimate.value, estimate.low, estimate.high, *(one for one in controls if one is not None)]
    if not all(math.isfinite(figure) for figure in figures):
        raise InputError(
            f"The score {score.scorer!r} of feature {latent} by {_who(score.identity)} is not a finite number: "
            f"{estimate}, control {score.control}, chance {score.chance}, random {score.random}. Leave out what could "
            "not be computed."
        )
    row = asdict(score)
    row.pop("estimate")
    row.pop("random")
    return {
        **row,
        "value": float(estimate.value),
        "low": float(estimate.low),
        "high": float(estimate.high),
        "n": int(estimate.n),
        "interval": estimate.method,
        "control": None if score.control is None else float(score.control),
        **({} if random is None else {"random": random.value, "random_low": random.low, "random_high": random.high}),
        **({} if random is None else {"random_n": random.n}),
    }


def _vote_row(latent: int, vote: Vote) -> dict[str, Any]:
    if vote.vote not in (-1, 1) or not vote.voter:
        raise InputError(f"A vote is 1 or -1 and has a voter; got {vote.vote!r} by {vote.voter!r}.")
    return asdict(vote)
