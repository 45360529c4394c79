"""Text to ids, pieces that can be shown, and chat templates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

from monosema.core import InputError
from monosema.models import ChatTemplate, Tokenizer, byte_tokenizer

TEXTS = ["the cat sat on the mat", "naïve café — 漢字", "def f(x):\n\treturn x"]


def trained_bytes() -> tokenizers.Tokenizer:
    raw = tokenizers.Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(TEXTS * 20, trainer)
    return raw


@given(text=st.text(max_size=40))
def test_bytes_round_trip(text: str) -> None:
    tokenizer = byte_tokenizer()
    ids = tokenizer.encode(text)
    assert ids[0] == tokenizer.bos_id
    assert tokenizer.decode(ids) == text
    assert tokenizer.encode(text, bos=False) == ids[1:]


def test_pieces_can_be_shown() -> None:
    tokenizer = Tokenizer(trained_bytes(), bos_id=0)
    for text in TEXTS[::2]:
        assert "".join(tokenizer.tokens(tokenizer.encode(text, bos=False))) == text
    assert " the" in tokenizer.tokens(tokenizer.encode(" the", bos=False))
    assert tokenizer.token(0) == "<|end|>"
    pieces = byte_tokenizer().tokens(byte_tokenizer().encode("é\n", bos=False))
    assert pieces == ["<0xC3>", "<0xA9>", "\n"]
    assert tokenizer.id("t") == tokenizer.encode("t", bos=False)[0]
    with pytest.raises(InputError, match="tokens, not one"):
        tokenizer.id("zebra crossing")
    with pytest.raises(InputError, match="no token 9999"):
        tokenizer.token(9999)
    assert tokenizer.tokens([9999, 0]) == ["<9999>", "<|end|>"]


def test_pieces_of_sentencepiece_and_wordpiece() -> None:
    sentencepiece = tokenizers.Tokenizer(models.BPE({"▁the": 0, "<0x0A>": 1, "<0xE2>": 2, "##s": 3}, []))
    sentencepiece.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    assert Tokenizer(sentencepiece).tokens([0, 1, 2, 3]) == [" the", "\n", "<0xE2>", "##s"]


def test_padding_and_truncation_of_the_file_are_not_ours() -> None:
    raw = trained_bytes()
    raw.enable_truncation(3)
    raw.enable_padding(length=10)
    assert Tokenizer(raw).decode(Tokenizer(raw).encode(TEXTS[0])) == TEXTS[0]


def saved(folder: Path, raw: tokenizers.Tokenizer, **files: Any) -> Tokenizer:
    raw.save(str(folder / "tokenizer.json"))
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return Tokenizer.from_folder(folder, files.get("config", {}))


def test_special_tokens_of_a_folder(tmp_path: Path) -> None:
    raw = trained_bytes()
    raw.add_special_tokens(["<s>", "<pad>", "<turn>"])
    start, pad, turn = (raw.token_to_id(token) for token in ("<s>", "<pad>", "<turn>"))
    tokenizer = saved(
        tmp_path,
        raw,
        tokenizer_config={"bos_token": {"content": "<s>"}, "eos_token": "<|end|>", "pad_token": "<pad>"},
        config={"bos_token_id": 5, "eos_token_id": 0},
        generation_config={"eos_token_id": [0, turn]},
    )
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id) == (start, 0, pad)
    assert tokenizer.end_ids == {0, turn}
    assert tokenizer.encode("the")[0] == start
    assert tokenizer.decode(tokenizer.encode("the")) == "the"
    assert tokenizer.decode(tokenizer.encode("the"), skip_special=False) == "<s>the"


def test_special_tokens_of_the_model_where_the_tokenizer_says_nothing(tmp_path: Path) -> None:
    tokenizer = saved(
        tmp_path, trained_bytes(), config={"bos_token_id": 0, "eos_token_id": [0, 4], "pad_token_id": 10_000}
    )
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id) == (0, 0, None)
    assert tokenizer.end_ids == {0, 4}


def test_no_bos_where_the_tokenizer_says_that_there_is_none(tmp_path: Path) -> None:
    tokenizer = saved(tmp_path, trained_bytes(), tokenizer_config={"bos_token": None}, config={"bos_token_id": 0})
    assert tokenizer.bos_id is None
    assert tokenizer.encode("the") == tokenizer.encode("the", bos=False)


def test_bos_is_not_written_twice() -> None:
    raw = trained_bytes()
    raw.post_processor = processors.TemplateProcessing(single="<|end|> $A", special_tokens=[("<|end|>", 0)])
    tokenizer = Tokenizer(raw, bos_id=0)
    assert tokenizer.encode("the").count(0) == 1
    assert tokenizer.encode("<|end|>the") == tokenizer.encode("the")
    assert Tokenizer(trained_bytes(), bos_id=0).encode("<|end|>the") == tokenizer.encode("the")
    assert 0 not in tokenizer.encode("the", bos=False)


CHATML = """{%- for message in messages %}
    {%- if message.role not in ["system", "user", "assistant"] %}{{ raise_exception("unknown role") }}{% endif %}
    {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] | trim + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}"""
MESSAGES = [{"role": "system", "content": " Be <kind>. "}, {"role": "user", "content": 'Say "é"'}]


@pytest.mark.parametrize(
    "source",
    [
        CHATML,
        "{{ bos_token }}{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}{{ m | tojson }}\n"
        "{% endfor %}",
        "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}\n  {% if true %}\n"
        "  x{{ ns.n }}\n  {% endif %}\n{% endfor %}{{ eos_token }}",
        "{% for m in messages %}{% set x = m.content %}\n{% generation %}\n{{ x }}{% set x = 'y' %}\n"
        "{%- endgeneration %}{{ x }}\n{% endfor %}",
    ],
)
@pytest.mark.parametrize("answer", [True, False])
def test_templates_render_as_transformers_does(source: str, answer: bool) -> None:
    from transformers import PreTrainedTokenizerFast

    theirs = PreTrainedTokenizerFast(tokenizer_object=trained_bytes(), bos_token="<s>", eos_token="<|end|>")
    theirs.chat_template = source
    ours = ChatTemplate(source, {"bos_token": "<s>", "eos_token": "<|end|>"})
    wanted = theirs.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=answer)
    assert ours.render(MESSAGES, answer=answer) == wanted


def test_templates_of_a_folder(tmp_path: Path) -> None:
    assert saved(tmp_path, trained_bytes()).chat_template is None
    several = [{"name": "tools", "template": "no"}, {"name": "default", "template": "{{ bos_token }}yes"}]
    tokenizer = saved(tmp_path, trained_bytes(), tokenizer_config={"chat_template": several, "bos_token": "<|end|>"})
    assert tokenizer.chat_template.render(MESSAGES) == "<|end|>yes"
    (tmp_path / "chat_template.jinja").write_text("{{ messages[1].content }}")
    assert Tokenizer.from_folder(tmp_path, {}).chat_template.render(MESSAGES) == 'Say "é"'


def test_templates_that_fail_or_overreach() -> None:
    with pytest.raises(InputError, match="unknown role"):
        ChatTemplate(CHATML, {}).render([{"role": "king", "content": "x"}])
    broken = ChatTemplate("{% for %}", {})
    with pytest.raises(InputError, match="not valid"):
        broken.render(MESSAGES)
    with pytest.raises(InputError, match="refuses"):
        ChatTemplate("{{ messages.__class__.__mro__ }}{{ messages.append(1) }}", {}).render(MESSAGES)


def test_a_token_with_which_only_the_chat_template_begins_turns_begins_no_text(tmp_path: Path) -> None:
    byte_tokenizer().raw.save(str(tmp_path / "tokenizer.json"))
    settings = {"bos_token": "<bos>", "eos_token": "<eos>"}
    for template, begins in (
        ("{% for m in messages %}<bos>{{ m.content }}<eos>{% endfor %}", False),
        ("{{ bos_token }}{{ messages[0].content }}", True),
    ):
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({**settings, "chat_template": template}))
        tokenizer = Tokenizer.from_folder(tmp_path, {})
        assert (tokenizer.encode("a")[0] == tokenizer.raw.token_to_id("<bos>")) is begins
        assert len(tokenizer.encode("a", bos=False)) == 1
