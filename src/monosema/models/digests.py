"""Short names for what a model is, by content."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor

from monosema.core import digest, sha256_file


def files_digest(folder: Path) -> str:
    """Hash of the configuration, the tokenizer and the weights in a model's directory, names of files included.

    Of a model that is one file, the hash of that file, whatever it is called.
    """
    if folder.is_file():
        return digest({"file": sha256_file(folder)})
    files = [folder / "config.json", folder / "tokenizer.json", *sorted(folder.glob("*.safetensors"))]
    return digest({file.name: sha256_file(file) for file in files if file.exists()})


def bytes_digest(tensor: Tensor) -> str:
    """Hash of a tensor's content, type and shape."""
    flat = tensor.detach().cpu().contiguous().flatten()
    content = hashlib.sha256(flat.view(torch.uint8).numpy().tobytes()).hexdigest() if flat.numel() else ""
    return f"{tensor.dtype}{tuple(tensor.shape)}{content}"
