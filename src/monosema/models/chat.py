"""Chat templates: how a model wants messages written as one text."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from monosema.core import InputError

Message = Mapping[str, str]
"""``{"role": "user", "content": "…"}``."""


class ChatTemplate:
    """A Jinja template as Hugging Face models carry it, run in a sandbox that can change nothing.

    Args:
        source: the template.
        variables: what it may use besides the messages, such as bos_token.
    """

    def __init__(self, source: str, variables: Mapping[str, str]) -> None:
        self.source = source
        self.variables = dict(variables)

    @functools.cached_property
    def _template(self) -> Any:
        """The template, read when it is first used: a model whose template is broken can still continue texts."""
        from jinja2 import nodes
        from jinja2.exceptions import TemplateError
        from jinja2.ext import Extension
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        def refuse(message: str) -> NoReturn:
            raise TemplateError(message)

        def to_json(value: Any, indent: int | None = None) -> str:
            return json.dumps(value, ensure_ascii=False, indent=indent)

        class Generation(Extension):
            """``{% generation %}`` marks what the model writes; it does not change the text."""

            tags = {"generation"}  # noqa: RUF012

            def parse(self, parser: Any) -> nodes.Node:
                line = next(parser.stream).lineno
                return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)

        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", Generation]
        )
        environment.filters["tojson"] = to_json
        environment.globals["raise_exception"] = refuse
        environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
        try:
            return environment.from_string(self.source)
        except TemplateError as error:
            raise InputError(f"The model's chat template is not valid: {error}.") from None

    @classmethod
    def from_folder(cls, folder: Path, settings: Mapping[str, Any]) -> ChatTemplate | None:
        """The template of chat_template.jinja, or else of tokenizer_config.json; None where there is none."""
        path = folder / "chat_template.jinja"
        source = path.read_text(encoding="utf-8") if path.exists() else settings.get("chat_template")
        if isinstance(source, list):  # several templates with names
            source = {entry["name"]: entry["template"] for entry in source}.get("default")
        if not source:
            return None
        names = ("bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token")
        values = {name: settings[name] for name in names if settings.get(name) is not None}
        return cls(source, {name: v["content"] if isinstance(v, Mapping) else v for name, v in values.items()})

    def render(self, messages: Sequence[Message], *, answer: bool = True) -> str:
        """The messages as one text; with `answer`, up to where the model's answer begins.

        Raises InputError when the template is not valid, or refuses the messages.
        """
        from jinja2.exceptions import TemplateError

        template = self._template
        try:
            return template.render(
                messages=[dict(message) for message in messages], add_generation_prompt=answer, **self.variables
            )
        except TemplateError as error:
            raise InputError(f"The model's chat template refuses these messages: {error}.") from None

    def render_with_contents(self, messages: Sequence[Message]) -> tuple[str, list[tuple[int, int]]]:
        """Render messages, and say where in the text the content of each stands; all the rest is the template's.

        They are found by a second rendering with marks in place of contents; a template that writes contents otherwise
        than as they are, but for spaces around them, has no content told apart: its whole text counts as content.
        """
        text = self.render(messages)
        marks = [f"\ue000{index}\ue001" for index in range(len(messages))]
        try:
            marked = self.render([{**one, "content": mark} for one, mark in zip(messages, marks, strict=True)])
        except InputError:
            return text, [(0, len(text))]
        spans, at = [], 0
        for message, mark in zip(messages, marks, strict=True):
            before, found, marked = marked.partition(mark)
            if not found:  # a template that leaves out some messages
                marked = before
                continue
            at += len(before)
            whole = message.get("content") or ""
            content = next((one for one in (whole, whole.strip()) if text.startswith(one, at)), None)
            if content is None:
                return text, [(0, len(text))]
            spans.append((at, at + len(content)))
            at += len(content)
        return text, spans if text[at:] == marked else [(0, len(text))]
