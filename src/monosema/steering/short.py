"""An edit in one word, for command lines:  [SITE:]WHAT=MOVE[UNIT][?][@PLACE,…]

17=+2            add twice the latent's largest activation; 17=-2 takes as much away
17=0             take it out; 17=1.5 sets it to 1.5 × its largest
17=x0.5          halve it
17=0..1          keep it within; ..1 caps it, 1.. lifts it; ? behind: only where it is active
happy=+1         add a direction, by its name or file; 3.5:FILE=+1 is a direction of head 5 of block 3
17=+40raw        UNIT raw, max or norm: the coordinate's own, its largest, a share of the activation's norm
17=+2@last       PLACE prompt, prompt[0:8], last, generated, generated[0:8], special, template
"""

from __future__ import annotations

import re
from typing import Any

from monosema.core import ConfigError
from monosema.steering.coordinates import Latent
from monosema.steering.edits import UNITS, Edit
from monosema.steering.spec import Resolve, edit_of, spec_of_edit

_NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_UNIT = rf"(?P<unit>{'|'.join(UNITS)})?"
_MOVES = (
    re.compile(rf"(?P<low>[+-]?{_NUMBER}(?=\.\.))?\.\.(?P<high>[+-]?{_NUMBER})?{_UNIT}(?P<active>\?)?"),
    re.compile(rf"(?P<add>[+-]{_NUMBER}){_UNIT}"),
    re.compile(rf"[x×](?P<scale>-?{_NUMBER})"),
    re.compile(rf"(?P<set>{_NUMBER}){_UNIT}(?P<active>\?)?"),
)
_PLACE = re.compile(r"(?P<part>prompt|generated)(?:\[(?P<first>-?\d*):(?P<last>-?\d*)\])?")
_FORM = "Write it as 17=+2 (add), 17=0 (take out), 17=1.5 (set), 17=x2 (scale) or 17=0..1 (clamp)"


def read_edit(text: str, resolve: Resolve) -> Edit:
    """Read an edit. Raises ConfigError, which says what is wrong in it."""
    return edit_of(spec_of_text(text), resolve)


def spec_of_text(text: str) -> dict[str, Any]:
    """Return the plain values (`spec`) of an edit in one word."""
    if len(several := re.split(r",(?=[^,=@]+=)", text)) > 1:
        raise ConfigError(f"{text!r} is several edits: give each on its own, --steer {' --steer '.join(several)}.")
    what, equals, rest = text.strip().rpartition("=")
    move, at, places = rest.partition("@")
    if not equals or not what:
        raise ConfigError(f"{text!r} is no edit. {_FORM}. A file of edits is given by --steering.")
    return {**_coordinate(what, text), **_move(move.strip(), text), **(_places(places, text) if at else {})}


def text_of(edit: Edit) -> str:
    """Return an edit in one word."""
    spec = spec_of_edit(edit)
    if "head" in spec:
        what = f"{spec['head'][0]}.{spec['head'][1]}:{spec['direction']}"
    else:
        what = f"{spec['site']}:{spec.get('latent', spec.get('direction'))}"
    if "add" in spec:
        move = f"{spec['add']:+g}"
    elif "scale" in spec:
        move = f"x{spec['scale']:g}"
    else:
        low, high = ("" if bound is None else f"{bound:g}" for bound in spec["clamp"])
        move = low if low == high and not low.startswith("-") else f"{low}..{high}"
    active = "?" if spec.get("only_active") else ""
    return f"{what}={move}{spec.get('unit', '')}{active}{_text_of_places(edit)}"


def named(edit: Edit) -> str:
    """Return an edit in the word that people write: without the site, and the unit that is as usual."""
    try:
        text = text_of(edit)
    except ConfigError:  # a coordinate that has no plain values
        return edit.coordinate.name
    move, at, places = text.rpartition("=")[2].partition("@")
    usual = "max" if isinstance(edit.coordinate, Latent) else "raw"
    return f"{edit.coordinate.name}={move.replace(usual, '')}{at}{places}"


def _coordinate(what: str, text: str) -> dict[str, Any]:
    site, colon, name = what.rpartition(":")
    if re.fullmatch(r"-\d+", name):
        raise ConfigError(f"{text!r} is no edit: latents are counted from 0, and {name} is below.")
    if not name:
        raise ConfigError(f"{text!r} names nothing before the =. {_FORM}.")
    if head := re.fullmatch(r"(\d+)\.(\d+)", site):
        return {"head": [int(head[1]), int(head[2])], "direction": name}
    place = {"site": site} if colon else {}
    return {"latent": int(name), **place} if name.isdecimal() else {"direction": name, **place}


def _move(move: str, text: str) -> dict[str, Any]:
    for pattern in _MOVES:
        if found := pattern.fullmatch(move):
            said = {key: value for key, value in found.groupdict().items() if value}
            unit = {"unit": said["unit"]} if "unit" in said else {}
            active = {"only_active": True} if "active" in said else {}
            if "add" in said or "scale" in said:
                return {**unit, **{key: float(said[key]) for key in ("add", "scale") if key in said}}
            bounds = [said["set"]] * 2 if "set" in said else [said.get("low"), said.get("high")]
            if bounds == [None, None]:
                break
            return {**unit, **active, "clamp": [None if bound is None else float(bound) for bound in bounds]}
    raise ConfigError(f"{move!r} in {text!r} is no move. {_FORM}; units are {', '.join(UNITS)}.")


def _places(places: str, text: str) -> dict[str, Any]:
    spec: dict[str, Any] = {}
    for place in places.split(","):
        if place in ("special", "template"):
            spec[place] = True
        elif place == "last":
            spec["prompt"] = "last"
        elif found := _PLACE.fullmatch(place.strip()):
            window = [int(found["first"] or 0), int(found["last"]) if found["last"] else None]
            spec[found["part"]] = "all" if found["first"] is None else window
        else:
            raise ConfigError(
                f"{place!r} in {text!r} is no place. There are prompt, prompt[0:8], last, generated, generated[0:8], "
                "special and template."
            )
    if spec.keys() & {"prompt", "generated"}:
        spec = {"prompt": None, "generated": None, **spec}
    return spec


def _text_of_places(edit: Edit) -> str:
    where, words = edit.where, []
    if (where.prompt, where.generated) != ("all", "all"):
        for part in ("prompt", "generated"):
            chosen = getattr(where, part)
            if isinstance(chosen, tuple):
                words.append(f"{part}[{chosen[0]}:{'' if chosen[1] is None else chosen[1]}]")
            elif chosen is not None:
                words.append("last" if chosen == "last" else part)
    words += [field for field in ("special", "template") if getattr(where, field)]
    return f"@{','.join(words)}" if words else ""
