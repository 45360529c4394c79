"""Arrays and JSON in one compressed block of text that a browser can open without a library.

A block is ``base64(zlib(head_length:u32 | head:JSON, padded to 8 | arrays, each padded to 8))``; the head names each
array with its type, place and length and carries any JSON beside them. `static/data.js` reads the same form
with DecompressionStream, so what Python's `unpack` gives back is what the page sees.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ALIGN = 8
_TYPES = ("uint8", "uint16", "uint32", "int32", "float32", "float64")
_LEVEL = 9


def pack(arrays: Mapping[str, NDArray[Any]], extra: Any = None, level: int = _LEVEL) -> str:
    """Pack named vectors and one JSON value into text that is safe inside an HTML script element.

    Args:
        arrays: vectors of the types a page can map directly: uint8, uint16, uint32, int32, float32,
            float64.
        extra: anything JSON can hold; not-a-number is refused.
        level: zlib's effort, 1 to 9.

    Raises:
        ValueError: an array of another type or with more than one dimension.
    """
    places: list[tuple[str, str, int, int]] = []
    parts: list[bytes] = []
    at = 0
    for name, array in arrays.items():
        if array.ndim != 1 or array.dtype.name not in _TYPES:
            raise ValueError(
                f"Array {name!r} has {array.ndim} dimensions of type {array.dtype}; want a vector of {_TYPES}."
            )
        raw = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        places.append((name, array.dtype.name, at, array.size))
        padding = -len(raw) % _ALIGN
        parts += [raw, b"\0" * padding]
        at += len(raw) + padding
    head = json.dumps({"arrays": places, "extra": extra}, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    head_bytes = head.encode("utf-8", "replace")
    head_bytes += b" " * (-(len(head_bytes) + 4) % _ALIGN)
    block = len(head_bytes).to_bytes(4, "little") + head_bytes + b"".join(parts)
    return base64.b64encode(zlib.compress(block, level)).decode("ascii")


def unpack(text: str) -> tuple[dict[str, NDArray[Any]], Any]:
    """Read a block of `pack` back: its arrays by name, and its JSON value."""
    block = zlib.decompress(base64.b64decode(text))
    length = int.from_bytes(block[:4], "little")
    head = json.loads(block[4 : 4 + length])
    start = 4 + length
    arrays = {
        name: np.frombuffer(block, dtype=np.dtype(kind).newbyteorder("<"), count=count, offset=start + at)
        for name, kind, at, count in head["arrays"]
    }
    return arrays, head["extra"]


def smallest_uint(values: NDArray[Any]) -> NDArray[Any]:
    """The same whole numbers in the smallest unsigned type that holds them. Raises ValueError for a negative one."""
    if values.size and int(values.min()) < 0:
        raise ValueError(f"Negative value {int(values.min())} in an unsigned column.")
    top = int(values.max()) if values.size else 0
    kind = np.uint8 if top < 2**8 else np.uint16 if top < 2**16 else np.uint32
    return values.astype(kind)


def script_json(value: Any) -> str:
    """JSON that cannot end the script element it stands in, nor open a comment in it."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
