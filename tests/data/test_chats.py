"""Documents written as chats: the contents stay, the template's tokens are kept, and a row's sink is not."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monosema.core import CorpusError
from monosema.data import Document, TextConfig, token_batches
from monosema.data.chats import MESSAGES, as_chats, is_chat
from monosema.models import ChatTemplate, Tokenizer, byte_tokenizer

TEMPLATE = ChatTemplate("{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}<end>{% endfor %}", {})
TEXTS = [f"Paragraph one of {i}.\n\nParagraph two of {i}, which is longer. It ends." for i in range(40)]


class Texts:
    name, digest = "texts", "0123"

    def documents(self):
        return (Document(index, text, "test") for index, text in enumerate(TEXTS))


def chat_tokenizer(template: ChatTemplate | None = TEMPLATE, bos: str | None = None) -> Tokenizer:
    raw = byte_tokenizer().raw
    raw.add_special_tokens(["<user>", "<assistant>", "<end>"])
    end = raw.token_to_id("<end>")
    bos_id = None if bos is None else raw.token_to_id(bos)
    return Tokenizer(raw, bos_id=bos_id, eos_id=end, pad_id=end, chat_template=template)


def test_paragraphs_are_messages_in_turn() -> None:
    assert as_chats("a\n\nb\n \nc", TEMPLATE) == "<user>a<end><assistant>b<end><user>c<end>"
    many = as_chats("\n\n".join("abcdefgh"), TEMPLATE)
    assert many.split("<end>")[MESSAGES - 1 :] == ["<assistant>f", "<user>g", "<assistant>h", ""]


def test_one_paragraph_is_cut_where_a_sentence_or_a_word_ends() -> None:
    assert (
        as_chats("One. Two three four five. Six.", TEMPLATE)
        == "<user>One. Two three four five.<end><assistant>Six.<end>"
    )
    assert as_chats("one two three", TEMPLATE) == "<user>one two<end><assistant>three<end>"
    assert as_chats("one", TEMPLATE) == "<user>one<end>"


@given(st.text(min_size=1).filter(str.strip))
def test_every_document_can_be_written(text: str) -> None:
    words = as_chats(text, ChatTemplate("{% for m in messages %}{{ m['content'] }} {% endfor %}", {})).split()
    assert words == text.split()


def test_the_share_is_of_documents_and_says_nothing_about_the_split() -> None:
    texts = [f"text {i}" for i in range(2000)]
    chats = {text for text in texts if is_chat(text, 0.25)}
    assert 400 < len(chats) < 600
    assert chats <= {text for text in texts if is_chat(text, 0.5)}
    assert is_chat("any", 1.0)
    assert not is_chat("any", 0.0)


@pytest.mark.parametrize("bos", [None, "<user>"])
def test_the_tokens_of_the_template_are_kept_except_where_attention_rests(bos: str | None) -> None:
    tokenizer = chat_tokenizer(bos=bos)
    config = TextConfig(window=64, batch=4, split="all", chat_share=1.0)
    kept, left_out = [], []
    for batch in token_batches(Texts(), tokenizer, config):
        special = torch.isin(batch.tokens, torch.tensor(sorted(tokenizer.special_ids)))
        assert batch.keep[~special & batch.attention_mask].all()
        assert not batch.keep[batch.document < 0].any()
        assert not (batch.keep & special.long().cumprod(dim=1).bool()).any()
        kept += tokenizer.tokens(batch.tokens[batch.keep & special].tolist())
        left_out += tokenizer.tokens(batch.tokens[~batch.keep & batch.attention_mask].tolist())
    assert set(kept) == {"<user>", "<assistant>", "<end>"} - {bos}
    assert kept.count("<assistant>") == len(TEXTS) - left_out.count("<assistant>")
    assert kept.count("<end>") > len(TEXTS)


def test_some_documents_stay_as_they_are() -> None:
    tokenizer = chat_tokenizer()
    assistant = tokenizer.id("<assistant>")
    found = 0
    for batch in token_batches(Texts(), tokenizer, TextConfig(window=64, batch=4, split="all", chat_share=0.5)):
        found += int((batch.tokens == assistant).sum())
    assert found == sum(is_chat(text, 0.5) for text in TEXTS)
    assert 0 < found < len(TEXTS)


def test_what_can_hold_no_chats_is_refused() -> None:
    with pytest.raises(CorpusError, match="no chat template"):
        token_batches(Texts(), chat_tokenizer(None), TextConfig(chat_share=0.5))
    with pytest.raises(CorpusError, match="Only windows"):
        token_batches(Texts(), chat_tokenizer(), TextConfig(chat_share=0.5, mode="sentences"))
