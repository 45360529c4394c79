"""Writing that can't leave half a file, and checksums that find a damaged one."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from monosema.core.errors import DamagedFileError, DiskFullError, FormatError


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; when the block ends well, it becomes `path` in one rename.

    After an exception, or a kill, `path` is what it was before. Raises DiskFullError where there is no room.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = _new_file_mode(temporary)
        yield temporary
        temporary.chmod(mode)  # Some writers, safetensors among them, make files that their owner alone can read.
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except Exception as error:
        if is_disk_full(error):
            raise DiskFullError(
                f"No room left on the disk while writing {path}. What was finished before is intact: "
                "make room and run the same command again."
            ) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(path: str | Path) -> None:
    """Check that a file can be made at `path`, before long work for it; make its folder. Raises OSError."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _new_file_mode(path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp"))


def _new_file_mode(unused: Path) -> int:
    """Return the mode of an ordinary new file, by a trial: asking for the umask would change it for other threads."""
    unused.touch()
    mode = unused.stat().st_mode
    unused.unlink()
    return mode


def is_disk_full(error: BaseException) -> bool:
    """Return True if the error says that there is no room; safetensors wraps the system's in a class of its own."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return True
    text = str(error)
    return "No space left on device" in text or "os error 28" in text or "File too large" in text


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON for people and programs alike, atomically. NaN and infinity are refused with ValueError."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_json(path: str | Path) -> Any:
    """Read a JSON file. Raises FormatError when there is none, DamagedFileError when it isn't JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FormatError(f"There is no file {path}.") from None
    except (ValueError, RecursionError) as error:
        said = f"{type(error).__name__}: {error}" if isinstance(error, RecursionError) else error
        raise DamagedFileError(
            f"{path} is not valid JSON ({said}). Fetch or copy it again; of a file that "
            "monosema made, remove it and run the command again."
        ) from None


def checksum_file(path: str | Path) -> str:
    """Hexadecimal XXH3-128 of a file's content: finds damage, at the speed of memory, but is no proof of origin.

    For the large files that long work writes, where SHA-256 would take time from the model.
    """
    import xxhash

    with open(path, "rb") as file:
        return hashlib.file_digest(file, xxhash.xxh3_128).hexdigest()


def sha256_file(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(value: Any) -> str:
    """A short stable name (16 hexadecimal digits) for a value that JSON can hold."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
