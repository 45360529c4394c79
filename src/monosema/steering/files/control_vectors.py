"""GGUF control vectors, as llama.cpp's cvector-generator and repeng write them.

    general.architecture = "controlvector"    controlvector.model_hint = the kind of model
    controlvector.layer_count = n             direction.N = f32 vector, added behind block N at every token

llama.cpp has no direction.0: blocks are counted from 0, and the first can't be steered.
"""

from __future__ import annotations

from pathlib import Path

import torch

from monosema.core import ConfigError, FormatError, MissingExtraError, Site, atomic_path
from monosema.models import LanguageModel, Transformer
from monosema.models.gguf_file import open_gguf
from monosema.steering.coordinates import Direction
from monosema.steering.edits import Edit, Steering
from monosema.steering.files.constant import constants
from monosema.steering.moves import Add
from monosema.steering.spec import Resolve
from monosema.steering.where import EVERY_TOKEN

_KIND, _DIRECTION = "controlvector", "direction."


def read(path: Path, resolve: Resolve | None, site: Site | None) -> Steering:
    """Read control vectors: each is added once, at every token. Raises FormatError for a GGUF file of another kind."""
    file = open_gguf(path)
    if file.architecture != _KIND:
        raise FormatError(f"{path} is a GGUF file of a {file.architecture}, not of control vectors.")
    edits = []
    for name in file.tensors:
        number = name.removeprefix(_DIRECTION)
        if not name.startswith(_DIRECTION) or not number.isdecimal():
            raise FormatError(f"{path}: {name!r} is no direction.N of a layer N.")
        vector = file.tensor(name, torch.float32).flatten()
        if bool(vector.any()):
            edits.append(Edit(Direction(Site(int(number), "resid_post"), vector, path.stem), Add(1.0), EVERY_TOKEN))
    return Steering(sorted(edits, key=lambda edit: edit.coordinate.site))


def write(path: Path, steering: Steering, model: LanguageModel | None) -> None:
    """Write constant additions behind blocks. Raises ConfigError for a steering that is anything else."""
    vectors = constants(steering, "A control vector", model)
    for site in vectors:
        if not site.layer:
            raise ConfigError(
                f"A control vector can't be at {site.short}: llama.cpp adds behind blocks 1 and later only."
            )
    try:
        import gguf
    except ImportError:
        raise MissingExtraError("gguf", "gguf") from None
    with atomic_path(path) as temporary:
        writer = gguf.GGUFWriter(temporary, _KIND)
        writer.add_string(f"{_KIND}.model_hint", model.config.family if isinstance(model, Transformer) else "unknown")
        writer.add_uint32(f"{_KIND}.layer_count", len(vectors))
        for site, vector in sorted(vectors.items()):
            writer.add_tensor(f"{_DIRECTION}{site.layer}", vector.numpy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
