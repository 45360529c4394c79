"""The seam between monosema's clients and a vendor's protocol."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from monosema.llm.account import Account
from monosema.llm.calls import RetryPolicy
from monosema.llm.protocol import Failure, Reply, Request


@runtime_checkable
class Conversation(Protocol):
    """An open connection to a provider."""

    async def ask(self, request: Request) -> Reply:
        """One attempt; the reply is not yet held against its schema.

        Raises:
            TransientError, RejectedError, ProviderError: see `calls`.
        """
        ...


@dataclass(frozen=True)
class PendingBatch:
    """A batch that the ledger says must be sent.

    Attributes:
        id: monosema's name of it.
        size: number of requests.
        attempted: Unix time at which sending it was first tried; None if it never was.
        tried: Unix time at which it was last tried.
        file_id: the provider's id of the file with the requests, if it is known to be there.
        taken: the provider's ids of batches that are known to be others.
        owned: custom_ids of its requests.
    """

    id: str
    size: int
    attempted: float | None
    tried: float | None
    file_id: str | None
    taken: frozenset[str]
    owned: frozenset[str]


@dataclass(frozen=True)
class Found:
    """Whether the provider has a batch.

    Attributes:
        provider_id: its id there, if it is there.
        uncertain: ids of batches of which nobody can say yet.
    """

    provider_id: str | None = None
    uncertain: tuple[str, ...] = ()


@dataclass(frozen=True)
class BatchProgress:
    """How far a batch is.

    Attributes:
        state: ``working`` until nothing more will come; then how it ended. ``lost``: the provider has it no more.
        counts: requests by state, in the provider's words.
        results: how many results there must be.
        note: what the provider says is wrong with it.
    """

    state: Literal["working", "completed", "expired", "cancelled", "failed", "lost"]
    counts: Mapping[str, int]
    results: int
    note: str = ""


@runtime_checkable
class BatchService(Protocol):
    """A provider's Batch service: requests that are answered within a day, at a discount."""

    most_requests: int
    most_bytes: int

    def line(self, custom_id: str, request: Request) -> dict[str, Any]:
        """A request as it goes into a batch."""
        ...

    def find(self, batch: PendingBatch) -> Found:
        """Look whether a batch that was tried to be sent has arrived."""
        ...

    def upload(self, batch: PendingBatch, lines: Iterator[dict[str, Any]]) -> str | None:
        """Bring the requests there, where that is a step of its own; the id of the file."""
        ...

    def submit(self, batch: PendingBatch, lines: Iterator[dict[str, Any]]) -> str:
        """Start the batch; the provider's id of it."""
        ...

    def poll(self, provider_id: str) -> BatchProgress:
        """How far it is."""
        ...

    def results(self, provider_id: str) -> Iterator[tuple[str, Any]]:
        """What has come of it, as (custom_id, something that `read` can read), in any order."""
        ...

    def read(self, result: Any, request: Request) -> Reply | Failure:
        """The reply in a result, not yet held against its schema."""
        ...


@runtime_checkable
class Provider(Protocol):
    """A vendor, or a server that speaks a vendor's protocol, with one model."""

    @property
    def model(self) -> str:
        """Name of the model, as the provider knows it."""
        ...

    @property
    def identity(self) -> dict[str, Any]:
        """All besides the request that an answer depends on. It has no key in it."""
        ...

    def conversation(self, patience: RetryPolicy) -> AbstractAsyncContextManager[Conversation]:
        """Open a connection for live requests."""
        ...

    def batch_service(self, patience: RetryPolicy) -> AbstractContextManager[BatchService]:
        """Open a connection to the Batch service."""
        ...


@runtime_checkable
class Wire(Protocol):
    """How a vendor's protocol writes requests and replies; live requests and batches share it."""

    @property
    def account(self) -> Account:
        """Whose requests they are."""
        ...

    def body(self, request: Request) -> dict[str, Any]:
        """The request in the vendor's protocol."""
        ...

    def reply(self, answer: Any, request: Request) -> Reply:
        """The reply in the vendor's answer. Raises TransientError where there is none in it."""
        ...
