"""Options of every verb that asks a language model."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import Parameter

if TYPE_CHECKING:
    from monosema.llm import ClientConfig


@Parameter(name="*", group="Which language model is asked")
@dataclass(frozen=True)
class ClientOptions:
    """The language model that is asked, and the cap on its cost. Keys come from the environment only."""

    client: str | None = None
    """openai:MODEL, anthropic:MODEL, or local:PATH for a model that monosema itself runs."""
    base_url: str | None = None
    """Server that speaks the protocol (vLLM, Ollama, llama.cpp, OpenRouter); without it, the vendor itself."""
    key_variable: str | None = None
    """Environment variable that holds the key; without it, OPENAI_API_KEY for OpenAI itself, ANTHROPIC_API_KEY for
    Anthropic's protocol, and no key for other servers."""
    effort: str | None = None
    """Effort of reasoning before an answer; without it, the server decides."""
    max_cost: float | None = None
    """US dollars that may be spent in the run altogether, earlier commands included."""
    prices: Path | None = None
    """TOML file with prices of more models."""
    concurrency: int = 8
    """Most requests under way at once."""
    retry_failed: bool = False
    """Ask and pay again for what failed."""
    attempts: int = 6
    """Attempts of a failing call."""
    timeout: float = 120.0
    """Seconds until a call counts as lost."""
    listing_delay: float = 15.0
    """Seconds after which a batch that has arrived must show in the provider's list."""

    def config(self) -> ClientConfig:
        """Make the configuration.

        Raises:
            InputError: no client was named.
            ConfigError: a value that is not valid.
        """
        from monosema.core import InputError
        from monosema.llm import ClientConfig

        if self.client is None:
            raise InputError("Say which language model is asked: --client openai:MODEL, anthropic:MODEL or local:PATH.")
        return ClientConfig(**asdict(self))


NOBODY = ClientOptions()
