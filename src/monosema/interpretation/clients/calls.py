"""Calls to a provider that may fail: which failures pass, how long to wait, and what must not be said aloud."""

from __future__ import annotations

import email.utils
import os
import random
import time
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, TypeVar

from pydantic import Field

from monosema.core import Config, ConfigError, MissingExtraError, ProviderError

__all__ = [
    "NotFoundError",
    "Patience",
    "RejectedError",
    "TransientError",
    "import_sdk",
    "key_from",
    "patiently",
    "redacted",
    "translated",
]

Result = TypeVar("Result")


class TransientError(Exception):
    """The call failed for a reason that passes.

    Attributes:
        wait: seconds that the provider asks to wait; None where it does not say.
        unbilled: whether the call certainly cost nothing; a time-out or a broken connection may have been answered.
    """

    def __init__(self, detail: str, wait: float | None = None, *, unbilled: bool, everyone: bool = False) -> None:
        super().__init__(detail)
        self.wait, self.unbilled, self.everyone = wait, unbilled, everyone


class RejectedError(Exception):
    """The provider takes the request for wrong; the same request would be rejected again."""


class NotFoundError(ProviderError):
    """The provider has nothing of that name: no such model, no such batch, or no Batch service at all."""


class Patience(Config):
    """How often a call is tried, and how long is waited in between.

    Before attempt n + 1 the wait is uniform between 0 and first_wait · 2ⁿ (at most longest_wait): exponential back-off
    with full jitter, so that calls which failed together do not come again together. Where the provider says how long
    to wait (Retry-After), the wait is that and a little jitter.
    """

    attempts: int = Field(6, gt=0)
    """How often one call is tried."""
    first_wait: float = Field(1.0, ge=0)
    """Longest wait after the first failure, in seconds; it doubles with each."""
    longest_wait: float = Field(60.0, ge=0)
    """No jittered wait is longer, in seconds."""
    longest_retry_after: float = Field(600.0, ge=0)
    """A provider that asks to wait longer, in seconds, is not waited for."""
    timeout: float = Field(120.0, gt=0)
    """Seconds until a call counts as lost."""

    def wait(self, failure: TransientError, attempt: int, draw: random.Random) -> float | None:
        """Seconds to wait after failed attempt number `attempt`, counted from 0; None: don't try again."""
        if attempt + 1 >= self.attempts:
            return None
        jitter = draw.uniform(0.0, min(self.first_wait * 2.0**attempt, self.longest_wait))
        if failure.wait is None:
            return jitter
        if failure.wait > self.longest_retry_after:
            return None
        return failure.wait + min(jitter, 0.1 * failure.wait)


def patiently(call: Callable[[], Result], patience: Patience, draw: random.Random, what: str) -> Result:
    """Call until it works; for calls that change nothing, so that they can be repeated.

    Raises:
        ProviderError: it failed in all attempts, or was rejected.
    """
    attempt = 0
    while True:
        try:
            return call()
        except RejectedError as error:
            raise ProviderError(f"The provider refused {what}: {error}") from None
        except TransientError as error:
            wait = patience.wait(error, attempt, draw)
            if wait is None:
                raise ProviderError(
                    f"{what[:1].upper()}{what[1:]} failed {attempt + 1} times, last with: {error}. "
                    "Nothing is lost: run the same command again."
                ) from None
        time.sleep(wait)
        attempt += 1


def translated(error: Exception, sdk: ModuleType, key: str | None, model: str) -> Exception:
    """What an exception of a provider's library means: TransientError, RejectedError or ProviderError.

    The libraries of OpenAI and Anthropic name their exceptions alike. The key is taken out of what they say.
    """
    detail = redacted(_said(error), key)
    if isinstance(error, sdk.APIStatusError):
        return _status(error, detail, model)
    if isinstance(error, sdk.APITimeoutError | TimeoutError):
        return TransientError(f"no answer in time ({detail})", unbilled=False)
    if isinstance(error, sdk.APIConnectionError):
        refused = type(error.__cause__).__name__ in ("ConnectError", "ConnectTimeout")
        return TransientError(f"{detail} {redacted(str(error.__cause__ or ''), key)}".strip(), unbilled=refused)
    return TransientError(f"the provider's answer can't be read ({type(error).__name__}: {detail})", unbilled=False)


def _status(error: Any, detail: str, model: str) -> Exception:
    status, said = error.status_code, f"{error.status_code}: {detail}"
    if status in (401, 402, 403) or "insufficient_quota" in detail or "credit balance" in detail:
        return ProviderError(f"The provider does not serve this key ({said}). Check the key and the account.")
    if status == 404:
        return NotFoundError(f"The provider knows no such thing ({said}). Check the model {model!r} and the base URL.")
    if status in (408, 409, 425, 429) or status >= 500:
        # Too many requests: what holds for one of us holds for all.
        return TransientError(said, _retry_after(error.response.headers), unbilled=True, everyone=status == 429)
    return RejectedError(said)


def _said(error: Exception) -> str:
    body = getattr(error, "body", None)
    if isinstance(body, Mapping):
        inner = body.get("error", body)
        if isinstance(inner, Mapping) and "message" in inner:
            words = [str(inner[name]) for name in ("code", "type") if inner.get(name)]
            return " ".join([str(inner["message"]), *(f"[{word}]" for word in words)])
    return str(error)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    try:
        if "retry-after-ms" in headers:
            return max(0.0, float(headers["retry-after-ms"]) / 1000)
        said = headers.get("retry-after")
        if said is None:
            return None
        if said.replace(".", "", 1).isdigit():
            return float(said)
        return max(0.0, email.utils.parsedate_to_datetime(said).timestamp() - time.time())
    except ValueError:
        return None


def redacted(text: str, key: str | None) -> str:
    """The text without the key, should a server repeat it."""
    return text.replace(key, "[key]") if key else text


def key_from(variable: str) -> str:
    """The key in an environment variable.

    Raises:
        ConfigError: there is none.
    """
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ConfigError(
            f"This provider needs a key in the environment variable {variable}, and there is none. "
            f"Set it (export {variable}=…); monosema neither stores nor prints it."
        )
    return key


def import_sdk(name: str) -> ModuleType:
    """Import a provider's library. Raises MissingExtraError with the command that installs it."""
    import importlib

    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise MissingExtraError(name, "llm") from None
