"""What asking about latents came to: requests, tokens, and failures by kind."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from monosema.llm.protocol import Failure, Reply, Usage

_BEGINNING = 120


@dataclass
class RequestStats:
    """Counts of what was asked. An answer that came from a store counts as if it were asked now.

    Attributes:
        requests: requests that were answered or failed.
        usage: their tokens.
        failures: what could not be used, by kind: those of `Failure`, and what explainers and readers find wrong.
        reasons: of the first failure of each kind, what was wrong, and how the reply began.
        latents: the latents that were asked about.
        pending: those of them that an answer is still awaited of.
    """

    requests: int = 0
    usage: Usage = field(default_factory=Usage)
    failures: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, str] = field(default_factory=dict)
    latents: set[int] = field(default_factory=set)
    pending: set[int] = field(default_factory=set)

    def add(self, latent: int, reply: Reply) -> None:
        """Count a reply, and its failure if it is one."""
        self.latents.add(latent)
        self.requests += 1
        self.usage += reply.usage
        if reply.failure is not None:
            self.failures[reply.failure.kind] += 1
            self.reasons.setdefault(reply.failure.kind, _reason(reply.failure))
            if reply.failure.kind == "pending":
                self.pending.add(latent)

    def include(self, other: RequestStats) -> None:
        """Count all that another one counted."""
        self.requests += other.requests
        self.usage += other.usage
        self.failures += other.failures
        self.reasons = {**other.reasons, **self.reasons}
        self.latents |= other.latents
        self.pending |= other.pending

    def fail(self, kind: str, times: int = 1) -> None:
        """Count something that could not be used."""
        if times:
            self.failures[kind] += times

    def to_dict(self) -> dict[str, Any]:
        """Plain values; means a latent are left out where there is none, and reasons where nothing failed."""
        values: dict[str, Any] = {
            "latents": len(self.latents),
            "requests": self.requests,
            "input_tokens": self.usage.input_tokens,
            "output_tokens": self.usage.output_tokens,
            "failures": dict(self.failures),
        }
        if self.reasons:
            values["reasons"] = dict(self.reasons)
        if self.latents:
            values["requests_per_latent"] = self.requests / len(self.latents)
            tokens = self.usage.input_tokens + self.usage.output_tokens
            values["tokens_per_latent"] = tokens / len(self.latents)
        return values


def _reason(failure: Failure) -> str:
    """What was wrong, and how the reply began where it is not that itself."""
    said = " ".join(failure.text.split())
    if not said or said in failure.detail or failure.detail in said:
        return failure.detail
    return f"{failure.detail}; the reply begins: {said[:_BEGINNING]}{' …' if len(said) > _BEGINNING else ''}"
