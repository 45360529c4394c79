"""Searches in memory find what a look at every text and every list finds, and the encoder reads as its original."""

from __future__ import annotations

import re
from threading import Thread

import numpy as np
import pytest

from monosema.server.encoder import PACKAGE, Encoder
from monosema.server.searching import Postings, Texts

TEXTS = ["Days of the week", "don’t stop", "", "Monday, Tuesday", "mon-day", "the the thesis", "été d’Été", "a\tb\nc"]


@pytest.mark.parametrize("word", ["day", "days", "the", "t", "monday,", "monday", "été", "d’", ".", "-", "zzz", "b"])
def test_texts_that_hold_a_word_are_those_that_a_look_at_each_finds(word: str) -> None:
    texts = Texts(TEXTS)
    found, fits = texts.holding(word)
    best = {number: float(fits[found == number].max()) for number in found.tolist()}
    slow = {}
    for number, text in enumerate(text.lower() for text in TEXTS):
        if word in text:
            slow[number] = 2.0 if word in re.split(r"[\W_]+", text) else 1.0
    assert best == slow


def test_postings_are_the_places_of_numbers() -> None:
    column = np.random.default_rng(0).integers(0, 20, 200).astype(np.int32)
    column[column == 7] = 8
    for asked in ([3], [3, 5], [7], [], [19, 20, 500]):
        assert sorted(Postings(column).of(asked).tolist()) == np.flatnonzero(np.isin(column, asked)).tolist()
    assert Postings(np.zeros(0, np.int32)).of([0]).size == 0


def test_the_encoder_gives_the_vectors_of_its_original() -> None:
    package = pytest.importorskip(PACKAGE)
    from monosema.interpretation.scorers.embedding import embed_texts, load_encoder

    texts = ["days of the week", "", "a  much longer text about\nnames of cities, and countries " * 3, "été"]
    original = embed_texts(load_encoder(str(package.get_model_path()), "cpu"), texts).numpy()
    vectors = Encoder().vectors(texts)
    assert not vectors[1].any()
    assert not original[1].any()
    cosines = (vectors * original).sum(1)[[0, 2, 3]]
    assert cosines.min() > 0.999


class Slow:
    """An encoder's model that counts its calls; the first waits until all have asked."""

    def __init__(self, encoder: Encoder, askers: int) -> None:
        self.encoder, self.askers = encoder, askers
        self.calls: list[int] = []

    def vectors(self, texts: list[str]) -> np.ndarray:
        if "wrong" in texts:
            raise ValueError("wrong")
        while not self.calls and len(self.encoder._waiting) < self.askers:
            pass
        self.calls.append(len(texts))
        return np.array([[len(text)] for text in texts], np.float32)


def test_texts_that_wait_for_the_encoder_are_read_together_and_each_gets_its_own() -> None:
    encoder, found = Encoder(), {}
    encoder._model = slow = Slow(encoder, 5)  # type: ignore[assignment]

    def ask(number: int) -> None:
        found[number] = encoder.vectors(["x" * number])[0, 0]

    threads = [Thread(target=ask, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: number for number in range(5)}
    assert sum(slow.calls) == 5
    assert len(slow.calls) <= 3
    with pytest.raises(ValueError, match="wrong"):
        encoder.vectors(["wrong"])
    assert encoder.vectors(["right"])[0, 0] == 5
