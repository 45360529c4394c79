"""Statistics of requests about latents: their number, tokens, and failures by kind."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monosema.core import atomic_path
from monosema.llm.protocol import Failure, Reply, Usage

_BEGINNING = 120


@dataclass
class RequestStats:
    """Counts of requests. An answer from the store counts like one that was requested now.

    Attributes:
        requests: requests that were answered or failed.
        usage: their tokens.
        failures: unusable replies, by kind: kinds of `Failure`, and those that explainers and predictors find.
        reasons: reason of the first failure of each kind, and the beginning of its reply.
        latents: latents of the requests.
        pending: latents with a request that has no answer yet.
        replies: what came, in order: latent, text, and the failure where it is one.
    """

    requests: int = 0
    usage: Usage = field(default_factory=Usage)
    failures: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, str] = field(default_factory=dict)
    latents: set[int] = field(default_factory=set)
    pending: set[int] = field(default_factory=set)
    replies: list[dict[str, Any]] = field(default_factory=list)

    def add(self, latent: int, reply: Reply) -> None:
        """Count a reply, and its failure if it is one."""
        self.latents.add(latent)
        self.requests += 1
        self.usage += reply.usage
        said: dict[str, Any] = {"latent": latent, "text": reply.text, "discarded": list(reply.discarded)}
        if reply.failure is None or reply.failure.kind != "pending":
            failure = reply.failure and {"kind": reply.failure.kind, "detail": reply.failure.detail}
            self.replies.append(said | {"failure": failure})
        if reply.failure is not None:
            self.failures[reply.failure.kind] += 1
            self.reasons.setdefault(reply.failure.kind, _reason(reply.failure))
            if reply.failure.kind == "pending":
                self.pending.add(latent)

    def include(self, other: RequestStats) -> None:
        """Add the counts of another."""
        self.requests += other.requests
        self.usage += other.usage
        self.failures += other.failures
        self.reasons = {**other.reasons, **self.reasons}
        self.latents |= other.latents
        self.pending |= other.pending
        self.replies += other.replies

    def keep_replies(self, path: Path) -> dict[str, str]:
        """Write all replies to a file, one JSON object a line; return its path for a result, or nothing without any."""
        if not self.replies:
            return {}
        with atomic_path(path) as temporary:
            lines = (json.dumps(reply, ensure_ascii=False) for reply in self.replies)
            temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", errors="replace")
        return {"replies": str(path)}

    def fail(self, kind: str, times: int = 1) -> None:
        """Count unusable replies of a kind."""
        if times:
            self.failures[kind] += times

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; omits means per latent without latents, and reasons without failures."""
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
    """Return what was wrong, and the beginning of the reply unless it says the same."""
    text = " ".join(failure.text.split())
    if not text or text in failure.detail or failure.detail in text:
        return failure.detail
    return f"{failure.detail}; the reply begins: {text[:_BEGINNING]}{' …' if len(text) > _BEGINNING else ''}"
