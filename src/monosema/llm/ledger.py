"""The ledger of batches: what is to be sent is written down before anything is sent, and what came as it comes."""

from __future__ import annotations

import json
import math
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from monosema.core import CostCapError
from monosema.llm.adapter import PendingBatch
from monosema.llm.prices import Price
from monosema.llm.protocol import Failure, Reply, Request
from monosema.llm.store import Store
from monosema.llm.structured import checked

State = Literal["intended", "sent", "ended", "retrieved", "rejected"]
OPEN: tuple[State, ...] = ("intended", "sent", "ended")


@dataclass(frozen=True)
class Entry:
    """A batch in the ledger.

    Attributes:
        id: monosema's name of the batch.
        state: ``intended`` it must be sent; ``sent`` the provider has it; ``ended`` nothing more will come;
            ``retrieved`` what came is here; ``rejected`` the provider did not take it.
        provider_id: the provider's name of it.
        counts: requests by state, in the provider's words.
        size: number of requests.
        created: Unix time at which it was written down.
        note: the provider's words, or a hint.
    """

    id: str
    state: State
    provider_id: str | None
    counts: Mapping[str, int]
    size: int
    created: float
    note: str


class Ledger:
    """The batches of one model in a store.

    Args:
        store: where it is kept.
        identity: hash of the adapter's identity.
        model: name of the model.
        price: its price, if one is known.
    """

    def __init__(self, store: Store, identity: str, model: str, price: Price | None) -> None:
        self.store, self.identity, self.model, self.price = store, identity, model, price

    def entries(self, *states: State) -> list[Entry]:
        """Return all batches, or those in some states, the oldest first."""
        rows = self.store.read(
            "select id, state, provider_id, counts, created, note, "
            "(select count(*) from batch_requests where batch = batches.id) from batches "
            "where identity = ? order by created, id",
            self.identity,
        )
        return [
            Entry(id, state, provider_id, json.loads(counts), size, created, note)
            for id, state, provider_id, counts, created, note, size in rows
            if not states or state in states
        ]

    def intend(self, groups: Iterable[Mapping[str, Request]], cap: float | None) -> int:
        """Write down batches that are to be sent, and set their cost aside, in one transaction.

        Requests that another process has under way, or wrote down in the meantime, are left out.

        Args:
            groups: the requests of each batch, by custom_id.
            cap: US dollars that may be spent in the store altogether.

        Returns:
            The number of requests that were written down.

        Raises:
            CostCapError: they might cost more than the cap leaves; then nothing is written down.
        """
        self.store.claim_owner()
        with self.store.transaction() as connection:
            self.store.give_up_dead()
            busy = {row[0] for row in self.store.read("select key from spending where state = 'reserved'")}
            new = [{id: request for id, request in group.items() if id not in busy} for group in groups]
            price = self.price
            costs = {
                id: None if price is None else price.at_most(request, batch=True)
                for group in new
                for id, request in group.items()
            }
            more = math.fsum(cost or 0.0 for cost in costs.values())
            if not self.store.within(cap, more):
                spent = self.store.spending().at_most
                raise CostCapError(
                    f"{len(costs)} requests might cost up to {more:.4g} dollars, and {spent:.4g} of the {cap:.4g} "
                    "allowed are spent or set aside. Nothing was sent. Send fewer, lower max_tokens, or raise the cap."
                )
            for group in filter(None, new):
                batch = f"monosema-{uuid.uuid4().hex}"
                connection.execute(
                    "insert into batches (id, identity, model, state, owner, created) values (?, ?, ?, ?, ?, ?)",
                    (batch, self.identity, self.model, "intended", self.store.owner, time.time()),
                )
                connection.executemany(
                    "insert into batch_requests (batch, custom_id, position, request) values (?, ?, ?, ?)",
                    (
                        (batch, id, position, request.model_dump_json(exclude_none=True))
                        for position, (id, request) in enumerate(group.items())
                    ),
                )
                connection.executemany(
                    "insert into spending (id, key, owner, state, dollars) values (?, ?, 'batch', 'reserved', ?)",
                    ((f"{batch}/{id}", id, costs[id]) for id in group),
                )
        return len(costs)

    def take(self, batch: str) -> PendingBatch | None:
        """Take on sending a batch, if it still must be sent and no living process is at it."""
        self.store.claim_owner()
        with self.store.transaction() as connection:
            state, owner, *facts = self.store.read(
                "select state, owner, attempted, tried, file_id from batches where id = ?", batch
            )[0]
            if state != "intended" or (owner != self.store.owner and self.store.is_alive(owner)):
                return None
            connection.execute("update batches set owner = ? where id = ?", (self.store.owner, batch))
        taken = self.store.read("select provider_id from batches where provider_id is not null")
        owned = self.store.read("select custom_id from batch_requests where batch = ?", batch)
        return PendingBatch(batch, *facts, *(frozenset(row[0] for row in rows) for rows in (taken, owned)))

    def requests(self, batch: str) -> Iterator[tuple[str, Request]]:
        """Yield the custom_ids and requests of a batch in their order."""
        query = "select custom_id, request from batch_requests where batch = ? order by position"
        for custom_id, request in self.store.connection.execute(query, (batch,)):
            yield custom_id, Request.model_validate_json(request)

    def is_waiting(self, custom_id: str) -> bool:
        """Return True if a request is in a batch that has not been retrieved."""
        query = "select 1 from spending where key = ? and state = 'reserved' and owner = 'batch'"
        return bool(self.store.read(query, custom_id))

    def mark(self, batch: str, **values: object) -> None:
        """Write down what is now known of a batch: state, attempted, tried, file_id, provider_id, counts, note."""
        names = ", ".join(f"{name} = ?" for name in values)
        held = [json.dumps(value) if isinstance(value, Mapping) else value for value in values.values()]
        with self.store.transaction() as connection:
            connection.execute(f"update batches set {names} where id = ?", (*held, batch))

    def record(
        self,
        batch: str,
        results: Sequence[tuple[str, Any]],
        read: Callable[[Any, Request], Reply | Failure],
    ) -> None:
        """Keep results of a batch, each with its cost, in one transaction.

        A result that was kept before (a second delivery), or of a request that is not in the batch, changes nothing.
        """
        query = "select request from batch_requests where batch = ? and custom_id = ? and not done"
        with self.store.transaction() as connection:
            for custom_id, result in results:
                for (written,) in self.store.read(query, batch, custom_id):
                    connection.execute(
                        "update batch_requests set done = 1 where batch = ? and custom_id = ?", (batch, custom_id)
                    )
                    request = Request.model_validate_json(written)
                    got = read(result, request)
                    if isinstance(got, Reply):
                        cost = None if self.price is None else self.price.of(got.usage, batch=True)
                        self.store.charge_within(f"{batch}/{custom_id}", got.usage, cost)
                        self.store.keep(custom_id, self.model, request, checked(got, request).replace(cost=cost))
                    else:
                        self._fail(batch, custom_id, got, billed=got.paid)
                        if got.paid:
                            self.store.keep(custom_id, self.model, request, Reply(failure=got, text=got.text))

    def _fail(self, batch: str, custom_id: str, failure: Failure, *, billed: bool) -> None:
        change = "update spending set state = 'unknown'" if billed else "delete from spending"
        self.store.connection.execute(f"{change} where id = ?", (f"{batch}/{custom_id}",))
        self.store.connection.execute(
            "update batch_requests set failure = ? where batch = ? and custom_id = ?",
            (failure.model_dump_json(), batch, custom_id),
        )

    def finish(self, batch: str, state: State, failure: Failure) -> int:
        """Close a batch: its requests without a result get this failure. Return their number."""
        rows = self.store.read("select custom_id from batch_requests where batch = ? and not done", batch)
        with self.store.transaction() as connection:
            for (custom_id,) in rows:
                self._fail(batch, custom_id, failure, billed=failure.kind == "unavailable")
            connection.execute("update batch_requests set done = 1 where batch = ?", (batch,))
            connection.execute("update batches set state = ? where id = ?", (state, batch))
        return len(rows)

    def outcome(self, custom_id: str) -> Reply | None:
        """Return a request's reply, that it waits, or how it last failed; None if it was never sent."""
        if (reply := self.store.lookup(custom_id)) is not None:
            return reply
        rows = self.store.read(
            "select state, failure from batch_requests join batches on batches.id = batch "
            "where custom_id = ? and identity = ? order by created desc, batches.id limit 1",
            custom_id,
            self.identity,
        )
        if not rows:
            return None
        state, failure = rows[0]
        failed = Failure(kind="pending", detail="it waits in a batch that has not been retrieved")
        if failure is not None and state not in OPEN:
            failed = Failure.model_validate_json(failure)
        return Reply(failure=failed, text=failed.text)

    def custom_ids(self) -> list[str]:
        """Return the custom_ids of all batches, the oldest first, each once."""
        rows = self.store.read(
            "select custom_id from batch_requests join batches on batches.id = batch where identity = ? "
            "group by custom_id order by min(created), min(position)",
            self.identity,
        )
        return [row[0] for row in rows]
