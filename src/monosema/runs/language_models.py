"""Which language model is asked, and how: from the words of a command to a client."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from monosema.core import Config, ConfigError
from monosema.interpretation.clients import (
    AnthropicConfig,
    AnthropicProvider,
    Batches,
    BatchesConfig,
    Client,
    CostEstimate,
    LiveClient,
    LiveConfig,
    OpenAIConfig,
    OpenAIProvider,
    Patience,
    PriceTable,
    Provider,
    Request,
    Store,
)

__all__ = ["ClientConfig", "Purse", "open_batches", "open_client"]

_KINDS = ("openai", "anthropic", "local")
_DEFAULT = Patience()


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

    @property
    def kind(self) -> str:
        """openai, anthropic or local."""
        return self.client.partition(":")[0]

    @property
    def model(self) -> str:
        """The model's name or path."""
        return self.client.partition(":")[2]

    @property
    def patience(self) -> Patience:
        """How failing calls are repeated."""
        return _DEFAULT.replace(attempts=self.attempts)


class Purse:
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
        spending = self.store.spending()
        return {"answered": spending.answered, "at_most": spending.at_most}


@contextlib.contextmanager
def open_client(config: ClientConfig, folder: Path, device: str | None = None) -> Iterator[Purse]:
    """A client whose answers and costs are kept in a folder.

    Raises:
        ConfigError: no key in the environment, or no price for the model though there is a cap.
        MissingExtraError: the vendor's library is not installed.
    """
    if config.kind == "local":
        from monosema.interpretation.clients import LocalClient
        from monosema.models import load_model

        model: Any = load_model(config.model, device=device)
        with Store(folder) as store:
            yield Purse(LocalClient(model, store), store)
        return
    provider = _provider(config)
    live = LiveConfig(
        concurrency=config.concurrency,
        max_cost=config.max_cost,
        retry_failed=config.retry_failed,
        patience=config.patience,
    )
    with Store(folder) as store:
        yield Purse(LiveClient(provider, store, PriceTable.load(config.prices), live), store)


@contextlib.contextmanager
def open_batches(config: ClientConfig, folder: Path) -> Iterator[Batches]:
    """The provider's Batch service, with its ledger in a folder.

    Raises:
        ConfigError: a local model, which has no Batch service, or as for `open_client`.
    """
    if config.kind == "local":
        raise ConfigError("A local model has no Batch service. Ask it at once: monosema explain RUN --client local:…")
    settings = BatchesConfig(
        max_cost=config.max_cost,
        retry_failed=config.retry_failed,
        patience=config.patience,
        listing_delay=config.listing_delay,
    )
    with Store(folder) as store:
        yield Batches(_provider(config), store, PriceTable.load(config.prices), settings)


def _provider(config: ClientConfig) -> Provider:
    more: dict[str, Any] = {} if config.effort is None else {"effort": config.effort}
    if config.key_variable is not None:
        more["key_variable"] = config.key_variable
    if config.kind == "openai":
        return OpenAIProvider(OpenAIConfig(model=config.model, base_url=config.base_url, **more))
    return AnthropicProvider(AnthropicConfig(model=config.model, base_url=config.base_url, **more))
