"""A local model as a language-model client: no key, no network, no cost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

import torch

from monosema.core import Progress, SilentProgress
from monosema.llm.filling import Filled, fill, form_length
from monosema.llm.forms import Form, form_of
from monosema.llm.prices import CostEstimate
from monosema.llm.protocol import (
    Alternative,
    Failure,
    Reply,
    Request,
    TokenLogProbability,
    Usage,
    request_key,
)
from monosema.llm.store import Reservation, Store
from monosema.llm.structured import checked
from monosema.models import Generation, LanguageModel, Tokenizer
from monosema.models.generation import TextGeneration

_VERSION = 2
_WORDS = 60
"""Most tokens of a string in a form: a sentence."""
_TOKENS = 16_384
"""Most tokens, padding included, of the prompts that are read at once."""


class LocalClient:
    """See `Client`. A model that monosema itself runs.

    Messages are written as the model's chat template says; a model without one continues their contents. A schema is a
    form that the model fills in (see `form_of`), so that every answer fits, whatever the model is; a string in it is a
    sentence at most. A schema that is no form is put in words at the end of the last message and checked afterwards.
    Greedy requests (temperature 0 or None) are answered many at once, others one by one, so that an answer depends on
    its own request and seed only.

    Args:
        model: any language model that can generate.
        store: where answers are kept; without one, each request is answered anew.
        batch_size: how many texts are continued at once, at most; long ones are fewer.
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
        """Name and hash of the model, and the version of how it is asked."""
        return {"protocol": "local", "model": self.model, "digest": self._model.digest, "version": _VERSION}

    def key(self, request: Request) -> str:
        """The request's name in the store."""
        return request_key(self.identity, request)

    def estimate(self, requests: Sequence[Request]) -> CostEstimate:
        """Say how many requests have no answer yet; they cost nothing."""
        keys = {self.key(request) for request in requests}
        answered = sum(self._store is not None and self._store.lookup(key) is not None for key in keys)
        return CostEstimate(len(keys) - answered, answered, 0, 0, 0.0, 0.0)

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
        """Sampled requests alone; greedy ones of one length limit and schema together, those of like length first."""
        groups: list[list[str]] = []
        alike: dict[str, list[tuple[int, str]]] = {}
        for key in keys:
            request = requests[key]
            if request.temperature:
                groups.append([key])
            else:
                kind = json.dumps([request.max_tokens, request.response_schema])
                alike.setdefault(kind, []).append((len(self._prompt(request)), key))
        for same in alike.values():
            group: list[str] = []
            for length, key in sorted(same):
                if len(group) == self._batch_size or (len(group) + 1) * length > _TOKENS:
                    groups, group = groups + [group] * bool(group), []
                group.append(key)
            groups.append(group)
        return groups

    def _answer(self, requests: list[Request]) -> list[Reply]:
        """Answers to requests of one length limit and schema."""
        prompts = [self._prompt(request) for request in requests]
        form, most = self._form(requests[0]), min(requests[0].max_tokens, _WORDS)
        room = self._model.context - (1 if form is None else form_length(form, self._model.tokenizer, most))
        fits = [index for index, prompt in enumerate(prompts) if 0 < len(prompt) <= room]
        replies = [_too_long(len(prompt), self._model.context) for prompt in prompts]
        if not fits:
            return replies
        if form is not None:
            replies_that_fit = self._fill([prompts[index] for index in fits], [requests[index] for index in fits], form)
        else:
            replies_that_fit = self._write([prompts[index] for index in fits], [requests[index] for index in fits])
        for index, reply in zip(fits, replies_that_fit, strict=True):
            replies[index] = reply
        return replies

    def _fill(self, prompts: list[list[int]], requests: list[Request], form: Form) -> list[Reply]:
        """Answers as forms that were filled in."""
        first = requests[0]
        filled = fill(
            cast(TextGeneration, self._model),
            prompts,
            form,
            most=min(first.max_tokens, _WORDS),
            temperature=first.temperature or 0.0,
            seed=first.seed or 0,
        )
        return [self._filled(*one) for one in zip(filled, prompts, requests, strict=True)]

    def _filled(self, filled: Filled, prompt: list[int], request: Request) -> Reply:
        reply = Reply(
            text=filled.text,
            usage=Usage(input_tokens=len(prompt), output_tokens=filled.chosen),
            cost=0.0,
            finish="length" if filled.cut else "stop",
            model=self.model,
        )
        if most := request.log_probabilities:
            pieces = (piece.replace(alternatives=piece.alternatives[:most]) for piece in filled.pieces)
            reply = reply.replace(log_probabilities=tuple(pieces))
        return checked(reply, request)

    def _write(self, prompts: list[list[int]], requests: list[Request]) -> list[Reply]:
        """Answers in the model's own words; one that does not fit its schema is drawn anew where it is drawn."""
        replies = []
        texts = self._generate(prompts, requests[0], attempt=0)
        for text, prompt, request in zip(texts, prompts, requests, strict=True):
            discarded = list[str]()
            reply = checked(self._reply(text, prompt, request), request)
            usage = reply.usage
            while self._again(reply, request) and len(discarded) + 1 < self._attempts:
                discarded.append(reply.text)
                (again,) = self._generate([prompt], request, attempt=len(discarded))
                reply = checked(self._reply(again, prompt, request), request)
                usage = usage + reply.usage
            replies.append(reply.replace(usage=usage, discarded=tuple(discarded)))
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

    def _form(self, request: Request) -> Form | None:
        """Return the form that the model fills in; None where it answers in its own words."""
        if request.response_schema is None or not isinstance(self._model, TextGeneration):
            return None
        return form_of(request.response_schema)

    def _prompt(self, request: Request) -> list[int]:
        """Token ids of the conversation, up to where the model's turn begins."""
        tokenizer = self._model.tokenizer
        turns = [{"role": one.role, "content": _as_text(one.content, tokenizer)} for one in request.messages]
        schema = request.response_schema
        if schema is not None and self._form(request) is None:
            turns[-1]["content"] += (
                f"\n\nAnswer with JSON that fits this schema, and nothing else:\n{json.dumps(schema)}"
            )
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


def _as_text(content: str, tokenizer: Tokenizer) -> str:
    """A message in which what the model would take for the end of a turn has a space after its first sign."""
    for special in tokenizer.special_pieces:
        if len(special) > 1:
            content = content.replace(special, f"{special[0]} {special[1:]}")
    return content


def _too_long(length: int, context: int) -> Reply:
    detail = f"the conversation has {length} tokens; the model's context of {context} leaves no room for an answer"
    return Reply(failure=Failure(kind="rejected", detail=detail, text=detail))
