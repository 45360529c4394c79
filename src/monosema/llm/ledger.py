"""The ledger of batches: what is to be sent is written down before anything is sent, and what came as it comes."""

from __future__ import annotations

import json
import math
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
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
            "select id, state, provider_id, counts, "
            "(select count(*) from batch_requests where batch = batches.id), created, note "
            "from batches where identity = ? order by created, id",
            self.identity,
        )
        return [
            Entry(id, state, provider_id, json.loads(counts), *rest)
            for id, state, provider_id, counts, *rest in rows
            if not states or state in states
        ]

    def intend(self, groups: Sequence[Mapping[str, Request]], cap: float | None) -> int:
        """Write down batches that are to be sent, and set their cost aside, in one transaction.

        Args:
            groups: the requests of each batch, by custom_id.
            cap: US dollars that may be spent in the store altogether.

        Returns:
            The number of requests that were written down.

        Raises:
            CostCapError: they might cost more than the cap leaves; then nothing is written down.
        """
        with self.store.transaction():
            costs = [
                {id: None if self.price is None else self.price.at_most(one, batch=True) for id, one in group.items()}
                for group in groups
            ]
            count, more = sum(map(len, costs)), math.fsum(cost or 0.0 for some in costs for cost in some.values())
            if not self.store.within(cap, more):
                spent = self.store.spending().at_most
                raise CostCapError(
                    f"{count} requests might cost up to {more:.4g} dollars, and {spent:.4g} of the {cap:.4g} "
                    "allowed are spent or set aside. Nothing was sent. Send fewer, lower max_tokens, or raise the cap."
                )
            for group, most in zip(groups, costs, strict=True):
                self._write_down(group, most)
        return count

    def _write_down(self, group: Mapping[str, Request], costs: Mapping[str, float | None]) -> None:
        batch = f"monosema-{uuid.uuid4().hex}"
        command = "insert into batches (id, identity, model, state, owner, created) values (?, ?, ?, 'intended', '', ?)"
        self.store.write(command, batch, self.identity, self.model, time.time())
        for position, (id, request) in enumerate(group.items()):
            command = "insert into batch_requests (batch, custom_id, position, request) values (?, ?, ?, ?)"
            self.store.write(command, batch, id, position, request.model_dump_json(exclude_none=True))
            self.store.set_aside(f"{batch}/{id}", id, "batch", costs[id])

    def pending(self, batch: str) -> PendingBatch:
        """Return the facts about a batch that must be sent."""
        (times,) = self.store.read("select attempted, tried from batches where id = ?", batch)
        taken = self.store.read("select provider_id from batches where provider_id is not null")
        owned = self.store.read("select custom_id from batch_requests where batch = ?", batch)
        return PendingBatch(batch, *times, *(frozenset(row[0] for row in rows) for rows in (taken, owned)))

    def requests(self, batch: str) -> Iterator[tuple[str, Request]]:
        """Yield the custom_ids and requests of a batch in their order."""
        query = "select custom_id, request from batch_requests where batch = ? order by position"
        for custom_id, request in self.store.connection.execute(query, (batch,)):
            yield custom_id, Request.model_validate_json(request)

    def mark(self, batch: str, **values: object) -> None:
        """Write down what is now known of a batch: state, attempted, tried, provider_id, counts, note."""
        names = ", ".join(f"{name} = ?" for name in values)
        held = (json.dumps(value) if isinstance(value, Mapping) else value for value in values.values())
        self.store.write(f"update batches set {names} where id = ?", *held, batch)

    def record(
        self, batch: str, results: Sequence[tuple[str, Any]], read: Callable[[Any, Request], Reply | Failure]
    ) -> None:
        """Keep results of a batch, each with its cost, in one transaction.

        A result that was kept before (a second delivery), or of a request that is not in the batch, changes nothing.
        """
        query = "select request from batch_requests where batch = ? and custom_id = ? and not done"
        with self.store.transaction():
            for custom_id, result in results:
                for (written,) in self.store.read(query, batch, custom_id):
                    request = Request.model_validate_json(written)
                    got = read(result, request)
                    if isinstance(got, Reply):
                        cost = None if self.price is None else self.price.of(got.usage, batch=True)
                        self.store.charge(f"{batch}/{custom_id}", got.usage, cost)
                        self.store.keep(custom_id, self.model, request, checked(got, request).replace(cost=cost))
                        self._done(batch, custom_id, None)
                    else:
                        self._fail(batch, custom_id, got, billed=got.paid)
                        if got.paid:
                            self.store.keep(custom_id, self.model, request, Reply(failure=got, text=got.text))

    def _fail(self, batch: str, custom_id: str, failure: Failure, *, billed: bool) -> None:
        (self.store.count_unknown if billed else self.store.release)(f"{batch}/{custom_id}")
        self._done(batch, custom_id, failure.model_dump_json())

    def _done(self, batch: str, custom_id: str, failure: str | None) -> None:
        command = "update batch_requests set done = 1, failure = ? where batch = ? and custom_id = ?"
        self.store.write(command, failure, batch, custom_id)

    def finish(self, batch: str, state: State, failure: Failure) -> int:
        """Close a batch: its requests without a result get this failure. Return their number."""
        with self.store.transaction():
            rows = self.store.read("select custom_id from batch_requests where batch = ? and not done", batch)
            for (custom_id,) in rows:
                self._fail(batch, custom_id, failure, billed=failure.kind == "unavailable")
            self.mark(batch, state=state)
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
        for state, failure in rows:
            if failure is not None and state not in OPEN:
                failed = Failure.model_validate_json(failure)
                return Reply(failure=failed, text=failed.text)
            return Reply.failed("pending", "it waits in a batch that has not been retrieved")
        return None

    def custom_ids(self) -> list[str]:
        """Return the custom_ids of all batches, the oldest first, each once."""
        rows = self.store.read(
            "select custom_id from batch_requests join batches on batches.id = batch where identity = ? "
            "group by custom_id order by min(created), min(position)",
            self.identity,
        )
        return [row[0] for row in rows]
