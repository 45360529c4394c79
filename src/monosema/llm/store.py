"""Requests, replies and costs in one SQLite file, safe for threads, several processes, and a kill at any moment.

Each step that matters is one transaction: an answer is there together with its cost, or neither is. One process asks
at a time, so nothing is asked twice, and what is set aside when another begins was left by a process that was killed.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from monosema.core import ConfigError, DamagedFileError, DiskFullError, RunError
from monosema.llm.protocol import Reply, Request, Usage

PATIENCE = 60.0
"""Seconds that a process waits for another one that asks."""
_TABLES = """
begin immediate;
create table if not exists replies (
    key text primary key, model text not null, request text not null, reply text not null, answered real not null
) without rowid;
create table if not exists spending (
    id text primary key, key text not null, owner text not null, state text not null, dollars real,
    input_tokens integer not null default 0, output_tokens integer not null default 0
) without rowid;
create table if not exists batches (
    id text primary key, identity text not null, model text not null, state text not null, owner text not null,
    created real not null, attempted real, tried real, provider_id text,
    counts text not null default '{}', note text not null default ''
) without rowid;
create table if not exists batch_requests (
    batch text not null, custom_id text not null, position integer not null, request text not null, failure text,
    done integer not null default 0, primary key (batch, custom_id)
) without rowid;
commit;
"""


@dataclass(frozen=True)
class Spending:
    """US dollars that the requests of a store have cost so far, by the price table.

    Attributes:
        answered: for answers that came.
        unknown: at most, for attempts whose end nobody saw: a time-out, a broken connection, a kill.
        reserved: at most, for what is under way, batches included.
        requests: number of attempts that were answered.
        usage: their tokens.
    """

    answered: float
    unknown: float
    reserved: float
    requests: int
    usage: Usage

    @property
    def at_most(self) -> float:
        """The sum that counts against a cap."""
        return self.answered + self.unknown + self.reserved


class Store:
    """Answers and costs in a folder.

    Args:
        folder: made if need be. Several stores, in one process or many, can share it.

    Raises:
        ConfigError: the folder can't be made or written.
        DamagedFileError: the file there is not a store.
        DiskFullError: the disk is full.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.path = self.folder / "language-models.sqlite"
        self._mutex, self._turn = threading.RLock(), threading.RLock()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.connection = sqlite3.connect(self.path, timeout=60, isolation_level=None, check_same_thread=False)
            self.connection.executescript(_TABLES)
            self._lock = FileLock(self.folder / ".asking.lock", thread_local=False)
        except OSError as error:
            raise ConfigError(f"The folder {folder} can't hold replies: {error.strerror}.") from None
        except sqlite3.OperationalError as error:
            self._raise_if_full(error)
            raise ConfigError(f"{self.path} can't be opened: {error}.") from None
        except sqlite3.DatabaseError as error:
            self.connection.close()
            raise DamagedFileError(
                f"{self.path} is damaged ({error}). Move it away; what it held would have to be asked again."
            ) from None

    def close(self) -> None:
        """Close the file."""
        self.connection.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        """Be the only one that asks; others wait. The system lets the next one in when a process ends, however it ends.

        What a killed process had under way may have been answered, though nobody heard it: it counts as spent.

        Raises:
            RunError: another process has asked for a minute and goes on.
        """
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._turn)
            try:
                stack.enter_context(self._lock.acquire(timeout=PATIENCE))
            except Timeout:
                raise RunError(
                    f"Another command asks a language model with the answers and the cap of {self.folder}. Let it end, "
                    "then run the same command again."
                ) from None
            if self._lock.lock_counter == 1:
                self.write("update spending set state = 'unknown' where state = 'reserved' and owner <> 'batch'")
            yield

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Do all of the block, or nothing of it; other threads and processes wait. A block within is part of it."""
        with self._mutex:
            if self.connection.in_transaction:
                yield self.connection
                return
            try:
                self.connection.execute("begin immediate")
                try:
                    yield self.connection
                except BaseException:
                    # After some failures, a full disk among them, SQLite has rolled back already.
                    if self.connection.in_transaction:
                        self.connection.execute("rollback")
                    raise
                self.connection.execute("commit")
            except sqlite3.OperationalError as error:
                self._raise_if_full(error)
                raise

    def _raise_if_full(self, error: sqlite3.OperationalError) -> None:
        if "full" in str(error):
            raise DiskFullError(
                f"No room left on the disk while writing {self.path}. What was answered before is intact: "
                "make room and run the same command again."
            ) from error

    def read(self, query: str, *values: Any) -> list[Any]:
        """Return the rows of a query."""
        with self._mutex:
            return self.connection.execute(query, values).fetchall()

    def write(self, command: str, *values: Any) -> None:
        """Change rows, in a transaction."""
        with self.transaction() as connection:
            connection.execute(command, values)

    def lookup(self, key: str, retry_failed: bool = False) -> Reply | None:
        """Return the reply that was paid for, if there is one; with `retry_failed`, only if it can be used."""
        for (written,) in self.read("select reply from replies where key = ?", key):
            reply = Reply.model_validate_json(written)
            return reply if reply.ok or not retry_failed else None
        return None

    def spending(self) -> Spending:
        """Return what has been spent so far, by all processes that used the folder."""
        rows = self.read(
            "select state, coalesce(sum(dollars), 0), count(*), sum(input_tokens), sum(output_tokens) "
            "from spending group by state"
        )
        states = {state: sums for state, *sums in rows}
        dollars, requests, read, written = states.get("answered", (0.0, 0, 0, 0))
        unknown, reserved = (states.get(state, (0.0,))[0] for state in ("unknown", "reserved"))
        return Spending(dollars, unknown, reserved, requests, Usage(input_tokens=read, output_tokens=written))

    def spent(self) -> dict[str, float]:
        """Return US dollars spent so far, earlier commands included: for answers, and at most."""
        spending = self.spending()
        return {"answered": spending.answered, "at_most": spending.at_most}

    def within(self, cap: float | None, more: float | None) -> bool:
        """Return True if the cap allows to spend so much more."""
        return cap is None or self.spending().at_most + (more or 0.0) <= cap

    def is_waiting(self, key: str) -> bool:
        """Return True if a request is in a batch that has not been retrieved."""
        return bool(self.read("select 1 from spending where key = ? and state = 'reserved' and owner = 'batch'", key))

    def reserve(self, key: str, at_most: float | None, cap: float | None) -> str | None:
        """Set aside the most that one attempt at a request can cost, so that the cap holds whatever the answer costs.

        Args:
            key: the request's name.
            at_most: US dollars; None where no price is known.
            cap: US dollars that may be spent in this folder altogether; None without limit.

        Returns:
            The attempt's id; None if it might cost too much.
        """
        with self.transaction():
            if not self.within(cap, at_most):
                return None
            self.set_aside(id := uuid.uuid4().hex, key, "live", at_most)
            return id

    def set_aside(self, id: str, key: str, owner: str, dollars: float | None) -> None:
        """Reserve the most that an attempt can cost."""
        command = "insert into spending (id, key, owner, state, dollars) values (?, ?, ?, 'reserved', ?)"
        self.write(command, id, key, owner, dollars)

    def charge(self, id: str, usage: Usage, cost: float | None) -> None:
        """Record the cost of an attempt that was answered."""
        self.write(
            "update spending set state = 'answered', dollars = ?, input_tokens = ?, output_tokens = ? where id = ?",
            cost,
            usage.input_tokens,
            usage.output_tokens,
            id,
        )

    def keep(self, key: str, model: str, request: Request, reply: Reply) -> None:
        """Keep a reply."""
        written = (request.model_dump_json(exclude_none=True), reply.model_dump_json(), time.time())
        self.write("insert or replace into replies values (?, ?, ?, ?, ?)", key, model, *written)

    def release(self, id: str) -> None:
        """Free what was set aside for an attempt that cost nothing."""
        self.write("delete from spending where id = ?", id)

    def count_unknown(self, id: str) -> None:
        """Count an attempt whose end nobody saw at the most that it can cost."""
        self.write("update spending set state = 'unknown' where id = ?", id)
