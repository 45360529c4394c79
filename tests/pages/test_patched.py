"""A heat map is a valid picture: warm and cold cells, a number where an effect is told from chance."""

from __future__ import annotations

import re

import altair as alt
import torch

from monosema.pages.patched import heat_map
from monosema.pages.svg import svg


def test_cells_are_warm_or_cold_and_those_told_from_chance_have_their_number() -> None:
    shares = torch.tensor([[1.0, -0.5], [0.25, 0.0]])
    marked = torch.tensor([[True, True], [False, False]])
    spec = heat_map("heads", ("block 0", "block 1"), ("h0", "h1"), shares, marked)
    alt.Chart.from_dict(dict(spec), validate=True)
    picture = svg(spec)
    said = re.findall(r"<title>(.*?)</title>", picture)
    assert said[0] == "heads"
    assert {"block 0, h0: 100.0 %", "block 1, h0: 25.0 %, not told from chance"} <= set(said)
    words = re.findall(r"<text[^>]*>([^<]*)</text>", picture)
    assert [word for word in words if re.fullmatch(r"-?\d+", word)] == ["100", "-50"]
    assert "heat-strong" in picture
    assert "series-1" in picture
