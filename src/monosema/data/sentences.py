"""Sentences by Punkt, trained on the corpus itself: nothing is downloaded.

Kiss and Strunk 2006, "Unsupervised Multilingual Sentence Boundary Detection" (Computational Linguistics 32:4), in
NLTK's implementation. Punkt learns from unlabelled text which words are abbreviations and which begin sentences.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

TRAINING_CHARACTERS = 1_000_000
"""Characters, from the first document on, that Punkt learns from; memory is bounded."""


class SentenceSplitter:
    """Cuts documents into sentences; the spaces between two sentences belong to the first."""

    def __init__(self, texts: Iterable[str], characters: int = TRAINING_CHARACTERS) -> None:
        """Learn from the first `characters` characters of `texts`; no more of `texts` is read."""
        from nltk.tokenize.punkt import PunktSentenceTokenizer, PunktTrainer

        trainer = PunktTrainer()
        trainer.INCLUDE_ALL_COLLOCS = False
        read = 0
        for text in texts:
            trainer.train(text[: characters - read], finalize=False)
            read += len(text)
            if read >= characters:
                break
        trainer.finalize_training()
        self._punkt: Any = PunktSentenceTokenizer(trainer.get_params())

    def split(self, text: str) -> list[str]:
        """Sentences of a text; joined, they are the text again."""
        starts = [start for start, _ in self._punkt.span_tokenize(text)]
        bounds = [0, *starts[1:], len(text)]
        return [text[a:b] for a, b in itertools.pairwise(bounds) if text[a:b].strip()]
