"""Reading what others wrote: every way it can be wrong is an error that names the file and the part.

Nothing in a file is ever run: safetensors and NumPy arrays hold none, and a pickle is read with ``weights_only=True``.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monosema.core import DamagedFileError, FormatError, Site, SiteError, atomic_path, read_json
from monosema.dictionaries.protocol import Metadata

MOST_TENSORS = 100
"""A dictionary has a dozen; a model's file is told by its number, before gigabytes are read."""
Shape = tuple[int | None, ...]
"""Expected shape of a tensor; None stands for any length."""


def file_in(path: Path, *names: str) -> Path | None:
    """The first of the named files that is in the folder, or the file that was given, if it has one of the names."""
    folder = path.parent if path.is_file() else path
    return next((folder / name for name in names if (folder / name).is_file()), None)


def only_file(path: Path, suffixes: tuple[str, ...]) -> Path | None:
    """The file that was given, or the only one of its kind in the folder; None where it is of another kind."""
    if path.is_file():
        return path if path.suffix in suffixes else None
    files = [entry for entry in path.iterdir() if entry.suffix in suffixes and entry.is_file()]
    return files[0] if len(files) == 1 else None


def shortly(value: Any) -> str:
    """A value from a file as a message can show it; containers only by their kind, which may be of any depth."""
    if isinstance(value, (str, int, float, bool)) or value is None:
        try:
            text = repr(value)
        except ValueError:
            return "a number of very many digits"
        return text if len(text) <= 60 else text[:57] + "…"
    return f"a {type(value).__name__}"


def read_config(path: Path) -> dict[str, Any]:
    """A JSON object."""
    config = read_json(path)
    if not isinstance(config, dict):
        raise FormatError(f"{path} must hold a JSON object, but holds {shortly(config)}.")
    return config


def positive(config: dict[str, Any], key: str, path: Path) -> int:
    """A whole number above 0."""
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 2**40:
        said = "is missing" if value is None else f"= {shortly(value)} is not a positive whole number"
        raise FormatError(f"{path}: {key} {said}. This dictionary needs it.")
    return value


def number(config: dict[str, Any], key: str, path: Path) -> float:
    """A finite number above 0."""
    value = config.get(key)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value < 1e30:
        said = "is missing" if value is None else f"= {shortly(value)} is not a positive number"
        raise FormatError(f"{path}: {key} {said}. This dictionary needs it.")
    return float(value)


def flag(config: dict[str, Any], key: str, default: bool, path: Path) -> bool:
    """True or false."""
    value = config.get(key, default)
    if not isinstance(value, bool):
        raise FormatError(f"{path}: {key} = {shortly(value)} must be true or false.")
    return value


def choice(config: dict[str, Any], key: str, default: str, known: Collection[str], path: Path) -> str:
    """One of the values that are known."""
    said = config.get(key, default)
    if not isinstance(said, str) or said not in known:
        verb = "is" if len(known) == 1 else "are"
        raise FormatError(f"{path}: {key} = {shortly(said)} is not supported; {', '.join(known)} {verb}.")
    return said


def own_in(config: dict[str, Any]) -> dict[str, Any]:
    """Entries that monosema wrote into the configuration of another library, which passes over them."""
    own = config.get("monosema")
    return own if isinstance(own, dict) else {}


def metadata_of(model: Any, site: Site | None, out: Site | None = None, **more: Any) -> Metadata:
    """Metadata of what a configuration says; `out` is the site that a transcoder writes."""
    extra = {"hook_name_out": str(out)} if out else {}
    return Metadata(model=model if isinstance(model, str) else None, site=site, extra=extra, **more)


def site_of(name: Any) -> Site | None:
    """The site of a name, or None where it is none."""
    try:
        return Site.parse(name) if isinstance(name, str) and name else None
    except SiteError:
        return None


_INNER = ("state_dict", "model_state_dict", "sae_state_dict", "model")
_HOLDERS = frozenset({"module", "model", "sae", "ae", "autoencoder", "dictionary", "coder", "transcoder", "net"})


def unwrapped(state: dict[str, Any]) -> dict[str, Any]:
    """A state dict under the dictionary's own names.

    Taken out of a checkpoint that keeps it beside other things, which stay where their names are free; without what
    torch.compile (``_orig_mod.``), DataParallel (``module.``) and an attribute that held the dictionary (``sae.``, …)
    put before every name.
    """
    for _ in range(3):
        inner = next((name for name in _INNER if _holds_tensors(state.get(name))), None)
        if inner is None:
            break
        state = {**{name: value for name, value in state.items() if name != inner}, **state[inner]}
    state = {".".join(part for part in name.split(".") if part != "_orig_mod"): one for name, one in state.items()}
    while True:
        tensors = [name for name, value in state.items() if isinstance(value, Tensor)]
        holders = {name.partition(".")[0] for name in tensors}
        if len(holders) != 1 or not holders <= _HOLDERS or not all("." in name for name in tensors):
            return state
        state = {name.partition(".")[2] if name in tensors else name: value for name, value in state.items()}


def _holds_tensors(value: Any) -> bool:
    return isinstance(value, dict) and any(
        isinstance(name, str) and isinstance(one, Tensor) for name, one in value.items()
    )


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, under their own names (`unwrapped`)."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            if (number := len(file.keys())) > MOST_TENSORS:
                raise FormatError(f"{path} holds {number:,} tensors: a model's, and no dictionary's.")
            return unwrapped({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118 - it is no mapping
    except (SafetensorError, OSError, ValueError, RuntimeError, MemoryError) as error:
        raise DamagedFileError(
            f"{path} can't be read as safetensors ({error}). It may be cut short: copy or train it again."
        ) from None


def read_pickle(path: Path) -> dict[str, Any]:
    """The state dict in a ``.pt`` file, under its own names (`unwrapped`), by the reader that runs nothing."""
    import pickle

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise FormatError(
            f"{path} holds more than tensors and plain values (or is damaged), and code from a file is never run. "
            "If you trust it: load it where it was made, and save its state_dict() alone."
        ) from None
    except Exception as error:  # a damaged archive can end in almost any kind of error
        raise DamagedFileError(f"{path} can't be read ({type(error).__name__}). It may be cut short.") from None
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise FormatError(f"{path} must hold a state dict (names and tensors), but holds {shortly(state)}.")
    return {name: value for name, value in unwrapped(state).items() if isinstance(name, str)}


def read_arrays(path: Path) -> dict[str, Tensor]:
    """All arrays of a ``.npz`` file; such as would need a pickle are refused."""
    import numpy as np

    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(np.ascontiguousarray(arrays[name])) for name in arrays.files}
    except Exception as error:  # a damaged archive can end in almost any kind of error
        raise DamagedFileError(
            f"{path} can't be read as arrays of numbers ({type(error).__name__}). It may be cut short."
        ) from None


def checked(tensors: dict[str, Any], shapes: dict[str, Shape], path: Path) -> dict[str, Tensor]:
    """The named tensors in float32, each of its shape, all values finite; others are left out."""
    missing = [name for name in shapes if name not in tensors]
    if missing:
        present = ", ".join(sorted(tensors)[:20]) or "nothing"
        raise FormatError(f"{path} lacks {', '.join(missing)}; it holds {present}.")
    return {name: _checked(tensors[name], name, shape, path) for name, shape in shapes.items()}


def _checked(tensor: Any, name: str, shape: Shape, path: Path) -> Tensor:
    if not isinstance(tensor, Tensor) or tensor.layout is not torch.strided or tensor.device.type != "cpu":
        raise FormatError(f"{path}: {name} must be a plain tensor, but is {shortly(tensor)}.")
    expected = [length if length is not None else "any" for length in shape]
    fits = tensor.dim() == len(shape) and all(
        want is None or have == want for have, want in zip(tensor.shape, shape, strict=True)
    )
    if not fits or 0 in tensor.shape:
        raise FormatError(f"{path}: {name} has shape {list(tensor.shape)}, but should have {expected}.")
    if tensor.is_complex() or tensor.dtype is torch.bool or tensor.is_quantized:
        raise FormatError(f"{path}: {name} must hold real numbers, but holds {tensor.dtype}.")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise FormatError(f"{path}: {name} claims shape {list(tensor.shape)}, but the file holds fewer values.")
    tensor = tensor.detach().to(torch.float32)
    finite = torch.isfinite(tensor)
    if not finite.all():
        raise DamagedFileError(f"{path}: {name} holds NaN or infinity, in {int((~finite).sum()):,} of its values.")
    return tensor


def write_safetensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write tensors atomically."""
    from safetensors.torch import save_file

    with atomic_path(path) as temporary:
        save_file(
            {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}, str(temporary)
        )


def write_pickle(path: Path, state: dict[str, Any]) -> None:
    """Write a state dict atomically, as ``torch.load(weights_only=True)`` reads it."""
    plain = {
        name: value.detach().cpu().contiguous().clone() if isinstance(value, Tensor) else value
        for name, value in state.items()
    }
    with atomic_path(path) as temporary:
        torch.save(plain, temporary)


def write_arrays(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write arrays atomically as ``.npz``."""
    import numpy as np

    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        arrays: dict[str, Any] = {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in tensors.items()}
        np.savez(file, **arrays)
