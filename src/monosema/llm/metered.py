"""Open clients from a command's options, and say what they ask and cost."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from monosema.core import ConfigError, ProviderError
from monosema.llm.adapter import ClientConfig
from monosema.llm.batches import Batches
from monosema.llm.live import LiveClient
from monosema.llm.prices import CostEstimate, find_price
from monosema.llm.stats import RequestStats
from monosema.llm.store import Store

if TYPE_CHECKING:
    from monosema.llm.local import LocalClient


def llm_dir(folder: Path) -> Path:
    """Return the folder in a run's folder that holds answers and costs."""
    return folder / "language-models"


@contextlib.contextmanager
def open_client(
    config: ClientConfig, folder: Path, device: str | None = None
) -> Iterator[tuple[LiveClient | LocalClient, Store]]:
    """Open a client, and the store in a folder that keeps its answers and costs.

    Raises:
        ConfigError: no key in the environment, or no price for the model though there is a cap.
        MissingExtraError: the vendor's library is not installed.
    """
    if config.kind == "local":
        from monosema.llm.local import LocalClient
        from monosema.models import load_model

        model: Any = load_model(config.model, device=device)
        with Store(folder) as store:
            yield LocalClient(model, store), store
    else:
        adapter = config.adapter()
        with Store(folder) as store:
            yield LiveClient(adapter, store, config), store


@contextlib.contextmanager
def open_batches(config: ClientConfig, folder: Path) -> Iterator[Batches]:
    """Open the vendor's Batch service, with its ledger in a folder.

    Raises:
        ConfigError: a local model, which has no Batch service, or as for `open_client`.
    """
    if config.kind == "local":
        raise ConfigError(
            f"A local model has no Batch service. Ask it at once, without a step: --client {config.client}"
        )
    adapter = config.adapter()
    with Store(folder) as store:
        yield Batches(adapter, store, config)


def follow_batches(step: Literal["status", "retrieve"], config: ClientConfig, folder: Path) -> dict[str, Any]:
    """Return the state of every batch to this model that a folder's ledger holds; or fetch those that have ended."""
    with open_batches(config, folder) as batches:
        if step == "retrieve":
            return asdict(batches.retrieve())
        return {"batches": [asdict(entry) for entry in batches.status()]}


def check_client(config: ClientConfig) -> None:
    """Find out before long work that a client can be opened. Raises as `open_client` does."""
    if config.kind != "local":
        config.adapter()
        find_price(config.model, config.prices, config.max_cost)


def require_an_answer(config: ClientConfig, stats: RequestStats) -> None:
    """Tell a server that can't be reached from one that fails now and then.

    Raises:
        ProviderError: everything that was asked failed, and for reasons that pass.
    """
    if 0 < stats.requests == stats.failures["unavailable"]:
        server = config.base_url or f"the servers of {config.kind}"
        raise ProviderError(
            f"Nothing was answered by {server}: {stats.reasons['unavailable']}. Check that it runs and can be reached "
            "from here (--base-url, the network, a proxy), then run the same command again."
        )


def price_line(config: ClientConfig, estimate: CostEstimate) -> str:
    """Say in one line what is about to be asked and what it costs."""
    parts = [f"{config.client}: {estimate.requests} requests, {estimate.answered} more are answered already"]
    if config.kind != "local":
        dollars = (
            None if estimate.dollars is None else f"about ${estimate.dollars:.4f}, at most ${estimate.at_most:.4f}"
        )
        parts += [
            f"about {estimate.input_tokens:,} tokens to read and at most {estimate.output_tokens:,} to write",
            dollars or "no price is known",
            "no cap" if config.max_cost is None else f"cap ${config.max_cost:g} for the whole run",
        ]
    return "; ".join(parts)
