"""How many threads torch computes with on a CPU."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from tl_toolkit.system.cores import limited_to, usable_cores

VARIABLE = "OMP_NUM_THREADS"
"""Read by torch's OpenMP when it is imported."""

PROCESSES = "LOCAL_WORLD_SIZE"
"""Set by torchrun: processes that share this machine."""


@dataclass(frozen=True, slots=True)
class Threads:
    """A number of threads, and why it was chosen."""

    count: int
    reason: str

    def __str__(self) -> str:
        return f"{self.count} thread{'' if self.count == 1 else 's'}"


def choose_threads(asked: int | None, before: int | None = None) -> Threads:
    """What was asked for, else OMP_NUM_THREADS, else what a run had before its break, else all usable cores.

    torch's own number is never exceeded: it is that of the real cores, where a core runs two threads.

    Args:
        asked: By the user.
        before: What a run had that goes on: with another number its sums are rounded differently.
    """
    own = torch.get_num_threads()
    if asked:
        return Threads(asked, "as asked")
    if VARIABLE in os.environ:
        return Threads(own, VARIABLE)
    if before:
        return Threads(before, "as the run had before")
    usable = max(1, usable_cores() // _processes())
    if own < usable:
        return Threads(own, "torch's own number")
    return Threads(usable, "the cores that it may use")


def _processes() -> int:
    text = os.environ.get(PROCESSES, "1")
    return max(1, int(text)) if text.isdecimal() else 1


@contextlib.contextmanager
def computing_with(asked: int | None, before: int | None = None) -> Iterator[Threads]:
    """Within the block torch computes with so many threads; where they were asked for, decoding takes no more cores.

    torch starts its threads when they are first needed, and gives each worker process of a loader a single one.

    Args:
        asked: See `choose_threads`.
        before: Likewise.

    Yields:
        The number, and why.
    """
    chosen, own = choose_threads(asked, before), torch.get_num_threads()
    try:
        if chosen.count != own:  # Being set also keeps MKL from choosing for itself.
            torch.set_num_threads(chosen.count)
        with limited_to(asked):
            yield chosen
    finally:
        if chosen.count != own:
            torch.set_num_threads(own)
