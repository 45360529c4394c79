"""Every page of the app: for all readers, in both themes and languages, on this machine alone."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
from chromium import forget, texts, visit, wait

from monosema.pages.modules import lean, static

JS = Path(__file__).parent / "js"
RUN = "/runs/first"
PAGES = {
    "runs": "/",
    "run": RUN,
    "features": f"{RUN}/features",
    "searched": f"{RUN}/features?q=the&mode=token",
    "feature": f"{RUN}/features/3",
    "absent": f"{RUN}/features/99999",
    "prompt": "/prompt?run=first",
    "input": "/prompt?run=first&tab=input",
    "lens": "/prompt?run=first&tab=lens",
    "parts": "/prompt?run=first&tab=parts",
    "attention": "/prompt?run=first&tab=attention",
    "steps": "/prompt?run=first&tab=steps",
    "steer": "/steer?run=first&add=3:2",
    "compare": "/compare?a=first&b=second",
    "circuits": f"{RUN}/circuits",
    "circuit": f"{RUN}/circuits/answer?table=1",
    "jobs": "/jobs",
    "help": "/help",
}
STATES = {
    "run": "curves",
    "circuit": "circuits",
    **{name: name for name in ("runs", "features", "feature", "prompt", "steer", "compare", "jobs")},
}
"""Pages whose addresses hold a state, and the module that says which fields it has."""
CORE_KB = 40
AXE = """
const done = arguments[0];
const runOnly = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
const one = ({ target, html }) => target + " " + html.slice(0, 100);
const say = ({ id, nodes }) => id + ": " + nodes.map(one).join(" ¦ ");
axe.run(document, { runOnly, resultTypes: ["violations"] }).then(({ violations }) => done(violations.map(say)), done);
"""
SETTLED = """
const size = document.body.innerHTML.length;
window.quiet = window.seen === size ? window.quiet + 1 : 0;
window.seen = size;
return !document.querySelector("[aria-busy=true], .skeleton") && window.quiet > 15;
"""
WIDER = "return document.documentElement.scrollWidth - innerWidth"
SAID = """
const skipped = "[translate=no], script, noscript, style, .heat, .chip, .quoted, .label:not(.soft)";
const said = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT);
for (let node = walker.currentNode; node; node = walker.nextNode()) {
  const element = node.nodeType === Node.TEXT_NODE ? node.parentElement : node;
  if (element.closest(skipped)) continue;
  const read = ["title", "aria-label", "placeholder"];
  said.push(...(node === element ? read.map((name) => node.getAttribute(name) || "") : [node.data]));
}
return said.map((text) => text.trim()).filter(Boolean);
"""
ROUND_TRIPS = """
const done = arguments[2];
const run = async (page, helpers) => {
  const { FIELDS } = await import(`/static/app/${page}.js`);
  const { read, written } = await import("/static/app/state.js");
  const { randomness, state } = await import(URL.createObjectURL(new Blob([helpers], { type: "text/javascript" })));
  const random = randomness(11);
  const wrong = [];
  for (let i = 0; i < 200; i++) {
    const before = state(FIELDS, random);
    const after = await read(FIELDS, new URL(location.pathname + (await written(FIELDS, before)), location.href));
    if (JSON.stringify(after) !== JSON.stringify(before)) wrong.push([before, after]);
  }
  return wrong;
};
run(arguments[0], arguments[1]).then(done, (error) => done(String(error)));
"""


def settle(browser: Any) -> None:
    """Until nothing loads any more and what stands there stays."""
    wait(browser, SETTLED, 60)


def look(browser: Any, language: str, theme: str) -> None:
    """Choose a language and a theme by their buttons."""
    for element, name, value in (("documentElement.lang", "language", language), ("THEME", "theme", theme)):
        now = element.replace("THEME", "documentElement.style.colorScheme")
        if browser.execute_script(f"return document.{now}") != value:
            browser.execute_script(f"document.getElementById('{name}').click()")
            assert browser.execute_script(f"return document.{now}") == value


def size(browser: Any, width: int, height: int = 900) -> None:
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)


@pytest.fixture
def sized(page: Any) -> Any:
    """A page whose size is the test's."""
    yield page
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.browser
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_in_any_theme_language_and_width(sized: Any, app: str, name: str) -> None:
    sized.get(app + PAGES[name])
    settle(sized)
    if name == "absent":
        forget(sized)
    sized.execute_script((JS / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8"))
    for width, language, theme in [
        *((1400, language, theme) for language in ("en", "ko") for theme in ("light", "dark")),
        *((width, "ko", "light") for width in (700, 360)),  # 700: the text of a wide window twice as large
        (360, "en", "dark"),
    ]:
        size(sized, width)
        look(sized, language, theme)
        settle(sized)
        assert sized.execute_async_script(AXE) == [], (width, language, theme)
        assert sized.execute_script(WIDER) <= 0, f"{name} is wider than {width}"


@pytest.mark.browser
@pytest.mark.parametrize("name", PAGES)
def test_every_word_of_a_page_is_said_in_korean(page: Any, app: str, name: str) -> None:
    page.execute_script("localStorage.setItem('monosema:language', '\"ko\"')")
    page.get(app + PAGES[name])
    settle(page)
    names = (
        r"token lookup|Neuron2Graph|monosema \S+|runs/\S+|--\S+|/\S+|n = [\d,]+ \(.*\)|[a-z]+:.*|is not valid TOML.*"
    )
    left = {text for text in page.execute_script(SAID) if re.search("[a-z]{3,} [a-z]{2,}", re.sub(names, "", text))}
    if name == "absent":
        forget(page)
    assert not left, "add these to core/languages/ko.toml: " + " ¦ ".join(sorted(left))


@pytest.mark.browser
@pytest.mark.parametrize("name", STATES)
def test_two_hundred_random_states_are_read_from_the_address_as_they_were(page: Any, app: str, name: str) -> None:
    page.get(app + PAGES[name])
    settle(page)
    page.execute_cdp_cmd("Page.setBypassCSP", {"enabled": True})
    try:
        page.get(app + PAGES[name])
        settle(page)
        wrong = page.execute_async_script(ROUND_TRIPS, STATES[name], (JS / "states.mjs").read_text(encoding="utf-8"))
    finally:
        page.execute_cdp_cmd("Page.setBypassCSP", {"enabled": False})
    assert wrong == [], json.dumps(wrong)[:600]


@pytest.mark.browser
def test_nothing_moves_for_who_wants_no_motion(page: Any, app: str) -> None:
    wanted = {"features": [{"name": "prefers-reduced-motion", "value": "reduce"}]}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", wanted)
    try:
        for name in ("runs", "run", "prompt"):
            page.get(app + PAGES[name])
            assert page.execute_script("return document.getAnimations().length") == 0, name
    finally:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


@pytest.mark.browser
def test_a_feature_is_found_read_kept_and_steered_by_keys_alone(page: Any, app: str) -> None:
    from selenium.webdriver import ActionChains, Keys

    def press(*keys: str) -> None:
        ActionChains(page).send_keys(*keys).perform()

    visit(page, app + RUN)
    press("gf")
    wait(page, "return location.pathname.endsWith('/features') && document.documentElement.dataset.ready === 'yes'")
    wait(page, "return document.activeElement.id === 'search'")
    press(*"the")
    wait(page, "return location.search.includes('q=the')")
    settle(page)
    press(Keys.ARROW_DOWN, Keys.ENTER)
    shown, chosen = "document.querySelector('#detail article')?.dataset.latent", "[aria-selected=true] .id"
    wait(page, f"return {shown} && {shown} === document.querySelector('{chosen}')?.textContent")
    press(Keys.ESCAPE)
    press("s")
    wait(page, "return document.querySelector('.row .star.kept')")
    press("?")
    wait(page, "return document.querySelector('dialog[open] .key-list')")
    press(Keys.ESCAPE)
    wait(page, "return document.querySelector('#detail input[type=range]')")
    press("gs")
    wait(page, "return location.pathname === '/steer'")


@pytest.mark.browser
def test_going_back_shows_what_was_shown_before(page: Any, app: str) -> None:
    visit(page, app + PAGES["features"])
    rows = texts(page, "#rows .id")
    visited = []
    for at in (0, 2):
        page.execute_script(f"document.querySelectorAll('#rows .row')[{at}].click()")
        wait(page, f"return document.querySelector('#detail article')?.dataset.latent === '{rows[at]}'")
        visited.append(page.current_url)
    assert visited[0] != visited[1]
    page.back()
    wait(page, f"return document.querySelector('#detail article')?.dataset.latent === '{rows[0]}'")
    page.forward()
    wait(page, f"return document.querySelector('#detail article')?.dataset.latent === '{rows[2]}'")


def modules(name: str, found: set[str]) -> set[str]:
    """The module and all that it imports."""
    if name not in found:
        found.add(name)
        folder = Path(name).parent
        for path in re.findall(r'^(?:import|\}) .*"(\.[^"]+\.js)";$', static(name), re.M):
            modules(str((Path("/") / folder / path).resolve()).lstrip("/"), found)
    return found


ALIASES = {"searched", "absent", "circuit", "input", "lens", "parts", "attention", "steps"}
"""Pages that share a module with another."""


@pytest.mark.parametrize("name", sorted(PAGES.keys() - ALIASES))
def test_the_scripts_of_a_page_are_small(name: str) -> None:
    sizes = {one: len(gzip.compress(lean(static(one)).encode(), 4)) for one in modules(f"app/{name}.js", set())}
    assert sum(sizes.values()) <= 1000 * CORE_KB, sizes
