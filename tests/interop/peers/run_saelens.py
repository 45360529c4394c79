"""Run by SAELens' Python: reads ours, writes its own, and leaves what it computed beside them."""

import sys
from pathlib import Path

import torch
from sae_lens import SAE
from sae_lens.saes import (
    BatchTopKTrainingSAE,
    BatchTopKTrainingSAEConfig,
    GatedSAE,
    JumpReLUSAE,
    JumpReLUSkipTranscoder,
    JumpReLUTranscoder,
    MatryoshkaBatchTopKTrainingSAE,
    MatryoshkaBatchTopKTrainingSAEConfig,
    SkipTranscoder,
    StandardSAE,
    TopKSAE,
    Transcoder,
)
from safetensors.torch import load_file, save_file

D, M, K, D_OUT = 16, 64, 5, 12
FOLDER = Path(sys.argv[1])
X = load_file(FOLDER / "rows.safetensors")["x"]


@torch.no_grad()
def leave(sae, path: str) -> None:
    codes = sae.encode(X)
    save_file({"codes": codes.contiguous(), "out": sae(X).contiguous()}, FOLDER / f"{path}.safetensors")


@torch.no_grad()
def fill(sae) -> None:
    torch.manual_seed(3)
    for name, tensor in sae.named_parameters():
        if name in ("threshold", "log_threshold"):
            tensor.uniform_(0.1, 2.0)
        elif name.startswith(("b_", "r_")):
            tensor.normal_(std=0.4)
        elif name == "W_skip":
            tensor.normal_(std=0.2)
        elif name == "W_dec":
            tensor.mul_(torch.rand(M, 1) + 0.5)


for saved in sorted((FOLDER / "ours").iterdir()):
    sae = SAE.load_from_disk(saved)
    leave(sae, f"ours/{saved.name}")
    (saved / "class").write_text(f"{type(sae).__name__} {sae.cfg.metadata.hook_name} {sae.cfg.metadata.model_name}")

SIMPLE = {
    "standard": (StandardSAE, {}),
    "standard, not centred": (StandardSAE, {"apply_b_dec_to_input": False}),
    "standard, layer norm": (StandardSAE, {"normalize_activations": "layer_norm"}),
    "gated": (GatedSAE, {}),
    "gated, not centred": (GatedSAE, {"apply_b_dec_to_input": False}),
    "jumprelu": (JumpReLUSAE, {}),
    "jumprelu, not centred": (JumpReLUSAE, {"apply_b_dec_to_input": False}),
    "jumprelu, rescaled": (JumpReLUSAE, {"normalize_activations": "constant_norm_rescale"}),
    "topk": (TopKSAE, {"k": K}),
    "topk, by norm": (TopKSAE, {"k": K, "rescale_acts_by_decoder_norm": True}),
    "topk, layer norm": (TopKSAE, {"k": K, "normalize_activations": "layer_norm"}),
    "transcoder": (Transcoder, {"d_out": D_OUT, "apply_b_dec_to_input": False}),
    "skip transcoder": (SkipTranscoder, {"d_out": D_OUT, "apply_b_dec_to_input": False}),
    "jumprelu transcoder": (JumpReLUTranscoder, {"d_out": D_OUT, "apply_b_dec_to_input": False}),
    "jumprelu skip transcoder": (JumpReLUSkipTranscoder, {"d_out": D_OUT, "apply_b_dec_to_input": False}),
}
for name, (kind, settings) in SIMPLE.items():
    config = kind.__init__.__annotations__["cfg"]
    sae = kind(config(d_in=D, d_sae=M, **settings))
    fill(sae)
    sae.save_model(FOLDER / "theirs" / name)
    leave(SAE.load_from_disk(FOLDER / "theirs" / name), f"theirs/{name}")

TRAINED = {
    "batch topk": (BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig(d_in=D, d_sae=M, k=K)),
    "matryoshka": (
        MatryoshkaBatchTopKTrainingSAE,
        MatryoshkaBatchTopKTrainingSAEConfig(d_in=D, d_sae=M, k=K, matryoshka_widths=[16, 64]),
    ),
}
for name, (kind, config) in TRAINED.items():
    sae = kind(config)
    fill(sae)
    sae.W_enc.data.mul_(10.0)  # trained ones start with short rows
    sae.topk_threshold.fill_(0.07)
    sae.save_inference_model(FOLDER / "theirs" / name)
    leave(SAE.load_from_disk(FOLDER / "theirs" / name), f"theirs/{name}")
