"""A status line while PyTorch is imported, which takes seconds."""

import contextlib
from collections.abc import Iterator

from tl_toolkit.cli import console


@contextlib.contextmanager
def loading(quiet: bool = False) -> Iterator[None]:
    """Show in a terminal that libraries are being imported, until the end of the block.

    Args:
        quiet: Show nothing.
    """
    terminal = console.status_console(to_stderr=True)
    shown = terminal.is_terminal and not quiet
    with terminal.status("Loading PyTorch ...") if shown else contextlib.nullcontext():
        yield
