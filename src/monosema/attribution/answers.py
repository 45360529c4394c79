"""A question answered in every way at once, as plain values that pages draw: in the app as they come, in a report kept.

answers/NAME.json of a run      the prompt in pieces, each method's scores with their faithfulness, the lens, the
                                logit in parts, the heads and where some of them look
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from monosema.attribution.attention import AttentionReading, read_attention
from monosema.attribution.faithfulness import MEASURES, faithfulness
from monosema.attribution.game import Game
from monosema.attribution.judging import agreement
from monosema.attribution.lenses import By, Lens, LogitParts, logit_parts, read_lens
from monosema.attribution.methods import Method, attribute
from monosema.attribution.players import need_tokens
from monosema.attribution.question import Completion, Contrast, Question, Token
from monosema.attribution.result import Attribution
from monosema.core import FormatError, InputError, MonosemaError, read_json, write_json
from monosema.dictionaries import Dictionary
from monosema.models import Transformer

FOLDER = "answers"
"""Folder in a run of the answers that it keeps."""
LAST = 40
"""Tokens of a prompt, the last, that maps of heads and lenses show."""
HEADS = 8
"""Heads whose patterns are kept: those that look hardest at a token but the first."""
PARTS = 40
"""Parts of a logit that are kept, the largest."""
_DIGITS = 6


@dataclass(frozen=True)
class KeptAnswer:
    """An answer in a run's folder.

    Attributes:
        name: its file's, without the ending.
        values: what pages draw; see `answer_in_full`.
    """

    name: str
    values: dict[str, Any]


def question_values(game: Game) -> dict[str, Any]:
    """Return the prompt in pieces, players by their number and what always stays without one, and F in nats.

    Raises UnsupportedModelError for players that are not tokens.
    """
    players, ids = need_tokens(game.players, "A page"), game.question.ids
    texts = game.model.tokenizer.tokens(list(ids))
    first = {group[0]: number for number, group in enumerate(players.groups)}
    inner = {at for group in players.groups for at in group[1:]}
    pieces = [
        {"text": players.names[first[at]] if at in first else texts[at], "player": first.get(at)}
        for at in range(len(ids))
        if at not in inner
    ]
    return {"pieces": pieces, "value": game.full, "total": game.full - game.empty, "removal": players.removal}


def judged_values(game: Game, done: Sequence[Attribution]) -> dict[str, Any]:
    """Return how far each method's order is from chance, forward and backward, and how well the methods agree.

    Raises InputError for fewer than two players.
    """
    found = faithfulness(game, [one.scores for one in done])

    def named(figures: Float[Tensor, "orders measures"]) -> dict[str, dict[str, float]]:
        return {
            one.method: dict(zip(MEASURES, row.tolist(), strict=True)) for one, row in zip(done, figures, strict=True)
        }

    return {
        "gains": named(found.orders),
        "reversed": named(found.reverses),
        "methods": [one.method for one in done],
        "agreement": [[agreement(a.scores, b.scores) for b in done] for a in done],
    }


def parts_values(found: LogitParts, most: int = PARTS) -> dict[str, Any]:
    """Return the largest parts of a logit, how many there are, and the sum of the rest."""
    shown = found.largest(most)
    rest = float(found.scores.sum()) - sum(score for _, score in shown)
    values = {**found.to_dict(), "parts": [{"part": name, "score": score} for name, score in shown]}
    return {**values, "n": len(found.names), "rest": rest}


def hardest_heads(found: AttentionReading, most: int = 1) -> list[tuple[int, int]]:
    """Return heads as (layer, head): those that, from the last token, take most of what they move from one token that
    is not the first."""
    looks = found.weighted[:, :, -1, 1:].amax(-1)
    order = looks.flatten().argsort(descending=True)[:most].tolist()
    return [divmod(at, looks.shape[1]) for at in order]


def head_values(found: AttentionReading, layer: int, head: int, weighted: bool = False) -> dict[str, Any]:
    """Return where a head looks from the last token, and among the last tokens of the text."""
    given = found.weighted if weighted else found.pattern
    first = max(len(found.tokens) - LAST, 0)
    return {
        "head": [layer, head],
        "looks": given[layer, head, -1].tolist(),
        "first": first,
        "map": given[layer, head, first:, first:].tolist(),
    }


def attention_values(found: AttentionReading) -> dict[str, Any]:
    """Return the text's tokens, and four figures of every head.

    Raises InputError for a text of one token.
    """
    figures = {name: values.tolist() for name, values in found.figures().items()}
    return {"tokens": list(found.tokens), "figures": figures}


def answer_in_full(
    game: Game, methods: Sequence[Method], seed: int = 0, dictionary: Dictionary | None = None
) -> dict[str, Any]:
    """Answer a question by all that a page shows of it.

    Args:
        game: its players are tokens, words, sentences or messages.
        methods: in the order in which they are shown.
        dictionary: for the logit in latents; None for none.

    Returns:
        `model`, `target`, `question`, `methods`, `answers` by method or their `failed` reason, `judged`, `lens`,
        `parts` by what they are, `attention` with some heads' patterns. What there is none of is in `absent`, with the
        reason.

    Raises:
        InputError: no method that has a definition here, or players that are not tokens.
    """
    values: dict[str, Any] = {
        "model": game.model.name,
        "target": game.question.target.name(game.model),
        "question": question_values(game),
        "methods": [{"name": one.name, "about": one.about} for one in methods],
    }
    done, failed, absent = list[Attribution](), dict[str, str](), dict[str, str]()
    for method in methods:
        try:
            done.append(attribute(game, method, seed))
        except InputError as error:
            failed[method.name] = str(error)
    if not done:
        raise InputError(next(iter(failed.values()), "No method was named."))
    values |= {"answers": [one.to_dict() for one in done], "failed": failed}
    if len(game) > 1:
        values["judged"] = judged_values(game, done)
    try:
        values |= _inside(game.model, game.question, dictionary)
    except InputError as error:
        absent["inside"] = str(error)
    return {**values, "absent": absent}


def _inside(model: object, question: Question, dictionary: Dictionary | None) -> dict[str, Any]:
    """Return what lens, parts and attention say. Raises InputError for a model whose parts are not known."""
    if not isinstance(model, Transformer):
        raise InputError("The model runs by another library, whose parts are not known.")
    ids = question.ids
    target, foil = _tokens_of(question)
    positions = range(max(len(ids) - LAST, 0), len(ids))
    kinds: dict[By, Dictionary | None] = {"layer": None, "head": None, "neuron": None}
    parts = dict[str, Any]()
    for by, given in (kinds if dictionary is None else {**kinds, "latent": dictionary}).items():
        with contextlib.suppress(InputError):  # a dictionary of a site that is not added to the stream
            parts[by] = parts_values(logit_parts(model, ids, target, foil, by=by, dictionary=given))
    values = {"lens": read_lens(model, Lens(), ids, positions, target).to_dict(), "parts": parts}
    if len(ids) > 1:
        found = read_attention(model, ids)
        heads = [head_values(found, *head) for head in hardest_heads(found, HEADS)]
        values["attention"] = {**attention_values(found), "heads": heads}
    return values


def _tokens_of(question: Question) -> tuple[int, int | None]:
    """Return the token that lens and parts follow, and its foil: the first of those that are asked about."""
    target = question.target
    if isinstance(target, Token):
        return target.id, None
    if isinstance(target, Contrast):
        return target.right[0], target.wrong[0]
    if isinstance(target, Completion):
        return target.ids[0], None
    raise InputError("The answer has no first token that a lens could follow.")


def keep_answer(run: Path, name: str, values: dict[str, Any]) -> Path:
    """Write an answer into a run's folder, where its report finds it; one of that name is replaced.

    Raises InputError for a name that is no plain file name.
    """
    if not name or Path(name).name != name or name.startswith("."):
        raise InputError(f"{name!r} is not valid as a name: give a word, such as names-and-gifts.")
    path = run / FOLDER / f"{name}.json"
    write_json(path, compact(values))
    return path


def compact(values: dict[str, Any]) -> dict[str, Any]:
    """Return plain values with numbers of six digits."""
    shorter: dict[str, Any] = json.loads(json.dumps(values), parse_float=_shorter)
    return shorter


def _shorter(number: str) -> float:
    return float(f"{float(number):.{_DIGITS}g}")


def answer_files(run: Path) -> list[Path]:
    """Return the files of a run's answers, by name."""
    return sorted((run / FOLDER).glob("*.json"))


def kept_answers(run: Path) -> list[KeptAnswer]:
    """Return a run's answers, by name; those that can't be read are left out."""
    found = list[KeptAnswer]()
    for path in answer_files(run):
        with contextlib.suppress(MonosemaError):
            found.append(read_answer(path))
    return found


def read_answer(path: Path) -> KeptAnswer:
    """Read an answer from its file. Raises FormatError for another file."""
    values = read_json(path)
    if not isinstance(values, dict) or not {"question", "answers", "methods"} <= set(values):
        raise FormatError(f"{path} holds no answer: write one with monosema attribute PROMPT --run RUN --keep NAME.")
    return KeptAnswer(path.stem, values)
