"""The checksum of a file of tensors that was just written, from what is in memory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor


def checksum_of(tensors: Mapping[str, Tensor], path: Path) -> str:
    """Hexadecimal XXH3-128 of a safetensors file that holds these tensors, without reading them back.

    The header is read from the file: its length in eight bytes, then JSON that says in which order the tensors follow.
    A file that was not written as it should be has another checksum when it is read (`checksum_file`).
    """
    import xxhash

    with open(path, "rb") as file:
        length = file.read(8)
        header = file.read(int.from_bytes(length, "little"))
    state = xxhash.xxh3_128(length + header)
    entries = {name: entry for name, entry in json.loads(header).items() if name in tensors}
    for name in sorted(entries, key=lambda name: entries[name]["data_offsets"]):
        state.update(tensors[name].contiguous().view(torch.uint8).numpy().data)
    return str(state.hexdigest())
