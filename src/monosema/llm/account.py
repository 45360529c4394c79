"""An account with a vendor: its library, the address, the key. Opens connections, and says what failures mean."""

from __future__ import annotations

import contextlib
import email.utils
import os
import time
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

from monosema.core import ConfigError, MissingExtraError, MonosemaError, ProviderError
from monosema.llm.calls import NotFoundError, RejectedError, RetryPolicy, TransientError


class Account:
    """One model of a vendor, or of a server that speaks a vendor's protocol.

    The libraries of OpenAI and Anthropic are made alike: names of classes, settings and exceptions.

    Args:
        protocol: the library's name, openai or anthropic.
        model: name of the model.
        url: where the server is.
        key: what it knows the account by; None where it needs none.

    Raises:
        MissingExtraError: the library is not installed.
    """

    def __init__(self, protocol: str, model: str, url: str, key: str | None) -> None:
        self.protocol, self.model, self.url = protocol, model, url
        self.sdk = _imported(protocol)
        self._key = key

    def identity(self, effort: str | None) -> dict[str, Any]:
        """All besides the request that an answer depends on. It has no key in it."""
        return {"protocol": self.protocol, "url": self.url.rstrip("/"), "model": self.model, "effort": effort}

    def settings(self, patience: RetryPolicy) -> dict[str, Any]:
        """How the library's clients are made. It repeats nothing by itself: that is counted and paced here."""
        return {
            "api_key": self._key or "none",
            "base_url": self.url,
            "timeout": patience.timeout,
            "max_retries": 0,
        }

    def redacted(self, text: str) -> str:
        """The text without the key, should a server repeat it."""
        return text.replace(self._key, "[key]") if self._key else text

    @contextlib.contextmanager
    def translating(self) -> Iterator[None]:
        """Raise what exceptions of the library mean: TransientError, RejectedError or ProviderError."""
        try:
            yield
        except (TransientError, RejectedError, MonosemaError):
            raise
        except Exception as error:
            raise self._meaning(error) from None

    def _meaning(self, error: Exception) -> Exception:
        detail = self.redacted(_said(error))
        if isinstance(error, self.sdk.APIStatusError):
            return _status(error, detail, self.model)
        if isinstance(error, self.sdk.APITimeoutError | TimeoutError):
            return TransientError(f"no answer in time ({detail})", unbilled=False)
        if isinstance(error, self.sdk.APIConnectionError):
            refused = type(error.__cause__).__name__ in ("ConnectError", "ConnectTimeout")
            cause = self.redacted(str(error.__cause__ or ""))
            return TransientError(f"{detail} {cause}".strip(), unbilled=refused)
        said = f"the provider's answer can't be read ({type(error).__name__}: {detail})"
        return TransientError(said, unbilled=False)


def _status(error: Any, detail: str, model: str) -> Exception:
    """What an answer with a status other than success means."""
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


def _imported(name: str) -> ModuleType:
    import importlib

    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise MissingExtraError(name, "llm") from None
