"""Requests, replies and costs in one SQLite file, safe for threads, several processes, and a kill at any moment.

Each step that matters is one transaction: an answer is there together with its cost, or neither is.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from monosema.core import ConfigError, DamagedFileError, DiskFullError
from monosema.llm.protocol import Reply, Request, Usage

Verdict = Literal["answered", "busy", "batch", "cap"]

_YOUNG = 60.0
_TABLES = """
begin immediate;
create table if not exists replies (
    key text primary key, model text not null, request text not null, reply text not null, answered real not null
) without rowid;
create table if not exists spending (
    id text primary key, key text not null, owner text not null, state text not null, dollars real,
    input_tokens integer not null default 0, output_tokens integer not null default 0
) without rowid;
create unique index if not exists one_at_a_time on spending (key) where state = 'reserved';
create table if not exists batches (
    id text primary key, identity text not null, model text not null, state text not null, owner text not null,
    created real not null, attempted real, tried real, file_id text, provider_id text,
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


@dataclass(frozen=True)
class Reservation:
    """Leave to ask once: no other process asks the same meanwhile, and the cap holds whatever the answer costs."""

    id: str
    key: str
    dollars: float | None


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
        self.owner = uuid.uuid4().hex
        self._alive: Any = None
        self._mutex = threading.RLock()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.connection = sqlite3.connect(self.path, timeout=60, isolation_level=None, check_same_thread=False)
            self.connection.executescript(_TABLES)
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
        """Close the file; what this store had under way counts as spent from now on."""
        self.connection.close()
        if self._alive is not None:
            self._alive.release()
            Path(self._alive.lock_file).unlink(missing_ok=True)
            self._alive = None

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Do all of the block, or nothing of it; other threads and processes wait meanwhile."""
        with self._mutex:
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

    def lookup(self, key: str) -> Reply | None:
        """Return the reply that was paid for, if there is one."""
        rows = self.read("select reply from replies where key = ?", key)
        return Reply.model_validate_json(rows[0][0]) if rows else None

    def spending(self) -> Spending:
        """Return what has been spent so far, by all processes that used the folder."""
        rows = self.read(
            "select state, coalesce(sum(dollars), 0), count(*), sum(input_tokens), sum(output_tokens) "
            "from spending group by state"
        )
        by_state = {row[0]: row[1:] for row in rows}
        answered, unknown, reserved = (
            by_state.get(state, (0.0, 0, 0, 0)) for state in ("answered", "unknown", "reserved")
        )
        usage = Usage(input_tokens=answered[2], output_tokens=answered[3])
        return Spending(answered[0], unknown[0], reserved[0], answered[1], usage)

    def reserve(
        self, key: str, at_most: float | None, cap: float | None, *, again: bool = False
    ) -> Reservation | Verdict:
        """Ask for leave to send a request.

        Args:
            key: the request's name.
            at_most: US dollars that it can cost; None where no price is known.
            cap: US dollars that may be spent in this folder altogether; None without limit.
            again: replace a failure that was paid for.

        Returns:
            The leave; or ``answered`` (look it up), ``busy`` (another process asks it now: wait and look again),
            ``batch`` (it waits in a batch), ``cap`` (it might cost too much).
        """
        self.claim_owner()
        with self.transaction():
            kept = self.lookup(key)
            if kept is not None and (kept.ok or not again):
                return "answered"
            for id, owner in self.read("select id, owner from spending where key = ? and state = 'reserved'", key):
                if owner == "batch":
                    return "batch"
                if self.is_alive(owner):
                    return "busy"
                # Its process was killed: it may have been answered, and paid, though nobody heard it.
                self._set_unknown(id)
            return self._leave(key, at_most) if self.within(cap, at_most) else "cap"

    def renew(self, reservation: Reservation, cap: float | None) -> Reservation | None:
        """Count an attempt as spent, and set as much aside for another; None if the cap leaves no room."""
        with self.transaction():
            self._set_unknown(reservation.id)
            within = self.within(cap, reservation.dollars)
            return self._leave(reservation.key, reservation.dollars) if within else None

    def _leave(self, key: str, dollars: float | None) -> Reservation:
        id = uuid.uuid4().hex
        self.connection.execute(
            "insert into spending (id, key, owner, state, dollars) values (?, ?, ?, 'reserved', ?)",
            (id, key, self.owner, dollars),
        )
        return Reservation(id, key, dollars)

    def within(self, cap: float | None, more: float | None) -> bool:
        """Return True if the cap allows to spend so much more."""
        return cap is None or self.spending().at_most + (more or 0.0) <= cap

    def charge(self, reservation: Reservation, usage: Usage, cost: float | None) -> None:
        """Record the cost of an attempt that was answered, though not as it should be: there is no reply to keep."""
        with self.transaction():
            self.charge_within(reservation.id, usage, cost)

    def settle(
        self, reservation: Reservation, model: str, request: Request, reply: Reply, usage: Usage, cost: float | None
    ) -> None:
        """Keep a reply together with the cost of its last attempt."""
        with self.transaction():
            self.charge_within(reservation.id, usage, cost)
            self.keep(reservation.key, model, request, reply)

    def charge_within(self, id: str, usage: Usage, cost: float | None) -> None:
        """Record the cost of an attempt, within a transaction."""
        self.connection.execute(
            "update spending set state = 'answered', dollars = ?, input_tokens = ?, output_tokens = ? where id = ?",
            (cost, usage.input_tokens, usage.output_tokens, id),
        )

    def keep(self, key: str, model: str, request: Request, reply: Reply) -> None:
        """Keep a reply, within a transaction."""
        self.connection.execute(
            "insert or replace into replies values (?, ?, ?, ?, ?)",
            (key, model, request.model_dump_json(exclude_none=True), reply.model_dump_json(), time.time()),
        )

    def release(self, reservation: Reservation) -> None:
        """Free what was set aside for an attempt that cost nothing."""
        with self.transaction() as connection:
            connection.execute("delete from spending where id = ?", (reservation.id,))

    def give_up(self, reservation: Reservation) -> None:
        """Count an attempt whose end nobody saw at the most that it can cost."""
        with self.transaction():
            self._set_unknown(reservation.id)

    def _set_unknown(self, id: str) -> None:
        self.connection.execute("update spending set state = 'unknown' where id = ?", (id,))

    def give_up_dead(self) -> None:
        """Count what killed processes had under way at the most that it can cost, within a transaction."""
        for id, owner in self.read("select id, owner from spending where state = 'reserved' and owner != 'batch'"):
            if not self.is_alive(owner):
                self._set_unknown(id)

    def claim_owner(self) -> None:
        """Show other processes that this one lives: the system drops the lock when it ends, however it ends."""
        with self._mutex:
            if self._alive is not None:
                return
            self._alive = self._lock(self.owner)
            self._alive.acquire()
            for path in self.folder.glob(".asking-*.lock"):
                # A killed process leaves its file behind. A young file may not be locked yet.
                with contextlib.suppress(FileNotFoundError):
                    if time.time() - path.stat().st_mtime > _YOUNG:
                        self.is_alive(path.stem.removeprefix(".asking-"))

    def is_alive(self, owner: str) -> bool:
        """Return True if the process that made a reservation still lives."""
        if owner == self.owner:
            return self._alive is not None
        from filelock import Timeout

        lock = self._lock(owner)
        if not os.path.exists(lock.lock_file):
            return False
        try:
            lock.acquire()
        except Timeout:
            return True
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)
        return False

    def _lock(self, owner: str) -> Any:
        from filelock import FileLock

        return FileLock(self.folder / f".asking-{owner}.lock", blocking=False, thread_local=False)
