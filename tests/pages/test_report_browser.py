"""The report as a person meets it: opened from a file in Chromium, searched, sorted and read."""

import json
import math
import re
from dataclasses import replace

import pytest
from chromium import asked_elsewhere, complaints, find, forget, texts, visit, wait

from monosema.atlas import PERSON, Explanation, Score, Vote, open_atlas, record
from monosema.circuits import ShownEdge, ShownGraph, ShownNode
from monosema.core import Estimate
from monosema.interpretation.causes import Causes, JudgedCauses
from monosema.pages import write_report
from monosema.pages.modules import join

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def atlas(fake_atlas, tmp_path_factory):
    return fake_atlas(tmp_path_factory.mktemp("atlas"), n=300, nasty=True)


@pytest.fixture
def report(browser, atlas, facts, tmp_path):
    """The report, open and ready, and a check afterwards that the browser had nothing to complain about."""
    path = write_report(facts, atlas, tmp_path / "report.html")
    forget(browser)
    visit(browser, path.as_uri())
    yield browser
    assert complaints(browser) == []
    assert asked_elsewhere(browser) == set()


TOKENS = join("tokens.js")


def type_in(browser, text):
    box = find(browser, "#search")[0]
    box.clear()
    box.send_keys(text)


def chosen(browser, latent):
    wait(browser, f"return document.getElementById('detail').dataset.latent === '{latent}'")


def select(browser, name, value):
    browser.execute_script(
        "const e = document.getElementById(arguments[0]); e.value = arguments[1]; e.dispatchEvent(new Event('change'))",
        name,
        value,
    )


def test_sides_of_a_crosscoder_are_drawn_and_sorted_by(report, atlas):
    assert len(find(report, "#shares svg title")) > 20
    opened = open_atlas(atlas)
    alive = [row["latent"] for row in opened.features(sort="latent", limit=None)]
    for order, latent in (("share", alive[0]), ("lack", alive[-1])):
        select(report, "sort", order)
        wait(report, f"return document.querySelector('.row').id === 'row-{latent}'")
    assert "Share at 3.resid_post@other" in texts(report, "#sort option")


def test_search_finds_features_by_label_and_by_token(report, atlas):
    table = open_atlas(atlas).table("features").to_pydict()
    word = next(label for i, label in enumerate(table["label"]) if i > 30 and label)
    type_in(report, word)
    wait(report, "return document.querySelectorAll('.row').length < 6")
    shown = "return Array.from(document.querySelectorAll('.row .label'), (e) => e.title)"
    assert word in report.execute_script(shown)
    token = table["top_tokens"][40][0].strip()
    type_in(report, f'token:"{token}"')
    wanted = sum(
        alive and any(t.strip().lower() == token.lower() for t in tokens)
        for alive, tokens in zip(table["alive"], table["top_tokens"], strict=True)
    )
    wait(report, f"return document.getElementById('count').textContent.startsWith('{wanted} of')")
    type_in(report, '""')
    wait(report, "return document.getElementById('count').textContent.startsWith('273 of')")
    type_in(report, "no such thing anywhere")
    wait(report, "return document.querySelector('.rows .none')")
    assert texts(report, "#count") == ["0 of 300"]


def test_the_best_fit_comes_first_and_says_why(report, atlas):
    features = open_atlas(atlas).table("features").to_pylist()
    row = next(row for row in features if row["latent"] > 30 and row["alive"] and len(row["top_tokens"][0].strip()) > 5)
    word = row["top_tokens"][0].strip()
    type_in(report, word)
    wait(report, f"return document.querySelector('.row').id === 'row-{row['latent']}'")
    assert find(report, "#sort")[0].get_attribute("value") == "fit"
    why = find(report, ".row .why")[0].get_attribute("title")
    assert f"fires on {word} 60 %" in why
    assert "label" in why
    wait(report, "return document.querySelector('.row .why').title.includes('active on it in 20 of 20 passages')")
    type_in(report, f'passage:"{word}"')
    wait(report, "return document.querySelector('.row .why')?.title.startsWith('active on it in')")
    find(report, "#search")[0].clear()
    type_in(report, " ")
    wait(report, "return document.getElementById('sort').value === 'margin'")


@pytest.mark.parametrize("name", ["99999", "x"])
def test_an_address_without_a_feature_says_so(report, name):
    report.execute_script(f"location.hash = '#feature-{name}'")
    said = wait(report, "return document.querySelector('.detail [role=alert]')?.textContent")
    assert said == f"There is no feature {name} on this page: it has 300, from 0 to 299."
    report.execute_script("location.hash = '#feature-17'")
    chosen(report, 17)


def test_tabs_are_walked_with_arrow_keys(report):
    from selenium.webdriver import Keys

    report.execute_script("location.hash = '#feature-17'")
    chosen(report, 17)
    find(report, "[role=tab][aria-selected=true]")[0].send_keys(Keys.ARROW_RIGHT)
    assert report.switch_to.active_element.get_attribute("data-tab") == "walk"
    report.switch_to.active_element.send_keys(Keys.END)
    assert report.switch_to.active_element.get_attribute("data-tab") == "q0"
    assert len(find(report, "[role=tab]:not([tabindex])")) == 1
    report.switch_to.active_element.send_keys(Keys.HOME)


def test_characters_of_several_tokens_are_shown_whole(report):
    script = """
        const tokens = ["<0x88>", " a", "<0xEC>", "<0x95>", "<0x88>", "<0xEB><0x85>", "<0x95>", "!", "<0xEC>"];
        const passage = {tokens, activations: [0, 0, 1, 4, 2, 0, 3, 0, 0], maximum: 4, peak: 3};
        const line = $tokens.heatmap(passage, {scale: 4, full: true});
        const tip = $tokens.tokenTip(line.querySelector(".peak")).map((part) => part.textContent ?? "");
        const texts = Array.from(line.querySelectorAll(".t"), (e) => e.textContent);
        return [texts, line.querySelector(".peak").textContent, tip];
    """
    shown, peak, tip = report.execute_script(TOKENS + script)
    assert shown == [" a", "안", "녕", "!"]
    assert peak == "안"
    assert tip[:2] == ['"안"', "4.00"]
    assert "3 tokens" in tip[3]
    assert "⟨95⟩ 4.00" in tip[3]


def test_sorting_and_filters(report, atlas):
    table = open_atlas(atlas).table("features").to_pydict()
    select(report, "sort", "density")
    shown = [int(text) for text in texts(report, ".row .id")]
    density = [table["density"][latent] for latent in shown]
    assert len(shown) > 8
    assert density == sorted(density, reverse=True)
    select(report, "state", "dead")
    assert texts(report, "#count") == [f"{table['alive'].count(False)} of 300"]
    select(report, "state", "all")
    select(report, "labels", "above")
    lows = [low - max(0.61, 0.04) for low in table["label_low"] if low is not None]
    assert texts(report, "#count") == [f"{sum(low > 0 for low in lows)} of 300"]
    select(report, "labels", "below")
    assert texts(report, "#count") == [f"{sum(low <= 0 for low in lows)} of 300"]


def test_labels_are_sorted_by_what_stands_above_the_controls(report, atlas):
    table = open_atlas(atlas).table("features").to_pydict()
    margins = {i: low - 0.61 for i, low in enumerate(table["label_low"]) if low is not None}
    shown = [int(text) for text in texts(report, ".row .id")]
    assert [margins[latent] for latent in shown] == sorted(margins.values(), reverse=True)[: len(shown)]
    best, worst = shown[0], min(margins, key=lambda latent: margins[latent])
    for latent, words in ((best, f"+{margins[best]:.2f} above its controls"), (worst, "not above its controls")):
        report.execute_script(f"location.hash = '#feature-{latent}'")
        chosen(report, latent)
        byline = texts(report, ".byline")[0]
        assert words in byline
        assert "shuffled 0.04" in byline
        assert "random directions 0.61 [0.57, 0.64]" in byline


def test_a_feature_is_read(report, atlas):
    row = open_atlas(atlas).table("features").to_pylist()[17]
    examples = [r for r in open_atlas(atlas).table("examples").to_pylist() if r["latent"] == 17]
    top = next(r for r in examples if r["kind"] == "top" and r["rank"] == 0)
    report.execute_script("location.hash = '#feature-17'")
    chosen(report, 17)
    assert texts(report, "#feature-title") == [row["label"].replace("'", "")]
    heat = (
        "return Array.from(document.querySelector('.heat').querySelectorAll('.t'), e => [+e.dataset.i, e.textContent])"
    )
    shown = report.execute_script(heat)
    assert [i for i, _ in shown] == list(range(shown[0][0], shown[-1][0] + 1))
    assert dict(shown)[top["peak"]].strip() == top["tokens"][top["peak"]].strip()
    assert texts(report, ".heat .peak")[0] == dict(shown)[top["peak"]]
    assert len(find(report, ".heat")) == sum(r["kind"] == "top" for r in examples)
    assert texts(report, ".logits.up .chip") == [token.strip() or token for token in row["promoted"]]
    find(report, "[data-tab=q2]")[0].click()
    weak = [r["maximum"] for r in examples if r["kind"] == "q2"]
    peaks = [float(text) for text in texts(report, ".peak-value")]
    assert len(peaks) == len(weak)
    assert all(math.isclose(a, b, rel_tol=0.01) for a, b in zip(peaks, weak, strict=True))


def test_explanations_are_shown_with_scores_and_votes(browser, fake_atlas, facts, tmp_path):
    atlas = fake_atlas(tmp_path / "atlas", n=30)
    person = Explanation("Ada <b>", PERSON, None, None, "</p><b>cities</b>")
    model = Explanation("a-model", "top examples", "a-model", "3", "names of cities")
    score = Score(*model.identity, "simulation", Estimate(0.53, 0.41, 0.62, 12), 0.1)
    votes = [Vote(*person.identity, person.text, voter, vote) for voter, vote in (("Grace", 1), ("Emmy", -1))]
    record(atlas, {3: [person, model]}, {3: [score]}, {3: votes})
    visit(browser, write_report(facts, atlas, tmp_path / "report.html").as_uri())
    browser.execute_script("location.hash = '#feature-3'")
    chosen(browser, 3)
    shown = texts(browser, ".explanation > p")
    assert shown[0] == person.text
    assert len(shown) == 3
    assert texts(browser, ".byline")[0].startswith("label by Ada <b>")
    assert texts(browser, ".votes") == ["1 hold it for right, 1 for wrong"]
    assert "top examples · a-model · prompt 3" in texts(browser, ".explanation > small")
    assert "0.53 [0.41, 0.62]" in texts(browser, ".scores td")
    assert any(text.startswith("simulation") for text in texts(browser, ".compared th"))
    size = browser.get_window_size()
    for width in (1280, 400):
        browser.set_window_size(width, 900)
        wide = browser.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
        assert wide[0] <= wide[1]
        over = (
            "return Array.from(document.querySelectorAll('.scores td, .compared td, .compared th'))"
            ".filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.textContent)"
        )
        assert browser.execute_script(over) == []
    browser.set_window_size(size["width"], size["height"])


def test_the_value_of_a_token_is_shown(report):
    from selenium.webdriver import ActionChains

    report.execute_script("location.hash = '#feature-17'")
    chosen(report, 17)
    ActionChains(report).move_to_element(find(report, ".heat .peak")[0]).perform()
    tip = wait(report, "return Array.from(document.querySelectorAll('.tip:not([hidden])'), e => e.textContent)[0]")
    assert "100 % of this passage" in tip


def test_keyboard_walks_the_list(report):
    from selenium.webdriver import Keys

    first, second = texts(report, ".row .id")[:2]
    chosen(report, first)
    body = find(report, "body")[0]
    body.send_keys("j")
    chosen(report, second)
    assert report.execute_script("return location.hash") == f"#feature-{second}"
    body.send_keys("k")
    chosen(report, first)
    body.send_keys("/")
    assert report.execute_script("return document.activeElement.id") == "search"
    report.switch_to.active_element.send_keys("jk", Keys.ARROW_DOWN)
    assert find(report, "#search")[0].get_attribute("value") == "jk"


def test_map_opens_the_feature_under_the_pointer(report):
    canvas = find(report, ".map.wide canvas")[0]
    report.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    before = report.execute_script("return document.getElementById('detail').dataset.latent")
    for x in range(60, 600, 6):
        report.execute_script(
            "const b = arguments[0].getBoundingClientRect(); arguments[0].dispatchEvent(new MouseEvent('click',"
            "{clientX: b.left + arguments[1], clientY: b.top + 200, bubbles: true}))",
            canvas,
            x,
        )
        if report.execute_script("return location.hash"):
            break
    hash_now = report.execute_script("return location.hash")
    assert hash_now.startswith("#feature-")
    chosen(report, hash_now.removeprefix("#feature-"))
    assert before is not None


def test_stars_make_a_list(report):
    latent = texts(report, ".row .id")[2]
    find(report, f"#row-{latent} .star")[0].click()
    select(report, "state", "starred")
    assert texts(report, ".row .id") == [latent]


def test_exports(report, atlas):
    report.execute_script(
        "window.saved = []; const blobs = {}; URL.createObjectURL = (blob) => { blobs['blob:' + blob.size] = blob;"
        "return 'blob:' + blob.size; };"
        "HTMLAnchorElement.prototype.click = async function () {"
        "const at = window.saved.length; window.saved.push([this.download, null]);"
        "window.saved[at][1] = await blobs[this.href].text(); }"
    )
    report.execute_script("location.hash = '#feature-17'")
    chosen(report, 17)
    find(report, "[aria-label='Save this feature as JSON']")[0].click()
    find(report, "#tsv")[0].click()
    saved = wait(report, "return window.saved.length === 2 && window.saved.every(([, text]) => text) && window.saved")
    (name, text), (tsv_name, tsv) = saved
    feature = json.loads(text)
    assert (name, tsv_name) == ("feature-17.json", "features.tsv")
    row = open_atlas(atlas).table("features").to_pylist()[17]
    assert feature["label"] == row["label"]
    assert [token for token, _ in feature["suppressed"]] == row["suppressed"]
    top = next(r for r in open_atlas(atlas).table("examples").to_pylist() if r["latent"] == 17 and r["kind"] == "top")
    passage = feature["passages"][0]
    assert (passage["tokens"], passage["document"], passage["position"]) == (
        top["tokens"],
        top["document"],
        top["position"],
    )
    lines = tsv.rstrip("\n").split("\n")
    width = lines[0].count("\t")
    assert len(lines) == 1 + int(texts(report, "#count")[0].split()[0])
    assert all(line.count("\t") == width for line in lines)


def test_nothing_hostile_runs(report):
    report.execute_script("window.alert = () => { document.documentElement.dataset.hurt = 'yes' }")
    type_in(report, "script")
    for latent in (0, 1, 2, 3):
        report.execute_script(f"location.hash = '#feature-{latent}'")
        chosen(report, latent)
        report.execute_script("document.querySelectorAll('.toggle input')[0].click()")
    assert report.execute_script("return document.documentElement.dataset.hurt") is None
    assert find(report, ".detail img, .row img") == []
    label = "</script><script>alert('label')</script> 한국어 라벨"
    report.execute_script("location.hash = '#feature-1'")
    chosen(report, 1)
    assert texts(report, "#feature-title") == [label.replace("'", "")]


def test_light_and_dark(report):
    paper = "return getComputedStyle(document.body).backgroundColor"
    before = report.execute_script(paper)
    report.execute_script("document.getElementById('theme').click()")
    after = report.execute_script(paper)
    assert before != after
    report.execute_script("document.getElementById('theme').click()")
    assert report.execute_script(paper) == before


def test_text_has_enough_contrast_on_the_strongest_shade(report):
    report.execute_script("location.hash = '#feature-17'")
    chosen(report, 17)
    script = """
        const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
        const rgb = (...layers) => { for (const c of layers) { canvas.fillStyle = c; canvas.fillRect(0, 0, 1, 1); }
            return Array.from(canvas.getImageData(0, 0, 1, 1).data).slice(0, 3); };
        const lum = (c) => {
            const [r, g, b] = c.map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
        const token = document.querySelector('.heat .peak'), style = getComputedStyle(token);
        const paper = getComputedStyle(document.querySelector('.workspace')).backgroundColor;
        const soft = getComputedStyle(document.querySelector('.passage-tools .soft')).color;
        const ratio = (a, b) => {
            const [x, y] = [lum(a), lum(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
        return [ratio(rgb(style.color), rgb(paper, style.backgroundColor)), ratio(rgb(soft), rgb(paper))];
    """
    for _ in range(2):
        assert min(report.execute_script(script)) >= 4.5
        report.execute_script("document.getElementById('theme').click()")


def test_a_phone_shows_the_list_and_then_the_feature(report):
    report.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    )
    try:
        visit(report, report.current_url.split("#")[0])
        wide = "return document.documentElement.scrollWidth <= 390"
        assert report.execute_script(wide)
        assert not find(report, "#detail")[0].is_displayed()
        row = find(report, ".row")[1]
        report.execute_script("arguments[0].scrollIntoView({block: 'center'}); arguments[0].click()", row)
        wait(report, "return document.body.classList.contains('reading') && location.hash")
        assert find(report, "#detail")[0].is_displayed()
        assert report.execute_script(wide)
        find(report, ".back")[0].click()
        assert not find(report, "#detail")[0].is_displayed()
    finally:
        report.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize(
    ("tokens", "shown"),
    [
        (["<0xEC>", "<0x95>", "<0x88>", "!"], ["안", "!"]),
        ([" a<0xEC><0x95>", "<0x88>b"], [" a안b"]),
        (["<0x95>", "<0xEC>", "x", ""], ["⟨95 EC⟩", "x", ""]),
        (["<0x88><0xEC><0x95>"], ["⟨88 EC 95⟩"]),
        (["<0xF0>", "<0x9F>", "<0x98><0x80><0xC3>", "<0xA9>", "."], ["😀é", "."]),
        (["<0x0A>", "\n\n", "\t", "  ", " a"], ["<0x0A>", "↵↵", "⇥", "␣␣", " a"]),
        (["\u202e", "\x00"], ["⟨U+202E⟩", "⟨U+0000⟩"]),
    ],
)
def test_tokens_are_shown_so_that_they_can_be_read(report, tokens, shown):
    script = "return $tokens.joined(arguments[0]).map(({ text }) => $tokens.visible(text))"
    assert report.execute_script(TOKENS + script, tokens) == shown


@pytest.mark.parametrize(
    ("label", "shown", "tokens"),
    [
        ("""' will' (33 %), '\\n\\u2028', "it's\"""", "will 33 % ↵⟨U+2028⟩ it's", 3),
        ("the writer's and the reader's guesses", "the writer's and the reader's guesses", 0),
        ("words such as 'not' or 'never'", "words such as not or never", 2),
        ("“the” (6 %), “-ing”; “York” after “New”", "the 6 % -ing; York after New", 4),
        ("", "", 0),
    ],
)
def test_tokens_in_labels_are_set_as_tokens(report, label, shown, tokens):
    script = "return $tokens.labelled(arguments[0]).map(p => [p.textContent ?? p, p.className ?? ''])"
    parts = report.execute_script(TOKENS + script, label)
    assert "".join(text for text, _ in parts) == shown
    assert sum(name == "quoted" for _, name in parts) == tokens


SAID = (
    join("language.js")
    + """
const said = [];
const walker = document.createTreeWalker(document.documentElement, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT);
for (let node = walker.currentNode; node; node = walker.nextNode()) {
  const element = node.nodeType === Node.TEXT_NODE ? node.parentElement : node;
  if (element.closest($language.DATA)) continue;
  const read = ["title", "aria-label", "placeholder"];
  said.push(...(node === element ? read.map((name) => node.getAttribute(name) || "") : [node.data]));
}
return said.map((text) => text.trim()).filter(Boolean);
"""
)


def test_a_click_says_every_word_of_the_page_in_korean_and_another_in_english_again(report, facts):
    english = texts(report, "#run *")
    find(report, "#language")[0].click()
    korean = report.execute_script(SAID)
    for latent in range(0, 300, 60):
        report.execute_script("location.hash = arguments[0]", f"#feature-{latent}")
        chosen(report, latent)
        korean += report.execute_script(SAID)
    type_in(report, "zzz no such thing")
    wait(report, "return document.querySelector('#rows .none') !== null")
    korean += report.execute_script(SAID)
    ours = {facts.title, *facts.notes, *(row.name for row in facts.evaluation)}
    ours |= {text for row in facts.evaluation for text in row.absent.values()}
    left = {
        text for text in korean if re.search("[a-z]{3,} [a-z]{2,}", re.sub("token lookup|[a-z]+:.*", "", text))
    } - ours
    assert not left, "add these to core/languages/ko.toml: " + " ¦ ".join(sorted(left))
    assert report.execute_script("return document.documentElement.lang") == "ko"
    find(report, "#language")[0].click()
    assert texts(report, "#run *") == english


def test_causes_and_circuits_that_the_run_has_kept_are_on_the_features_page(
    browser, atlas, facts, tmp_path, monkeypatch
):
    kl, absent = Estimate(0.25, 0.1, 0.4, 12), {"loss": "it fires on none of its passages when they are read alone"}
    own = Causes(latent=3, figures={"kl": kl, "random_kl": kl}, raised=((" cat", 0.125),), absent=absent, tokens=5)
    others = tuple(Causes(latent=n, figures={"kl": Estimate(n / 10, 0, 1, 12)}, absent={}) for n in (1, 2, 5))
    kept = [JudgedCauses(own=own, others=others)]
    monkeypatch.setattr("monosema.pages.bundle.all_kept_causes", lambda _: kept)
    nodes = (
        ShownNode(name="x#3", kind="latent", layer=1, latent=3, predicted=0.5),
        ShownNode(name="m1", kind="mlp", layer=0),
    )
    edges = (ShownEdge(source=1, target=0, weight=0.75),)
    graph = ShownGraph(title="a task", unit="nodes", n_layers=2, nodes=nodes, edges=edges, total=2)
    page = write_report(replace(facts, circuits=(graph,)), atlas, tmp_path / "report.html")
    forget(browser)
    visit(browser, page.as_uri() + "#feature-3")
    wait(browser, "return document.querySelector('.causes')")
    assert "0.250 [0.100, 0.400]" in texts(browser, ".causes")[0]
    assert texts(browser, ".causes .beside") == [
        "others 0.200 (0.100 to 0.500), 2 of 3 smaller · a random direction 0.250"
    ]
    assert absent["loss"] in texts(browser, ".causes")[0]
    assert texts(browser, ".change")[0].replace(" ", "") == "cat+12.50%"
    assert "← m1" in texts(browser, ".circuits-of li")[0]
    visit(browser, page.as_uri() + "#feature-4")
    wait(browser, "return document.querySelector('#feature-title')?.closest('article')")
    assert not find(browser, ".causes, .circuits-of")
    assert complaints(browser) == []
