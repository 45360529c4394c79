"""Run by SAELens' Python: reads ours, writes its own, and leaves what it computed beside them."""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from sae_lens import SAE
from sae_lens.config import SAETrainerConfig
from sae_lens.registry import get_sae_training_class
from sae_lens.saes import (
    BatchTopKTrainingSAE,
    BatchTopKTrainingSAEConfig,
    GatedSAE,
    GatedTrainingSAEConfig,
    JumpReLUSAE,
    JumpReLUSkipTranscoder,
    JumpReLUTrainingSAEConfig,
    JumpReLUTranscoder,
    MatryoshkaBatchTopKTrainingSAE,
    MatryoshkaBatchTopKTrainingSAEConfig,
    SkipTranscoder,
    StandardSAE,
    StandardTrainingSAEConfig,
    TopKSAE,
    TopKTrainingSAEConfig,
    Transcoder,
)
from sae_lens.training.sae_trainer import SAETrainer
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


def rows():
    """Rows for training, without end: of a scale and a mean of their own."""
    torch.manual_seed(5)
    mixing = torch.randn(D, D)
    while True:
        yield 3 * torch.randn(100, D) @ mixing + 2


CHECKPOINTS = {
    "standard": StandardTrainingSAEConfig(d_in=D, d_sae=M, l1_coefficient=0.05),
    "gated": GatedTrainingSAEConfig(d_in=D, d_sae=M, l1_coefficient=0.05),
    "jumprelu": JumpReLUTrainingSAEConfig(d_in=D, d_sae=M, l0_coefficient=0.05, apply_b_dec_to_input=False),
    "topk": TopKTrainingSAEConfig(d_in=D, d_sae=M, k=K),
    "topk, without norms": TopKTrainingSAEConfig(d_in=D, d_sae=M, k=K, rescale_acts_by_decoder_norm=False),
    "batch topk": BatchTopKTrainingSAEConfig(d_in=D, d_sae=M, k=4.5),
    "matryoshka": MatryoshkaBatchTopKTrainingSAEConfig(d_in=D, d_sae=M, k=K, matryoshka_widths=[16, 64]),
}
for name, plain in CHECKPOINTS.items():
    for normalisation in ("none", "expected_average_only_in", "covariance_whitening"):
        config = replace(plain, normalize_activations=normalisation)
        kind = get_sae_training_class(config.architecture())[0]
        trainer = SAETrainer(
            SAETrainerConfig(total_training_samples=2000, train_batch_size_samples=100, lr=3e-3, lr_end=1e-3),
            kind(config),
            rows(),
        )
        scaler = trainer.activation_scaler
        if normalisation == "expected_average_only_in":
            scaler.estimate_scaling_factor(D, trainer.data_provider, 5)
        elif normalisation == "covariance_whitening":
            scaler.estimate_whitening(D, trainer.data_provider, 5)
        for _ in range(20):
            trainer.step(next(trainer.data_provider))
        if name in ("standard", "gated"):
            fill(trainer.sae)  # so short a training leaves every latent active
        folder = FOLDER / "theirs" / f"checkpoint, {name}, {normalisation}"
        trainer.save_checkpoint(folder.name, folder.parent)
        # What SAELens does at the end of training.
        if scaler.scaling_factor is not None:
            trainer.sae.fold_activation_norm_scaling_factor(scaler.scaling_factor)
        if scaler.whitening is not None:
            whitening = scaler.whitening
            trainer.sae.fold_activation_whitening(whitening.mean, whitening.matrix, whitening.inverse_matrix)
        trainer.sae.save_inference_model(FOLDER / "ends" / folder.name)
        leave(SAE.load_from_disk(FOLDER / "ends" / folder.name), f"theirs/{folder.name}")
