"""Sentences: Punkt learns from the corpus, and nothing of a text is lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from monosema.data import SentenceSplitter

TEXT = "Dr. Miller met Mr. Jones at 5 p.m. yesterday. They spoke with Dr. Smith. Was it late? Dr. Smith did not mind. "
SPLITTER = SentenceSplitter([TEXT * 40])


def test_abbreviations_are_learnt_from_the_text_itself():
    sentences = SPLITTER.split("They met Dr. Smith. It was late.")
    assert sentences == ["They met Dr. Smith. ", "It was late."]


@given(st.text(alphabet="ab .!?\n", max_size=80))
def test_nothing_but_blanks_is_lost(text):
    assert "".join(SPLITTER.split(text)).split() == text.split()


def test_no_more_is_read_than_is_needed():
    read = []

    def texts():
        for number in range(100):
            read.append(number)
            yield TEXT

    SentenceSplitter(texts(), characters=300)
    assert len(read) < 5
