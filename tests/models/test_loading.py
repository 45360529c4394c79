"""Loading: what is read, and what is said when something is wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from monosema.core import (
    AnomalyError,
    ConfigError,
    DamagedFileError,
    FormatError,
    InputError,
    UnknownModelError,
    UnsupportedModelError,
    bf16_is_fast,
    write_json,
)
from monosema.models import byte_tokenizer, fields, load_model
from monosema.models.fields import _note
from monosema.recipes import demo

TOKENS = torch.arange(12).reshape(2, 6)
Copied = Callable[[str], Path]


def change_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    values = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({name: value for name, value in values.items() if value != "absent"}))


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path, metadata={"format": "pt"})


@torch.inference_mode()
def test_shards_give_the_same_model(foreign: Any, tmp_path: Path) -> None:
    theirs, folder = foreign("llama-gqa-tied")
    theirs.save_pretrained(tmp_path, max_shard_size="20KB")
    byte_tokenizer().raw.save(str(tmp_path / "tokenizer.json"))
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    assert torch.equal(load_model(tmp_path)(TOKENS), load_model(folder)(TOKENS))
    next(iter(sorted(tmp_path.glob("*.safetensors")))).unlink()
    with pytest.raises(DamagedFileError, match="is missing, though"):
        load_model(tmp_path)


@torch.inference_mode()
@pytest.mark.parametrize(("kind", "prefix"), [("gpt2", "transformer."), ("llama-gqa-tied", "model.")])
def test_files_of_the_model_without_its_head(copied: Copied, foreign: Any, kind: str, prefix: str) -> None:
    folder = copied(kind)

    def strip(weights: dict[str, torch.Tensor]) -> None:
        for name in list(weights):
            weights[name.removeprefix(prefix)] = weights.pop(name)

    change_weights(folder, strip)
    assert torch.equal(load_model(folder)(TOKENS), load_model(foreign(kind)[1])(TOKENS))


@torch.inference_mode()
def test_old_files_carry_masks_and_frequencies_that_are_not_needed(copied: Copied) -> None:
    folder = copied("gpt_neox")
    mask, frequencies = "gpt_neox.layers.0.attention.masked_bias", "gpt_neox.layers.0.attention.rotary_emb.inv_freq"
    change_weights(folder, lambda weights: weights.update({mask: torch.zeros(()), frequencies: torch.ones(1)}))
    change_config(folder, rope_parameters="absent", rotary_pct=0.25, rotary_emb_base=10000, tie_word_embeddings=False)
    assert load_model(folder)(TOKENS).isfinite().all()


@pytest.mark.parametrize("fast", ["0", "1"])
def test_the_precision_is_that_of_the_command_line(foreign: Any, monkeypatch: pytest.MonkeyPatch, fast: str) -> None:
    monkeypatch.setenv("MONOSEMA_BF16", fast)
    bf16_is_fast.cache_clear()
    try:
        model = load_model(foreign("llama")[1], device="cpu")
        asked = demo().resolve(None, "cpu").model.dtype
    finally:
        monkeypatch.undo()
        bf16_is_fast.cache_clear()
    assert str(model.dtype) == f"torch.{asked}" == f"torch.{'bfloat16' if fast == '1' else 'float32'}"


def test_precisions(foreign: Any) -> None:
    folder = foreign("llama")[1]
    assert load_model(folder, dtype="float32").dtype == torch.float32
    assert load_model(folder, dtype="bfloat16").dtype == torch.bfloat16
    assert load_model(folder, dtype=torch.float16).dtype == torch.float16
    with pytest.raises(ConfigError, match="float8"):
        load_model(folder, dtype="float8")
    with pytest.raises(ConfigError, match="quantum"):
        load_model(folder, device="quantum")


def test_digest_follows_the_content(foreign: Any, copied: Copied) -> None:
    folder = copied("llama")
    original = load_model(foreign("llama")[1]).digest
    assert load_model(folder).digest == original
    change_weights(folder, lambda weights: weights["model.norm.weight"].add_(1))
    assert load_model(folder).digest != original


def test_unknown_models(tmp_path: Path) -> None:
    with pytest.raises(UnknownModelError, match=r"config\.json"):
        load_model(tmp_path)
    with pytest.raises(UnknownModelError, match="specimen"):
        load_model("no such/model at/all")


@pytest.mark.parametrize(
    ("kind", "changes", "named"),
    [
        ("llama", {"hidden_act": "swiglu"}, "hidden_act = 'swiglu'"),
        ("llama", {"rope_parameters": {"rope_type": "longrope", "factor": 4.0}}, "rope_type = 'longrope'"),
        ("llama", {"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "truncate": False}}, "truncate"),
        ("llama", {"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "mscale": 0.7}}, "mscale"),
        ("llama", {"rope_parameters": {"rope_type": "linear"}}, "lacks the field 'factor'"),
        ("gpt2", {"hidden_size": 64}, "'hidden_size' = 64"),
        ("llama", {"num_hidden_layers": "absent"}, "lacks the field 'num_hidden_layers'"),
        ("llama", {"quantization_config": {"bits": 4}}, "quantization_config"),
        ("llama", {"attention_sinks": 4}, "attention_sinks"),
        ("gpt2", {"add_cross_attention": True}, "add_cross_attention = True"),
        ("gpt2", {"activation_function": "quick_gelu"}, "quick_gelu"),
        ("gpt_neox", {"rope_parameters": {"rope_type": "longrope"}}, "longrope"),
        ("gemma2", {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
        ("qwen2", {"layer_types": ["chunked_attention"] * 3}, "layer_types"),
        ("qwen2", {"layer_types": ["full_attention"]}, "layer_types"),
        ("qwen3", {"use_mrope": True}, "use_mrope"),
        ("llama", {"model_type": "mamba9"}, "mamba9"),
    ],
)
def test_unsupported_fields_are_named(copied: Copied, kind: str, changes: dict[str, Any], named: str) -> None:
    folder = copied(kind)
    change_config(folder, **changes)
    with pytest.raises(UnsupportedModelError, match=named):
        load_model(folder)


def test_fields_that_change_nothing_are_let_through(copied: Copied) -> None:
    folder = copied("llama")
    change_config(folder, attention_dropout=0.5, temperature=0.7, use_mrope=False, something_new=None)
    load_model(folder)


def test_a_config_that_contradicts_itself(copied: Copied) -> None:
    folder = copied("llama")
    change_config(folder, num_key_value_heads=3)
    with pytest.raises(UnsupportedModelError, match=r"num_attention_heads.* multiple of num_key_value_heads"):
        load_model(folder)


@pytest.mark.parametrize("size", [0, 5, 100, 5000])
def test_truncated_weights(copied: Copied, size: int) -> None:
    folder = copied("llama")
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(DamagedFileError, match=r"model\.safetensors"):
        load_model(folder)


def test_missing_tensors_are_named(copied: Copied) -> None:
    folder = copied("llama")
    change_weights(folder, lambda weights: weights.pop("model.layers.1.self_attn.k_proj.weight"))
    with pytest.raises(DamagedFileError, match=r"1 of .* missing .* model\.layers\.1\.self_attn\.k_proj\.weight"):
        load_model(folder)


def test_wrong_shapes_are_named(copied: Copied) -> None:
    folder = copied("llama")
    change_config(folder, intermediate_size=40)
    with pytest.raises(UnsupportedModelError, match=r"gate_proj.*\(96, 32\).*\(80, 32\)"):
        load_model(folder)


def test_tensors_that_nobody_uses_are_refused(copied: Copied) -> None:
    folder = copied("llama-mqa-biases")
    change_config(folder, attention_bias=False)
    with pytest.raises(UnsupportedModelError, match=r"12 tensors .* model\.layers\.0\.self_attn\.k_proj\.bias"):
        load_model(folder)


def test_other_kinds_of_weights(copied: Copied) -> None:
    folder = copied("llama")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(FormatError, match="a pickle"):
        load_model(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors.index.json", "tokenizer.json"])
def test_json_that_is_none(copied: Copied, name: str) -> None:
    folder = copied("llama")
    if "index" in name:
        (folder / "model.safetensors").unlink()
    (folder / name).write_text('{"weight_map": ')
    with pytest.raises(DamagedFileError, match=name):
        load_model(folder)


def test_vocabularies_that_do_not_fit(copied: Copied) -> None:
    folder = copied("llama")
    values = json.loads((folder / "tokenizer.json").read_text())
    values["model"]["vocab"] |= {"<bos>": 256, "<eos>": 257, "<pad>": 258, "too": 259, "many": 260}
    (folder / "tokenizer.json").write_text(json.dumps(values))
    with pytest.raises(FormatError, match="ids up to 260, the model an embedding for 259"):
        load_model(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(FormatError, match=r"no tokenizer\.json"):
        load_model(folder)


def test_a_tokenizer_much_smaller_than_the_model(copied: Copied) -> None:
    folder = copied("llama")
    change_config(folder, vocab_size=50_000)
    with pytest.raises(FormatError, match="don't fit"):
        load_model(folder)


@torch.inference_mode()
@pytest.mark.parametrize("kind", ["gemma3", "gpt2"])
def test_tokens_that_were_added_without_an_embedding(copied: Copied, kind: str) -> None:
    folder = copied(kind)
    tokenizer = byte_tokenizer()
    tokenizer.raw.add_special_tokens(["[PAD]"])
    tokenizer.raw.save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", {"pad_token": "[PAD]", "bos_token": "<bos>"})
    model = load_model(folder)
    assert (model.vocab, model.tokenizer.pad_id) == (259, None)
    answers = model.generate(["a", "longer"], max_new_tokens=2, stop_at_eos=False)
    assert [len(answer.tokens) for answer in answers] == [2, 2]
    with pytest.raises(InputError, match=r"'\[PAD\]', token 259"):
        model.generate("a [PAD]")


def test_of_several_rope_settings_the_scaling_counts(copied: Copied) -> None:
    folder = copied("llama")
    scaling = {"type": "linear", "factor": 4.0}
    change_config(folder, rope_parameters="absent", rope_theta=5000.0, rope_scaling=scaling)
    rotary = load_model(folder).config.attention[0].rotary
    assert (rotary.base, rotary.scaling, rotary.factor) == (5000.0, "linear", 4.0)
    write_json(folder / "config.json", {**json.loads((folder / "config.json").read_text()), "rope_scaling": None})
    assert load_model(folder).config.attention[0].rotary.scaling == "none"


NOTHING = {
    "llama": {"made_by": "somebody", "dual_chunk_attention_config": {"chunk_size": 9}},
    "gpt2": {"summary_extra": "x"},
    "mistral": {"rope_scaling": {"rope_type": "default", "spin": 2}},
}
WELL_KNOWN = {
    "llama": {"is_llama_config": True, "unk_token_id": 3, "_model_name_or_path": "x", "max_sequence_length": 9},
    "gpt2": {"predict_special_tokens": True},
    "gemma2": {"hidden_act": "gelu_pytorch_tanh", "sliding_window_size": 9},
}


@pytest.mark.parametrize("kind", NOTHING)
@torch.inference_mode()
def test_fields_that_no_library_reads_are_noted_once(
    copied: Copied, foreign: Any, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    fields._note.cache_clear()
    folder = copied(kind)
    change_config(folder, **NOTHING[kind])
    assert torch.equal(load_model(folder)(TOKENS), load_model(foreign(kind)[1])(TOKENS))
    assert len(caplog.messages) == 1
    assert all(("spin" if name == "rope_scaling" else name) in caplog.text for name in NOTHING[kind])
    load_model(folder)
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("kind", WELL_KNOWN)
def test_fields_of_well_known_models_need_no_word(copied: Copied, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    folder = copied(kind)
    change_config(folder, **WELL_KNOWN[kind])
    load_model(folder)
    assert not caplog.messages


@torch.inference_mode()
def test_a_stored_head_counts_though_the_config_ties_it(copied: Copied, foreign: Any) -> None:
    folder = copied("llama-gqa-tied")
    tied = load_model(folder, dtype="float32")
    embedding = tied.embed.weight
    change_weights(folder, lambda weights: weights.update({"lm_head.weight": embedding.clone()}))
    assert load_model(folder, dtype="float32").config.tied
    change_weights(folder, lambda weights: weights.update({"lm_head.weight": embedding.double().clone()}))
    torch.testing.assert_close(load_model(folder, dtype="float32")(TOKENS), tied(TOKENS))
    change_weights(folder, lambda weights: weights.update({"lm_head.weight": embedding.flip(0).contiguous()}))
    torch.testing.assert_close(load_model(folder, dtype="float32")(TOKENS), tied(TOKENS).flip(-1))


@torch.inference_mode()
def test_a_stale_index_beside_a_whole_file(copied: Copied, foreign: Any) -> None:
    folder = copied("llama")
    stale = {"weight_map": {"model.norm.weight": "model-00001-of-00002.safetensors"}}
    write_json(folder / "model.safetensors.index.json", stale)
    assert torch.equal(load_model(folder)(TOKENS), load_model(foreign("llama")[1])(TOKENS))


@torch.inference_mode()
@pytest.mark.parametrize("names", ["_orig_mod.{}", "module.{}", "module._orig_mod.{}", "model._orig_mod.{}"])
def test_names_that_wrappers_of_training_left(copied: Copied, foreign: Any, names: str) -> None:
    folder = copied("llama")

    def wrap(weights: dict[str, torch.Tensor]) -> None:
        for name in list(weights):
            inner = names.startswith("model.") and name.startswith("model.")
            written = names.format(name.removeprefix("model.") if inner else name)
            if inner or not names.startswith("model."):
                weights[written] = weights.pop(name)

    change_weights(folder, wrap)
    assert torch.equal(load_model(folder)(TOKENS), load_model(foreign("llama")[1])(TOKENS))


def test_numbers_beyond_the_precision_are_named(copied: Copied) -> None:
    folder = copied("llama")
    change_weights(folder, lambda weights: weights["model.layers.0.mlp.down_proj.weight"].mul_(1e7))
    assert load_model(folder).generate("a", max_new_tokens=1, stop_at_eos=False).tokens
    for temperature in (0.0, 1.0):
        with pytest.raises(AnomalyError, match=r"float16.*dtype='bfloat16'"):
            load_model(folder, dtype="float16").generate("a", max_new_tokens=1, temperature=temperature)
    with pytest.raises(AnomalyError, match="an edit"), (model := load_model(folder)).edit("0.mlp_out", lambda x: x / 0):
        model.generate("a")


@torch.inference_mode()
@pytest.mark.parametrize(("kind", "longest"), [("phi3-longrope", 16), ("llama-dynamic", 64)])
def test_positions_that_would_stretch_others_are_refused(foreign: Any, kind: str, longest: int) -> None:
    model = load_model(foreign(kind)[1])
    assert model.context == longest
    assert model(torch.zeros(1, longest, dtype=torch.long)).isfinite().all()
    with pytest.raises(InputError, match=f"{longest + 1} positions; the model has {longest} only"):
        model(torch.zeros(1, longest + 1, dtype=torch.long))


@torch.inference_mode()
@pytest.mark.parametrize("old", [True, False])
def test_the_text_model_within_one_that_sees(copied: Copied, foreign: Any, old: bool) -> None:
    folder = copied("gemma3")
    text = json.loads((folder / "config.json").read_text())
    whole = {"model_type": "gemma3", "text_config": text, "vision_config": {"hidden_size": 4}}
    write_json(folder / "config.json", whole)

    def move(weights: dict[str, torch.Tensor]) -> None:
        for name in list(weights):
            rest = name.removeprefix("model.")
            weights[f"language_model.model.{rest}" if old else f"model.language_model.{rest}"] = weights.pop(name)
        weights[f"{'' if old else 'model.'}vision_tower.patch.weight"] = torch.ones(2, 2)

    change_weights(folder, move)
    assert torch.equal(load_model(folder)(TOKENS), load_model(foreign("gemma3")[1])(TOKENS))


def test_what_is_no_model_is_said(copied: Copied, tmp_path: Path) -> None:
    folder = copied("llama")
    (tmp_path / "x.gguf").mkdir()
    (tmp_path / "renamed.bin").write_bytes(b"GGUF")
    for path, says in ((tmp_path / "x.gguf", "is a folder, not a GGUF file"), (tmp_path / "renamed.bin", "rename it")):
        with pytest.raises(UnknownModelError, match=says):
            load_model(path)
    (folder / "config.json").write_text("[]")
    with pytest.raises(DamagedFileError, match="must be a JSON object"):
        load_model(folder)


def test_rotary_fields_that_contradict_each_other_are_refused(copied: Copied) -> None:
    folder = copied("llama")
    values = json.loads((folder / "config.json").read_text())
    values |= {"rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0}}
    (folder / "config.json").write_text(json.dumps(values | {"rope_theta": 10_000.0}))
    load_model(folder)
    for wrong in ({"rope_theta": 500.0}, {"rope_scaling": {"rope_type": "linear", "factor": 4.0}}):
        (folder / "config.json").write_text(json.dumps(values | wrong))
        with pytest.raises(UnsupportedModelError, match="rope_parameters"):
            load_model(folder)


def test_loading_imports_no_compiler() -> None:
    script = "import sys, monosema; monosema.load_model('specimen'); print('torch._dynamo' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", script], text=True).strip() == "False"


def test_null_is_no_number(tiny_directory: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_directory, tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "rms_norm_eps": None}))
    with pytest.raises(UnsupportedModelError, match=r"rms_norm_eps = null.*needs a number"):
        load_model(folder)


def test_code_that_a_known_family_brings_is_not_run_and_that_is_noted(
    tiny_directory: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = Path(shutil.copytree(tiny_directory, tmp_path / "copy"))
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**values, "auto_map": {"AutoModel": "own.Own"}}))
    _note.cache_clear()
    load_model(folder)
    load_model(folder)
    assert [record.message.count("auto_map") for record in caplog.records] == [1]
