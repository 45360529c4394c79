from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monosema.pages import heatmap_html
from monosema.pages.heat import readable, visible


class Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text = [], ""

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def read(html):
    reader = Reader()
    reader.feed(html)
    reader.close()
    return reader


@given(st.lists(st.text(), max_size=8))
def test_tokens_are_only_ever_text(tokens):
    reader = read(heatmap_html(tokens, [1.0] * len(tokens)))
    assert [tag for tag, _ in reader.tags] == ["div"] + ["span"] * len(tokens)
    assert reader.text == "".join(visible(token) for token in tokens)


def test_hostile_token_is_escaped():
    html = heatmap_html(["</span><script>alert(1)</script>", '" onmouseover="x'], [1.0, 0.5])
    assert "<script" not in html
    assert 'onmouseover="x' not in html


def test_shade_follows_activation_and_the_peak_is_marked():
    spans = [attrs for tag, attrs in read(heatmap_html(["a", "b", "c"], [0.0, 1.0, 2.0])).tags if tag == "span"]
    assert "style" not in spans[0]
    shade = [float(attrs["style"].split(")")[0].split(",")[-1]) for attrs in spans[1:]]
    assert shade[0] < shade[1]
    assert "box-shadow" in spans[2]["style"]
    assert "box-shadow" not in spans[1]["style"]
    assert spans[2]["title"] == "c · 2"


@pytest.mark.parametrize(
    ("token", "shown"),
    [("\n\n", "↵↵"), ("\t", "⇥"), ("  ", "␣␣"), (" a", " a"), ("\u202e", "⟨U+202E⟩"), ("\x00", "⟨U+0000⟩"), ("", "")],
)
def test_blanks_and_controls_are_visible(token, shown):
    assert visible(token) == shown


def test_all_zero_and_unknown_activations():
    html = heatmap_html(["a", "b"], [0.0, float("nan")])
    assert "background" not in html
    assert "unknown" in html
    assert heatmap_html([], []).startswith("<div")


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="2 tokens but 1 activations"):
        heatmap_html(["a", "b"], [1.0])


@pytest.mark.parametrize(
    ("tokens", "shown"),
    [
        (["<0xEC>", "<0x95>", "<0x88>", "!"], ["안", "·", "·", "!"]),
        ([" a<0xEC><0x95>", "<0x88>b"], [" a안", "b"]),
        (["<0x95>", "<0xEC>", "x"], ["<0x95>", "<0xEC>", "x"]),
        (["<0xF0>", "<0x9F>", "<0x98><0x80><0xC3>", "<0xA9>"], ["😀", "·", "é", "·"]),
        (["<0x0A>", ""], ["<0x0A>", ""]),
    ],
)
def test_bytes_of_one_character_are_shown_as_that_character(tokens, shown):
    assert readable(tokens) == shown
