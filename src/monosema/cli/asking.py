"""Options of a question about an answer, and of the players among whom it is divided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from cyclopts import Group, Parameter

from monosema.core import InputError

if TYPE_CHECKING:
    from monosema.attribution import Game, Question
    from monosema.models import LanguageModel, Prompt
    from monosema.runs.subject import Subject

_ANSWER_TOKENS = 32


@Parameter(name="*", group=Group("The question", sort_key=0))
@dataclass(frozen=True)
class Asked:
    """The question about a prompt."""

    target: str | None = None
    """The token that is asked about; without it the likeliest."""
    foil: str | None = None
    """The token that it is held against; without it the likeliest other one."""
    alone: bool = False
    """Ask about the target's probability among all tokens, without a foil."""
    completion: str | None = None
    """A text of several tokens that is asked about as a whole, with the space before it."""
    chat: bool = False
    """The prompt is a chat. Without a target or completion the model answers, and the answer is asked about."""
    system: str | None = None
    """With --chat: a message before all others that says how the model is to behave."""
    twin: str | None = None
    """The counterfactual prompt: the same with other words, of as many tokens. It stands for what is absent."""
    task: str | None = None
    """ioi, greater_than, gender, truth, sentiment, weekdays, brackets, or a file of your own pairs: its first prompt,
    with its answers and its twin."""

    def question(self, model: LanguageModel, prompt: Sequence[str], seed: int) -> Question:
        """Return the question. Raises InputError for options that exclude each other, and as `ask`."""
        from monosema.attribution import ask, first_question

        if self.task is not None:
            if prompt or self != Asked(task=self.task):
                raise InputError("A task has prompts and answers of its own: leave them out, or --task.")
            return first_question(model, self.task, seed)
        if self.system is not None and not self.chat:
            raise InputError("--system is a message of a chat: give --chat too.")
        if not prompt or (len(prompt) > 1 and not self.chat):
            raise InputError(
                f"{len(prompt)} prompts were given: give one text in quotes, a --task, or several messages with --chat."
            )
        text: Prompt = self._messages(prompt) if self.chat else prompt[0]
        answer: str | Sequence[int] | None = self.completion
        if self.chat and self.completion is None and self.target is None:
            answer = model.generate([text], max_new_tokens=_ANSWER_TOKENS)[0].tokens
        twin: Prompt | None = self._messages([self.twin]) if self.chat and self.twin is not None else self.twin
        return ask(model, text, target=self.target, foil=self.foil, alone=self.alone, completion=answer, twin=twin)

    def _messages(self, said: Sequence[str]) -> list[dict[str, str]]:
        turns = [{"role": ("user", "assistant")[index % 2], "content": one} for index, one in enumerate(said)]
        return turns if self.system is None else [{"role": "system", "content": self.system}, *turns]


@Parameter(name="*", group=Group("The players", sort_key=1))
@dataclass(frozen=True)
class Played:
    """Among whom an answer is divided."""

    players: str = "tokens"
    """tokens, words, sentences or messages of the prompt; latents of --run; heads; neurons."""
    removal: str | None = None
    """The stand-in of an absent token: twin, mean (of all embeddings), zero, unknown (token) or mask (no other token
    sees it). Without it: the twin where there is one, or mean; of heads and neurons zero."""
    top: int = 32
    """Latents and neurons that are players: those of the largest estimates."""
    memory_mb: float = 1024.0
    """Memory that the rows of one pass may take."""

    def game(self, model: LanguageModel, question: Question, subject: Subject) -> Game:
        """Return the game. Raises InputError for players or a removal that there are not, or that don't fit."""
        from monosema.attribution import Game, heads_of, latents_of, neurons_of, strongest, tokens_of
        from monosema.attribution.players import Segments

        if self.top < 1:
            raise InputError(f"--top {self.top} is not valid: give 1 or more.")
        if self.players == "latents":
            if subject.place is None:
                raise InputError("Latents are of a dictionary: name a run or a dictionary with --run.")
            if self.removal not in (None, "zero"):
                raise InputError(f"--removal {self.removal}: an absent latent has the activation 0. Leave it out.")
            latents = latents_of(model, question, subject.dictionary, subject.site)
            return strongest(Game(model, question, latents, self.memory_mb), self.top)
        if self.players == "neurons":
            return strongest(Game(model, question, neurons_of(model, question, self.removal), self.memory_mb), self.top)
        if self.players == "heads":
            return Game(model, question, heads_of(model, question, self.removal), self.memory_mb)
        if self.players not in get_args(Segments):
            there = ", ".join((*get_args(Segments), "heads", "neurons", "latents"))
            raise InputError(f"There are no players {self.players!r}: take {there}.")
        return Game(model, question, tokens_of(model, question, self.players, self.removal), self.memory_mb)
