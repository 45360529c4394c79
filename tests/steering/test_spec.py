"""Steerings as plain values and as words: what is written is read again, and what is wrong is named."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import torch

from monosema.core import ConfigError, InputError, Site
from monosema.core.language import translate
from monosema.dictionaries import Metadata, make_coder, save_dictionary
from monosema.steering import (
    Add,
    Clamp,
    Direction,
    Edit,
    Head,
    Latent,
    Resolver,
    Scale,
    Steering,
    Where,
    read_edit,
    spec_of_text,
    text_of,
    write_steering,
)

SITE = Site.parse("3.resid_post")
CODER = make_coder("topk", 8, 32, metadata=Metadata(site=SITE))
HAPPY = Direction(SITE, torch.arange(8.0), "happy")
RESOLVE = Resolver({SITE: CODER}, {SITE: lambda latent: 2.5 * latent}, [HAPPY, Direction("1.z", torch.ones(4), "true")])


def latent(index: int) -> Latent:
    return Latent(CODER, index, SITE, 2.5 * index)


ENGLISH = re.compile(r"\b(is|are|not|valid|give|no|here|of|the|must|say|at) ")


def in_korean(error: Exception) -> bool:
    """Whether a Korean reader is told an error without a word of English about it."""
    return not ENGLISH.search(translate(str(error), "ko"))


EDITS = {
    "17=+2": Edit(latent(17), Add(2.0), unit="max"),
    "17=-1.5norm@last": Edit(latent(17), Add(-1.5), Where("last", None), "norm"),
    "17=0": Edit(latent(17), Clamp(0.0, 0.0), unit="max"),
    "17=1.5raw?": Edit(latent(17), Clamp(1.5, 1.5, True)),
    "17=x-0.5": Edit(latent(17), Scale(-0.5)),
    "17=0..1?@generated": Edit(latent(17), Clamp(0.0, 1.0, True), Where(None, "all"), "max"),
    "17=..1e2raw": Edit(latent(17), Clamp(high=100.0)),
    "3.resid_post:17=-1..1@special,template": Edit(
        latent(17), Clamp(-1.0, 1.0), Where(special=True, template=True), "max"
    ),
    "17=+40raw@prompt[2:],generated[0:8]": Edit(latent(17), Add(40.0), Where((2, None), (0, 8))),
    "happy=+1": Edit(HAPPY, Add(1.0)),
    "1.3:true=x2": Edit(Head(1, 3, torch.ones(4), "true"), Scale(2.0)),
}


def same(one: Edit, other: Edit) -> bool:
    """Equal but for the identity of vectors."""
    plain = [Steering(edit).to_dict(whole=True) for edit in (one, other)]
    return plain[0] == plain[1]


@pytest.mark.parametrize("text", EDITS)
def test_words_and_plain_values_are_the_edit_and_are_read_again(text: str) -> None:
    edit = read_edit(text, RESOLVE)
    expected = EDITS[text]
    unit_matters = not isinstance(edit.move, Scale)
    assert same(edit, expected)
    assert edit.unit == expected.unit or not unit_matters
    assert same(read_edit(text_of(edit), RESOLVE), expected)
    steering = Steering([edit, EDITS["17=0"]], strength=0.5)
    again = Steering.from_dict(json.loads(json.dumps(steering.to_dict())), RESOLVE)
    assert again.to_dict(whole=True) == steering.to_dict(whole=True)
    assert again.strength == 0.5


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("17", "is no edit"),
        ("happy.toml", "A file of edits is given by --steering"),
        ("=+2", "names nothing|is no edit"),
        ("17=", "is no move"),
        ("17=..", "is no move"),
        ("17=++2", "is no move"),
        ("17=+2@end", "'end' in '17=\\+2@end' is no place"),
        ("17=2..1", r"clamp = \[2.0, 1.0\]"),
        ("32=0", "0 to 31"),
        ("4.resid_post:17=0", "the dictionary here reads 3.resid_post"),
        ("hapy=+1", "Did you mean 'happy'"),
        ("17=+2@generated[8:2]", "no token is in this window"),
    ],
)
def test_words_that_are_no_edit_say_why(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        read_edit(text, RESOLVE)
    assert in_korean(caught.value)


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        ({"latent": 1}, "one of add, scale and clamp"),
        ({"latent": 1, "add": 1, "scale": 2}, "add and scale"),
        ({"latent": 1, "direction": "happy", "add": 1}, "latent and direction"),
        ({"add": 1}, "Here is none"),
        ({"latent": "1", "add": 1}, "latent = '1'"),
        ({"latent": 1, "add": True}, "add = True"),
        ({"latent": 1, "add": float("nan")}, "add = nan"),
        ({"latent": 1, "clamp": [1]}, r"clamp = \[1\]"),
        ({"latent": 1, "add": 1, "only_active": True}, "only_active"),
        ({"latent": 1, "add": 1, "unit": "percent"}, "unit = 'percent'"),
        ({"latent": 0, "add": 1}, 'unit = "max".*its largest value is 0'),
        ({"latent": 1, "add": 1, "prompt": "first"}, "prompt = 'first'"),
        ({"latent": 1, "add": 1, "generated": "last"}, "generated = 'last'"),
        ({"latent": 1, "add": 1, "prompt": None, "generated": None}, "both none"),
        ({"latent": 1, "add": 1, "special": 1}, "special = 1"),
        ({"latent": 1, "add": 1, "sites": "x"}, "no field 'sites'.*'site'"),
        ({"head": [1], "direction": "true", "add": 1}, r"head = \[1\]"),
        ({"direction": "happy", "site": "9.resid_post", "add": 1}, "no direction 'happy'"),
        ("17=0", "is no edit"),
    ],
)
def test_values_that_are_not_valid_name_their_field(edit: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        Steering.from_dict({"edits": [EDITS_OK, edit]}, RESOLVE)
    assert str(caught.value).startswith("edits[1]: ")
    assert in_korean(caught.value)


EDITS_OK = {"latent": 1, "add": 1}


def test_a_latent_that_never_fired_can_be_taken_out() -> None:
    assert read_edit("0=0", RESOLVE).move == Clamp(0.0, 0.0)


def test_a_resolver_opens_a_dictionary_or_a_run_with_its_directions(tmp_path: Any) -> None:
    save_dictionary(CODER, tmp_path / "run" / "dictionaries" / "one")
    write_steering(tmp_path / "run" / "directions" / "happy.safetensors", Steering(Edit(HAPPY, Add(1.0))))
    run = Resolver.of(tmp_path / "run", files=False)
    alone = Resolver.of(tmp_path / "run" / "dictionaries" / "one")
    assert run.latent(3).maximum is None
    assert torch.equal(alone.latent(3).direction.vector, CODER.directions[3])
    assert torch.equal(run.direction("happy").vector, HAPPY.vector)
    file = tmp_path / "run" / "directions" / "happy.safetensors"
    assert alone.direction(str(file)).name == "happy"
    with pytest.raises(ConfigError, match=re.escape("no direction")):
        run.direction(str(file))


def test_words_can_be_read_without_what_they_name() -> None:
    assert spec_of_text("5=+2@last") == {"latent": 5, "add": 2.0, "prompt": "last", "generated": None}


@pytest.mark.parametrize(("text", "says"), [("17=+1,18=+1", "--steer 17=.1 --steer 18=.1"), ("-5=+1", "from 0")])
def test_what_is_no_edit_says_how_it_is_written(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        spec_of_text(text)
