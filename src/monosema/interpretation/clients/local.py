"""A local model as a language-model client: no key, no network, no cost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch

from monosema.core import Progress, SilentProgress
from monosema.interpretation.clients.protocol import (
    Alternative,
    Failure,
    Message,
    Reply,
    Request,
    TokenLogProbability,
    Usage,
    request_key,
)
from monosema.interpretation.clients.store import Reservation, Store
from monosema.interpretation.clients.structured import checked
from monosema.models import Generation, LanguageModel

__all__ = ["LocalClient"]


class LocalClient:
    """See `Client`. A model that monosema itself runs.

    Messages are written as the model's chat template says; a model without one continues their contents. A schema is
    put in words at the end of the last message and checked afterwards: nothing forces the model to keep to it.
    Greedy requests (temperature 0 or None) are answered many at once, others one by one, so that an answer depends on
    its own request and seed only.

    Args:
        model: any language model that can generate.
        store: where answers are kept; without one, each request is answered anew.
        batch_size: how many texts are continued at once.
        malformed_attempts: how often a sampled request is asked when the answer does not fit its schema.
    """

    def __init__(
        self, model: LanguageModel, store: Store | None = None, *, batch_size: int = 16, malformed_attempts: int = 3
    ) -> None:
        self._model, self._store, self._batch_size = model, store, batch_size
        self._attempts = malformed_attempts

    @property
    def model(self) -> str:
        """Name of the model."""
        return self._model.name

    @property
    def identity(self) -> dict[str, Any]:
        """Name and hash of the model."""
        return {"protocol": "local", "model": self.model, "digest": self._model.digest}

    def key(self, request: Request) -> str:
        """The request's name in the store."""
        return request_key(self.identity, request)

    def complete(self, requests: Sequence[Request], progress: Progress | None = None) -> list[Reply]:
        """One reply for each request, in their order."""
        progress = progress or SilentProgress()
        keys = [self.key(request) for request in requests]
        unique = dict(zip(keys, requests, strict=True))
        replies = {} if self._store is None else {k: reply for k in unique if (reply := self._store.lookup(k))}
        missing = [key for key in unique if key not in replies]
        progress.advance(len(replies))
        for group in self._groups(missing, unique):
            for key, reply in zip(group, self._answer([unique[key] for key in group]), strict=True):
                replies[key] = reply
                self._keep(key, unique[key], reply)
            progress.advance(len(group))
        return [replies[key] for key in keys]

    def _keep(self, key: str, request: Request, reply: Reply) -> None:
        if self._store is None or (reply.failure is not None and not reply.failure.paid):
            return
        leave = self._store.reserve(key, 0.0, None)
        if isinstance(leave, Reservation):
            self._store.settle(leave, self.model, request, reply, reply.usage, 0.0)

    def _groups(self, keys: list[str], requests: dict[str, Request]) -> list[list[str]]:
        """Sampled requests alone; greedy ones of one length limit together."""
        groups: list[list[str]] = []
        greedy: dict[int, list[str]] = {}
        for key in keys:
            if requests[key].temperature:
                groups.append([key])
            else:
                greedy.setdefault(requests[key].max_tokens, []).append(key)
        for same in greedy.values():
            groups += [same[start : start + self._batch_size] for start in range(0, len(same), self._batch_size)]
        return groups

    def _answer(self, requests: list[Request]) -> list[Reply]:
        prompts = [self._prompt(request.messages, request.response_schema) for request in requests]
        lengths = [len(prompt) for prompt in prompts]
        fits = [index for index, length in enumerate(lengths) if 0 < length < self._model.context]
        replies = [_too_long(length, self._model.context) for length in lengths]
        texts = self._generate([prompts[index] for index in fits], requests[0], attempt=0) if fits else []
        for index, text in zip(fits, texts, strict=True):
            request, prompt, discarded = requests[index], prompts[index], list[str]()
            reply = checked(self._reply(text, prompt, request), request)
            usage = reply.usage
            while self._again(reply, request) and len(discarded) + 1 < self._attempts:
                discarded.append(reply.text)
                (text,) = self._generate([prompt], request, attempt=len(discarded))
                reply = checked(self._reply(text, prompt, request), request)
                usage = usage + reply.usage
            replies[index] = reply.replace(usage=usage, discarded=tuple(discarded))
        return replies

    @staticmethod
    def _again(reply: Reply, request: Request) -> bool:
        """Asking again helps only where the answer is drawn anew."""
        return bool(request.temperature) and reply.failure is not None and reply.failure.kind == "malformed"

    def _generate(self, prompts: list[list[int]], request: Request, attempt: int) -> list[Generation]:
        return self._model.generate(
            prompts,
            max_new_tokens=request.max_tokens,
            temperature=request.temperature or 0.0,
            seed=(request.seed or 0) + attempt,
        )

    def _prompt(self, messages: Sequence[Message], schema: dict[str, Any] | None) -> list[int]:
        """Token ids of the conversation, up to where the model's turn begins."""
        turns = [message.to_dict() for message in messages]
        if schema is not None:
            turns[-1]["content"] += (
                f"\n\nAnswer with JSON that fits this schema, and nothing else:\n{json.dumps(schema)}"
            )
        tokenizer = self._model.tokenizer
        if tokenizer.chat_template is None:
            return tokenizer.encode("\n\n".join(turn["content"] for turn in turns) + "\n\n", True)
        return tokenizer.encode(tokenizer.chat_template.render(turns), False)

    def _reply(self, text: Generation, prompt: list[int], request: Request) -> Reply:
        reply = Reply(
            text=text.text,
            usage=Usage(input_tokens=len(prompt), output_tokens=len(text.tokens)),
            cost=0.0,
            finish="length" if text.finish in ("length", "context") else "stop",
            model=self.model,
        )
        if not request.log_probabilities:
            return reply
        return reply.replace(log_probabilities=self._score(prompt, list(text.tokens), request.log_probabilities))

    @torch.no_grad()
    def _score(self, prompt: list[int], written: list[int], alternatives: int) -> tuple[TokenLogProbability, ...]:
        """Log-probabilities of what was written, at temperature 1, from one more forward pass."""
        tokens = torch.tensor([prompt + written], device=self._model.device)
        logits = self._model(tokens)[0, len(prompt) - 1 : -1].float()
        logs = logits.log_softmax(-1)
        best = logs.topk(min(alternatives, logs.shape[-1]), dim=-1)
        decode = self._model.tokenizer.decode
        return tuple(
            TokenLogProbability(
                token=decode([token]),
                log_probability=float(logs[place, token]),
                alternatives=tuple(
                    Alternative(token=decode([int(other)]), log_probability=float(value))
                    for other, value in zip(best.indices[place], best.values[place], strict=True)
                ),
            )
            for place, token in enumerate(written)
        )


def _too_long(length: int, context: int) -> Reply:
    detail = f"the conversation has {length} tokens; the model's context of {context} leaves no room for an answer"
    return Reply(failure=Failure(kind="rejected", detail=detail, text=detail))
