"""The number of threads that torch computes with on a CPU."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from tl_toolkit.system.cores import limited_to, usable_cores
from tl_toolkit.text import plural

VARIABLE = "OMP_NUM_THREADS"
"""Read by torch's OpenMP when it is imported."""

PROCESSES = "LOCAL_WORLD_SIZE"
"""Set by torchrun: the number of processes that share this machine."""


@dataclass(frozen=True, slots=True)
class Threads:
    """A number of threads, and the reason for it."""

    count: int
    reason: str

    def __str__(self) -> str:
        return plural(self.count, "thread")


def choose_threads(requested: int | None, previous: int | None = None) -> Threads:
    """Return the requested number of threads, else OMP_NUM_THREADS, else the previous number, else all usable cores.

    The default never exceeds torch's own number, which is that of the physical cores.

    Args:
        requested: The number that the user set.
        previous: The number that a resumed run had before: with another one its sums round differently.
    """
    own = torch.get_num_threads()
    if requested:
        return Threads(requested, "as asked")
    if VARIABLE in os.environ:
        return Threads(own, VARIABLE)
    if previous:
        return Threads(previous, "as the run had before")
    usable = max(1, usable_cores() // _processes())
    if own < usable:
        return Threads(own, "torch's own number")
    return Threads(usable, "all usable cores")


def _processes() -> int:
    text = os.environ.get(PROCESSES, "1")
    return max(1, int(text)) if text.isdecimal() else 1


@contextlib.contextmanager
def torch_threads(requested: int | None, previous: int | None = None) -> Iterator[Threads]:
    """Within the block, torch computes with the chosen threads, and decoding uses no more cores than requested.

    torch starts its threads when it first needs them, and each worker process of a loader computes with one. The
    arguments are those of `choose_threads`, and so is what is yielded.
    """
    chosen, own = choose_threads(requested, previous), torch.get_num_threads()
    try:
        if chosen.count != own:  # Setting a number also keeps MKL from choosing its own.
            torch.set_num_threads(chosen.count)
        shared = max(1, usable_cores() // _processes()) if _processes() > 1 else None
        with limited_to(requested or shared):
            yield chosen
    finally:
        if chosen.count != own:
            torch.set_num_threads(own)
