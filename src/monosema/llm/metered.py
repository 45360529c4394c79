"""Open clients from a command's options, and say what they ask and cost."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from monosema.core import ConfigError, ProviderError
from monosema.llm.adapter import ClientConfig
from monosema.llm.batches import Batches, Sent
from monosema.llm.live import LiveClient
from monosema.llm.prices import CostEstimate, find_price
from monosema.llm.protocol import Client, Request
from monosema.llm.stats import RequestStats
from monosema.llm.store import Store


@dataclass(frozen=True)
class MeteredClient:
    """A client with its store of answers and costs; `estimate` gives the cost of requests that have no answer yet."""

    client: Client
    store: Store
    estimate: Callable[[Sequence[Request]], CostEstimate]

    def spent(self) -> dict[str, float]:
        """Return US dollars spent so far, earlier commands included: for answers, and at most."""
        return spent_dollars(self.store)


def spent_dollars(store: Store) -> dict[str, float]:
    """Return US dollars that a store has seen spent: for answers, and at most."""
    spending = store.spending()
    return {"answered": spending.answered, "at_most": spending.at_most}


def llm_dir(folder: Path) -> Path:
    """Return the folder in a run's folder that holds answers and costs."""
    return folder / "language-models"


@contextlib.contextmanager
def open_client(config: ClientConfig, folder: Path, device: str | None = None) -> Iterator[MeteredClient]:
    """Open a client whose answers and costs are kept in a folder.

    Raises:
        ConfigError: no key in the environment, or no price for the model though there is a cap.
        MissingExtraError: the vendor's library is not installed.
    """
    if config.kind == "local":
        from monosema.llm.local import LocalClient
        from monosema.models import load_model

        model: Any = load_model(config.model, device=device)
        with Store(folder) as store:
            local = LocalClient(model, store)
            yield MeteredClient(local, store, local.estimate)
        return
    adapter = config.adapter()
    with Store(folder) as store:
        live = LiveClient(adapter, store, config)
        yield MeteredClient(live, store, live.estimate)


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


def batch_status(config: ClientConfig, folder: Path) -> dict[str, Any]:
    """Return the state of every batch to this model that a folder's ledger holds."""
    with open_batches(config, folder) as batches:
        return {"batches": [asdict(entry) for entry in batches.status()]}


def retrieve_batches(config: ClientConfig, folder: Path) -> dict[str, Any]:
    """Fetch the results of all batches to this model that have ended."""
    with open_batches(config, folder) as batches:
        got = batches.retrieve()
    return {"retrieved": got.batches, "results": got.results, "missing": got.missing, "open": got.open}


def sent_summary(sent: Sent) -> dict[str, Any]:
    """Return the result of sending as plain values."""
    return {
        "sent": sent.requests,
        "answered": sent.answered,
        "waiting": sent.waiting,
        "batches": [asdict(entry) for entry in sent.batches],
    }


def price_line(config: ClientConfig, estimate: Mapping[str, Any]) -> str:
    """Say in one line what is about to be asked and what it costs."""
    parts = [f"{config.client}: {estimate['requests']} requests, {estimate['answered']} more are answered already"]
    if config.kind != "local":
        known = estimate["dollars"] is not None
        parts += [
            f"about {estimate['input_tokens']:,} tokens to read and at most {estimate['output_tokens']:,} to write",
            f"about ${estimate['dollars']:.4f}, at most ${estimate['at_most']:.4f}" if known else "no price is known",
            "no cap" if config.max_cost is None else f"cap ${config.max_cost:g} for the whole run",
        ]
    return "; ".join(parts)
