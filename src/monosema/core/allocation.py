"""Keep the C library from handing blocks back to the system after each use."""

from __future__ import annotations

import ctypes
import functools
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
LARGE = 2**25
"""Largest value that glibc's own threshold grows to."""


@functools.cache
def keep_large_blocks() -> bool:
    """Let freed blocks of up to 32 MiB be used again by this process; whether it took effect.

    A setting of the whole process: for programs, such as the command line, never for a library.

    A training step frees and takes the same matrices again and again. glibc gives large blocks back to the system,
    which then clears every page anew, until it has learnt their size; and it keeps a heap for each thread, so that
    blocks that one thread frees are lost to the others. Here its own ceiling holds from the beginning, and all threads
    share one heap. Larger blocks still go straight back: kept too, they left holes, and a process that built an atlas
    of a large vocabulary grew to 6 GB. Elsewhere this does nothing.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    options = ((M_MMAP_THRESHOLD, LARGE), (M_TRIM_THRESHOLD, 2 * LARGE), (M_ARENA_MAX, 1))
    taken = [bool(set_option(option, value)) for option, value in options]
    return all(taken)


def give_back_free_memory() -> None:
    """Hand memory that was freed back to the system now: Arrow's, and the C library's where it is glibc."""
    if "pyarrow" in sys.modules:
        sys.modules["pyarrow"].default_memory_pool().release_unused()
    if sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
