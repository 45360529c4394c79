"""A GGUF file as it lies on disk: its metadata, and its tensors, which are dequantised when they are asked for.

The layout is that of https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3:

    "GGUF", version, number of tensors, number of keys
    for each key:     its name, its type, its value
    for each tensor:  its name, its dimensions (rows last), its type, its offset
    from the next multiple of general.alignment: the tensors' bytes

The header is read here and not by `gguf.GGUFReader`, which keeps several arrays for every string: over two seconds and
160 megabytes for 49,152 tokens and their merges. Quantised blocks are the library's to decode.
"""

from __future__ import annotations

import functools
import math
import mmap
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from monosema.core import DamagedFileError, FormatError, MissingExtraError, UnsupportedModelError

_MAGIC = b"GGUF"
_SCALARS = ("B", "b", "H", "h", "I", "i", "f", "?", None, None, "Q", "q", "d")
"""struct's letter for each type of value; 8 is a string and 9 an array."""
_STRING, _ARRAY = 8, 9
_ALIGNMENT = 32
_VALUES_AT_ONCE = 2**20


@dataclass(frozen=True)
class StoredTensor:
    """Place of a tensor.

    Attributes:
        shape: its dimensions, rows first.
        kind: how it is quantised, a `gguf.GGMLQuantizationType`.
        start: its first byte in the file.
        row_bytes: how many bytes a row takes.
    """

    shape: tuple[int, ...]
    kind: Any
    start: int
    row_bytes: int

    @property
    def rows(self) -> int:
        """Number of rows, all leading dimensions together."""
        return math.prod(self.shape[:-1])


@dataclass(frozen=True)
class GgufFile:
    """Contents of a GGUF file.

    Attributes:
        path: the file.
        metadata: values by key; an array is a list.
        tensors: where each tensor is.
    """

    path: Path
    metadata: Mapping[str, Any]
    tensors: Mapping[str, StoredTensor]

    @property
    def architecture(self) -> str:
        """The kind of model, in llama.cpp's words."""
        return str(self.metadata.get("general.architecture", "unknown"))

    @property
    def precision(self) -> str:
        """Type of most of its values: F32, BF16, Q4_1, …"""
        sizes: Counter[str] = Counter()
        for tensor in self.tensors.values():
            sizes[tensor.kind.name] += math.prod(tensor.shape)
        return sizes.most_common(1)[0][0] if sizes else "F32"

    def tensor(self, name: str, dtype: torch.dtype) -> Tensor:
        """A tensor's values. Only a million of them are in float32 at a time.

        Raises UnsupportedModelError for a quantisation that the library can't decode.
        """
        from gguf.quants import dequantize

        stored = self.tensors[name]
        shape = (stored.rows, stored.row_bytes)
        blocks = np.memmap(self.path, dtype=np.uint8, mode="r", offset=stored.start, shape=shape)
        values = torch.empty(stored.rows, stored.shape[-1], dtype=dtype)
        step = max(1, _VALUES_AT_ONCE // stored.shape[-1])
        try:
            for begin in range(0, stored.rows, step):
                part = dequantize(np.array(blocks[begin : begin + step]), stored.kind)
                values[begin : begin + step] = torch.from_numpy(part)
        except NotImplementedError:
            raise UnsupportedModelError(
                f"{name} in {self.path} is stored as {stored.kind.name}, which the gguf library can't decode. Take a "
                "file of another quantisation."
            ) from None
        return values.view(stored.shape)


def open_gguf(path: Path) -> GgufFile:
    """Read a file's header.

    Raises:
        MissingExtraError: the gguf library is not installed.
        FormatError: it is no GGUF file, or one of several parts.
        UnsupportedModelError: a version, or a quantisation, that is not known.
        DamagedFileError: it ends too early, or its header makes no sense.
    """
    try:
        import gguf  # noqa: F401
    except ImportError:
        raise MissingExtraError("gguf", "gguf") from None
    stat = path.stat()
    return _open(path, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=2)
def _open(path: Path, size: int, changed: int) -> GgufFile:
    """The header of a file of this size and age: a run asks for it several times."""
    if size < 24:
        with path.open("rb") as file:
            _check_begin(path, file.read(len(_MAGIC)))
        raise DamagedFileError(f"{path} ends too early: it has {size} bytes. Fetch it again.")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        _check_magic(path, content)
        try:
            read = _Header(content)
            found = GgufFile(path, read.metadata, read.tensors())
        except (struct.error, ValueError, OverflowError, MemoryError) as error:
            raise DamagedFileError(f"{path} is damaged or ends too early ({error}). Fetch it again.") from None
        except KeyError as error:
            raise UnsupportedModelError(f"{path} holds a tensor whose type {error} the gguf library lacks.") from None
    if int(found.metadata.get("split.count", 1)) > 1:
        raise FormatError(
            f"{path} is one of {found.metadata['split.count']} parts. Join them with llama.cpp's "
            "llama-gguf-split --merge, and load the whole."
        )
    for name, tensor in found.tensors.items():
        end = tensor.start + tensor.rows * tensor.row_bytes
        if end > size:
            raise DamagedFileError(
                f"{path} ends too early: {name} would reach to byte {end:,} of {size:,}. Fetch it again."
            )
    return found


def _check_begin(path: Path, begin: bytes) -> None:
    if not _MAGIC.startswith(begin):
        raise FormatError(f"{path} is no GGUF file: it begins with {begin!r}, not with {_MAGIC!r}.")


def _check_magic(path: Path, content: mmap.mmap) -> None:
    _check_begin(path, content[: len(_MAGIC)])
    version = struct.unpack_from("<I", content, 4)[0]
    if version not in (2, 3):
        big = version > 0xFFFF
        raise UnsupportedModelError(
            f"{path} is a GGUF file {'for big-endian machines' if big else f'of version {version}'}; versions 2 and 3 "
            "are read, little-endian. Convert it with llama.cpp's gguf_convert_endian or quantise the model again."
        )


class _Header:
    """A cursor in the header."""

    def __init__(self, content: mmap.mmap) -> None:
        self.content, self.place = content, 8
        self.n_tensors = self.number("Q")
        self.metadata: dict[str, Any] = {}
        for _ in range(self.number("Q")):
            key = self.text()
            self.metadata[key] = self.value(self.number("I"))

    def number(self, letter: str) -> Any:
        value = struct.unpack_from(f"<{letter}", self.content, self.place)[0]
        self.place += struct.calcsize(f"<{letter}")
        return value

    def bytes(self, length: int) -> bytes:
        if self.place + length > len(self.content):
            raise ValueError(f"{length:,} bytes are wanted at byte {self.place:,} of {len(self.content):,}")
        self.place += length
        return self.content[self.place - length : self.place]

    def text(self) -> str:
        return self.bytes(self.number("Q")).decode("utf-8", errors="replace")

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY:
            return self.array(self.number("I"), self.number("Q"))
        return self.number(_letter(kind))

    def array(self, kind: int, length: int) -> list[Any]:
        if kind == _STRING:
            return self.texts(length)
        letter = _letter(kind)
        return list(struct.unpack(f"<{length}{letter}", self.bytes(length * struct.calcsize(f"<{letter}"))))

    def texts(self, length: int) -> list[str]:
        # Vocabularies and merges: hundreds of thousands, for which calls of `text` would take most of the time.
        content, place, end = self.content, self.place, len(self.content)
        size_at = struct.Struct("<Q").unpack_from
        found = []
        for _ in range(length):
            begin = place + 8
            place = begin + size_at(content, place)[0]
            if place > end:
                raise ValueError(f"a string would reach to byte {place:,} of {end:,}")
            found.append(content[begin:place].decode("utf-8", errors="replace"))
        self.place = place
        return found

    def tensors(self) -> dict[str, StoredTensor]:
        from gguf import GGMLQuantizationType
        from gguf.quants import quant_shape_to_byte_shape

        found = []
        for _ in range(self.n_tensors):
            name, n_dims = self.text(), self.number("I")
            if not 1 <= n_dims <= 4:
                raise ValueError(f"{name!r} has {n_dims} dimensions")
            shape = tuple(self.number("Q") for _ in range(n_dims))[::-1]
            kind, offset = self.number("I"), self.number("Q")
            if kind not in set(GGMLQuantizationType):
                raise KeyError(kind)
            found.append((name, shape, GGMLQuantizationType(kind), offset))
        alignment = self.metadata.get("general.alignment", _ALIGNMENT)
        if not isinstance(alignment, int) or alignment < 1:
            raise ValueError(f"general.alignment is {alignment!r}")
        data = -(-self.place // alignment) * alignment
        return {
            name: StoredTensor(shape, kind, data + offset, quant_shape_to_byte_shape(shape, kind)[-1])
            for name, shape, kind, offset in found
        }


def _letter(kind: int) -> str:
    letter = _SCALARS[kind] if kind < len(_SCALARS) else None
    if letter is None:
        raise ValueError(f"there is no type {kind} of values")
    return letter
