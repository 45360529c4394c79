"""Safetensors: plain values as metadata, and each direction's vector as a tensor `edit.N`.

Of a file of another origin, every vector is a direction, added once; its site is in the tensor's name, or given.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from monosema.core import FormatError, Site, SiteError, atomic_path
from monosema.models import LanguageModel
from monosema.steering.coordinates import Direction, Head
from monosema.steering.edits import Edit, Steering
from monosema.steering.files.plain import of_values
from monosema.steering.moves import Add
from monosema.steering.spec import Resolve, spec_of

_KEY = "steering"


def read(path: Path, resolve: Resolve | None, site: Site | None) -> Steering:
    """Read a steering, or directions. Raises FormatError for a file that is no safetensors or holds no vectors."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            held = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 – no mapping
    except SafetensorError as error:
        raise FormatError(f"{path} can't be read as safetensors: {error}") from None
    if _KEY not in metadata:
        vectors = {name: tensor for name, tensor in held.items() if tensor.ndim == 1}
        return Steering(Edit(Direction(_site(name, site, path), one, name), Add(1.0)) for name, one in vectors.items())
    spec: dict[str, Any] = json.loads(metadata[_KEY])
    for number, edit in enumerate(spec["edits"]):
        if f"edit.{number}" in held:
            edit["vector"] = held[f"edit.{number}"].float().tolist()
    return of_values(spec, resolve)


def write(path: Path, steering: Steering, model: LanguageModel | None) -> None:
    """Write a steering."""
    from safetensors.torch import save_file

    spec, held = spec_of(steering, whole=True), {}
    for number, edit in enumerate(steering.edits):
        spec["edits"][number].pop("vector", None)
        if isinstance(edit.coordinate, (Direction, Head)):
            held[f"edit.{number}"] = edit.coordinate.vector.cpu().contiguous()
    with atomic_path(path) as temporary:
        save_file(held, temporary, metadata={_KEY: json.dumps(spec), "model": "" if model is None else model.name})


def _site(name: str, site: Site | None, path: Path) -> Site:
    if site is not None:
        return site
    try:
        parsed = Site.parse(name)
    except SiteError:
        parsed = None
    if parsed is None or parsed.layer is None:
        raise FormatError(f"{path} does not say at which site its vector {name!r} is: name the site with it.")
    return parsed
