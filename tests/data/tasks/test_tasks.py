"""Every prompt task: what is held out stays held out, answers are right, corruptions keep the form."""

import calendar
import random
import re

import numpy as np
import pytest

from monosema.core.errors import InputError
from monosema.data.tasks import ALL_TASKS, Span, brackets, fill, greater_than, ioi, names, token_index, weekdays
from monosema.data.tasks.induction import repeated

FAMILIES = pytest.mark.parametrize("family", ALL_TASKS.values(), ids=list(ALL_TASKS))


@FAMILIES
def test_same_seed_gives_the_same_sentences_and_prompts(family):
    assert family.sentences(random.Random(3), 50, "train") == family.sentences(random.Random(3), 50, "train")
    assert family.prompts(random.Random(3), 20, "test") == family.prompts(random.Random(3), 20, "test")


@FAMILIES
def test_no_training_sentence_begins_with_a_test_prompt(family):
    training = set(family.sentences(random.Random(0), 1000, "train"))
    answered = {f"{p.clean}{answer}" for p in family.prompts(random.Random(1), 300, "test") for answer in p.correct}
    assert not any(sentence.startswith(tuple(answered)) for sentence in training)


@FAMILIES
def test_prompts_are_well_formed(family):
    task = family.prompts(random.Random(2), 200, "test")
    assert len(task) == len(task.clean) == len(task.corrupt) == 200
    for prompt in task:
        assert prompt.clean != prompt.corrupt or family.name == "greater_than"
        assert len(prompt.clean.split()) == len(prompt.corrupt.split())
        assert prompt.span("END").end == len(prompt.clean)
        assert all(prompt.clean[span.start : span.end].strip() for span in prompt.spans)
        assert not set(prompt.correct) & set(prompt.wrong)


def test_ioi_training_sentences_hold_no_held_out_pair_and_no_unseen_template():
    pairs, things = set(), set()
    for prompt in ioi.prompts(random.Random(0), 1000, "test"):
        pairs.add(frozenset((prompt.correct[0].strip(), prompt.wrong[0].strip())))
        words = {s.role: prompt.clean[s.start : s.end] for s in prompt.spans}
        if "OBJECT" in words and "PLACE" in words:
            things.add((words["PLACE"], words["OBJECT"]))
    unseen = [re.split(r"\{\w+\}", template)[-2].strip() for template in ioi.UNSEEN_TEMPLATES]
    openings = [template.split("{")[0] for template in ioi.UNSEEN_TEMPLATES]
    assert all(unseen)
    for sentence in ioi.sentences(random.Random(1), 1500, "train"):
        words = re.findall(r"\w+", sentence)
        found = frozenset(word for word in words if word in names.NAMES)
        assert len(found) == 2
        assert found not in pairs
        if "read a letter" not in sentence:  # this template names its own object and draws none
            assert not any(place in words and thing in words for place, thing in things)
        assert not sentence.startswith(tuple(openings))


def test_ioi_orders_and_roles():
    for order, roles in (("ABBA", ["IO", "S1"]), ("BABA", ["S1", "IO"])):
        for prompt in ioi.prompts(random.Random(0), 50, "test", templates="unseen", order=order):
            spans = sorted(prompt.spans, key=lambda span: span.start)
            assert [span.role for span in spans if span.role in ("IO", "S1")] == roles
            io, s1, s2 = (prompt.clean[s.start : s.end] for s in map(prompt.span, ("IO", "S1", "S2")))
            assert (f" {io}",) == prompt.correct
            assert s1 == s2
            assert io not in prompt.corrupt.split()


def test_ioi_corruptions_replace_the_names_that_they_say():
    for corruption, changed in (("io", {"IO"}), ("s2", {"S2"}), ("abc", {"IO", "S1", "S2"})):
        for prompt in ioi.prompts(random.Random(0), 20, "test", corruption=corruption):
            clean, corrupt = prompt.clean.split(), prompt.corrupt.split()
            spans = [span for span in prompt.spans if span.role in ("IO", "S1", "S2")]
            at = {span.role: prompt.clean[: span.start].count(" ") for span in spans}
            differ = {i for i, (one, other) in enumerate(zip(clean, corrupt, strict=True)) if one != other}
            assert differ == {at[role] for role in changed}


def test_unseen_templates_are_for_the_test_split():
    with pytest.raises(InputError, match="held out"):
        ioi.prompts(random.Random(0), 1, "train", templates="unseen")


def test_greater_than_sentences_end_later_than_they_begin():
    for sentence in greater_than.sentences(random.Random(0), 500):
        start, end = (int(year) for year in re.findall(r"\d{4}", sentence))
        assert start < end
        assert start // 100 == end // 100


def test_weekdays_agree_with_the_calendar():
    days, months = list(calendar.day_name), list(calendar.month_name)[1:]
    for prompt in weekdays.prompts(random.Random(0), 400, "train"):
        words = {span.role: prompt.clean[span.start : span.end] for span in prompt.spans}
        cycle = days if words["START"] in days else months
        steps = weekdays.NUMBERS.index(words["COUNT"].lower()) + 1
        at = cycle.index(words["START"]) + (steps if words["DIRECTION"] == "after" else -steps)
        assert prompt.correct == (f" {cycle[at % len(cycle)]}",)


def _balanced(words):
    stack = []
    for word in words:
        if word in brackets.PAIRS:
            stack.append(brackets.PAIRS[word])
        elif word in brackets.PAIRS.values() and (not stack or stack.pop() != word):
            return None
    return stack


def test_brackets_are_balanced_and_the_answer_closes_the_innermost():
    for sentence in brackets.sentences(random.Random(0), 300):
        assert _balanced(sentence.split()) == []
    for prompt in brackets.prompts(random.Random(0), 300, "test"):
        assert f" {_balanced(prompt.clean.split())[-1]}" == prompt.correct[0]
        assert f" {_balanced(prompt.corrupt.split())[-1]}" in prompt.wrong


def test_truth_is_half_true():
    task = ALL_TASKS["truth"].prompts(random.Random(0), 100, "test")
    assert sum(prompt.correct == (" true",) for prompt in task) == 50


def test_repeated_sequences_repeat_with_their_period():
    vocabulary = np.arange(5, 50)
    tokens, periods = repeated(np.random.default_rng(0), 20, 40, periods=(3, 9), vocabulary=vocabulary)
    assert tokens.shape == (20, 40)
    assert np.isin(tokens, vocabulary).all()
    assert set(periods) <= set(range(3, 10))
    for row, period in zip(tokens, periods, strict=True):
        assert (row[period:] == row[:-period]).all()
    with pytest.raises(InputError, match="periods"):
        repeated(np.random.default_rng(0), 1, 8, periods=(5, 3), vocabulary=vocabulary)


def test_fill_gives_spans_and_token_index_finds_the_last_token():
    text, spans = fill("{A} saw {B}", {"A": "Ann", "B": "Bob Hope"}, {"B": "SEEN"})
    assert text == "Ann saw Bob Hope"
    assert spans == (
        Span(role="A", start=0, end=3),
        Span(role="SEEN", start=8, end=16),
        Span(role="END", start=12, end=16),
    )
    offsets = [(0, 0), (0, 3), (3, 7), (7, 11), (11, 14), (14, 16)]
    assert token_index(spans[0], offsets) == 1
    assert token_index(spans[1], offsets) == 5
    with pytest.raises(InputError, match="no token ends"):
        token_index(Span(role="X", start=20, end=22), offsets)
