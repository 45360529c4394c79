"""Prices: nominal, the most that a request can cost, and estimates."""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from monosema.core import Config, ConfigError, nearest
from monosema.llm.protocol import Request, Usage

_DATE = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{8})$")
# Allowances for what providers add around texts: roles and separators, and the instructions that carry a schema.
_TOKENS_A_MESSAGE = 16
_TOKENS_A_SCHEMA = 512
_BYTES_A_TOKEN = 4.0


class Price(Config):
    """Price of a model, in US dollars per million tokens."""

    input: float = Field(ge=0)
    """Of input tokens."""
    output: float = Field(ge=0)
    """Of output tokens."""
    batch_discount: float = Field(0.0, ge=0, le=1)
    """Share of the price that the Batch service takes off."""
    long_prompt_tokens: int | None = Field(None, gt=0)
    """From so many tokens of input on, the whole request costs what `long_input` and `long_output` say."""
    long_input: float = Field(0.0, ge=0)
    """Price of input for long prompts."""
    long_output: float = Field(0.0, ge=0)
    """Price of output for long prompts."""

    def of(self, usage: Usage, *, batch: bool = False) -> float:
        """Return US dollars for so many tokens in one request."""
        long = self.long_prompt_tokens is not None and usage.input_tokens >= self.long_prompt_tokens
        rates = (self.long_input, self.long_output) if long else (self.input, self.output)
        whole = (usage.input_tokens * rates[0] + usage.output_tokens * rates[1]) / 1e6
        return whole * (1 - self.batch_discount) if batch else whole

    def at_most(self, request: Request, *, batch: bool = False) -> float:
        """Return the most that one attempt at the request can cost."""
        return self.of(Usage(input_tokens=input_tokens_at_most(request), output_tokens=request.max_tokens), batch=batch)


def find_price(model: str, own: Path | None = None, cap: float | None = None) -> Price | None:
    """Return the price of a model; None where no table has one and no cap needs one.

    ``NAME-2024-07-18`` costs what ``NAME`` costs.

    Args:
        model: the model's name.
        own: TOML file whose entries go before those of the table that comes with monosema.
        cap: US dollars that may be spent.

    Raises:
        ConfigError: the file can't be read, an entry is not a price, or there is a cap and no price.
    """
    models = read_prices(Path(__file__).with_name("prices.toml")) | ({} if own is None else read_prices(own))
    price = models.get(model) or models.get(_DATE.sub("", model))
    if price is None and cap is not None:
        raise ConfigError(
            f"There is no price for the model {model!r}, so a cost cap can't be kept.{nearest(model, models)} "
            f"Write it into a TOML file, [models.{json.dumps(model)}] with input and output in US dollars per million "
            "tokens (0 for a model of your own), and give that file as the prices."
        )
    return price


def read_prices(path: Path) -> dict[str, Price]:
    """Read a price table. Raises ConfigError where it can't be read or an entry is not a price."""
    try:
        models = tomllib.loads(path.read_text(encoding="utf-8")).get("models", {})
    except OSError as error:
        raise ConfigError(f"The price table {path} can't be read: {error.strerror}.") from None
    except ValueError as error:
        raise ConfigError(f"The price table {path} is not TOML: {error}.") from None
    if not isinstance(models, dict) or not all(isinstance(price, dict) for price in models.values()):
        raise ConfigError(f'The price table {path} needs a table [models."NAME"] for each model.')
    return {name: Price(**price) for name, price in models.items()}


def input_tokens_at_most(request: Request) -> int:
    """Return an upper bound of the input's tokens: one for each byte, and allowances for what providers add."""
    tokens = sum(len(message.content.encode()) + _TOKENS_A_MESSAGE for message in request.messages) + _TOKENS_A_MESSAGE
    if request.response_schema is not None:
        tokens += len(json.dumps(request.response_schema).encode()) + _TOKENS_A_SCHEMA
    return tokens


@dataclass(frozen=True)
class CostEstimate:
    """Cost of requests before any is sent.

    Attributes:
        requests: requests that would be sent.
        answered: requests that have an answer already and cost nothing.
        input_tokens: at four bytes a token, an average for English.
        output_tokens: all replies at their longest.
        dollars: cost of those tokens; None where no price is known.
        at_most: what the requests can't exceed in one attempt each, at a token a byte; None where no price is known.
    """

    requests: int
    answered: int
    input_tokens: int
    output_tokens: int
    dollars: float | None
    at_most: float | None


def estimate_cost(
    requests: Sequence[Request], price: Price | None, *, answered: int = 0, batch: bool = False
) -> CostEstimate:
    """Estimate requests that have no answer yet."""
    texts = [sum(len(message.content.encode()) for message in request.messages) for request in requests]
    usages = [
        Usage(input_tokens=round(text / _BYTES_A_TOKEN), output_tokens=request.max_tokens)
        for text, request in zip(texts, requests, strict=True)
    ]
    total = sum(usages, Usage())
    dollars = at_most = None
    if price is not None:
        dollars = math.fsum(price.of(usage, batch=batch) for usage in usages)
        at_most = math.fsum(price.at_most(request, batch=batch) for request in requests)
    return CostEstimate(len(requests), answered, total.input_tokens, total.output_tokens, dollars, at_most)
