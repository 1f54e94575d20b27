"""glibc's malloc, tuned for networks: memory that a layer frees is reused for the next one.

By default glibc returns every large block to the system as soon as it is freed. So the system maps and clears new pages
for the output of each layer, which can take longer than the layer's arithmetic.
"""

import ctypes
import os
import sys

from tl_toolkit.errors import UsageError

VARIABLE = "TL_ALLOCATOR"
TUNED, SYSTEM = "tuned", "system"

M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # in malloc.h
SETTINGS = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1))
"""No block has its own mapping, and the heap is never trimmed. M_MMAP_THRESHOLD would do the same, but glibc before
2.35 accepts at most 32 MiB for it; M_TOP_PAD only adds memory."""


def tune() -> None:
    """Tune malloc for this process and its forks; do nothing without glibc, or with TL_ALLOCATOR=system.

    Results do not depend on it.

    Raises:
        UsageError: TL_ALLOCATOR is neither "tuned" nor "system".
    """
    value = os.environ.get(VARIABLE, TUNED)
    if value not in (TUNED, SYSTEM):
        raise UsageError(f"{VARIABLE} is {value!r}; it can be {TUNED} (the default) or {SYSTEM}.")
    for parameter, number in SETTINGS:
        _set(parameter, number)


def use_one_heap() -> None:
    """Let all threads that start from now on share the main thread's heap; like `tune`, only with glibc.

    For a network that computes in another thread than the main one: the heaps of such threads are small and given back
    whenever one is empty, which `tune` cannot keep. Two threads rarely ask for memory at the same time.
    """
    _set(M_ARENA_MAX, 1)


def _set(parameter: int, number: int) -> None:
    if os.environ.get(VARIABLE) == SYSTEM or sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "gnu_get_libc_version"):  # musl has neither this nor mallopt.
        libc.mallopt(parameter, number)
