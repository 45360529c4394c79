import re
from xml.etree import ElementTree

import altair as alt
import numpy as np
import pytest

from monosema.core import ConfigError, Estimate
from monosema.pages.charts import SHARE, Axis, Series, axes, comparison, histogram, losses, sheet, xy
from monosema.pages.svg import PALETTE, svg, variables

SCORERS = {"simulation": (0.0, "ρ"), "fuzzing": (0.5, "balanced accuracy")}
LINE = [Series("a & b", [(1, 2), (2, 3)], ["first", "second"]), Series("c", [(1, 1)])]
CURVES = xy("Curves", Axis("x"), Axis("y", logarithmic=True), LINE, (2, 3, "best"))


def compared(sites, methods=("lookup",)):
    """Two dictionaries; the second's mean is of few latents, and absent at the last of several sites."""
    some, few = Estimate(0.4, 0.3, 0.5, 9).to_dict(), Estimate(0.9, 0.8, 1.0, 1).to_dict()
    rows = []
    for site in sites:
        for method in methods:
            about = {"site": site, "method": method, "scorer": "simulation"}
            rows.append({**about, "dictionary": "A & co", "mean": some, "control": {"value": 0.125}})
            lost = len(sites) > 1 and site == sites[-1]
            rows.append({**about, "dictionary": "B", **({} if lost else {"mean": few})})
    scored = [{"site": s, "dictionary": d, "scored": n} for s in sites for d, n in (("A & co", 9), ("B", 90))]
    return {"sites": sites, "rows": rows, "dictionaries": scored}


SPECS = {
    "xy": CURVES,
    "sheet": sheet("Sheet", [CURVES, CURVES]),
    "histogram": histogram("H", np.array([3, 0, 9]), np.geomspace(1e-3, 1, 4), Axis("x", True, SHARE), Axis("n", True)),
    "losses": losses("L", [{"name": "model", "value": 3.25, "low": 3.2, "high": 3.3, "own": True}]),
    "axes": axes("M", (Axis("x", True), 1e-4, 1), (Axis("y"), 0, 1)),
    "one site": comparison(compared(["3.mlp_out"], ("lookup", "graph")), SCORERS),
    "layers": comparison(compared(["0.mlp_out", "1.mlp_out", "5.mlp_out"]), SCORERS),
}


def titles(text):
    return [title.text for title in ElementTree.fromstring(text).iter("{http://www.w3.org/2000/svg}title")]


@pytest.mark.parametrize("name", SPECS)
def test_specifications_are_vega_lite(name):
    alt.Chart.from_dict(dict(SPECS[name]), validate=True)


@pytest.mark.parametrize("name", SPECS)
def test_a_picture_has_a_name_and_colours_of_the_palette_only(name):
    text = svg(SPECS[name])
    assert titles(text)[0] == SPECS[name]["description"]
    assert ElementTree.fromstring(text).get("role") == "img"
    colours = set(re.findall(r' (?:fill|stroke)="([^"]*)"', text)) - {"none", "transparent"}
    assert colours
    assert all(re.fullmatch(r"var\(--[\w-]+, #[0-9a-f]{6}\)", colour) for colour in colours), colours
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)


def test_marks_say_their_values_and_words_are_escaped():
    assert {"first", "second"} < set(titles(svg(CURVES)))
    assert "a &amp; b" in svg(CURVES)
    assert "model: 3.250" in titles(svg(SPECS["losses"]))
    assert titles(svg(SPECS["histogram"]))[1:] == ["0.1 % – 1 %: 3", "10 % – 100 %: 9"]


def test_only_a_file_of_its_own_brings_its_colours():
    style = re.search("<style>(.*)</style>", svg(CURVES))[1]
    assert re.findall(r"([^{}]*)\{(?:background|--)", style) == ["svg:root", "svg:root"]
    assert all(
        f"--{name}:light-dark({light}, {dark});" in variables(":root") for name, (light, dark) in PALETTE.items()
    )


def test_nothing_to_draw_and_logarithms_of_zero_are_refused():
    with pytest.raises(ConfigError, match="nothing to draw in the plot 'It'"):
        xy("It", Axis("x"), Axis("y"), [Series("a", [])])
    with pytest.raises(ConfigError, match="'x' is logarithmic"):
        xy("It", Axis("x", logarithmic=True), Axis("y"), [Series("a", [(0, 1)])])


def test_the_comparison_leaves_out_what_is_absent_and_dims_what_is_rare():
    text = svg(SPECS["one site"])
    said = titles(text)[1:]
    assert sum("9 of 9 latents" in title for title in said) == 2
    assert sum("1 of 90 latents" in title for title in said) == 2
    assert sum("shuffled explanations: 0.125" in title for title in said) == 2
    assert len(said) == 6
    assert text.count('opacity="0.3"') == 4, "two means and their intervals"
    assert ">ρ</text>" in text


def test_sites_are_layers_where_they_are_of_one_kind():
    text = svg(SPECS["layers"])
    assert "layer (mlp_out)" in text
    assert len(titles(text)) - 1 == 3 + 2 + 3, "means of A, of B, and controls of A"
    assert "site, in the order of the model" in svg(comparison(compared(["embed", "0.mlp_out"]), SCORERS))
