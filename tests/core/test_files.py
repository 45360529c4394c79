import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monosema.core import (
    DamagedFileError,
    DiskFullError,
    FormatError,
    atomic_path,
    check_writable,
    checksum_file,
    digest,
    read_json,
    sha256_file,
    write_json,
)


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert read_json(path) == {"a": 1}
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_killed_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    script = (
        "import sys, os, signal\n"
        "from monosema.core import atomic_path\n"
        "with atomic_path(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert read_json(path) == {"a": 1}


def test_what_is_written_is_as_readable_as_any_new_file(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with atomic_path(tmp_path / "weights") as temporary:
            os.close(os.open(temporary, os.O_CREAT, 0o600))
    finally:
        os.umask(before)
    assert (tmp_path / "weights").stat().st_mode & 0o777 == 0o640


def test_a_full_disk_is_said_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(DiskFullError, match=r"make room"), atomic_path(path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert read_json(path) == {"a": 1}


def test_json_that_is_not_json(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": 1')
    with pytest.raises(DamagedFileError, match=r"a\.json"):
        read_json(path)
    with pytest.raises(FormatError, match="no file"):
        read_json(tmp_path / "b.json")
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, float("nan"))


def test_checksum_tells_files_apart(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"")
    assert checksum_file(path) == "99aa06d3014798d86001c324468d497f", "XXH3-128 of nothing, by its specification"
    path.write_bytes(b"abc" * 100_000)
    whole = checksum_file(path)
    path.write_bytes(b"abc" * 99_999 + b"abd")
    assert checksum_file(path) != whole


def test_checksum_is_sha256(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    assert sha256_file(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@given(st.dictionaries(st.text(), st.integers() | st.text()))
def test_digest_does_not_depend_on_order(values: dict[str, int | str]) -> None:
    assert digest(values) == digest(dict(reversed(values.items())))
    assert digest(values) != digest({**values, "one more": 1})


def test_a_place_is_checked_without_leaving_a_trace(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("old", encoding="utf-8")
    check_writable(kept)
    assert [one.read_text(encoding="utf-8") for one in tmp_path.iterdir()] == ["old"]
    with pytest.raises(NotADirectoryError):
        check_writable("/dev/null/x/file")
    with pytest.raises(FileNotFoundError):
        check_writable("/proc/file")
