"""Run by sparsify's Python: reads ours, writes its own, and leaves what it computed beside them."""

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from sparsify import SparseCoder, SparseCoderConfig

D, M, K = 16, 64, 5
FOLDER = Path(sys.argv[1])
X = load_file(FOLDER / "rows.safetensors")["x"]


@torch.no_grad()
def leave(coder: SparseCoder, path: str) -> None:
    encoded = coder.encode(X)
    codes = torch.zeros(len(X), M).scatter(1, encoded.top_indices, encoded.top_acts)
    save_file({"codes": codes, "out": coder(X).sae_out.contiguous()}, FOLDER / f"{path}.safetensors")


for saved in sorted((FOLDER / "ours").iterdir()):
    leave(SparseCoder.load_from_disk(saved), f"ours/{saved.name}")

KINDS = {
    "topk": {},
    "topk, skip": {"skip_connection": True},
    "transcoder": {"transcode": True},
    "skip transcoder": {"transcode": True, "skip_connection": True},
    "by expansion": {"num_latents": 0, "expansion_factor": 4},
}
for name, settings in KINDS.items():
    coder = SparseCoder(D, SparseCoderConfig(**{"num_latents": M, "k": K, **settings}))
    torch.manual_seed(3)
    with torch.no_grad():
        coder.encoder.bias.normal_(std=0.3)
        coder.b_dec.normal_()
        coder.W_dec.normal_()
        if coder.W_skip is not None:
            coder.W_skip.normal_(std=0.2)
    coder.save_to_disk(FOLDER / "theirs" / name)
    leave(SparseCoder.load_from_disk(FOLDER / "theirs" / name), f"theirs/{name}")
