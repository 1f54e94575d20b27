"""Every error that the toolkit raises on purpose.

    ToolkitError
    ├── UsageError             the request itself is wrong; the terminal exits with 2
    │   ├── ConfigError        one or more settings are out of range
    │   └── UnknownNameError   a name that nothing answers to
    ├── DataError              a folder or dataset is not what was expected
    │   └── ImageError         one image cannot be read
    ├── ModelError             a network cannot be built or changed as asked
    ├── WeightsError           pretrained weights cannot be found, fetched or loaded
    ├── ModelFileError         a saved model is damaged or from elsewhere
    ├── UnsafeFileError        loading a file could run code that is in it
    ├── DownloadError          a file cannot be fetched, or is not the expected one
    └── TrainingError          training cannot go on

A message says what was found, what was expected and what to do. Only ``tl_toolkit.cli`` turns
an error into a line of text and an exit code.
"""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Self

from tl_toolkit.text import MAX_SHOWN, format_value, printable

MAX_SUGGESTIONS = 3
"""How many near names an `UnknownNameError` suggests."""

LARGEST = 2**63 - 1
"""Whole numbers beyond it are no counts: most of what takes one refuses them."""


class ToolkitError(Exception):
    """Root of the tree above."""


class UsageError(ToolkitError):
    """The request itself is wrong."""


class ConfigError(UsageError):
    """One or more settings are wrong; all of them are in the message.

    Args:
        problems: One sentence for each wrong setting.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        lines = problems if len(problems) == 1 else [f"- {problem}" for problem in problems]
        super().__init__("\n".join(lines))


class UnknownNameError(UsageError):
    """A name that nothing answers to, with the nearest ones that exist.

    Args:
        kind: What the name should have been, such as "architecture".
        name: What was given.
        choices: Every name that exists.
        hint: Where to see them all, as a full sentence.
        tells_all: Whether the message itself lists them, however many there are.
    """

    def __init__(
        self, kind: str, name: str, choices: Iterable[str], hint: str = "", *, tells_all: bool = False
    ) -> None:
        known = list(dict.fromkeys(choices))
        near = get_close_matches(name[:MAX_SHOWN], known, n=MAX_SUGGESTIONS, cutoff=0.5)
        message = f"No {kind} is named {format_value(name)}."
        if near:
            message += f" Did you mean {' or '.join(near)}?"
        if tells_all or (not near and len(known) <= 12):
            message += f" Choose from {', '.join(known)}."
        super().__init__(f"{message} {hint}".strip())


class DataError(ToolkitError):
    """A folder or dataset is not what was expected."""


class ImageError(DataError):
    """One image cannot be read.

    Args:
        name: The image's path, or what stands for it.
        reason: Why not, as a short phrase.
    """

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason
        super().__init__(f"{printable(name)}: {printable(reason)}")

    def __reduce__(self) -> tuple[type[Self], tuple[str, str]]:
        """Lets it pass from a worker process to this one."""
        return type(self), (self.name, self.reason)


class ModelError(ToolkitError):
    """A network cannot be built or changed as asked."""


class WeightsError(ToolkitError):
    """Pretrained weights cannot be found, fetched or loaded."""


class ModelFileError(ToolkitError):
    """A saved model is damaged or was not written by the toolkit."""


class UnsafeFileError(ToolkitError):
    """Loading a file could run code that is in it."""


class DownloadError(ToolkitError):
    """A file cannot be fetched, or is not the expected one."""


class TrainingError(ToolkitError):
    """Training cannot go on."""


class RunInterruptedError(ToolkitError):
    """A run was asked to stop, and has kept itself.

    Args:
        message: Where it stopped.
        resume: The command that goes on with it.
    """

    def __init__(self, message: str, resume: str) -> None:
        self.resume = resume
        super().__init__(f"{message}\nGo on with: {resume}")
