"""A sign of life during the seconds in which PyTorch is imported."""

import contextlib
from collections.abc import Iterator

from tl_toolkit.cli import console


@contextlib.contextmanager
def loading(quiet: bool = False) -> Iterator[None]:
    """Within the block, where libraries are imported, a terminal shows that; nothing of it remains.

    Args:
        quiet: Show nothing.
    """
    terminal = console.status_console(to_stderr=True)
    if quiet or not terminal.is_terminal:
        yield
        return
    with terminal.status("Loading PyTorch ..."):
        yield
