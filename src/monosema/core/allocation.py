"""Keep the C library from handing large blocks back to the system after each use."""

from __future__ import annotations

import ctypes
import functools
import sys

__all__ = ["give_back_free_memory", "keep_large_blocks"]

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
LARGE = 2**30


@functools.cache
def keep_large_blocks() -> bool:
    """Let freed blocks of up to 1 GiB be used again by this process; whether it took effect.

    A setting of the whole process: for programs, such as the command line, never for a library.
    A training step frees and takes the same matrices again and again. glibc gives each block above 32 MiB at most back
    to the system, which then clears every page anew: measured, that is a tenth of a step. It also keeps a heap for each
    thread, and blocks that one thread frees are lost to the others: measured, a run's memory grew by half a gigabyte in
    sixty steps. So all threads share one heap from here on. Elsewhere this does nothing.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    options = ((M_MMAP_THRESHOLD, LARGE), (M_TRIM_THRESHOLD, LARGE), (M_ARENA_MAX, 1))
    taken = [bool(set_option(option, value)) for option, value in options]
    return all(taken)


def give_back_free_memory() -> None:
    """Hand memory that was freed back to the system now. Does nothing where the C library isn't glibc."""
    if sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
