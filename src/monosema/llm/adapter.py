"""The seam between monosema and a vendor: configuration, an adapter for each protocol, credentials, errors."""

from __future__ import annotations

import contextlib
import importlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from pydantic import Field, field_validator

from monosema.core import Config, ConfigError, MissingExtraError, MonosemaError, ProviderError
from monosema.llm.protocol import Failure, Reply, Request

FIRST_WAIT, LONGEST_WAIT, LONGEST_ASKED = 0.5, 60.0, 120.0
"""Seconds between attempts that may be paid, which the vendor's library must not repeat: they double, up to the second;
a provider that asks for more gets up to the third."""


class ClientConfig(Config):
    """A language model, its settings, and the cap on its cost."""

    client: str
    """openai:MODEL, anthropic:MODEL, or local:PATH for a model that monosema itself runs."""
    base_url: str | None = None
    """Server that speaks the protocol; None is the vendor itself."""
    key_variable: str | None = None
    """Environment variable that holds the key; None: the vendor's own, and no key for other servers."""
    effort: str | None = None
    """Effort of reasoning before an answer; None leaves it to the server."""
    max_cost: float | None = Field(None, ge=0)
    """US dollars that may be spent in the run altogether, earlier commands included; None without limit."""
    prices: Path | None = None
    """TOML file with prices of more models."""
    concurrency: int = Field(8, gt=0)
    """Most requests under way at once."""
    retry_failed: bool = False
    """Ask and pay again for requests whose kept answer is a failure."""
    attempts: int = Field(6, gt=0)
    """Most attempts at a failing call, with growing waits in between."""
    malformed_attempts: int = Field(3, gt=0)
    """Most attempts at a request whose answer does not fit its schema; each is paid."""
    timeout: float = Field(120.0, gt=0)
    """Seconds until a call counts as lost."""
    listing_delay: float = Field(15.0, ge=0)
    """Seconds after which a batch that has arrived must show in the provider's list; before, its absence there
    proves nothing."""

    @field_validator("client")
    @classmethod
    def _is_client(cls, client: str) -> str:
        vendor, _, model = client.partition(":")
        if vendor not in (*_ADAPTERS, "local") or not model:
            raise ValueError(f"give {', '.join(f'{name}:MODEL' for name in _ADAPTERS)} or local:PATH")
        return client

    @field_validator("base_url")
    @classmethod
    def _is_address(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("http://", "https://")):
            raise ValueError("give a whole address, such as http://localhost:8000/v1")
        return url

    @property
    def kind(self) -> str:
        """The vendor, or local."""
        return self.client.partition(":")[0]

    @property
    def model(self) -> str:
        """The model's name or path."""
        return self.client.partition(":")[2]

    def adapter(self) -> Adapter:
        """Return the vendor's adapter.

        Raises:
            ConfigError: no key in the environment.
            MissingExtraError: the vendor's library is not installed.
        """
        return _ADAPTERS[self.kind](self)


class UnavailableError(Exception):
    """The provider gave no usable answer, for a reason that passes.

    Attributes:
        billed: True if the request may have been answered, and be paid for, though nobody heard it.
        wait: seconds that the provider asks to wait, if it says.
    """

    def __init__(self, detail: str, *, billed: bool = False, wait: float = 0.0) -> None:
        super().__init__(detail)
        self.billed, self.wait = billed, wait


class RejectedError(Exception):
    """The provider takes the request for wrong; the same request would be rejected again."""


class NotFoundError(ProviderError):
    """The provider has nothing of that name: no such model, no such batch, or no Batch service at all."""


class UncertainError(Exception):
    """Batches at the provider of which nobody can say yet whose they are; the text names them."""


def pause(attempts: int, error: UnavailableError) -> None:
    """Wait after so many attempts in vain: as long as the provider asks, and twice as long each time."""
    time.sleep(max(min(error.wait, LONGEST_ASKED), min(FIRST_WAIT * 2.0 ** (attempts - 1), LONGEST_WAIT)))


@dataclass(frozen=True)
class PendingBatch:
    """A batch that the ledger says must be sent.

    Attributes:
        id: monosema's name of the batch.
        attempted: Unix time of the first attempt to send it; None before that.
        tried: Unix time of the last attempt.
        taken: the provider's ids of batches that are known to be others.
        owned: custom_ids of its requests.
    """

    id: str
    attempted: float | None
    tried: float | None
    taken: frozenset[str]
    owned: frozenset[str]


@dataclass(frozen=True)
class BatchProgress:
    """State of a batch at the provider.

    Attributes:
        state: ``working`` until nothing more will come; then how it ended. ``lost``: the provider no longer has it.
        counts: requests by state, in the provider's words.
        results: number of results to expect.
        note: the provider's words on what is wrong.
    """

    state: Literal["working", "completed", "expired", "cancelled", "failed", "lost"]
    counts: Mapping[str, int]
    results: int
    note: str = ""


@runtime_checkable
class Adapter(Protocol):
    """One model of a vendor, or of a server with a vendor's protocol. A new vendor is one class, registered.

    `session` is the vendor's own client, opened by `Credentials.connect`. Its calls raise `UnavailableError`,
    `RejectedError` or `ProviderError`: see `Credentials.translate`.
    """

    credentials: Credentials
    max_requests: int
    max_bytes: int

    def connect(self) -> contextlib.AbstractContextManager[Any]:
        """Open a session."""
        ...

    def ask(self, session: Any, request: Request) -> Reply:
        """Ask at once, in one attempt. The reply is not yet checked against its schema."""
        ...

    def line(self, custom_id: str, request: Request) -> dict[str, Any]:
        """Write a request as it goes into a batch."""
        ...

    def find(self, session: Any, batch: PendingBatch) -> str | None:
        """Return the provider's id of a batch that was attempted; None if it did not arrive.

        Raises:
            UncertainError: that can't be told yet.
        """
        ...

    def prepare(self, session: Any, batch: PendingBatch, lines: Iterator[dict[str, Any]]) -> Any:
        """Do what precedes the batch and costs nothing, such as an upload; return what `submit` needs."""
        ...

    def submit(self, session: Any, batch: PendingBatch, prepared: Any) -> str:
        """Start the batch, in one attempt; return the provider's id."""
        ...

    def poll(self, session: Any, provider_id: str) -> BatchProgress:
        """Return the state of a batch. Raises NotFoundError where the provider has none of that id."""
        ...

    def results(self, session: Any, provider_id: str) -> Iterator[tuple[str, Any]]:
        """Yield (custom_id, result) in any order; `read` reads a result."""
        ...

    def read(self, result: Any, request: Request) -> Reply | Failure:
        """Read the reply in a result. It is not yet checked against its schema."""
        ...


class Credentials:
    """A key for one model at one address, and the vendor's library. The key is never written and never shown.

    The libraries of OpenAI and Anthropic are made alike: names of classes, settings and exceptions.

    Args:
        library: name of the vendor's library; the protocol goes by it.
        config: model, address and patience.
        url: the vendor's own address.
        variable: environment variable that holds the key; None for servers without keys.

    Raises:
        ConfigError: the variable is empty.
        MissingExtraError: the library is not installed.
    """

    def __init__(self, library: str, config: ClientConfig, url: str, variable: str | None) -> None:
        self.sdk: Any
        try:
            self.sdk = importlib.import_module(library)
        except ModuleNotFoundError as error:
            if error.name != library:
                raise
            raise MissingExtraError(library, "llm") from None
        self._config, self._url, self._key = config, config.base_url or url, key_from(variable) if variable else None
        self.model = config.model
        # All besides the request that an answer depends on; the cache's keys stand on it.
        address = self._url.rstrip("/")
        self.identity = {"protocol": library, "url": address, "model": self.model, "effort": config.effort}

    def connect(self, client: str) -> Any:
        """Open a client of the library, which repeats failed calls with back-off and honours Retry-After."""
        return getattr(self.sdk, client)(
            api_key=self._key or "none",
            base_url=self._url,
            timeout=self._config.timeout,
            max_retries=self._config.attempts - 1,
        )

    def redact(self, text: str) -> str:
        """Take the key out of a text, should a server repeat it."""
        return text.replace(self._key, "[key]") if self._key else text

    def no_message(self, answer: Any) -> UnavailableError:
        """Make the error of an answer that is none."""
        return UnavailableError(self.redact(f"the provider's answer has no message in it: {answer}"), billed=True)

    @contextlib.contextmanager
    def translate(self) -> Iterator[None]:
        """Turn the library's exceptions into UnavailableError, RejectedError or ProviderError."""
        try:
            yield
        except (UnavailableError, RejectedError, UncertainError, MonosemaError):
            raise
        except Exception as error:
            raise self._translated(error) from None

    def _translated(self, error: Exception) -> Exception:
        detail, cause = self.redact(_detail(error)), error.__cause__
        if isinstance(error, self.sdk.APIStatusError):
            return self._status(error, detail)
        # What never left can't be paid for; what was answered though nobody heard it may be. The libraries name these
        # exceptions alike, whichever HTTP library they come from.
        billed = type(cause).__name__ not in ("ConnectError", "ConnectTimeout", "PoolTimeout")
        if isinstance(error, self.sdk.APITimeoutError | TimeoutError):
            return UnavailableError(f"no answer in time ({detail})", billed=billed)
        if isinstance(error, self.sdk.APIConnectionError):
            return UnavailableError(f"{detail} {self.redact(str(cause or ''))}".strip(), billed=billed)
        said = f"the provider's answer can't be read ({type(error).__name__}: {detail})"
        return UnavailableError(said, billed=True)

    def _status(self, error: Any, detail: str) -> Exception:
        status, said = error.status_code, f"{error.status_code}: {detail}"
        if status in (401, 402, 403) or "insufficient_quota" in detail or "credit balance" in detail:
            return ProviderError(f"The provider does not serve this key ({said}). Check the key and the account.")
        if status == 404:
            hint = f"Check the model {self.model!r} and the base URL."
            return NotFoundError(f"The provider knows no such thing ({said}). {hint}")
        if status in (408, 409, 425, 429) or status >= 500:
            with contextlib.suppress(ValueError):
                return UnavailableError(said, wait=float(error.response.headers.get("retry-after", 0)))
            return UnavailableError(said)
        return RejectedError(said)


def _detail(error: Exception) -> str:
    body = getattr(error, "body", None)
    inner = body.get("error", body) if isinstance(body, Mapping) else None
    if isinstance(inner, Mapping) and "message" in inner:
        return " ".join([str(inner["message"]), *(f"[{inner[name]}]" for name in ("code", "type") if inner.get(name))])
    return str(error)


def key_from(variable: str) -> str:
    """Return the key in an environment variable. Raises ConfigError where that is empty."""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ConfigError(
            f"This provider needs a key in the environment variable {variable}, and there is none. "
            f"Set it (export {variable}=…); monosema neither stores nor prints it."
        )
    return key


_ADAPTERS: dict[str, Callable[[ClientConfig], Adapter]] = {}


def register_adapter(vendor: str, adapter: Callable[[ClientConfig], Adapter]) -> None:
    """Add a vendor, so that VENDOR:MODEL names its models."""
    _ADAPTERS[vendor] = adapter
