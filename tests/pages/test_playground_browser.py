"""The pages prompt and steer in Chromium, over a small finished run."""

from __future__ import annotations

import contextlib
import io
import json
import time
from pathlib import Path
from typing import Any

import pytest
from chromium import find, forget, texts, visit, wait

pytestmark = pytest.mark.browser
WRITTEN = "return document.documentElement.dataset.written === 'yes'"
TEXTS = "return Array.from(document.querySelectorAll('.text-column .written'), e => e.textContent)"


def press(browser: Any, keys: str) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(browser).send_keys(keys).perform()


def column_texts(browser: Any) -> list[str]:
    """What stands in the columns once all is written."""
    wait(browser, WRITTEN)
    written: list[str] = browser.execute_script(TEXTS)
    return written


def test_a_prompt_is_already_read_and_answered_by_each_method(page: Any, app: str) -> None:
    visit(page, f"{app}/prompt?run=first")
    assert "".join(page.execute_script("return [...document.querySelectorAll('.tok')].map(e => e.textContent)"))
    wait(page, "return document.querySelectorAll('.answer.done').length === 3")
    assert texts(page, ".answer h3 > span") == ["Direct effect", "Gradient", "Ablation"]
    assert len(find(page, ".bars li")) == 12
    assert find(page, ".active-features tbody tr")


def test_another_token_is_asked_about_by_key_and_by_click_and_the_address_says_it(page: Any, app: str) -> None:
    from selenium.webdriver.common.keys import Keys

    visit(page, f"{app}/prompt?run=first&text=the+cat+sat")
    press(page, Keys.ARROW_LEFT)
    wait(page, "return new URLSearchParams(location.search).get('at')?.endsWith('10')")
    find(page, ".bars li:nth-child(3) .bar-row")[0].click()
    wait(page, "return new URLSearchParams(location.search).has('target')")
    asked = texts(page, ".why h2 .chip")
    visit(page, page.current_url)
    assert texts(page, ".why h2 .chip") == asked
    assert page.execute_script("return document.querySelector('.tok[aria-pressed=true]').dataset.at") == "10"


def test_a_foil_that_is_no_token_is_refused_with_what_to_choose(page: Any, app: str) -> None:
    visit(page, f"{app}/prompt?run=first&text=the+cat&foil=notone")
    said = wait(page, "return document.querySelector('.why .trouble')?.textContent")
    assert "is not one token" in said
    forget(page)


def saved(page: Any, format: str, folder: Path) -> Path:
    """The file that Chromium writes when Export is opened and a format is clicked."""
    before = set(folder.iterdir())
    page.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder)})
    next(menu for menu in find(page, "details.menu > summary") if menu.text == "Export").click()
    next(item for item in find(page, "details.menu[open] button") if item.text == format).click()
    end = time.monotonic() + 20
    while not (made := [file for file in set(folder.iterdir()) - before if file.suffix != ".crdownload"]):
        assert time.monotonic() < end, f"Nothing was written for {format}."
        time.sleep(0.05)
    return made[0]


def test_a_prompt_is_exported_to_files_that_say_the_same(page: Any, app: str, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    visit(page, f"{app}/prompt?run=first&text=the+cat+sat")
    wait(page, "return document.querySelector('.active-features tbody tr')")
    json_file, parquet, html = (saved(page, format, tmp_path) for format in ("JSON", "Parquet", "HTML page"))
    assert [file.name for file in (json_file, parquet, html)] == ["prompt.json", "prompt.parquet", "prompt.html"]
    rows = json.loads(json_file.read_text())["rows"]
    assert "".join({row["position"]: row["token"] for row in rows}.values()).endswith("the cat sat")
    assert sum(row["latent"] is not None for row in rows) > 10
    assert pq.read_table(parquet).to_pylist() == rows
    visit(page, html.as_uri(), "return document.querySelector('.monosema')?.shadowRoot?.querySelector('.fired')")
    shown = page.execute_script(
        "const root = document.querySelector('.monosema').shadowRoot;"
        "return [[...root.querySelectorAll('.heat .t')].length, [...root.querySelectorAll('tbody')].map("
        "body => [...body.querySelectorAll('tr')].map(row => row.cells[row.cells.length - 2].textContent))]"
    )
    tokens = {row["position"] for row in rows}
    assert shown[0] == len(shown[1]) == len(tokens)
    strongest = next(row for row in rows if row["position"] == max(tokens))
    assert float(shown[1][-1][0]) == pytest.approx(strongest["activation"], rel=0.01)


def test_without_cards_both_columns_are_the_same_and_a_link_brings_cards(page: Any, app: str) -> None:
    visit(page, f"{app}/steer?run=first&tokens=8")
    plain, steered = column_texts(page)
    assert plain == steered != ""
    visit(page, f"{app}/steer?run=first&tokens=8&add=3:8,5")
    assert len(find(page, ".steer-card")) == 2
    plain, steered = column_texts(page)
    assert plain != steered
    assert find(page, ".text-column.steered .g.edited")
    assert not find(page, ".text-column.plain .g.edited")
    wait(page, "return /untouched text [\\d.]/.test(document.querySelector('.steer-card .cost').textContent)")
    visit(page, page.current_url)
    assert column_texts(page) == [plain, steered]


def test_a_feature_is_searched_and_added_with_two_steps(page: Any, app: str) -> None:
    from selenium.webdriver.common.keys import Keys

    visit(page, f"{app}/steer?run=first&tokens=4")
    press(page, "+")
    page.switch_to.active_element.send_keys("4")
    wait(page, "return document.querySelectorAll('#found-features li').length === 1")
    page.switch_to.active_element.send_keys(Keys.ENTER)
    wait(page, "return document.querySelectorAll('.steer-card').length === 1")
    assert "#4" in texts(page, ".steer-card")[0]
    find(page, ".steer-card [aria-label=Remove]")[0].click()
    wait(page, "return document.querySelectorAll('.recipe').length === 3")


def test_the_code_of_the_page_gives_its_texts(page: Any, app: str) -> None:
    visit(page, f"{app}/steer?run=first&tokens=6&seed=2&add=3:8")
    plain, steered = column_texts(page)
    next(button for button in find(page, "#tools button") if button.text == "As Python").click()
    code = wait(page, "return document.querySelector('dialog pre')?.textContent")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, {})
    assert printed.getvalue() == f"{plain}\n{steered}\n"


def test_baselines_and_a_prompt_are_columns_of_their_own(page: Any, app: str) -> None:
    visit(page, f"{app}/steer?run=first&tokens=4&add=3:0.5")
    column_texts(page)
    find(page, "#baselines")[0].click()
    wait(page, "return document.querySelectorAll('.text-column').length === 4", 40)
    next(button for button in find(page, ".add-row button") if "Prompt" in button.text).click()
    find(page, "dialog textarea")[0].send_keys("Be glad.")
    find(page, "dialog .action")[0].click()
    wait(page, "return document.querySelectorAll('.text-column').length === 5")
    assert "Be glad. I thought" in texts(page, ".text-column")[-1]


def test_a_sweep_draws_a_curve_whose_points_load_their_strength(page: Any, app: str) -> None:
    visit(page, f"{app}/steer?run=first&tokens=4&add=3:4")
    column_texts(page)
    find(page, "#sweep")[0].click()
    wait(page, "return document.querySelectorAll('.sweep-curve circle').length === 8", 60)
    page.execute_script("document.querySelector('.sweep-table tbody tr:nth-child(3) button').click()")
    page.execute_script("document.querySelector('.sweep-samples button').click()")
    wait(page, "return document.querySelector('.strength-number').value === '2'")


def test_a_direction_of_examples_steers(page: Any, app: str) -> None:
    visit(page, f"{app}/steer?run=first&tokens=6")
    column_texts(page)
    next(button for button in find(page, ".add-row button") if "Direction" in button.text).click()
    for area, text in zip(find(page, "dialog textarea"), ("the cat sat", "a dog ran"), strict=True):
        area.send_keys(text)
    find(page, "dialog .action")[0].click()
    wait(page, "return document.querySelectorAll('.text-column.steered .g.edited').length > 0")


def test_a_sweep_is_shown_again_by_its_link_with_its_prompt_and_cards(page: Any, app: str) -> None:
    visit(page, f"{app}/steer?run=first&tokens=4&prompt=the+cat&add=3:4")
    column_texts(page)
    find(page, "#sweep")[0].click()
    wait(page, "return document.querySelectorAll('.sweep-curve circle').length === 8", 60)
    sweep = page.execute_script("return new URLSearchParams(location.search).get('sweep')")
    visit(page, f"{app}/steer?run=first&sweep={sweep}")
    wait(page, "return document.querySelectorAll('.sweep-curve circle').length === 8")
    assert "#3" in texts(page, ".steer-card")[0]
    assert page.execute_script("return document.querySelector('#prompt-text textarea').value") == "the cat"
    assert "effect" not in texts(page, ".sweep-table th")


def test_jobs_are_there_at_once(page: Any, app: str) -> None:
    visit(page, f"{app}/jobs")
    assert find(page, "#jobs > *")


def test_what_a_damaged_link_says_is_named_and_left_out(page: Any, app: str) -> None:
    visit(page, f"{app}/steer?run=first&tokens=4&cards=[bad&add=3,abc")
    assert texts(page, ".ignored")[0].endswith("cards, add")
    assert len(find(page, ".steer-card")) == 1


def test_examples_of_completion_are_not_there_in_a_chat(page: Any, app: str) -> None:
    visit(page, f"{app}/steer?run=first&tokens=4&mode=chat")
    assert not find(page, "#examples")[0].is_displayed()
    forget(page)


def test_an_answer_is_taken_apart_in_tabs_whose_code_runs(page: Any, app: str) -> None:
    shown = {
        "input": ".strip-line",
        "lens": ".lens td.first",
        "parts": ".shares li",
        "attention": ".pattern td",
        "steps": ".steps li",
    }
    for tab, wanted in shown.items():
        visit(page, f"{app}/prompt?run=first&text=the+cat+sat&target=a&foil=b&tab={tab}")
        wait(page, f"return document.querySelector('#answers {wanted}') !== null")
        next(button for button in find(page, "#tools button") if button.text == "As Python").click()
        code = wait(page, "return document.querySelector('dialog pre')?.textContent")
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(code, {})
        assert len(printed.getvalue().splitlines()) > 1


def test_rows_of_methods_come_for_words_and_for_all_methods(page: Any, app: str) -> None:
    from monosema.attribution import METHODS

    visit(page, f"{app}/prompt?run=first&text=the+cat+sat&target=a&foil=b&tab=input&players=words&every=1")
    wait(page, f"return document.querySelectorAll('.answer.done').length === {len(METHODS)}", 60)
    assert texts(page, ".answer h3 > span") == list(METHODS)
    assert "nats with everything" in texts(page, "#answers")[0]
