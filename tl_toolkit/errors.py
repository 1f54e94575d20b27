"""Every error that the toolkit raises on purpose.

    ToolkitError
    ├── UsageError             the request itself is wrong; the terminal exits with 2
    │   ├── ConfigError        one or more settings are out of range
    │   └── UnknownNameError   no choice has this name
    ├── DataError              a folder or dataset is not as expected
    │   └── ImageError         one image cannot be read
    ├── ModelError             a network cannot be built or changed as requested
    ├── WeightsError           pretrained weights cannot be found, downloaded or loaded
    ├── ModelFileError         a saved model is damaged, or not of the toolkit
    ├── UnsafeFileError        loading a file could run code in it
    ├── DownloadError          a file cannot be downloaded, or is not the expected one
    │   └── RemoteFileError    one file of many cannot be fetched
    ├── UploadError            the Hugging Face Hub cannot be asked, or refuses what it is sent
    ├── TrainingError          training cannot continue
    ├── RunInterruptedError    a run was asked to stop, and can be resumed
    ├── RefusedRequestError    a server does not answer a request as asked
    └── ReportedElsewhereError another process of the run says what failed

A message says what was found, what was expected and what to do. Only ``tl_toolkit.cli`` turns an error into a line of
text and an exit code.
"""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Self

from tl_toolkit.text import MAX_SHOWN, format_value, printable

MAX_SUGGESTIONS = 3
"""Number of similar names that an `UnknownNameError` suggests."""

LARGEST = 2**63 - 1
"""Largest integer accepted: that of 64 bits."""


class ToolkitError(Exception):
    """Root of the tree above."""


class UsageError(ToolkitError):
    """The request itself is wrong."""


class ConfigError(UsageError):
    """One or more settings are wrong; the message lists all problems, which are sentences."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        lines = problems if len(problems) == 1 else [f"- {problem}" for problem in problems]
        super().__init__("\n".join(lines))


class UnknownNameError(UsageError):
    """No choice has this name; the message suggests similar ones.

    Args:
        kind: What the name should be, such as "architecture".
        name: The unknown name.
        choices: All names that exist.
        hint: Where to see them all, as a full sentence.
        list_all: Whether the message lists all choices, however many there are.
    """

    def __init__(self, kind: str, name: str, choices: Iterable[str], hint: str = "", *, list_all: bool = False) -> None:
        known = list(dict.fromkeys(choices))
        near = get_close_matches(name[:MAX_SHOWN], known, n=MAX_SUGGESTIONS, cutoff=0.55)
        message = f"No {kind} is named {format_value(name)}."
        if near:
            message += f" Did you mean {' or '.join(near)}?"
        if list_all or (not near and len(known) <= 12):
            message += f" Choose from {', '.join(known)}."
        super().__init__(f"{message} {hint}".strip())


class DataError(ToolkitError):
    """A folder or dataset is not as expected."""


class ImageError(DataError):
    """One image, given by its path or another name, cannot be read; `reason` is a short phrase."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason
        super().__init__(f"{printable(name)}: {printable(reason)}")

    def __reduce__(self) -> tuple[type[Self], tuple[str, str]]:
        """Support pickling, for worker processes."""
        return type(self), (self.name, self.reason)


class ModelError(ToolkitError):
    """A network cannot be built or changed as requested."""


class WeightsError(ToolkitError):
    """Pretrained weights cannot be found, downloaded or loaded."""


class ModelFileError(ToolkitError):
    """A saved model is damaged or was not written by the toolkit."""


class UnsafeFileError(ToolkitError):
    """Loading a file could run code in it."""


class DownloadError(ToolkitError):
    """A file cannot be downloaded, or is not the expected one."""


class RemoteFileError(DownloadError):
    """One remote file, given by its URL, cannot be fetched; `reason` is a short phrase."""

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        self.reason = reason
        super().__init__(f"{printable(url)}: {printable(reason)}")

    def __reduce__(self) -> tuple[type[Self], tuple[str, str]]:
        """Support pickling, for worker processes."""
        return type(self), (self.url, self.reason)


class UploadError(ToolkitError):
    """The Hugging Face Hub cannot be asked, or refuses what it is sent."""


class TrainingError(ToolkitError):
    """Training cannot continue."""


class RunInterruptedError(ToolkitError):
    """A run was asked to stop, and can be resumed by the command `resume`."""

    def __init__(self, message: str, resume: str) -> None:
        self.resume = resume
        super().__init__(f"{message}\nResume with: {resume}")


class RefusedRequestError(ToolkitError):
    """A request that is not answered as asked.

    Args:
        status: Of the HTTP response.
        message: What was found, what was expected, what to do.
    """

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


class ReportedElsewhereError(ToolkitError):
    """The run failed, and another of its processes says why."""
