"""Run by dictionary_learning's Python: reads ours, writes its own, and leaves what it computed beside them."""

import json
import sys
from pathlib import Path

import torch
from dictionary_learning.dictionary import AutoEncoder, AutoEncoderNew, GatedAutoEncoder, JumpReluAutoEncoder
from dictionary_learning.trainers.batch_top_k import BatchTopKSAE
from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKSAE
from dictionary_learning.trainers.top_k import AutoEncoderTopK
from safetensors.torch import load_file, save_file

D, M, K = 16, 64, 5
FOLDER = Path(sys.argv[1])
X = load_file(FOLDER / "rows.safetensors")["x"]

CLASSES = {
    kind.__name__: kind
    for kind in (
        AutoEncoder,
        AutoEncoderNew,
        GatedAutoEncoder,
        JumpReluAutoEncoder,
        AutoEncoderTopK,
        BatchTopKSAE,
        MatryoshkaBatchTopKSAE,
    )
}


@torch.no_grad()
def leave(path: str) -> str:
    trainer = json.loads((FOLDER / path / "config.json").read_text())["trainer"]
    coder = CLASSES[trainer["dict_class"]].from_pretrained(FOLDER / path / "ae.pt")
    codes, out = coder.encode(X), coder(X)
    save_file({"codes": codes.contiguous(), "out": out.contiguous()}, FOLDER / f"{path}.safetensors")
    return type(coder).__name__


for saved in sorted((FOLDER / "ours").iterdir()):
    (saved / "class").write_text(leave(f"ours/{saved.name}"))

CODERS = [
    AutoEncoder(D, M),
    AutoEncoderNew(D, M),
    GatedAutoEncoder(D, M),
    JumpReluAutoEncoder(D, M),
    AutoEncoderTopK(D, M, K),
    BatchTopKSAE(D, M, K),
    MatryoshkaBatchTopKSAE(D, M, K, [16, 16, 32]),
]
for coder in CODERS:
    torch.manual_seed(3)
    with torch.no_grad():
        for name, tensor in [*coder.named_parameters(), *coder.named_buffers()]:
            if name == "threshold":
                tensor.fill_(0.6) if tensor.dim() == 0 else tensor.uniform_(0.1, 2.0)
            elif "bias" in name or name in ("b_enc", "b_dec", "r_mag"):
                tensor.normal_(std=0.4)
            elif name in ("decoder.weight", "W_dec"):
                tensor.mul_(1.5)
    name = type(coder).__name__
    folder = FOLDER / "theirs" / name
    folder.mkdir()
    torch.save(coder.state_dict(), folder / "ae.pt")
    trainer = {"dict_class": name, "k": K, "activation_dim": D, "dict_size": M, "layer": 3, "lm_name": "gpt2"}
    trainer["submodule_name"] = "resid_post_layer_3"
    (folder / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": {"ctx_len": 128}}))
    leave(f"theirs/{name}")
