"""glibc's malloc, set up for networks: what a layer frees is kept for the next one.

By itself glibc takes every large block from the system and gives it back as soon as it is freed. So the output of
each layer lies in pages that the system maps and clears anew, which can take longer than the layer's arithmetic.
"""

import ctypes
import os
import sys

from tl_toolkit.errors import UsageError

VARIABLE = "TL_ALLOCATOR"
TUNED, SYSTEM = "tuned", "system"

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""mallopt's numbers, in malloc.h."""

KEPT = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1))
"""No block has a mapping of its own, and the heap's free end is never cut off. M_MMAP_THRESHOLD would do the same, but
glibc before 2.35 takes no more than 32 MiB for it; M_TOP_PAD adds nothing but memory."""


def tune() -> None:
    """Sets up malloc for this process and those that it forks; on other systems than glibc's it does nothing.

    The environment variable TL_ALLOCATOR=system leaves malloc alone. What is computed does not depend on it.

    Raises:
        UsageError: TL_ALLOCATOR says something else.
    """
    asked = os.environ.get(VARIABLE, TUNED)
    if asked not in (TUNED, SYSTEM):
        raise UsageError(f"{VARIABLE} is {asked!r}; it can be {TUNED} (the default) or {SYSTEM}.")
    if asked == SYSTEM or sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "gnu_get_libc_version"):  # musl has none, and no mallopt.
        for parameter, value in KEPT:
            libc.mallopt(parameter, value)
