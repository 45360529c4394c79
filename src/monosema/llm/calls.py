"""Calls to a provider that may fail: which failures pass, and how long to wait."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from pydantic import Field

from monosema.core import Config, ProviderError

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


class RetryPolicy(Config):
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


def in_vain(what: str, attempts: int, last: TransientError) -> ProviderError:
    """What to say of a call that failed in all attempts."""
    times = "once" if attempts == 1 else f"{attempts} times"
    return ProviderError(
        f"{what[:1].upper()}{what[1:]} failed {times}, last with: {last}. Nothing is lost: check that the server can "
        "be reached, then run the same command again."
    )


def patiently(call: Callable[[], Result], patience: RetryPolicy, draw: random.Random, what: str) -> Result:
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
                raise in_vain(what, attempt + 1, error) from None
        time.sleep(wait)
        attempt += 1
