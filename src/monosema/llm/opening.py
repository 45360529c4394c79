"""Which language model is asked, and how: from the words of a command to a client, and what became of batches."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from monosema.core import Config, ConfigError, ProviderError
from monosema.llm.anthropic_provider import AnthropicConfig, AnthropicProvider
from monosema.llm.batches import Batches, BatchesConfig, Sent
from monosema.llm.calls import RetryPolicy
from monosema.llm.live import LiveClient, LiveConfig
from monosema.llm.openai_provider import OpenAIConfig, OpenAIProvider
from monosema.llm.prices import CostEstimate, PriceTable
from monosema.llm.protocol import Client, Request
from monosema.llm.provider import Provider
from monosema.llm.stats import RequestStats
from monosema.llm.store import Store

_KINDS = ("openai", "anthropic", "local")
_DEFAULT = RetryPolicy()


class ClientConfig(Config):
    """Which language model, and what may be spent on it."""

    client: str
    """openai:MODEL, anthropic:MODEL, or local:PATH for a model that monosema itself runs."""
    base_url: str | None = None
    """Server that speaks the protocol; None is the vendor itself."""
    key_variable: str | None = None
    """Environment variable that holds the key; None: the vendor's own, and no key for other servers."""
    effort: str | None = None
    """How much the model reasons before it answers; None leaves it to the server."""
    max_cost: float | None = Field(None, ge=0)
    """US dollars that may be spent in the run altogether, earlier commands included; None without limit."""
    prices: Path | None = None
    """TOML file with prices of more models."""
    concurrency: int = Field(8, gt=0)
    """Most requests under way at once."""
    retry_failed: bool = False
    """Whether to ask and pay again for what failed."""
    attempts: int = Field(_DEFAULT.attempts, gt=0)
    """How often a failing call is tried."""
    timeout: float = Field(_DEFAULT.timeout, gt=0)
    """Seconds until a call counts as lost."""
    listing_delay: float = Field(15.0, ge=0)
    """Seconds after which a batch that has arrived must show in the provider's list; before, its absence there
    proves nothing."""

    @field_validator("client")
    @classmethod
    def _is_client(cls, client: str) -> str:
        kind, _, model = client.partition(":")
        if kind not in _KINDS or not model:
            raise ValueError("give openai:MODEL, anthropic:MODEL or local:PATH")
        return client

    @field_validator("base_url")
    @classmethod
    def _is_address(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("http://", "https://")):
            raise ValueError("give a whole address, such as http://localhost:8000/v1")
        return url

    @property
    def kind(self) -> str:
        """openai, anthropic or local."""
        return self.client.partition(":")[0]

    @property
    def model(self) -> str:
        """The model's name or path."""
        return self.client.partition(":")[2]

    @property
    def patience(self) -> RetryPolicy:
        """How failing calls are repeated."""
        return _DEFAULT.replace(attempts=self.attempts, timeout=self.timeout)


class MeteredClient:
    """A client with what it has cost.

    Attributes:
        client: who answers.
        store: what was answered and spent.
    """

    def __init__(self, client: Client, store: Store) -> None:
        self.client, self.store = client, store

    def estimate(self, requests: list[Request]) -> CostEstimate:
        """What requests would cost that have no answer yet."""
        if isinstance(self.client, LiveClient):
            return self.client.estimate(requests)
        return CostEstimate(len(requests), 0, 0, 0, 0.0, 0.0)

    def spent(self) -> dict[str, float]:
        """US dollars so far, earlier commands included: for answers, and at most."""
        return spent_dollars(self.store)


def spent_dollars(store: Store) -> dict[str, float]:
    """US dollars that a store has seen spent: for answers, and at most."""
    spending = store.spending()
    return {"answered": spending.answered, "at_most": spending.at_most}


def llm_dir(folder: Path) -> Path:
    """Return the folder in a run's folder that holds answers and costs."""
    return folder / "language-models"


@contextlib.contextmanager
def open_client(config: ClientConfig, folder: Path, device: str | None = None) -> Iterator[MeteredClient]:
    """A client whose answers and costs are kept in a folder.

    Raises:
        ConfigError: no key in the environment, or no price for the model though there is a cap.
        MissingExtraError: the vendor's library is not installed.
    """
    if config.kind == "local":
        from monosema.llm.local import LocalClient
        from monosema.models import load_model

        model: Any = load_model(config.model, device=device)
        with Store(folder) as store:
            yield MeteredClient(LocalClient(model, store), store)
        return
    provider = _provider(config)
    live = LiveConfig(
        concurrency=config.concurrency,
        max_cost=config.max_cost,
        retry_failed=config.retry_failed,
        patience=config.patience,
    )
    with Store(folder) as store:
        yield MeteredClient(LiveClient(provider, store, PriceTable.load(config.prices), live), store)


@contextlib.contextmanager
def open_batches(config: ClientConfig, folder: Path) -> Iterator[Batches]:
    """The provider's Batch service, with its ledger in a folder.

    Raises:
        ConfigError: a local model, which has no Batch service, or as for `open_client`.
    """
    if config.kind == "local":
        raise ConfigError(
            f"A local model has no Batch service. Ask it at once, without a step: --client {config.client}"
        )
    settings = BatchesConfig(
        max_cost=config.max_cost,
        retry_failed=config.retry_failed,
        patience=config.patience,
        listing_delay=config.listing_delay,
    )
    with Store(folder) as store:
        yield Batches(_provider(config), store, PriceTable.load(config.prices), settings)


def require_an_answer(config: ClientConfig, tally: RequestStats) -> None:
    """Tell a server that can't be reached from one that fails now and then.

    Raises:
        ProviderError: everything that was asked failed, and for reasons that pass.
    """
    if 0 < tally.requests == tally.failures["unavailable"]:
        server = config.base_url or f"the servers of {config.kind}"
        raise ProviderError(
            f"Nothing was answered by {server}: {tally.reasons['unavailable']}. Check that it runs and can be reached "
            "from here (--base-url, the network, a proxy), then run the same command again."
        )


def check_client(config: ClientConfig) -> None:
    """Find out before long work whether the client can be opened at all.

    Raises:
        ConfigError, MissingExtraError: as for `open_client`.
    """
    if config.kind != "local":
        _provider(config)
        PriceTable.load(config.prices).under(config.max_cost, config.model)


def _provider(config: ClientConfig) -> Provider:
    more: dict[str, Any] = {} if config.effort is None else {"effort": config.effort}
    if config.key_variable is not None:
        more["key_variable"] = config.key_variable
    if config.kind == "openai":
        return OpenAIProvider(OpenAIConfig(model=config.model, base_url=config.base_url, **more))
    return AnthropicProvider(AnthropicConfig(model=config.model, base_url=config.base_url, **more))


def batch_status(client: ClientConfig, folder: Path) -> dict[str, Any]:
    """Return the state of every batch to this model that a folder's ledger holds."""
    with open_batches(client, folder) as batches:
        return {"batches": [asdict(entry) for entry in batches.status()]}


def retrieve_batches(client: ClientConfig, folder: Path) -> dict[str, Any]:
    """Fetch the results of all batches to this model that have ended."""
    with open_batches(client, folder) as batches:
        got = batches.retrieve()
    return {"retrieved": got.batches, "results": got.results, "missing": got.missing, "open": got.open}


def sent_summary(sent: Sent) -> dict[str, Any]:
    """What sending came to, as plain values."""
    return {
        "sent": sent.requests,
        "answered": sent.answered,
        "waiting": sent.waiting,
        "batches": [asdict(entry) for entry in sent.batches],
    }


def price_line(client: ClientConfig, estimate: Mapping[str, Any]) -> str:
    """What is about to be asked and what it costs, in one line."""
    parts = [f"{client.client}: {estimate['requests']} requests, {estimate['answered']} more are answered already"]
    if client.kind != "local":
        parts.append(
            f"about {estimate['input_tokens']:,} tokens to read and at most {estimate['output_tokens']:,} to write"
        )
        known = estimate["dollars"] is not None
        parts.append(
            f"about ${estimate['dollars']:.4f}, at most ${estimate['at_most']:.4f}" if known else "no price is known"
        )
        parts.append("no cap" if client.max_cost is None else f"cap ${client.max_cost:g} for the whole run")
    return "; ".join(parts)
