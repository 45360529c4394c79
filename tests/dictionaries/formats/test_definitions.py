"""What others write is read as they define it: files made by hand, codes by the published formulas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from monosema.core import FormatError, Site
from monosema.dictionaries import load_dictionary, title_of

D, M, K = 6, 16, 3
GENERATOR = torch.Generator().manual_seed(0)
X = 2 * torch.randn(200, D, generator=GENERATOR) + 1
W_ENC, W_DEC = torch.randn(M, D, generator=GENERATOR), torch.randn(M, D, generator=GENERATOR)
B_ENC, B_DEC = torch.randn(M, generator=GENERATOR), torch.randn(D, generator=GENERATOR)
THRESHOLD = torch.rand(M, generator=GENERATOR) * 2
NORMS = W_DEC.norm(dim=1)


def top_k(pre: Tensor) -> Tensor:
    largest = pre.topk(K, dim=1)
    return torch.zeros_like(pre).scatter(1, largest.indices, largest.values.relu())


def same(folder: Path, codes: Tensor, out: Tensor) -> Any:
    assert 0.05 < float((codes != 0).float().mean()) < 0.95
    dictionary = load_dictionary(folder)
    torch.testing.assert_close(dictionary.encode(X).dense(), codes, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(dictionary(X), out, rtol=1e-4, atol=1e-4)
    return dictionary


def write(folder: Path, name: str, config: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(config))


def openai(path: Path, **more: Any) -> None:
    state = {
        "pre_bias": B_DEC,
        "latent_bias": B_ENC,
        "encoder.weight": W_ENC,
        "decoder.weight": W_DEC.T.contiguous(),
        "stats_last_nonzero": torch.zeros(M, dtype=torch.int64),
        **more,
    }
    torch.save({name: value for name, value in state.items() if value is not None}, path)


def test_openai_activations_that_are_not_known(tmp_path: Path) -> None:
    openai(tmp_path / "sae.pt", activation="TopK", activation_state_dict={"k": K, "postact_fn": "Identity"})
    with pytest.raises(FormatError, match="postact_fn = 'Identity'"):
        load_dictionary(tmp_path)
    openai(tmp_path / "sae.pt", activation="Identity")
    with pytest.raises(FormatError, match="activation = 'Identity'"):
        load_dictionary(tmp_path)


HOOK = "blocks.15.hook_resid_post"
NORM = 7.5
SCALE = D**0.5 / NORM


def openmoss(folder: Path, **config: Any) -> None:
    weights = {"W_E": W_ENC.T, "b_E": B_ENC, "W_D": W_DEC, "b_D": B_DEC}
    weights |= {f"dataset_average_activation_norm.{HOOK}": torch.tensor(NORM)}
    weights |= {"activation_function.log_jumprelu_threshold": THRESHOLD.log()}
    folder.mkdir(exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / "sae_weights.safetensors")
    plain = {"sae_type": "sae", "hook_point_in": HOOK, "hook_point_out": HOOK, "d_model": D, "expansion_factor": M / D}
    plain |= {"norm_activation": "dataset-wise", "use_decoder_bias": True, "use_glu_encoder": False, "top_k": K}
    write(folder, "config.json", {**plain, **config})


@pytest.mark.parametrize("by_norm", [False, True])
@pytest.mark.parametrize("activation", ["relu", "jumprelu", "topk"])
def test_openmoss(tmp_path: Path, activation: str, by_norm: bool) -> None:
    openmoss(tmp_path, act_fn=activation, sparsity_include_decoder_norm=by_norm)
    judged = (X * SCALE @ W_ENC.T + B_ENC) * (NORMS if by_norm else 1)
    kept = {"relu": judged.relu(), "jumprelu": judged.relu() * (judged > THRESHOLD), "topk": top_k(judged)}
    normal = kept[activation] / (NORMS if by_norm else 1)
    out = (normal @ W_DEC + B_DEC) / SCALE
    factor = NORMS if by_norm and activation == "topk" else 1
    dictionary = same(tmp_path, normal / SCALE * factor, out)
    assert dictionary.metadata.site == Site.parse(HOOK)


@pytest.mark.parametrize("centred", [False, True])
def test_llama_scope(tmp_path: Path, centred: bool) -> None:
    weights = {"encoder.weight": W_ENC, "encoder.bias": B_ENC, "decoder.weight": W_DEC.T, "decoder.bias": B_DEC}
    (tmp_path / "checkpoints").mkdir()
    file = tmp_path / "checkpoints" / "final.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, file)
    facts = {"d_model": D, "d_sae": M, "hook_point_in": HOOK, "hook_point_out": HOOK, "act_fn": "jumprelu"}
    facts |= {"jump_relu_threshold": 0.8, "norm_activation": "dataset-wise", "use_decoder_bias": True}
    facts |= {"dataset_average_activation_norm": {"in": NORM, "out": NORM}}
    write(tmp_path, "hyperparams.json", {**facts, "apply_decoder_bias_to_pre_encoder": centred})
    pre = ((X * SCALE - (B_DEC if centred else 0)) @ W_ENC.T + B_ENC) / SCALE
    codes = pre.relu() * (pre > 0.8)
    same(tmp_path, codes, codes @ W_DEC + B_DEC / SCALE)
    same(file, codes, codes @ W_DEC + B_DEC / SCALE)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"act_fn": "batchtopk"}, "Turn it into jumprelu"),
        ({"use_glu_encoder": True}, "use_glu_encoder"),
        ({"sae_type": "clt"}, "'clt'"),
        ({"norm_activation": "batch-wise"}, "'batch-wise'"),
        ({"hook_point_in": "blocks.3.hook_resid_post", "act_fn": "relu"}, r"lacks dataset_average_activation_norm"),
    ],
)
def test_openmoss_that_is_not_read(tmp_path: Path, config: dict[str, Any], says: str) -> None:
    openmoss(tmp_path, **config)
    with pytest.raises(FormatError, match=says):
        load_dictionary(tmp_path)


def saelens(folder: Path, config: dict[str, Any], **more: Tensor) -> None:
    weights = {"W_enc": W_ENC.T, "b_enc": B_ENC, "W_dec": W_DEC, "b_dec": B_DEC, **more}
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / "sae_weights.safetensors")
    write(folder, "cfg.json", {"d_in": D, "d_sae": M, "dtype": "float32", **config})


def test_saelens_before_6(tmp_path: Path) -> None:
    old = {"hook_point": "blocks.8.hook_resid_pre", "model_name": "gpt2-small", "normalize_activations": False}
    saelens(tmp_path, {**old, "activation_fn_str": "relu"}, scaling_factor=torch.ones(M))
    codes = ((X - B_DEC) @ W_ENC.T + B_ENC).relu()
    dictionary = same(tmp_path, codes, codes @ W_DEC + B_DEC)
    assert dictionary.metadata.model == "gpt2-small"
    assert dictionary.metadata.site == Site.parse("8.resid_pre")
    saelens(tmp_path, {**old, "activation_fn_str": "topk", "activation_fn_kwargs": {"k": K}})
    codes = top_k((X - B_DEC) @ W_ENC.T + B_ENC)
    assert title_of(same(tmp_path, codes, codes @ W_DEC + B_DEC)) == "TopK"


def test_saelens_rescale(tmp_path: Path) -> None:
    saelens(tmp_path, {"architecture": "standard", "normalize_activations": "constant_norm_rescale", "metadata": {}})
    factor = D**0.5 / X.norm(dim=1, keepdim=True)
    codes = ((X * factor - B_DEC) @ W_ENC.T + B_ENC).relu()
    same(tmp_path, codes, (codes @ W_DEC + B_DEC) / factor)


def test_sparsify_names_and_defaults(tmp_path: Path) -> None:
    folder = tmp_path / "layers.10"
    folder.mkdir()
    weights = {"encoder.weight": W_ENC[:12], "encoder.bias": B_ENC[:12], "W_dec": W_DEC[:12], "b_dec": B_DEC}
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / "sae.safetensors")
    write(folder, "cfg.json", {"expansion_factor": 2, "num_latents": 0, "k": K, "d_in": D, "signed": False})
    codes = top_k((X - B_DEC) @ W_ENC[:12].T + B_ENC[:12])
    dictionary = same(folder, codes, codes @ W_DEC[:12] + B_DEC)
    assert dictionary.metadata.site == Site.parse("10.resid_post")
    write(folder, "cfg.json", {"num_latents": 12, "k": K, "d_in": D, "activation": "groupmax"})
    with pytest.raises(FormatError, match="'groupmax'"):
        load_dictionary(folder)


def test_dictionary_learning_before_a_threshold_is_learnt(tmp_path: Path) -> None:
    state = {"encoder.weight": W_ENC, "encoder.bias": B_ENC, "decoder.weight": W_DEC.T, "b_dec": B_DEC}
    torch.save({**state, "k": torch.tensor(K), "threshold": torch.tensor(-1.0)}, tmp_path / "ae.pt")
    with pytest.raises(FormatError, match="hold the same tensors"):
        load_dictionary(tmp_path)
    trainer = {"dict_class": "BatchTopKSAE", "layer": 3, "lm_name": "EleutherAI/pythia-70m-deduped"}
    write(tmp_path, "config.json", {"trainer": {**trainer, "submodule_name": "resid_post_layer_3"}})
    codes = ((X - B_DEC) @ W_ENC.T + B_ENC).relu()
    dictionary = same(tmp_path, codes, codes @ W_DEC + B_DEC)
    assert dictionary.metadata.site == Site.parse("3.resid_post")
    assert dictionary.activation.k == K
