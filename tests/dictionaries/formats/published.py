"""Dictionaries as libraries and their older versions wrote them: tiny files, and what each library computes from them.

Every case has the library's published forward pass in a few lines of its own, which knows nothing of monosema, or the
reason for which it is refused. The table in docs/formats.md is made of this list: run this file to print it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

D, M, K, S = 6, 16, 3, 0.4
_GENERATOR = torch.Generator().manual_seed(0)


def _random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=_GENERATOR)


X = 2 * _random(200, D) + 1
ENC, DEC, SKIP = _random(M, D), _random(M, D), 0.3 * _random(D, D)
B_ENC, B_DEC, B_MAG, R_MAG = _random(M), _random(D), _random(M), 0.3 * _random(M)
THRESHOLD = _random(M).abs() + 0.1
FACTORS = _random(M).abs() + 0.5
NORMS = DEC.norm(dim=1)
MEAN, MATRIX = _random(D), _random(D, D) + 2 * torch.eye(D)
HOOK = "blocks.3.hook_resid_post"

Forward = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Codes and reconstruction of rows."""


@dataclass(frozen=True)
class Published:
    """One way of writing a dictionary.

    Attributes:
        library: who wrote it so.
        what: which dictionary, or which version.
        files: what is there, as the table names it.
        write: puts the files into a folder, and gives what to load.
        forward: what the library computes; None where it is refused.
        refused: the reason, as the message says it (in part).
    """

    library: str
    what: str
    files: str
    write: Callable[[Path], Path]
    forward: Forward | None = None
    refused: str = ""

    @property
    def name(self) -> str:
        """For the test's report."""
        return f"{self.library}: {self.what}"


def pre(x: Tensor, centre: Tensor | float = 0.0) -> Tensor:
    return (x - centre) @ ENC.T + B_ENC


def top_k(values: Tensor) -> Tensor:
    largest = values.topk(K, dim=1)
    return torch.zeros_like(values).scatter(1, largest.indices, largest.values.relu())


def above(values: Tensor, threshold: Tensor | float = THRESHOLD) -> Tensor:
    return values.relu() * (values > threshold)


def centred(x: Tensor, act: Callable[[Tensor], Tensor] = torch.relu) -> tuple[Tensor, Tensor]:
    codes = act(pre(x, B_DEC))
    return codes, codes @ DEC + B_DEC


def plain(x: Tensor, act: Callable[[Tensor], Tensor] = torch.relu) -> tuple[Tensor, Tensor]:
    codes = act(pre(x))
    return codes, codes @ DEC + B_DEC


def gated(x: Tensor) -> tuple[Tensor, Tensor]:
    z = (x - B_DEC) @ ENC.T
    codes = (z + B_ENC > 0) * (z * R_MAG.exp() + B_MAG).relu()
    return codes, codes @ DEC + B_DEC


def layer_normed(inner: Forward) -> Forward:
    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        mean = x.mean(dim=1, keepdim=True)
        std = (x - mean).std(dim=1, keepdim=True)
        codes, out = inner((x - mean) / (std + 1e-5))
        return codes, out * std + mean

    return forward


def scaled(inner: Forward, by: float = S) -> Forward:
    """Of rows that are scaled before, and whose reconstruction is scaled back."""

    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        codes, out = inner(x * by)
        return codes, out / by

    return forward


def whitened(inner: Forward) -> Forward:
    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        codes, out = inner((x - MEAN) @ MATRIX)
        return codes, out @ MATRIX.inverse() + MEAN

    return forward


def by_norm(x: Tensor, act: Callable[[Tensor], Tensor] = top_k) -> tuple[Tensor, Tensor]:
    """Judged by activation times decoder norm, and given so."""
    codes = act(pre(x, B_DEC) * NORMS)
    return codes, (codes / NORMS) @ DEC + B_DEC


def scaled_by_norm(act: Callable[[Tensor], Tensor]) -> Forward:
    """As SAELens saves it in the end: activations in units of the input."""

    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        codes, out = by_norm(x * S, act)
        return codes / S, out / S

    return forward


def factored(x: Tensor) -> tuple[Tensor, Tensor]:
    codes = pre(x, B_DEC).relu()
    return codes, (codes * FACTORS) @ DEC + B_DEC


def with_skip(inner: Forward) -> Forward:
    return lambda x: (inner(x)[0], inner(x)[1] + x @ SKIP.T)


def json_file(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def tensors(path: Path, values: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = {name: value.contiguous() if isinstance(value, Tensor) else value for name, value in values.items()}
    if path.suffix == ".safetensors":
        save_file({name: value.clone() for name, value in values.items()}, path)
    elif path.suffix == ".npz":
        np.savez(path, **{name: value.numpy() for name, value in values.items()})
    else:
        torch.save(values, path)


def written(weights: str, state: dict[str, Any], configs: dict[str, Any] | None = None, load: str = "") -> Any:
    """A writer of these files; what is loaded is the folder, or the named file in it."""

    def write(folder: Path) -> Path:
        tensors(folder / weights, state)
        for name, config in (configs or {}).items():
            if name.endswith(".json"):
                json_file(folder / name, config)
            elif name.endswith(".yaml"):
                (folder / name).write_text(config)
            else:
                tensors(folder / name, config)
        return folder / load if load else folder

    return write


W_NAMES = {"W_enc": ENC.T, "b_enc": B_ENC, "W_dec": DEC, "b_dec": B_DEC}
GATED = {"W_enc": ENC.T, "b_gate": B_ENC, "b_mag": B_MAG, "r_mag": R_MAG, "W_dec": DEC, "b_dec": B_DEC}
LINEAR = {"encoder.weight": ENC, "encoder.bias": B_ENC, "decoder.weight": DEC.T}
PAIR = {**LINEAR, "decoder.bias": B_DEC}


class Unknown:
    """Stands for a library's own configuration object inside a .pt file."""


# ---------------------------------------------------------------------------------------------------------- SAELens


def saelens(what: str, forward: Forward | None = None, refused: str = "", **said: Any) -> Published:
    state = said.pop("state", W_NAMES)
    beside = said.pop("beside", {})
    version = said.pop("version", 6)
    config: dict[str, Any] = {"d_in": D, "d_sae": M, "dtype": "float32", **said}
    if version >= 6:
        config = {"apply_b_dec_to_input": True, "metadata": {"hook_name": HOOK, "sae_lens_version": "6.5.0"}, **config}
    files = ", ".join(["`cfg.json`", "`sae_weights.safetensors`", *(f"`{name}`" for name in beside)])
    write = written("sae_weights.safetensors", state, {"cfg.json": config, **beside})
    return Published("SAELens", what, files, write, forward, refused)


JUMP = {**W_NAMES, "threshold": THRESHOLD}
ONE = torch.tensor(0.9, dtype=torch.float64)
SCALER = {"activation_scaler.json": {"scaling_factor": S, "has_whitening": False}}
WHITENING = {
    "activation_scaler.json": {"scaling_factor": None, "has_whitening": True},
    "activation_whitening.safetensors": {"mean": MEAN, "matrix": MATRIX, "inverse_matrix": MATRIX.inverse()},
}
AVERAGE, WHITE = "expected_average_only_in", "covariance_whitening"
OLD = {"hook_point": HOOK, "model_name": "gpt2-small", "version": 2}

SAELENS = [
    saelens("6, standard", centred, architecture="standard"),
    saelens("6, standard, not centred", plain, architecture="standard", apply_b_dec_to_input=False),
    saelens("6, layer norm", layer_normed(centred), architecture="standard", normalize_activations="layer_norm"),
    saelens("6, gated", gated, architecture="gated", state=GATED),
    saelens(
        "6, jumprelu (BatchTopK and Matryoshka too)", lambda x: centred(x, above), architecture="jumprelu", state=JUMP
    ),
    saelens("6, topk", lambda x: centred(x, top_k), architecture="topk", k=K),
    saelens("6, topk by norm", by_norm, architecture="topk", k=K, rescale_acts_by_decoder_norm=True),
    saelens("6, transcoder", plain, architecture="transcoder", d_out=D),
    saelens(
        *("6, skip transcoder", with_skip(plain)),
        architecture="skip_transcoder",
        d_out=D,
        state={**W_NAMES, "W_skip": SKIP},
    ),
    saelens(
        *("6, jumprelu transcoder", lambda x: plain(x, above)), architecture="jumprelu_transcoder", d_out=D, state=JUMP
    ),
    saelens(
        *("6, checkpoint, standard", scaled(centred)),
        architecture="standard",
        normalize_activations=AVERAGE,
        beside=SCALER,
    ),
    saelens(
        *("6, checkpoint, gated", scaled(gated)),
        architecture="gated",
        normalize_activations=AVERAGE,
        state=GATED,
        beside=SCALER,
    ),
    saelens(
        *("6, checkpoint, topk", scaled_by_norm(top_k)),
        architecture="topk",
        k=K,
        rescale_acts_by_decoder_norm=True,
        normalize_activations=AVERAGE,
        beside=SCALER,
    ),
    saelens(
        *("6, checkpoint, batchtopk", scaled_by_norm(lambda z: above(z, 0.9))),
        architecture="batchtopk",
        k=4.5,
        rescale_acts_by_decoder_norm=True,
        normalize_activations=AVERAGE,
        state={**W_NAMES, "topk_threshold": ONE},
        beside=SCALER,
    ),
    saelens(
        *("6, checkpoint, matryoshka", lambda x: centred(x, lambda z: above(z, 0.9))),
        architecture="matryoshka_batchtopk",
        k=K,
        rescale_acts_by_decoder_norm=False,
        matryoshka_widths=[4, M],
        state={**W_NAMES, "topk_threshold": ONE},
    ),
    saelens(
        *("6, checkpoint, jumprelu, whitened", whitened(lambda x: plain(x, above))),
        architecture="jumprelu",
        apply_b_dec_to_input=False,
        normalize_activations=WHITE,
        state={**W_NAMES, "log_threshold": THRESHOLD.log()},
        beside=WHITENING,
    ),
    saelens(
        "6, checkpoint without its scale",
        refused="how activations were scaled is not in",
        architecture="standard",
        normalize_activations=AVERAGE,
    ),
    saelens("6, abstopk", refused="activations have either sign", architecture="abstopk", k=K),
    saelens("6, matching pursuit", refused="encoder is no single step", architecture="matching_pursuit"),
    saelens("6, temporal", refused="reads earlier positions too", architecture="temporal"),
    saelens(
        *("5, topk", lambda x: centred(x, top_k)),
        version=5,
        architecture="standard",
        activation_fn="topk",
        activation_fn_kwargs={"k": K},
    ),
    saelens("5, gated", gated, version=5, architecture="gated", activation_fn="relu", state=GATED),
    saelens(
        *("4 and 5, checkpoint", scaled(centred)),
        version=5,
        architecture="standard",
        normalize_activations=AVERAGE,
        beside={"activations_store_state.safetensors": {"estimated_norm_scaling_factor": torch.tensor(S)}},
    ),
    saelens(
        *("3, with factors learnt afterwards", factored),
        version=3,
        finetuning_scaling_factor=True,
        state={**W_NAMES, "finetuning_scaling_factor": FACTORS},
    ),
    saelens(
        "3, with factors that its configuration denies",
        refused="which of the two holds is not known",
        version=3,
        finetuning_scaling_factor=False,
        state={**W_NAMES, "scaling_factor": FACTORS},
    ),
    saelens("3, tanh-relu", refused="'tanh-relu' is not read", version=3, activation_fn_str="tanh-relu"),
    saelens(
        *("2 (gpt2-small-res-jb)", centred),
        **OLD,
        normalize_activations=False,
        state={**W_NAMES, "scaling_factor": torch.ones(M)},
    ),
    saelens(
        *("compiled, torch.compile's names", centred),
        architecture="standard",
        state={f"_orig_mod.{name}": value for name, value in W_NAMES.items()},
    ),
    Published(
        *("SAELens", "1, configuration of plain values in the file", "`*.pt`"),
        written("sae.pt", {"cfg": {"d_in": D, "d_sae": M, "hook_point": HOOK}, "state_dict": W_NAMES}),
        centred,
    ),
    Published(
        *("SAELens", "1, configuration object in the file", "`*.pt`"),
        written("sae.pt", {"cfg": Unknown(), "state_dict": W_NAMES}),
        refused="code from a file is never run",
    ),
    Published(
        *("SAELens", "0, pickled whole", "`*.pkl.gz`"),
        lambda folder: (folder / "sae.pkl.gz").write_bytes(b"\x1f\x8b") and folder,
        refused="is a pickle of whole objects",
    ),
]

# ----------------------------------------------------------------------------------------------- dictionary_learning


def learning(
    what: str, state: dict[str, Any], forward: Forward | None = None, refused: str = "", **trainer: Any
) -> Published:
    configs = {"config.json": {"trainer": trainer, "buffer": {"ctx_len": 128}}} if trainer else {}
    files = "`ae.pt`, `config.json`" if trainer else "`ae.pt`"
    return Published("dictionary_learning", what, files, written("ae.pt", state, configs), forward, refused)


def unit_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    codes, out = centred(x)
    return codes * NORMS, out


AUTOENCODER = {**LINEAR, "bias": B_DEC}
TOPK = {**LINEAR, "b_dec": B_DEC}
THRESHOLDED = {"k": torch.tensor(K), "threshold": torch.tensor(0.9)}
SITE_ENC, SITE_DEC, SITE_BIAS = _random(2, 3, M), _random(2, M, 3), _random(2, 3)
CROSS = {"encoder.weight": SITE_ENC, "encoder.bias": B_ENC, "decoder.weight": SITE_DEC, "decoder.bias": SITE_BIAS}


def crossed(x: Tensor) -> tuple[Tensor, Tensor]:
    """Two sites, three values each, side by side in a row."""
    codes = (torch.einsum("nsd,sdm->nm", x.view(-1, 2, 3), SITE_ENC) + B_ENC).relu()
    return codes, (torch.einsum("nm,smd->nsd", codes, SITE_DEC) + SITE_BIAS).flatten(1)


DICTIONARY_LEARNING = [
    learning("AutoEncoder", AUTOENCODER, unit_rows, dict_class="AutoEncoder"),
    learning("AutoEncoder, before there was config.json", AUTOENCODER, unit_rows),
    learning("AutoEncoderNew (April update)", PAIR, plain, dict_class="AutoEncoderNew"),
    learning(
        "GatedAutoEncoder",
        {
            **{"encoder.weight": ENC, "gate_bias": B_ENC, "mag_bias": B_MAG, "r_mag": R_MAG},
            **{"decoder.weight": DEC.T, "decoder_bias": B_DEC},
        },
        gated,
        dict_class="GatedAutoEncoder",
    ),
    learning(
        *("AutoEncoderTopK", {**TOPK, **THRESHOLDED}, lambda x: centred(x, top_k)), dict_class="AutoEncoderTopK", k=K
    ),
    learning(
        *("AutoEncoderTopK, k in config.json alone", TOPK, lambda x: centred(x, top_k)),
        dict_class="AutoEncoderTopK",
        k=K,
    ),
    learning(
        *("BatchTopKSAE", {**TOPK, **THRESHOLDED}, lambda x: centred(x, lambda z: above(z, 0.9))),
        dict_class="<class 'dictionary_learning.trainers.batch_top_k.BatchTopKSAE'>",
    ),
    learning("JumpReluAutoEncoder", JUMP, lambda x: plain(x, above), dict_class="JumpReluAutoEncoder"),
    learning(
        "MatryoshkaBatchTopKSAE",
        {**W_NAMES, **THRESHOLDED, "group_sizes": torch.tensor([4, 12])},
        lambda x: centred(x, lambda z: above(z, 0.9)),
        dict_class="MatryoshkaBatchTopKSAE",
    ),
    learning(
        "AutoEncoder, of DataParallel and torch.compile",
        {f"module._orig_mod.{name}": value for name, value in AUTOENCODER.items()},
        unit_rows,
    ),
    learning(
        "TopK or BatchTopK, without config.json",
        {**TOPK, **THRESHOLDED},
        refused="AutoEncoderTopK and BatchTopKSAE hold the same tensors",
    ),
    learning("CrossCoder (in forks)", CROSS, crossed, dict_class="CrossCoder"),
    Published(
        *("dictionary_learning", "CrossCoder (in forks), on the hub", "`model.safetensors`, `config.json`"),
        written("model.safetensors", CROSS, {"config.json": {"activation_dim": 3, "dict_size": M, "num_layers": 2}}),
        crossed,
    ),
    learning(
        *("BatchTopKCrossCoder (in forks)", {**CROSS, **THRESHOLDED}),
        refused="a crosscoder with a threshold or k is not read",
        dict_class="BatchTopKCrossCoder",
    ),
]

# ------------------------------------------------------------------------------------------- sparsify, OpenAI, Gemma


def sparsify(what: str, forward: Forward | None = None, refused: str = "", **said: Any) -> Published:
    state = {"encoder.weight": ENC, "encoder.bias": B_ENC, "W_dec": DEC, "b_dec": B_DEC}
    state |= {"W_skip": SKIP} if said.get("skip_connection") else {}
    config = {"d_in": D, "k": K, "num_latents": M, **said}
    write = written("layers.3.mlp/sae.safetensors", state, {"layers.3.mlp/cfg.json": config}, "layers.3.mlp")
    return Published("sparsify", what, "`layers.N/cfg.json`, `sae.safetensors`", write, forward, refused)


SPARSIFY = [
    sparsify("topk", lambda x: centred(x, top_k), activation="topk"),
    sparsify("before 1.1 (the library `sae`)", lambda x: centred(x, top_k), signed=False, normalize_decoder=True),
    sparsify("transcoder", lambda x: plain(x, top_k), transcode=True),
    sparsify("skip transcoder", with_skip(lambda x: plain(x, top_k)), transcode=True, skip_connection=True),
    sparsify("skip transcoder, before `transcode`", with_skip(lambda x: centred(x, top_k)), skip_connection=True),
    sparsify("signed", refused="activation = signed is not supported", signed=True),
    sparsify("groupmax", refused="'groupmax' is not supported", activation="groupmax"),
    Published(
        *("sparsify", "a run's folder", "a folder for each site"),
        lambda folder: sparsify("").write(folder).parent,
        refused="each in a folder: layers.3.mlp",
    ),
]


def openai(what: str, forward: Forward | None = None, refused: str = "", **said: Any) -> Published:
    state = {"pre_bias": B_DEC, "latent_bias": B_ENC, "encoder.weight": ENC, "decoder.weight": DEC.T, **said}
    state = {name: value for name, value in state.items() if value is not None}
    return Published("OpenAI sparse_autoencoder", what, "`*.pt`", written("7.pt", state, load="7.pt"), forward, refused)


def tied(x: Tensor) -> tuple[Tensor, Tensor]:
    codes = pre(x, B_DEC).relu()
    return codes, codes @ ENC + B_DEC


OPENAI = [
    openai(
        *("TopK", layer_normed(lambda x: centred(x, top_k))),
        activation="TopK",
        activation_state_dict={"k": K, "postact_fn": "ReLU"},
    ),
    openai("ReLU", centred, activation="ReLU"),
    openai("ReLU, tied", tied, **{"decoder.weight": None, "decoder.linear.weight": ENC}),
    openai(
        "TopK without ReLU",
        refused="postact_fn = 'Identity' is not supported",
        activation="TopK",
        activation_state_dict={"k": K, "postact_fn": "Identity"},
    ),
]
SMALL = {"w_enc": ENC.T, "b_enc": B_ENC, "w_dec": DEC, "b_dec": B_DEC, "threshold": THRESHOLD}
SECOND = {"architecture": "jump_relu", "model_name": "gemma-3-1b-pt", "hf_hook_point_in": "model.layers.3.output"}
ACROSS = {
    **SECOND,
    "hf_hook_point_in": "model.layers.3.pre_feedforward_layernorm.output",
    "hf_hook_point_out": "model.layers.3.post_feedforward_layernorm.output",
}
GEMMA = [
    Published(*("Gemma Scope", "JumpReLU", "`params.npz`"), written("params.npz", JUMP), lambda x: plain(x, above)),
    Published(
        *("Gemma Scope 2", "JumpReLU", "`params.safetensors`, `config.json`"),
        written("params.safetensors", SMALL, {"config.json": SECOND}),
        lambda x: plain(x, above),
    ),
    Published(
        *("Gemma Scope 2", "affine transcoder", "`params.safetensors`, `config.json`"),
        written("params.safetensors", {**SMALL, "affine_skip_connection": SKIP.T}, {"config.json": ACROSS}),
        with_skip(lambda x: plain(x, above)),
    ),
    Published(
        *("Gemma Scope 2", "a layer of a cross-layer transcoder", "`params.safetensors`"),
        written("params.safetensors", {**SMALL, "w_dec": DEC.unsqueeze(1).repeat(1, 3, 1)}),
        refused="a layer of a cross-layer transcoder",
    ),
]

# ---------------------------------------------------------------------------------------------------------- OpenMOSS


def openmoss(
    what: str, forward: Forward | None = None, refused: str = "", state: dict[str, Any] | None = None, **said: Any
) -> Published:
    norm = {f"dataset_average_activation_norm.{HOOK}": torch.tensor(D**0.5 / S)}
    state = state or {"W_E": ENC.T, "b_E": B_ENC, "W_D": DEC, "b_D": B_DEC}
    config = {"sae_type": "sae", "d_model": D, "expansion_factor": M / D, "hook_point_in": HOOK, "hook_point_out": HOOK}
    config |= {"norm_activation": "dataset-wise", "sparsity_include_decoder_norm": False, "top_k": K, **said}
    write = written("sae_weights.safetensors", {**state, **norm}, {"config.json": config})
    return Published(
        "OpenMOSS Language-Model-SAEs", what, "`config.json`, `sae_weights.safetensors`", write, forward, refused
    )


def openmoss_forward(
    act: Callable[[Tensor], Tensor], norms: Tensor | float = 1.0, out_by: Tensor | float = 1.0
) -> Forward:
    """Activations come in units of the input; those judged by norm times `out_by`."""

    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        codes = act(pre(x * S) * norms) / norms
        return codes / S * out_by, (codes @ DEC + B_DEC) / S

    return forward


def llama_scope(**said: Any) -> Any:
    facts = {"d_model": D, "d_sae": M, "hook_point_in": HOOK, "hook_point_out": HOOK, "norm_activation": "dataset-wise"}
    facts |= {"dataset_average_activation_norm": {"in": D**0.5 / S, "out": D**0.5 / S}, "use_decoder_bias": True}
    facts |= {"jump_relu_threshold": 0.8, "top_k": K, **said}
    return written("checkpoints/final.safetensors", PAIR, {"hyperparams.json": facts})


def llama_scope_forward(x: Tensor) -> tuple[Tensor, Tensor]:
    codes = above(pre(x * S) / S, 0.8)
    return codes, codes @ DEC + B_DEC / S


OPENMOSS = [
    openmoss("ReLU", openmoss_forward(torch.relu), act_fn="relu"),
    openmoss(
        *("JumpReLU", openmoss_forward(above)),
        act_fn="jumprelu",
        state={
            **{"W_E": ENC.T, "b_E": B_ENC, "W_D": DEC, "b_D": B_DEC},
            "activation_function.log_jumprelu_threshold": THRESHOLD.log(),
        },
    ),
    openmoss("TopK", openmoss_forward(top_k), act_fn="topk"),
    openmoss(
        *("TopK by norm", openmoss_forward(top_k, NORMS, NORMS)), act_fn="topk", sparsity_include_decoder_norm=True
    ),
    openmoss(
        *("2025, linear layers (Llama Scope R1 distilled)", openmoss_forward(above)),
        act_fn="jumprelu",
        state={**PAIR, "log_jumprelu_threshold": THRESHOLD.log()},
    ),
    openmoss("BatchTopK", refused="Turn it into jumprelu", act_fn="batchtopk"),
    openmoss("cross-layer transcoder", refused="sae_type = 'clt' is not supported", sae_type="clt"),
    Published(
        *("Llama Scope", "JumpReLU", "`hyperparams.json`, `checkpoints/final.safetensors`"),
        llama_scope(act_fn="jumprelu"),
        llama_scope_forward,
    ),
    Published(
        *("Llama Scope", "TopK with `jump_relu_threshold`", "`hyperparams.json`, `checkpoints/final.safetensors`"),
        llama_scope(act_fn="topk"),
        llama_scope_forward,
    ),
]

# --------------------------------------------------------------------------------------------- one state dict in a file

E2E = {"encoder.0.weight": ENC, "encoder.0.bias": B_ENC, "decoder.weight": DEC.T, "decoder.bias": B_DEC}
SITES = ("blocks-3-hook_resid_pre", "blocks-6-hook_resid_pre")


def e2e(x: Tensor) -> tuple[Tensor, Tensor]:
    codes = pre(x).relu()
    return codes, codes @ (DEC / NORMS.unsqueeze(1)) + B_DEC


def dunefsky(x: Tensor) -> tuple[Tensor, Tensor]:
    codes = pre(x, MEAN).relu()
    return codes, codes @ DEC + B_DEC


QWEN = {"W_enc": ENC, "b_enc": B_ENC, "W_dec": DEC.T, "b_dec": B_DEC}
TRANSCODER = {"W_enc": ENC.T, "b_enc": B_ENC, "W_dec": DEC, "b_dec": MEAN, "b_dec_out": B_DEC}
MLSAE = {"encoder.weight": ENC, "decoder.weight": DEC.T, "pre_encoder_bias": B_DEC, "last_nonzero": torch.zeros(M)}
DICTIONARY = {"n_inputs": D, "n_latents": M, "k": K, "layers": [0, 1], "standardize": True, "lens": False}


def mlsae(x: Tensor) -> tuple[Tensor, Tensor]:
    codes = top_k((x - B_DEC) @ ENC.T)
    return codes, codes @ DEC + B_DEC


SINGLE = [
    Published(
        *("Goodfire", "Llama 3.1 8B and 3.3 70B", "`*.pth`, `*.pt`"),
        written(
            "Llama-3.1-8B-Instruct-SAE-l19.pth",
            {
                **{"encoder_linear.weight": ENC, "encoder_linear.bias": B_ENC},
                **{"decoder_linear.weight": DEC.T, "decoder_linear.bias": B_DEC},
            },
        ),
        plain,
    ),
    Published(*("qresearch", "DeepSeek-R1-Distill-Llama-8B", "`*.pt`"), written("sae-l19.pt", PAIR), plain),
    Published(
        *("Apollo e2e_sae", "one site", "`*.pt`"),
        written("samples_400000.pt", {f"saes.{SITES[0]}.{name}": value for name, value in E2E.items()}),
        e2e,
    ),
    Published(
        *("Apollo e2e_sae", "several sites", "`*.pt`"),
        written("samples_400000.pt", {f"saes.{site}.{name}": one for site in SITES for name, one in E2E.items()}),
        refused="holds 2 dictionaries",
    ),
    Published(
        *("Qwen Scope", "TopK", "`SAE-Res-…-L0_K/layerN.sae.pt`"),
        written("SAE-Res-Qwen3-1.7B-Base-W32K-L0_3/layer0.sae.pt", QWEN, load="SAE-Res-Qwen3-1.7B-Base-W32K-L0_3"),
        lambda x: plain(x, top_k),
    ),
    Published(
        *("Qwen Scope", "TopK, in a folder of another name", "`layerN.sae.pt`"),
        written("layer0.sae.pt", QWEN),
        refused="says k in the repository's name alone",
    ),
    Published(
        *("transcoder_circuits (Dunefsky)", "state dict alone", "`*.pt`"), written("tc.pt", TRANSCODER), dunefsky
    ),
    Published(
        *("transcoder_circuits (Dunefsky)", "as published, with its configuration object", "`*.pt`"),
        written("tc.pt", {"cfg": Unknown(), "state_dict": TRANSCODER}),
        refused="code from a file is never run",
    ),
    Published(
        *("MLSAE", "TopK over all layers", "`model.safetensors`, `config.json`"),
        written("model.safetensors", MLSAE, {"config.json": DICTIONARY}),
        layer_normed(mlsae),
    ),
    Published(
        *("MLSAE", "with a lens for each layer", "`model.safetensors`, `config.json`"),
        written("model.safetensors", MLSAE, {"config.json": {**DICTIONARY, "lens": True}}),
        refused="lens is not read",
    ),
    Published(
        *("ViT-Prisma", "ReLU, layer norm", "`weights.pt`, `config.json`"),
        written(
            "weights.pt",
            W_NAMES,
            {
                "config.json": {
                    "d_in": D,
                    "d_sae": M,
                    "activation_fn_str": "relu",
                    "normalize_activations": "layer_norm",
                }
            },
        ),
        layer_normed(centred),
    ),
    Published(
        *("ViT-Prisma", "TopK", "`weights.pt`, `config.json`"),
        written(
            "weights.pt",
            {"state_dict": W_NAMES},
            {
                "config.json": {
                    **{"d_in": D, "d_sae": M, "architecture": "standard"},
                    **{"activation_fn_str": "topk", "activation_fn_kwargs": {"k": K}},
                }
            },
        ),
        lambda x: centred(x, top_k),
    ),
    Published(
        *("any", "W_enc and W_dec in a .pt file, nothing else", "`*.pt`"),
        written("sae.pt", W_NAMES),
        refused="no dictionary whose layout monosema knows",
    ),
    Published(
        *("temporalSAEs (canrager)", "temporal", "`conf.yaml`, `latest_ckpt.safetensors`"),
        written("latest_ckpt.safetensors", {"D": DEC, "E": ENC.T, "b": B_DEC}, {"conf.yaml": "sae: {}"}),
        refused="reads earlier positions too",
    ),
]

# ------------------------------------------------------------------------------------ Nanda and heirs, circuit-tracer

SIZES = {"act_size": D, "dict_size": M, "top_k": K, "hook_point": HOOK, "model_name": "gpt2-small"}
NO_BIAS = {**W_NAMES, "b_enc": torch.zeros(M)}


def unbiased(x: Tensor, act: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    codes = act(((x - B_DEC) @ ENC.T).relu())
    return codes, codes @ DEC + B_DEC


def act_size(library: str, what: str, state: dict[str, Any], forward: Forward | None = None, **said: Any) -> Published:
    refused = said.pop("refused", "")
    name, config = said.pop("files", ("sae.pt", "config.json"))
    write = written(name, state, {config: {**SIZES, **said}}, name)
    return Published(library, what, f"`{name}`, `{config}`", write, forward, refused)


ACT_SIZE = [
    act_size("Nanda 1L-Sparse-Autoencoder", "ReLU", W_NAMES, centred, files=("25.pt", "25_cfg.json"), dict_mult=8),
    act_size("Kissane and Krzyzanowski", "attention outputs", W_NAMES, centred, files=("gpt2.pt", "gpt2_cfg.json")),
    act_size("Bussmann BatchTopK", "vanilla", W_NAMES, centred, sae_type="vanilla"),
    act_size(
        *("Bussmann BatchTopK", "topk, layer norm", NO_BIAS, layer_normed(lambda x: unbiased(x, top_k))),
        sae_type="topk",
        input_unit_norm=True,
    ),
    act_size(
        *("Bussmann BatchTopK", "jumprelu", {**W_NAMES, "jumprelu.log_threshold": THRESHOLD.log()}),
        lambda x: plain(x, above),
        sae_type="jumprelu",
    ),
    act_size(
        *("Bussmann BatchTopK", "batchtopk with a threshold", {**NO_BIAS, "threshold": torch.tensor(0.9)}),
        lambda x: unbiased(x, lambda z: above(z, 0.9)),
        sae_type="batchtopk",
    ),
    act_size(
        *("Bussmann BatchTopK", "batchtopk as published", NO_BIAS),
        sae_type="batchtopk",
        refused="keeps the largest of a whole batch",
    ),
]
ROWS = {"W_enc": ENC, "b_enc": B_ENC, "W_dec": DEC, "b_dec": B_DEC}
YAML = 'model_name: "Qwen/Qwen3-0.6B"\nfeature_input_hook: mlp.hook_in\nfeature_output_hook: "hook_mlp_out" # out\n'
TRACER = ("`layer_N.safetensors`, `config.yaml`",)


def tracer(what: str, state: dict[str, Any], forward: Forward, yaml: str = YAML) -> Published:
    write = written("layer_3.safetensors", state, {"config.yaml": yaml}, "layer_3.safetensors")
    return Published("circuit-tracer", what, *TRACER, write, forward)


CIRCUIT_TRACER = [
    tracer("ReLU", ROWS, plain),
    tracer("ReLU with a skip connection", {**ROWS, "W_skip": SKIP}, with_skip(plain)),
    tracer("JumpReLU", {**ROWS, "activation_function.threshold": THRESHOLD}, lambda x: plain(x, above)),
    tracer("TopK", ROWS, lambda x: plain(x, top_k), YAML + f"activation: topk\nk: {K}\n"),
    Published(
        *("circuit-tracer", "a folder of all layers", *TRACER),
        written("layer_0.safetensors", ROWS, {"layer_1.safetensors": ROWS}),
        refused="holds transcoders of 2 layers",
    ),
    Published(
        *("circuit-tracer", "cross-layer transcoder", "`W_enc_N.safetensors`, `W_dec_N.safetensors`"),
        written("W_enc_0.safetensors", {"W_enc_0": ENC}, {"W_dec_0.safetensors": {"W_dec_0": DEC}}),
        refused="holds a cross-layer transcoder",
    ),
]

ALL = [
    *(*SAELENS, *DICTIONARY_LEARNING, *SPARSIFY, *OPENAI, *GEMMA, *OPENMOSS, *SINGLE, *ACT_SIZE, *CIRCUIT_TRACER),
]


def table() -> str:
    """The table of docs/formats.md."""
    lines = ["| library | written as | files | here |", "|---|---|---|---|"]
    for case in ALL:
        here = f"refused: {case.refused}" if case.refused else "equal"
        lines.append(f"| {case.library} | {case.what} | {case.files} | {here} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
