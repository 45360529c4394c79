"""The page of a graph of features: nodes are marked, tested by ablation, grouped and named, all in the address."""

from __future__ import annotations

from typing import Any

import pytest
from chromium import find, texts, visit, wait

CIRCUIT = "/runs/first/circuits/answer"
KNOTS = ".stage .knot.latent"


def click(page: Any, selector: str) -> None:
    page.execute_script(
        "document.querySelector(arguments[0]).dispatchEvent(new MouseEvent('click', {bubbles: true}))", selector
    )


def mark(page: Any, number: int) -> None:
    page.execute_script(
        "document.querySelectorAll(arguments[0])[arguments[1]].dispatchEvent("
        "new MouseEvent('click', {bubbles: true, shiftKey: true}))",
        KNOTS,
        number,
    )


@pytest.mark.browser
def test_marked_features_are_taken_out_and_told_beside_chance(page: Any, app: str) -> None:
    visit(page, app + CIRCUIT)
    mark(page, 0)
    wait(page, "return document.querySelector('.beside .action')")
    click(page, ".beside .action")
    wait(page, "return document.querySelectorAll('.answer tr').length === 3", 30)
    predicted, measured, control = texts(page, ".answer td")
    assert predicted != measured
    node = page.execute_script(
        "return fetch('/api/runs/first/circuits/answer').then((got) => got.json())"
        ".then(({nodes}) => nodes.find(({name}) => name === arguments[0]).measured.value)",
        texts(page, ".beside .marks .chip")[0].removesuffix(" ×"),
    )
    assert float(measured.replace("−", "-")) == pytest.approx(node, abs=0.006)
    assert control
    wait(page, "return /\\d/.test(document.querySelector('.kept').textContent)", 30)


@pytest.mark.browser
def test_nodes_are_grouped_under_a_name_that_the_address_holds(page: Any, app: str) -> None:
    visit(page, app + CIRCUIT)
    for number in (0, 1):
        mark(page, number)
    name = find(page, ".naming input")[0]
    name.send_keys("two, of = them")
    click(page, ".naming button")
    wait(page, "return document.querySelectorAll('.below .knot.group').length === 1")
    assert texts(page, ".below .marks .chip") == ["two, of = them (2)"]
    page.refresh()
    wait(page, "return document.querySelectorAll('.below .knot.group').length === 1")
    click(page, ".below .knot.group")
    wait(page, "return document.querySelectorAll('.stage .knot.picked').length === 2")
    click(page, ".below .marks .quiet")
    wait(page, "return document.querySelectorAll('.below .knot.group').length === 0")


@pytest.mark.browser
def test_nodes_are_grouped_by_token_or_label_and_the_table_marks_them(page: Any, app: str) -> None:
    visit(page, app + CIRCUIT)
    page.execute_script(
        "const by = document.querySelector('.sizer select'); by.value = 'label'; by.dispatchEvent(new Event('change'))"
    )
    wait(page, "return document.querySelectorAll('.below .knot.group').length === 1")
    assert texts(page, ".below .marks .chip") == ["a label (4)"]
    find(page, "body")[0].send_keys("v")
    wait(page, "return document.querySelector('.stage table.nodes')")
    click(page, ".stage table.nodes .chip")
    wait(page, "return document.querySelector('.stage table.nodes .chip[aria-pressed=true]')")
    wait(page, "return location.search.includes('picked=')")
