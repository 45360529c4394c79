"""Reading weights from safetensors, one tensor at a time, and naming what is wrong with them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from monosema.core import DamagedFileError, FormatError, UnsupportedModelError, digest, read_json, sha256_file


@dataclass(frozen=True)
class Source:
    """Origin of one of our parameters in stored tensors.

    Attributes:
        names: the tensors that it is made of.
        make: from these tensors, in that order, to the parameter.
    """

    names: tuple[str, ...]
    make: Callable[..., Tensor]


@dataclass(frozen=True)
class Layout:
    """Layout of a family's weights.

    Attributes:
        sources: for each of our parameters, how it is made.
        prefix: what stands before the names when the file is of the model with its head.
        ignored: endings of tensors that hold nothing to be loaded (masks, frequencies, a tied head).
        aliases: other names that some files use, by the name in the sources.
        instead: what may stand in the prefix's place: nothing in a file of the model without its head.
        others: beginnings of the tensors of other parts, such as those that see images.
    """

    sources: dict[str, Source]
    prefix: str
    ignored: tuple[str, ...]
    aliases: dict[str, str] = field(default_factory=dict)
    instead: tuple[str, ...] = ("",)
    others: tuple[str, ...] = ()


def stored(name: str) -> Source:
    """The tensor as it is."""
    return Source((name,), lambda tensor: tensor)


def transposed(name: str) -> Source:
    """The transpose of a stored matrix."""
    return Source((name,), lambda tensor: tensor.mT)


def concatenated(*names: str) -> Source:
    """Several tensors, one below the other."""
    return Source(names, lambda *tensors: torch.cat(tensors))


WRAPPER = re.compile(r"^module\.|\b_orig_mod\.|\b_fsdp_wrapped_module\.|\b_checkpoint_wrapped_module\.")
"""Prefixes that torch.compile, data parallelism and checkpointing write into the names of modules."""


class WeightFiles:
    """The safetensors files of a model's directory: one, or several with an index (of both, the one).

    Names are those of the model's own modules: what wrappers of training write into them is left out.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
        if whole.exists():
            files = dict.fromkeys(self._names_in(whole), whole)
        elif index.exists():
            files = {str(name): folder / str(file) for name, file in _weight_map(index).items()}
        else:
            other = sorted(path.name for path in folder.glob("*.bin"))
            hint = f" There is {other[0]}, a pickle, which is never loaded: convert it." if other else ""
            raise FormatError(f"There are no weights in {folder}: model.safetensors is missing.{hint}")
        self._files = {WRAPPER.sub("", name): (file, name) for name, file in files.items()}
        for file in self.paths():
            if not file.exists():
                raise DamagedFileError(f"{file} is missing, though {index.name} lists it. Fetch it again.")

    def paths(self) -> list[Path]:
        """The files, in order of their names."""
        return sorted({file for file, _ in self._files.values()})

    def names(self) -> list[str]:
        """Names of all stored tensors."""
        return list(self._files)

    def check(self, layout: Layout | None) -> None:
        """Read the header of each file, and compare the names of tensors with those that a layout asks for.

        Raises:
            DamagedFileError: a file ends too early, or tensors are missing.
            UnsupportedModelError: tensors that the model would ignore.
        """
        for file in self.paths():
            self._names_in(file)
        if layout is not None:
            self._check_names({name: self._resolve(name, layout) for name in _all(layout.sources.values())}, layout)

    def has_own_head(self, layout: Layout) -> bool:
        """Return True if the file has an unembedding, by a layout that asks for one, that is not its embedding."""
        head, embedding = (self._resolve(layout.sources[f"{name}.weight"].names[0], layout) for name in _ENDS)
        if head not in self._files or embedding not in self._files:
            return False
        own, tied = self._tensor(head), self._tensor(embedding)
        return own.dtype != tied.dtype or not torch.equal(own, tied)

    def read(self, layout: Layout, shapes: dict[str, torch.Size], dtype: torch.dtype) -> dict[str, Tensor]:
        """Our parameters, in a precision.

        Raises:
            DamagedFileError: a file ends too early, or tensors are missing.
            UnsupportedModelError: a tensor's shape is not what config.json says, or there are tensors that
                the model would ignore.
        """
        wanted = {name: self._resolve(name, layout) for name in _all(layout.sources.values())}
        self._check_names(wanted, layout)
        state = {}
        for parameter, source in layout.sources.items():
            made = source.make(*(self._tensor(wanted[name]) for name in source.names))
            if made.shape != shapes[parameter]:
                raise UnsupportedModelError(
                    f"{' + '.join(wanted[name] for name in source.names)} in {self.folder} gives the shape "
                    f"{tuple(made.shape)}; by config.json it should be {tuple(shapes[parameter])}."
                )
            state[parameter] = made.to(dtype).contiguous()
        return state

    def _resolve(self, name: str, layout: Layout) -> str:
        """The name that this file uses for a tensor; the expected one where it has none."""
        rest = name.removeprefix(layout.prefix)
        heads = layout.instead if rest != name else ()
        candidates = (name, *(head + rest for head in heads), layout.aliases.get(name, name))
        return next((candidate for candidate in candidates if candidate in self._files), name)

    def _check_names(self, wanted: dict[str, str], layout: Layout) -> None:
        missing = [name for name in wanted.values() if name not in self._files]
        if missing:
            raise DamagedFileError(
                f"{len(missing)} of {len(wanted)} tensors are missing in {self.folder}: {', '.join(missing[:4])}"
                f"{' …' if len(missing) > 4 else ''}. The download may be incomplete."
            )
        unused = set(self._files) - set(wanted.values())
        known = (name for name in unused if name.endswith(layout.ignored) or name.startswith(layout.others))
        extra = sorted(unused.difference(known))
        if extra:
            raise UnsupportedModelError(
                f"{self.folder} holds {len(extra)} tensors that a model of this config.json does not use: "
                f"{', '.join(extra[:4])}{' …' if len(extra) > 4 else ''}. Ignoring them would change what it computes."
            )

    def _tensor(self, name: str) -> Tensor:
        file, inside = self._files[name]
        with self._open(file) as handle:
            try:
                return handle.get_tensor(inside)
            except SafetensorError as error:
                raise DamagedFileError(f"{inside} can't be read from {file} ({error}).") from None

    def _names_in(self, file: Path) -> Iterable[str]:
        with self._open(file) as handle:
            return list(handle.keys())

    @staticmethod
    def _open(file: Path) -> safe_open:
        try:
            return safe_open(str(file), framework="pt")
        except (SafetensorError, OSError) as error:
            raise DamagedFileError(
                f"{file} is damaged or ends too early ({error}). It has {file.stat().st_size:,} bytes; fetch it again."
            ) from None


_ENDS = ("unembedding", "embed")


def _all(sources: Iterable[Source]) -> list[str]:
    return [name for source in sources for name in source.names]


def _weight_map(index: Path) -> dict[str, str]:
    content = read_json(index)
    mapping = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(mapping, dict) or not mapping:
        raise DamagedFileError(f"{index} has no weight_map. Fetch it again.")
    return mapping


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
