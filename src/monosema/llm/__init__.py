"""Language models as a service: OpenAI's protocol, Anthropic's, or a model of your own.

`LiveClient` answers requests at once, `Batches` within a day at a discount; both keep answers and costs in a `Store`,
so that nothing is paid twice. `LocalClient` needs neither key nor network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from monosema.llm.adapter import Adapter, ClientConfig, register_adapter
from monosema.llm.anthropic import AnthropicAdapter
from monosema.llm.batches import Batches
from monosema.llm.ledger import Entry
from monosema.llm.live import LiveClient
from monosema.llm.metered import (
    check_client,
    follow_batches,
    llm_dir,
    open_batches,
    open_client,
    price_line,
    require_an_answer,
)
from monosema.llm.openai import OpenAIAdapter
from monosema.llm.prices import Price
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
from monosema.llm.stats import RequestStats
from monosema.llm.store import Store

if TYPE_CHECKING:
    from monosema.llm.local import LocalClient

__all__ = [
    "Absent",
    "Adapter",
    "Alternative",
    "Batches",
    "Client",
    "ClientConfig",
    "Entry",
    "Failure",
    "LiveClient",
    "LocalClient",
    "Message",
    "Price",
    "Reply",
    "Request",
    "RequestStats",
    "Store",
    "TokenLogProbability",
    "Usage",
    "check_client",
    "count_failures",
    "follow_batches",
    "llm_dir",
    "open_batches",
    "open_client",
    "price_line",
    "register_adapter",
    "require_an_answer",
]

register_adapter("openai", OpenAIAdapter)
register_adapter("anthropic", AnthropicAdapter)


def __getattr__(name: str) -> Any:
    """Import torch only where a local model is meant."""
    if name == "LocalClient":
        from monosema.llm.local import LocalClient

        return LocalClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
