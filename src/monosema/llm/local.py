"""A local model as a language-model client: no key, no network, no cost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

import torch

from monosema.core import Progress, SilentProgress
from monosema.llm.prices import CostEstimate
from monosema.llm.protocol import Alternative, Reply, Request, TokenLogProbability, Usage, request_key
from monosema.llm.store import Store
from monosema.llm.structured import checked
from monosema.models import Generation, LanguageModel, Tokenizer
from monosema.models.filling import Value, fill, form_length
from monosema.models.forms import Form, form_of
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
        store: keeps answers; without one, each request is answered anew.
        batch_size: most texts that are continued at once; long ones are fewer.
        malformed_attempts: most attempts at a sampled request whose answer does not fit its schema.
    """

    def __init__(
        self, model: LanguageModel, store: Store | None = None, *, batch_size: int = 16, malformed_attempts: int = 3
    ) -> None:
        self._model, self._store, self._batch_size = model, store, batch_size
        self._attempts = malformed_attempts
        self.model = model.name
        self.identity = {"protocol": "local", "model": model.name, "digest": model.digest, "version": _VERSION}

    def estimate(self, requests: Sequence[Request]) -> CostEstimate:
        """Count requests that have no answer yet; they cost nothing."""
        keys = {request_key(self.identity, request) for request in requests}
        answered = sum(self._lookup(key) is not None for key in keys)
        return CostEstimate(len(keys) - answered, answered, 0, 0, 0.0, 0.0)

    def complete(self, requests: Sequence[Request], progress: Progress | None = None) -> list[Reply]:
        """Return one reply for each request, in their order."""
        progress = progress or SilentProgress()
        keys = [request_key(self.identity, request) for request in requests]
        unique = dict(zip(keys, requests, strict=True))
        replies = {key: reply for key in unique if (reply := self._lookup(key)) is not None}
        progress.advance(len(replies))
        for group in self._groups({key: one for key, one in unique.items() if key not in replies}):
            for key, reply in zip(group, self._answer([unique[key] for key in group]), strict=True):
                replies[key] = reply
                if self._store is not None and (reply.failure is None or reply.failure.paid):
                    self._store.keep(key, self.model, unique[key], reply)
            progress.advance(len(group))
        return [replies[key] for key in keys]

    def _lookup(self, key: str) -> Reply | None:
        return None if self._store is None else self._store.lookup(key)

    def _groups(self, requests: dict[str, Request]) -> list[list[str]]:
        """Return keys: sampled requests alone; greedy ones of one length limit and schema together, by length."""
        groups = [[key] for key, request in requests.items() if request.temperature]
        alike: dict[str, list[tuple[int, str]]] = {}
        for key, request in requests.items():
            if not request.temperature:
                kind = json.dumps([request.max_tokens, request.response_schema])
                alike.setdefault(kind, []).append((len(self._prompt(request)), key))
        for same in alike.values():
            group: list[str] = []
            for length, key in sorted(same):
                if not group or len(group) == self._batch_size or (len(group) + 1) * length > _TOKENS:
                    groups.append(group := [])
                group.append(key)
        return groups

    def _answer(self, requests: list[Request]) -> list[Reply]:
        """Answer requests of one length limit and schema; those that don't fit the context are rejected."""
        form, prompts = self._form(requests[0]), [self._prompt(request) for request in requests]
        most = min(requests[0].max_tokens, _WORDS)
        room = self._model.context - (1 if form is None else form_length(form, self._model.tokenizer, most))
        fits = [pair for pair in zip(prompts, requests, strict=True) if 0 < len(pair[0]) <= room]
        answers = iter(self._write(fits) if form is None else self._fill(fits, form, most))
        context = f"the model's context of {self._model.context} leaves no room for an answer"
        return [
            next(answers)
            if 0 < len(prompt) <= room
            else Reply.failed("rejected", f"the conversation has {len(prompt)} tokens; {context}")
            for prompt in prompts
        ]

    def _fill(self, asked: list[tuple[list[int], Request]], form: Form, most: int) -> list[Reply]:
        """Answer with forms that are filled in."""
        if not asked:
            return []
        first, model = asked[0][1], cast(TextGeneration, self._model)
        prompts, settings = [prompt for prompt, _ in asked], (first.temperature or 0.0, first.seed or 0)
        filled = fill(model, prompts, form, most=most, temperature=settings[0], seed=settings[1])
        return [
            self._checked(
                request,
                "".join(value.text for value in values),
                Usage(input_tokens=len(prompt), output_tokens=sum(value.chosen for value in values)),
                any(value.cut for value in values),
                tuple(_piece(value, request.log_probabilities) for value in values),
            )
            for values, (prompt, request) in zip(filled, asked, strict=True)
        ]

    def _write(self, asked: list[tuple[list[int], Request]]) -> list[Reply]:
        """Answer in the model's own words; one that does not fit its schema is drawn anew where it is drawn."""
        texts = self._generate([prompt for prompt, _ in asked], asked[0][1], attempt=0) if asked else []
        return [self._written(text, *one) for text, one in zip(texts, asked, strict=True)]

    def _written(self, text: Generation, prompt: list[int], request: Request) -> Reply:
        usage, discarded = Usage(), list[str]()
        while True:
            tokens, cut = list(text.tokens), text.finish in ("length", "context")
            spent = Usage(input_tokens=len(prompt), output_tokens=len(tokens))
            scored = self._score(prompt, tokens, request.log_probabilities) if request.log_probabilities else ()
            reply, usage = self._checked(request, text.text, spent, cut, scored), usage + spent
            malformed = reply.failure is not None and reply.failure.kind == "malformed"
            # Asking again helps only where the answer is drawn anew.
            if not (malformed and request.temperature) or len(discarded) + 1 >= self._attempts:
                return reply.replace(usage=usage, discarded=tuple(discarded))
            discarded.append(reply.text)
            (text,) = self._generate([prompt], request, attempt=len(discarded))

    def _checked(
        self, request: Request, text: str, usage: Usage, cut: bool, logs: tuple[TokenLogProbability, ...]
    ) -> Reply:
        reply = Reply(text=text, usage=usage, cost=0.0, finish="length" if cut else "stop", model=self.model)
        return checked(reply.replace(log_probabilities=logs) if request.log_probabilities else reply, request)

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
        """Return the token ids of the conversation, up to where the model's turn begins."""
        tokenizer, schema = self._model.tokenizer, request.response_schema
        turns = [{"role": one.role, "content": _as_text(one.content, tokenizer)} for one in request.messages]
        if schema is not None and self._form(request) is None:
            asked = f"\n\nAnswer with JSON that fits this schema, and nothing else:\n{json.dumps(schema)}"
            turns[-1]["content"] += asked
        if tokenizer.chat_template is None:
            return tokenizer.encode("\n\n".join(turn["content"] for turn in turns) + "\n\n", True)
        return tokenizer.encode(tokenizer.chat_template.render(turns), False)

    @torch.no_grad()
    def _score(self, prompt: list[int], written: list[int], alternatives: int) -> tuple[TokenLogProbability, ...]:
        """Return log-probabilities of what was written, at temperature 1, from one more forward pass."""
        tokens = torch.tensor([prompt + written], device=self._model.device)
        logs = self._model(tokens)[0, len(prompt) - 1 : -1].float().log_softmax(-1)
        values, ids = (best.tolist() for best in logs.topk(min(alternatives, logs.shape[-1]), dim=-1))
        decode = self._model.tokenizer.decode
        return tuple(
            TokenLogProbability(
                token=decode([token]),
                log_probability=float(logs[place, token]),
                alternatives=tuple(
                    Alternative(token=decode([other]), log_probability=value)
                    for other, value in zip(ids[place], values[place], strict=True)
                ),
            )
            for place, token in enumerate(written)
        )


def _piece(value: Value, most: int) -> TokenLogProbability:
    """Write a value of a form as a token of the reply, with the likeliest values that might have stood there."""
    own: dict[str, Any] = {"token": value.text, "log_probability": value.log_probability}
    all_ = [own, *({"token": text, "log_probability": log} for text, log in value.others)]
    ranked = sorted(all_, key=lambda one: -one["log_probability"])[:most] if value.chosen else []
    return TokenLogProbability(**own, alternatives=tuple(Alternative(**one) for one in ranked))


def _as_text(content: str, tokenizer: Tokenizer) -> str:
    """Put a space after the first sign of all that the model would take for the end of a turn."""
    for special in tokenizer.special_pieces:
        if len(special) > 1:
            content = content.replace(special, f"{special[0]} {special[1:]}")
    return content
