"""Texts that are written under candidates side by side, and read once more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import cast

from monosema.models import Batch, GenerationConfig, LanguageModel, Prompt, Row, TextGeneration, read_prompt
from monosema.steering.candidates import Candidate, Prefix
from monosema.steering.edits import Steering
from monosema.steering.metrics.likelihood import Written, likelihoods
from monosema.steering.metrics.measures import MeasuredText
from monosema.steering.steered import SteeredBatch, SteeredRow


class SteeredText:
    """A text that is being written.

    Attributes:
        name: of the candidate.
        index: of the prompt.
        seed: of its noise.
        row: what is written.
        steered: what is edited; None where nothing steers it.
    """

    def __init__(
        self,
        model: LanguageModel,
        name: str,
        candidate: Candidate,
        index: int,
        prompt: Prompt,
        config: GenerationConfig,
    ) -> None:
        """Begin a text after a prompt; the seed is the config's."""
        assert isinstance(config.seed, int)
        self.name, self.index, self.seed = name, index, config.seed
        given = candidate.before(prompt) if isinstance(candidate, Prefix) else prompt
        self._plain, self._given = (read_prompt(one, model.tokenizer, config) for one in (prompt, given))
        self._steering = candidate if isinstance(candidate, Steering) else None
        self.steered = None if self._steering is None else SteeredRow(self._steering)
        self.row = Row(cast(TextGeneration, model), self._given, config)

    @property
    def written(self) -> Written:
        """The text as it is read again."""
        return Written(self._plain, self._given, tuple(self.row.written), self._steering)


def write_texts(
    model: LanguageModel,
    texts: Sequence[SteeredText],
    memory_mb: int,
    wrote: Callable[[SteeredText], object] = lambda text: None,
) -> Iterator[int]:
    """Write texts token by token, as many at once as the memory holds; those that have ended before are left as they
    are, and each that ends is told to `wrote`.

    Nothing is attached to the model between two steps.

    Yields:
        The number of tokens that each step did away with; of a text that ends early, all that it might have had.

    Raises InputError for an edit that selects no token of any text, AnomalyError for logits that are not finite.
    """
    steered, most = SteeredBatch(model), _rows_within(model, texts, memory_mb)
    held = {id(text.row): text.steered for text in texts}
    by_row = {id(text.row): text for text in texts}

    def around(rows: Sequence[Row]) -> SteeredBatch:
        wanted = [held[id(row)] for row in rows]
        if wanted != steered.rows:
            steered.rows = wanted
        return steered

    batch, waiting = (
        Batch(cast(TextGeneration, model), around=around),
        [text.row for text in texts if not text.row.ended],
    )
    if not waiting:
        steered.rows = list(held.values())
        steered.require_match()
        return
    while waiting or batch.rows:
        room = most - len(batch.rows)
        batch.join(waiting[:room])
        waiting = waiting[room:]
        given = batch.step()
        ended = [row for row in given if row.ended]
        for row in ended:
            if row.failure is not None:
                raise row.failure
            wrote(by_row[id(row)])
        batch.leave(ended)
        yield len(given) + sum(row.config.max_new_tokens - len(row.written) for row in ended)
    steered.rows = list(held.values())
    steered.require_effect()


def measured_texts(
    model: LanguageModel, texts: Sequence[SteeredText], memory_mb: int
) -> Iterator[tuple[int, MeasuredText]]:
    """Read texts once more, the longest first; yields the index of each with what was found."""
    for number, likelihood in likelihoods(model, [text.written for text in texts], memory_mb):
        text = texts[number]
        yield number, MeasuredText(text.row.text, text.written.tokens, likelihood)


def _rows_within(model: LanguageModel, texts: Sequence[SteeredText], memory_mb: int) -> int:
    """Rows whose keys, values and logits stay within the memory."""
    positions = max(len(text.row.prompt.ids) + text.row.config.max_new_tokens for text in texts)
    a_row = 2 * model.n_layers * model.d_model * model.dtype.itemsize * positions + 16 * model.vocab
    return max(1, memory_mb * 2**20 // a_row)
