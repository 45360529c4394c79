"""What a notebook shows, and a notebook as a reader opens it in Chromium."""

import contextlib
import json
import re

import pytest
from chromium import asked_elsewhere, complaints, forget, wait

from monosema.atlas import Explanation, Score, open_atlas, record
from monosema.core import Estimate
from monosema.core.language import speaking
from monosema.pages import HeatMap
from monosema.pages.features import FeatureTables
from monosema.pages.notebook import plain

IN_CELL = """
const root = document.querySelectorAll(".monosema")[arguments[0]].shadowRoot;
return Array.from(root.querySelectorAll(arguments[1]), (element) => element.textContent);
"""


@pytest.fixture
def atlas(fake_atlas, tmp_path):
    folder = fake_atlas(tmp_path / "atlas", n=30, nasty=True)
    model = Explanation("a-model", "top examples", "a-model", "3", "names of cities")
    record(folder, {3: [model]}, {3: [Score(*model.identity, "simulation", Estimate(0.9, 0.8, 0.95, 12), 0.1)]})
    return open_atlas(folder)


def same(one, other):
    """Equal but for the last digits of numbers, of which tables keep more than columns in memory, and for order."""
    if isinstance(one, float) and isinstance(other, float):
        return one == pytest.approx(other, rel=1e-5)
    if isinstance(one, dict):
        return one.keys() <= other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(any(same(a, b) for b in other) for a in one)
    return one == other


@pytest.mark.parametrize("latent", [0, 1, 3, 7, 12])
def test_a_feature_in_a_notebook_is_the_one_of_the_app(atlas, latent):
    shown, served = plain(atlas.feature(latent)), FeatureTables(atlas).feature(latent)
    assert served.keys() - shown.keys() <= {"row", "share"}
    wrong = [key for key, value in json.loads(json.dumps(shown)).items() if not same(value, served[key])]
    assert not wrong


def test_a_value_shows_its_text_until_it_is_drawn(atlas):
    shown = atlas.feature(1)._repr_html_()
    assert "<pre>Feature 1: &lt;/script&gt;" in shown
    assert shown.count("<script") == shown.count("</script>") == 2
    assert "http" not in shown.replace("http://www.w3.org/2000/svg", "")


def test_the_words_of_the_readers_language_come_with_a_cell(atlas):
    assert "없음" not in atlas.feature(1)._repr_html_()
    with speaking("ko"):
        assert "없음" in atlas.feature(1)._repr_html_()


@pytest.mark.browser
def test_a_notebook_is_drawn_without_a_network(browser, atlas, finished, tmp_path):
    from monosema.evaluation.side_by_side import side_by_side
    from monosema.models import load_model
    from monosema.steering import SweepConfig, SweepResult
    from monosema.steering.sweep import Sample, SweepPoint

    model = load_model("specimen")
    beside = side_by_side(model, ["The old man"], {"<b>same</b>": contextlib.nullcontext}, max_new_tokens=6)
    heat = HeatMap([" a", "<img src=x>", " c"], [0.0, 1.0, 2.0])
    sample = (Sample(0, 0, "a <b>text</b>", 3, "length"),)
    base = SweepPoint("unsteered", None, {"kl": Estimate(0.0, 0.0, 0.0, 4)}, sample)
    strong = SweepPoint("17=+2", 2.0, {"kl": Estimate(0.3, 0.2, 0.4, 4)}, sample)
    swept = SweepResult(SweepConfig(), ("x",), base, (strong,), 1.0)
    values = [atlas.feature(3), atlas.feature(1), atlas.feature(7), heat, atlas, beside, finished, swept]
    cells = "".join(f"<div>{value._repr_html_()}</div>" for value in values)
    page = tmp_path / "notebook.html"
    page.write_text(f'<!doctype html><meta charset="utf-8"><body data-jp-theme-light="false">{cells}', encoding="utf-8")
    forget(browser)
    browser.get(page.as_uri())
    wait(browser, "return Array.from(document.querySelectorAll('.monosema')).every((one) => one.shadowRoot)")

    def cell(number, selector):
        return browser.execute_script(IN_CELL, number, selector)

    assert cell(0, "h2") == ["names of cities"]
    assert len(cell(0, ".passage .heat")) == 6
    assert cell(0, ".logits.up .chip")
    assert cell(1, "h2") == ["</script><script>alert(label)</script> 한국어 라벨"]
    assert cell(2, ".passage") == []
    assert cell(3, ".heat .t") == [" a", "<img src=x>", " c"]
    assert cell(3, ".heat .peak") == [" c"]
    assert len(cell(4, ".row")) == 12
    assert cell(5, "tbody th") == ["untouched", "<b>same</b>"]
    assert cell(5, "tbody tr:last-child td")[1] == "100.0 %"
    assert cell(6, ".headline dt")[0] == "FVU"
    assert cell(7, "tbody td") == ["0 [0, 0]", "0.300 [0.200, 0.400]"]
    ink = "return getComputedStyle(document.querySelector('.monosema').shadowRoot.querySelector('.notebook')).color"
    assert int(re.search(r"\d+", browser.execute_script(ink))[0]) > 200
    assert complaints(browser) == []
    assert asked_elsewhere(browser) == set()
