"""Language models as explainers and simulators: OpenAI's protocol, Anthropic's, or a model of your own.

`LiveClient` answers requests at once, `Batches` within a day at a discount; both keep answers and costs in a `Store`,
so that nothing is paid twice. `LocalClient` needs neither key nor network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from monosema.llm.anthropic_provider import AnthropicConfig, AnthropicProvider
from monosema.llm.batches import Batches, BatchesConfig, Retrieved, Sent
from monosema.llm.calls import RetryPolicy
from monosema.llm.ledger import Entry
from monosema.llm.live import LiveClient, LiveConfig
from monosema.llm.openai_provider import OpenAIConfig, OpenAIProvider
from monosema.llm.opening import (
    ClientConfig,
    MeteredClient,
    batch_status,
    check_client,
    llm_dir,
    open_batches,
    open_client,
    price_line,
    require_an_answer,
    retrieve_batches,
    sent_summary,
    spent_dollars,
)
from monosema.llm.prices import CostEstimate, Price, PriceTable
from monosema.llm.protocol import (
    Absent,
    Alternative,
    Client,
    Failure,
    Message,
    Reply,
    Request,
    TokenLogProbability,
    Usage,
    count_failures,
)
from monosema.llm.provider import Provider
from monosema.llm.stats import RequestStats
from monosema.llm.store import Spending, Store

if TYPE_CHECKING:
    from monosema.llm.local import LocalClient

__all__ = [
    "Absent",
    "Alternative",
    "AnthropicConfig",
    "AnthropicProvider",
    "Batches",
    "BatchesConfig",
    "Client",
    "ClientConfig",
    "CostEstimate",
    "Entry",
    "Failure",
    "LiveClient",
    "LiveConfig",
    "LocalClient",
    "Message",
    "MeteredClient",
    "OpenAIConfig",
    "OpenAIProvider",
    "Price",
    "PriceTable",
    "Provider",
    "Reply",
    "Request",
    "RequestStats",
    "Retrieved",
    "RetryPolicy",
    "Sent",
    "Spending",
    "Store",
    "TokenLogProbability",
    "Usage",
    "batch_status",
    "check_client",
    "count_failures",
    "llm_dir",
    "open_batches",
    "open_client",
    "price_line",
    "require_an_answer",
    "retrieve_batches",
    "sent_summary",
    "spent_dollars",
]


def __getattr__(name: str) -> Any:
    """Import torch only where a local model is meant."""
    if name == "LocalClient":
        from monosema.llm.local import LocalClient

        return LocalClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
