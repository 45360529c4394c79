"""The app's pages of runs and features in Chromium, over a finished run and a damaged one."""

from __future__ import annotations

import contextlib
import io
import json
import re
import time
from typing import Any

import pytest
from chromium import find, texts, visit, wait

pytestmark = pytest.mark.browser
ROWS = "return Array.from(document.querySelectorAll('#rows .row:not(.waiting) .id'), e => +e.textContent)"


def press(browser: Any, keys: str) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(browser).send_keys(keys).perform()


def searched(browser: Any, text: str) -> None:
    """Wait until the list is of this search."""
    asked = f"new URLSearchParams(location.search).get('q') === {json.dumps(text)}"
    wait(browser, f"return {asked} && !document.querySelector('#rows').hasAttribute('aria-busy')")


def python_of(browser: Any) -> str:
    """What the code that the page gives prints."""
    browser.execute_script("document.querySelector('dialog')?.close()")
    next(button for button in find(browser, "#tools button") if button.text == "As Python").click()
    code = wait(browser, "return document.querySelector('dialog pre')?.textContent")
    browser.execute_script("document.querySelector('dialog').close()")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, {})
    return printed.getvalue()


def test_runs_are_cards_and_two_that_are_chosen_are_compared(page: Any, app: str) -> None:
    visit(page, app)
    assert sorted(texts(page, ".run-card h2")) == ["broken", "first", "second"]
    broken = next(card for card in find(page, ".run-card") if "broken" in card.text)
    assert "is not valid TOML" in broken.text
    assert re.search(r"monosema run \S*runs/broken", broken.text)
    for name in ("first", "second"):
        next(box for box in find(page, ".pick") if name in box.accessible_name).click()
    find(page, "#compare")[0].click()
    wait(page, "return document.querySelectorAll('.panel tbody tr').length > 3")
    assert "a=first&b=second" in page.current_url
    assert {text.split(" ")[0] for text in texts(page, ".gap b")} <= {"0.00", "0.0", "0.000"}


def test_a_run_shows_its_figures_beside_controls_and_its_charts(page: Any, app: str) -> None:
    visit(page, f"{app}/runs/first")
    assert texts(page, ".headline dt")[0] == "FVU"
    wait(page, "return document.querySelectorAll('#plots figure svg').length > 4", 60)
    wait(page, "return document.querySelectorAll('.map canvas').length === 2")


def test_a_search_is_in_the_address_and_reloading_shows_the_same(page: Any, app: str) -> None:
    visit(page, f"{app}/runs/first/features")
    everything = page.execute_script(ROWS)
    label = page.execute_script("return document.querySelector('#rows .quoted').textContent")
    find(page, "#search")[0].send_keys(label)
    searched(page, label)
    assert len(page.execute_script(ROWS)) < len(everything)
    found = page.execute_script(ROWS)
    page.execute_script("[...document.querySelectorAll('#rows .row')].at(-1).click()")
    wait(page, f"return document.querySelector('article')?.dataset.latent === '{found[-1]}'")
    visit(page, page.current_url)
    assert page.execute_script(ROWS) == found
    wait(page, f"return document.querySelector('article')?.dataset.latent === '{found[-1]}'")


def test_a_search_opens_its_first_hit_and_nothing_where_none_fits(page: Any, app: str) -> None:
    visit(page, f"{app}/runs/first/features")
    shown = "return Number(document.querySelector('article')?.dataset.latent ?? -1)"
    last = page.execute_script(ROWS)[-1]
    page.execute_script(f"document.querySelector('#row-{last}').click()")
    wait(page, f"{shown} === {last}")
    label = page.execute_script("return document.querySelector('#rows .quoted').textContent.trim()")
    find(page, "#search")[0].send_keys(label)
    searched(page, label)
    rows = page.execute_script(ROWS)
    wait(page, f"{shown} === {last if last in rows else rows[0]}")
    find(page, "#search")[0].send_keys(" no such token")
    page.execute_script("document.querySelector('#modes [value=token]').click()")
    wait(page, "return document.querySelector('#detail .none') && !location.search.includes('at=')")
    visit(page, f"{app}/runs/first/features?q={label}")
    wait(page, f"{shown} === {page.execute_script(ROWS)[0]}")


def test_what_is_tried_beside_the_list_is_in_the_address(page: Any, app: str) -> None:
    visit(page, f"{app}/runs/first/features")
    wait(page, "return document.querySelector('#try-text')")
    find(page, "#try-text")[0].send_keys("the cat")
    find(page, "#nudge-prompt")[0].send_keys(" and so")
    wait(page, "return location.search.includes('text=the+cat') && location.search.includes('prompt=')")
    visit(page, page.current_url)
    wait(page, "return document.querySelector('#try-text')?.value === 'the cat'")
    assert find(page, "#nudge-prompt")[0].get_property("value").endswith(" and so")


def test_a_persons_label_leaves_the_best_score_in_the_heading_and_changes_the_row(page: Any, app: str) -> None:
    visit(page, f"{app}/runs/first/features")
    wait(page, "return document.querySelector('.byline .scored')")
    for field, text in (("#own-label", "a word of mine"), ("#own-name", "me")):
        find(page, field)[0].clear()
        find(page, field)[0].send_keys(text)
    page.execute_script("document.querySelector('.labelling').requestSubmit()")
    wait(page, "return document.querySelector('.row[aria-selected=true] .label').textContent === 'a word of mine'")
    wait(page, "return /label by me/.test(document.querySelector('.byline')?.textContent)")
    assert "best explanation, by" in texts(page, ".byline")[0]
    assert find(page, ".byline .scored")


def test_causes_are_measured_beside_others_and_there_at_once_the_next_time(page: Any, app: str) -> None:
    visit(page, f"{app}/runs/first/features")
    latent = page.execute_script(ROWS)[0]
    visit(page, f"{app}/runs/first/features/{latent}")
    wait(page, "return document.querySelector('.causes button')")
    page.execute_script("document.querySelector('.causes button').click()")
    wait(page, "return document.querySelectorAll('.causes .scores tr').length >= 10", 60)
    assert [text.split(" ")[0] for text in texts(page, ".causes th")] == ["Input", "Output", "Δ", "Loss", "KL"]
    assert all("of 8 smaller" in text for text in texts(page, ".causes .beside"))
    said = texts(page, ".causes")[0]
    visit(page, page.current_url)
    wait(page, f"return document.querySelector('.causes')?.textContent === {json.dumps(said)}")
    find(page, "#language")[0].click()
    wait(page, "return document.querySelector('.causes h3').textContent === '인과'")
    assert not re.search(r"[a-z]{5}", " ".join(texts(page, ".causes .beside, .causes th, .causes h4, .causes > p")))


def test_keys_walk_keep_and_mark_and_what_is_marked_steers(page: Any, app: str) -> None:
    visit(page, f"{app}/runs/first/features")
    rows = page.execute_script(ROWS)
    page.execute_script("document.activeElement.blur(); document.querySelector('#rows .row').click()")
    for key in "xjxs":
        wait(page, "return document.querySelector('#rows [aria-selected=true]')")
        press(page, key)
        time.sleep(0.2)
    link = wait(page, "return document.querySelector('#marked a')?.href")
    assert link.endswith(f"/steer?run=first&add={rows[0]},{rows[1]}")
    assert page.execute_script("return localStorage.getItem('monosema:stars:first')") == json.dumps([rows[1]])
    press(page, "gf")
    visit(page, f"{app}/runs/first/features?state=starred")
    assert page.execute_script(ROWS) == [rows[1]]


def test_a_text_is_tested_and_the_address_keeps_it(page: Any, app: str) -> None:
    visit(page, f"{app}/runs/first/features")
    latent = page.execute_script(ROWS)[0]
    visit(page, f"{app}/runs/first/features/{latent}")
    next(button for button in find(page, ".bench button") if button.text == "Its strongest passage").click()
    wait(page, "return document.querySelector('.tried .t.on') && location.search.includes('text=')", 30)
    said = texts(page, ".tried p")[0]
    visit(page, page.current_url)
    wait(page, f"return document.querySelector('.tried p')?.textContent === {json.dumps(said)}")


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?sort=rare",
        "?sort=label",
        "?q=the&mode=token",
        "?q=the&mode=effect",
        "?state=all&density=0.01,0.1",
    ],
)
def test_the_code_of_a_list_gives_the_same_features(page: Any, app: str, query: str) -> None:
    visit(page, f"{app}/runs/first/features{query}")
    shown = page.execute_script(ROWS)
    listed = [int(line.split(" ")[0]) for line in python_of(page).splitlines()]
    assert listed[: len(shown)] == shown


@pytest.mark.parametrize("path", ["/runs/first", "/runs/first/features/{}", "/compare?a=first&b=second"])
def test_the_code_of_other_pages_runs(page: Any, app: str, path: str) -> None:
    visit(page, f"{app}/runs/first/features")
    visit(page, app + path.format(page.execute_script(ROWS)[0]))
    assert python_of(page)


def test_a_phone_shows_the_list_then_the_feature_and_comes_back(page: Any, app: str) -> None:
    page.set_window_size(500, 860)
    visit(page, f"{app}/runs/first/features")
    assert not find(page, "#detail")[0].is_displayed()
    page.execute_script("document.querySelector('#rows .row').click()")
    wait(page, "return document.querySelector('#detail article') && document.body.classList.contains('reading')")
    assert page.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    find(page, "#detail .back")[0].click()
    assert not find(page, "#detail")[0].is_displayed()


def test_from_the_first_page_a_feature_is_found_and_steered_with_in_three_clicks(page: Any, app: str) -> None:
    visit(page, f"{app}/")
    find(page, "[data-go=features]")[0].click()
    label = wait(page, "return document.querySelector('#rows .quoted')?.textContent")
    wait(page, "return document.documentElement.dataset.ready")
    press(page, label)
    searched(page, label)
    page.execute_script("document.querySelector('#rows .row').click()")
    wait(page, "return document.querySelector('article')?.dataset.latent === location.search.match(/at=(\\d+)/)?.[1]")
    page.execute_script("document.querySelector('.nudge-row button').click()")
    for line in ("unsteered", "steered"):
        wait(page, f"return document.querySelector('.nudge-line.{line} p').textContent.length > 40", 40)


def test_help_has_keys_terms_in_both_languages_and_the_routes(page: Any, app: str) -> None:
    visit(page, f"{app}/help")
    assert "밀도" in texts(page, ".terms td")
    assert any("/api/runs/{run}/features" in text for text in texts(page, ".routes th"))
    find(page, ".help-parts [href='#controls']")[0].click()
    top, bars = (f"document.querySelector('{one}').getBoundingClientRect()" for one in ("#controls", ".where-bar"))
    assert page.execute_script(f"return {top}.top > {bars}.bottom - 1"), "the bars lie over what a link leads to"
    press(page, "?")
    assert wait(page, "return document.querySelectorAll('dialog .key-list dt').length") > 8
