"""Language models as explainers and simulators: OpenAI's protocol, Anthropic's, or a model of your own.

`LiveClient` answers requests at once, `Batches` within a day at a discount; both keep answers and costs in a `Store`,
so that nothing is paid twice. `LocalClient` needs neither key nor network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from monosema.interpretation.clients.anthropic_provider import AnthropicConfig, AnthropicProvider
from monosema.interpretation.clients.batches import Batches, BatchesConfig, Retrieved, Sent
from monosema.interpretation.clients.calls import Patience
from monosema.interpretation.clients.ledger import Entry
from monosema.interpretation.clients.live import LiveClient, LiveConfig
from monosema.interpretation.clients.openai_provider import OpenAIConfig, OpenAIProvider
from monosema.interpretation.clients.prices import CostEstimate, Price, PriceTable
from monosema.interpretation.clients.protocol import (
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
from monosema.interpretation.clients.provider import Provider
from monosema.interpretation.clients.store import Spending, Store

if TYPE_CHECKING:
    from monosema.interpretation.clients.local import LocalClient

__all__ = [
    "Absent",
    "Alternative",
    "AnthropicConfig",
    "AnthropicProvider",
    "Batches",
    "BatchesConfig",
    "Client",
    "CostEstimate",
    "Entry",
    "Failure",
    "LiveClient",
    "LiveConfig",
    "LocalClient",
    "Message",
    "OpenAIConfig",
    "OpenAIProvider",
    "Patience",
    "Price",
    "PriceTable",
    "Provider",
    "Reply",
    "Request",
    "Retrieved",
    "Sent",
    "Spending",
    "Store",
    "TokenLogProbability",
    "Usage",
    "count_failures",
]


def __getattr__(name: str) -> Any:
    """Import torch only where a local model is meant."""
    if name == "LocalClient":
        from monosema.interpretation.clients.local import LocalClient

        return LocalClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
