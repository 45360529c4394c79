"""Answers in a report: questions about a next token, by many methods, lens, parts and heads, opened from a file."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from chromium import asked_elsewhere, complaints, find, forget, texts, visit, wait
from tests.helpers.names_prompt import PROMPT, TWIN
from tests.pages.test_report_browser import SAID

from monosema.attribution import Game, ask, methods_named, tokens_of
from monosema.attribution.answers import KeptAnswer, answer_in_full, compact
from monosema.models import load_model
from monosema.pages import write_report

pytestmark = pytest.mark.browser

TABS = ["Input", "Lens", "Logit in parts", "Attention"]


@pytest.fixture(scope="module")
def answers() -> list[KeptAnswer]:
    """Two questions; hostile text stands in the second."""
    model = load_model("specimen", dtype="float32")
    hostile = "</script><img src=x onerror=alert(1)> is <b>"
    found = []
    for name, question in (
        ("names", ask(model, PROMPT, target="Kevin", foil="Nicholas", twin=TWIN)),
        ("hostile", ask(model, hostile, alone=True)),
    ):
        game = Game(model, question, tokens_of(model, question, "words"))
        methods = methods_named(["occlusion", "gradient_input", "rollout"])
        found.append(KeptAnswer(name, compact(answer_in_full(game, methods))))
    return found


@pytest.fixture
def report(browser: Any, fake_atlas: Any, facts: Any, answers: list[KeptAnswer], tmp_path: Path) -> Any:
    """The report, open and ready, and a check afterwards that the browser had nothing to complain about."""
    atlas = fake_atlas(tmp_path / "atlas", n=30)
    forget(browser)
    visit(browser, write_report(replace(facts, answers=answers), atlas, tmp_path / "report.html").as_uri())
    yield browser
    assert complaints(browser) == []
    assert asked_elsewhere(browser) == set()


def open_tab(report: Any, name: str) -> None:
    (tab,) = [one for one in find(report, "#answers [role=tab]") if one.text == name]
    tab.click()


def test_methods_stand_beside_each_other_with_their_faithfulness(report: Any, answers: list[KeptAnswer]) -> None:
    assert texts(report, "#answers summary")[0].startswith("Long ago Kevin and Nicholas")
    assert texts(report, "#answers [role=tab]") == TABS
    assert texts(report, "#answers .answer h3 span") == ["occlusion", "gradient_input", "rollout"]
    shaded = report.execute_script(
        "return Array.from(document.querySelector('#answers .strip-line').querySelectorAll('.for'), e => [+e.style."
        "getPropertyValue('--a'), e.textContent.trim()])"
    )
    assert max(shaded)[1] == "Kevin"
    gain = answers[0].values["judged"]["gains"]["occlusion"]["aopc"]
    assert f"faithfulness +{gain:.1f}" in texts(report, "#answers .faithful")[0].replace("+1e", "")
    assert len(find(report, "#answers .agreement td.num")) == 9


def test_lens_parts_and_heads_are_opened(report: Any, answers: list[KeptAnswer]) -> None:
    from selenium.webdriver import Keys

    open_tab(report, "Lens")
    cells = find(report, "#answers .lens tbody tr:first-child td")
    assert cells[-1].text.strip() == "Kevin"
    assert "first" in cells[-1].get_attribute("class")
    report.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert report.switch_to.active_element.text == "Logit in parts"
    assert len(find(report, "#answers .shares li")) == len(answers[0].values["parts"]["layer"]["parts"])
    report.execute_script(
        "const e = document.querySelector('#answers select'); e.value = 'head'; e.dispatchEvent(new Event('change'))"
    )
    assert any(re.fullmatch(r"a\d\.h\d", one) for one in texts(report, "#answers .shares li > :last-child"))
    open_tab(report, "Attention")
    heads = find(report, "#answers .head-cell[aria-pressed]")
    assert len(heads) == 8
    other = next(head for head in heads if head.get_attribute("aria-pressed") == "false")
    name = other.get_attribute("aria-label").split(" ")[0]
    other.click()
    assert texts(report, "#answers h3") == [f"Where {name} looks from here"]
    assert report.switch_to.active_element.get_attribute("aria-label").startswith(name)


def test_a_second_question_opens_and_is_text_only(report: Any) -> None:
    find(report, "#answers summary")[1].click()
    wait(report, "return document.querySelectorAll('#answers [role=tablist]').length === 2")
    assert find(report, "#answers img") == []
    assert "onerror" in texts(report, "#answers summary")[1]


def test_answers_are_said_in_korean_and_fit_a_phone(report: Any) -> None:
    find(report, "#language")[0].click()
    korean = set()
    for index in range(len(TABS)):
        find(report, "#answers [role=tab]")[index].click()
        wait(report, f"return document.querySelectorAll('#answers [role=tab]')[{index}].ariaSelected === 'true'")
        korean |= set(
            report.execute_script(SAID.replace("document.documentElement,", "document.getElementById('answers'),"))
        )
    left = {text for text in korean if re.search("[a-z]{3,} [a-z]{2,}", text)}
    assert not left, "add these to core/languages/ko.toml: " + " ¦ ".join(sorted(left))
    report.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    )
    try:
        for index in range(len(TABS)):
            find(report, "#answers [role=tab]")[index].click()
            assert report.execute_script("return document.documentElement.scrollWidth") <= 390
    finally:
        report.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        find(report, "#language")[0].click()
