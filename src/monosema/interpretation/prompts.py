"""All prompts to language models, in one place. A change of any of it is a new `VERSION`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from monosema.llm import Message

VERSION = "1"

_ESCAPES = (
    "In passages, a backslash begins an escape: \\n is a line break, \\t a tab, \\« and \\» are those very signs, and "
    "\\\\ is a backslash."
)
_EXPLAIN = f"""\
You study one unit inside a language model. On some tokens of a text the unit is active, on most it is not. You are \
shown passages, and where in them the unit is active. Say in one phrase what makes it active: the words, the kind of \
text, or what comes before. Name what all passages share, as closely as they allow. Do not mention the unit, the \
passages or how they are marked. If you see nothing that they share, answer null. {_ESCAPES}"""
_FORMS = {
    "activations": "Each passage is a list of tokens, one a line. After each, a tab and how active the unit is on it, "
    "from 0 (not at all) to 10 (as strongly as anywhere).",
    "highlighted": "Tokens on which the unit is active stand between « and ».",
}
_CONTRAST = "In the passages after the word INACTIVE the unit is not active at all, though they are similar. What you \
say must not hold for them."

_BRIEF = "You are given texts in which some words stand between « and ». Say in a phrase what kind of words they are."
_EXAMPLES = (
    (
        ("we went to« Paris» in the spring", "He was born in« London» and", "the train from« Rome» was late"),
        ("Paris", "London", "Rome"),
        "names of cities",
    ),
    (
        ("by the« river» it was", "across« the river» and", "the« river» flooded"),
        ("river", "the river"),
        "the word river",
    ),
    (
        ("She« ran» all the way home", "they« walked» along", "the boys« jumped» over it"),
        ("ran", "walked", "jumped"),
        "verbs of moving, in the past",
    ),
    (
        ("it is cold,« but» we went", "I asked;« however», she", "small,« yet» it was"),
        ("but", "however", "yet"),
        "words that begin a contrast",
    ),
)

DETECTION = f"""\
A unit inside a language model is described in a phrase. You are shown numbered passages. Say of each whether the \
unit is active anywhere in it, going by the description alone. Answer with one true or false a passage, in their \
order. Any number of them can be true, and it can be none. {_ESCAPES}"""
FUZZING = f"""\
A unit inside a language model is described in a phrase. You are shown numbered passages in which some tokens stand \
between « and ». Say of each passage whether the marked tokens are ones on which the unit is active, going by the \
description alone. Answer with one true or false a passage, in their order. Any number of them can be true, and it \
can be none. {_ESCAPES}"""
INTRUDER = f"""\
A unit inside a language model is active on the tokens between « and » in all of these numbered passages but one. In \
that one, the marked tokens are arbitrary and the unit is not active at all. Find the passage that does not belong to \
the others. Answer with its number. {_ESCAPES}"""
_SIMULATE = f"""\
A unit inside a language model is described in a phrase. You are shown the tokens of a passage, one a line. Predict \
how active the unit is on each of them, from 0 (not at all) to 10 (as strongly as anywhere). It is 0 on most tokens of \
most passages. Repeat every line as it is, and after each write a tab and the number; write nothing else. {_ESCAPES}"""

NEUTRAL = "The next text may hold anything.\n\n"
"""Text before a passage in place of an explanation."""

PLACEHOLDER = " X"
SELF_QUESTION = f'What is the meaning of the word "{PLACEHOLDER}"?'
SELF_EXPLANATION = f'The meaning of the word "{PLACEHOLDER}" is "'
"""Question to a model about a direction, and the beginning of its answer; the direction stands in the places of the
placeholder."""

EXPLANATION_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"explanation": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
    "required": ["explanation"],
    "additionalProperties": False,
}


def explain(form: str, active: Sequence[str], inactive: Sequence[str]) -> tuple[Message, ...]:
    """Write the request to an explainer.

    Args:
        form: "activations" or "highlighted".
        active, inactive: passages, written in that form.
    """
    parts = [_FORMS[form], *(f"Passage {number}:\n{text}" for number, text in enumerate(active, 1))]
    if inactive:
        parts += [_CONTRAST, *(f"INACTIVE passage {number}:\n{text}" for number, text in enumerate(inactive, 1))]
    return _ask(_EXPLAIN, "\n\n".join(parts))


def explain_briefly(passages: Sequence[str], words: Sequence[str]) -> tuple[Message, ...]:
    """Write the request to a small model: a question in a sentence, after a few that are answered.

    Args:
        passages: short ones, with tokens marked.
        words: the marked words, each once.
    """
    turns = [Message(role="system", content=_BRIEF)]
    for texts, marked, answer in _EXAMPLES:
        turns.append(_texts_and_words(texts, marked))
        turns.append(Message(role="assistant", content=json.dumps({"explanation": answer})))
    return *turns, _texts_and_words(passages, words)


def _texts_and_words(passages: Sequence[str], words: Sequence[str]) -> Message:
    named = ", ".join(f'"{word}"' for word in words)
    return Message(role="user", content="\n".join([*passages, f"Words: {named}"]))


def simulate(explanation: str, lines: str) -> tuple[Message, ...]:
    """Write the request for a simulation of one passage, written token by token."""
    return _ask(_SIMULATE, f"Description: {_described(explanation)}\n\nTokens:\n{lines}")


def judge(task: str, explanation: str, passages: Sequence[str]) -> tuple[Message, ...]:
    """Write the request to a judge of several passages; the task is `DETECTION` or `FUZZING`."""
    return _ask(task, f"Description: {_described(explanation)}\n\n{_numbered(passages)}")


def before_passage(explanation: str) -> str:
    """Write the text before a passage for a base model; the neutral text for an empty explanation."""
    said = " ".join(explanation.split())
    return f"The next text holds this: {said}\n\n" if said else NEUTRAL


def find_intruder(passages: Sequence[str]) -> tuple[Message, ...]:
    """Write the request to a judge to find the odd one out."""
    return _ask(INTRUDER, _numbered(passages))


def judgement_schema(passages: int) -> dict[str, Any]:
    """Return the schema of one true or false for each passage."""
    answers = {"type": "array", "items": {"type": "boolean"}, "minItems": passages, "maxItems": passages}
    return _object("active", answers)


def choice_schema(passages: int) -> dict[str, Any]:
    """Return the schema of a passage's number."""
    return _object("passage", {"type": "integer", "enum": list(range(1, passages + 1))})


def _object(name: str, value: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {name: value}, "required": [name], "additionalProperties": False}


def _described(explanation: str) -> str:
    return " ".join(explanation.split()) or "(there is none)"


def _numbered(passages: Sequence[str]) -> str:
    return "\n".join(f"{number}. {text}" for number, text in enumerate(passages, 1))


def _ask(system: str, user: str) -> tuple[Message, ...]:
    return Message(role="system", content=system), Message(role="user", content=user)
