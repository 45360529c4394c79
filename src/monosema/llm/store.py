"""What was asked, answered and spent: one SQLite file, safe for several processes and for a kill at any moment.

Each step that matters is one transaction: an answer is there together with its cost, or neither is.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
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
    """What the requests of a store have cost so far, in US dollars by the price table.

    Attributes:
        answered: for answers that came.
        unknown: at most, for attempts whose end nobody saw: a time-out, a broken connection, a kill.
        reserved: at most, for what is under way, batches included.
        requests: attempts that were answered.
        usage: tokens of those.
    """

    answered: float
    unknown: float
    reserved: float
    requests: int
    usage: Usage

    @property
    def at_most(self) -> float:
        """What counts against a cap."""
        return self.answered + self.unknown + self.reserved


@dataclass(frozen=True)
class Reservation:
    """Leave to ask once: no other process asks the same meanwhile, and the cap holds whatever the answer costs."""

    id: str
    key: str


class Store:
    """Answers and costs in a folder.

    Args:
        folder: where; it is made if need be. Several stores, in one process or many, can share it.

    Raises:
        ConfigError: the folder can't be made or written.
        DamagedFileError: the file there is not a store.
        DiskFullError: no room for it.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.path = self.folder / "language-models.sqlite"
        self.owner = uuid.uuid4().hex
        self._lock: Any = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # One thread at a time uses it, though not always the one that made it.
            self.connection = sqlite3.connect(
                self.path, timeout=60, isolation_level=None, check_same_thread=False, cached_statements=64
            )
            self.connection.executescript(_TABLES)
        except OSError as error:
            raise ConfigError(f"The folder {folder} can't hold replies: {error.strerror}.") from None
        except sqlite3.OperationalError as error:
            if "full" in str(error):
                raise self._full() from error
            raise ConfigError(f"{self.path} can't be opened: {error}.") from None
        except sqlite3.DatabaseError as error:
            self.connection.close()
            raise DamagedFileError(
                f"{self.path} is damaged ({error}). Move it away; what it held would have to be asked again."
            ) from None

    def close(self) -> None:
        """Let go of the file; what this store had under way counts as spent from now on."""
        self.connection.close()
        if self._lock is not None:
            self._lock.release()
            Path(self._lock.lock_file).unlink(missing_ok=True)
            self._lock = None

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of the block, or nothing of it; other processes wait meanwhile."""
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
            if "full" in str(error):
                raise self._full() from error
            raise

    def _full(self) -> DiskFullError:
        return DiskFullError(
            f"No room left on the disk while writing {self.path}. What was answered before is intact: "
            "make room and run the same command again."
        )

    def read(self, query: str, *values: Any) -> list[Any]:
        """Rows of a query."""
        return self.connection.execute(query, values).fetchall()

    def lookup(self, key: str) -> Reply | None:
        """The reply that was paid for, if there is one."""
        rows = self.read("select reply from replies where key = ?", key)
        return Reply.model_validate_json(rows[0][0]) if rows else None

    def spending(self) -> Spending:
        """What has been spent so far, by all processes that used the folder."""
        rows = self.read(
            "select state, coalesce(sum(dollars), 0), count(*), sum(input_tokens), sum(output_tokens) "
            "from spending group by state"
        )
        by_state = {row[0]: row[1:] for row in rows}
        nothing = (0.0, 0, 0, 0)
        answered = by_state.get("answered", nothing)
        return Spending(
            answered=answered[0],
            unknown=by_state.get("unknown", nothing)[0],
            reserved=by_state.get("reserved", nothing)[0],
            requests=answered[1],
            usage=Usage(input_tokens=answered[2], output_tokens=answered[3]),
        )

    def reserve(
        self, key: str, at_most: float | None, cap: float | None, *, again: bool = False
    ) -> Reservation | Verdict:
        """Ask for leave to send a request.

        Args:
            at_most: what it can cost, in US dollars; None where no price is known.
            cap: what may be spent in this folder altogether; None without limit.
            again: whether a failure that was paid for is to be replaced.

        Returns:
            The leave; or ``answered`` (look it up), ``busy`` (another one asks it now: wait and look again),
            ``batch`` (it waits in a batch), ``cap`` (it might cost too much).
        """
        self.claim_owner()
        with self.transaction() as connection:
            kept = self.lookup(key)
            if kept is not None and (kept.ok or not again):
                return "answered"
            for id, owner in self.read("select id, owner from spending where key = ? and state = 'reserved'", key):
                if owner == "batch":
                    return "batch"
                if self.is_alive(owner):
                    return "busy"
                # Its process was killed: it may have been answered, and paid, though nobody heard it.
                connection.execute("update spending set state = 'unknown' where id = ?", (id,))
            if not self.within(cap, at_most):
                return "cap"
            reservation = Reservation(uuid.uuid4().hex, key)
            connection.execute(
                "insert into spending (id, key, owner, state, dollars) values (?, ?, ?, 'reserved', ?)",
                (reservation.id, key, self.owner, at_most),
            )
            return reservation

    def within(self, cap: float | None, more: float | None) -> bool:
        """Whether so much more keeps within the cap."""
        return cap is None or self.spending().at_most + (more or 0.0) <= cap

    def charge(self, reservation: Reservation, usage: Usage, cost: float | None) -> None:
        """An attempt was answered, though not as it should be: its cost is known, and there is no reply to keep."""
        with self.transaction():
            self.charge_within(reservation.id, usage, cost)

    def settle(
        self, reservation: Reservation, model: str, request: Request, reply: Reply, usage: Usage, cost: float | None
    ) -> None:
        """Keep a reply and the cost of its last attempt, in one."""
        with self.transaction():
            self.charge_within(reservation.id, usage, cost)
            self.keep(reservation.key, model, request, reply)

    def charge_within(self, id: str, usage: Usage, cost: float | None) -> None:
        """The attempt of this id was answered; within a transaction."""
        self.connection.execute(
            "update spending set state = 'answered', dollars = ?, input_tokens = ?, output_tokens = ? where id = ?",
            (cost, usage.input_tokens, usage.output_tokens, id),
        )

    def keep(self, key: str, model: str, request: Request, reply: Reply) -> None:
        """Keep a reply; within a transaction."""
        self.connection.execute(
            "insert or replace into replies values (?, ?, ?, ?, ?)",
            (key, model, request.model_dump_json(exclude_none=True), reply.model_dump_json(), time.time()),
        )

    def release(self, reservation: Reservation) -> None:
        """The attempt cost nothing."""
        with self.transaction() as connection:
            connection.execute("delete from spending where id = ?", (reservation.id,))

    def give_up(self, reservation: Reservation) -> None:
        """Nobody knows whether the attempt was answered: it counts at the most that it can cost."""
        with self.transaction() as connection:
            connection.execute("update spending set state = 'unknown' where id = ?", (reservation.id,))

    def claim_owner(self) -> None:
        """Let other processes see that this one lives: the system drops the lock when it ends, however it ends."""
        if self._lock is None:
            from filelock import FileLock

            self._lock = FileLock(self._lock_path(self.owner), blocking=False, thread_local=False)
            self._lock.acquire()
            for path in self.folder.glob(".asking-*.lock"):
                # One that was killed leaves its file behind. A young file may not be locked yet.
                with contextlib.suppress(FileNotFoundError):
                    if time.time() - path.stat().st_mtime > _YOUNG:
                        self.is_alive(path.stem.removeprefix(".asking-"))

    def is_alive(self, owner: str) -> bool:
        """Whether the process that calls itself so still lives."""
        if owner == self.owner:
            return self._lock is not None
        from filelock import FileLock, Timeout

        if not os.path.exists(self._lock_path(owner)):
            return False
        lock = FileLock(self._lock_path(owner), blocking=False, thread_local=False)
        try:
            lock.acquire()
        except Timeout:
            return True
        lock.release()
        Path(self._lock_path(owner)).unlink(missing_ok=True)
        return False

    def _lock_path(self, owner: str) -> str:
        return str(self.folder / f".asking-{owner}.lock")
