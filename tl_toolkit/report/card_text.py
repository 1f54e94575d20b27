"""Text of a model card: Markdown that shows names as they are, and tells no paths."""

import re
from collections.abc import Sequence

from tl_toolkit.report.card_metadata import data_name
from tl_toolkit.text import printable

PATH = re.compile(r"(?<![\w.:/\\])(?:~|[A-Za-z]:)?[/\\](?:[^/\\\s]+[/\\])*(?=[^\s/\\.,:;])")
"""The folders of an absolute path, up to its last part."""

MARKDOWN = re.compile(r"[\\`*_\[\]<>#|~&$!]")
"""Signs with a meaning in Markdown or its tables, anywhere in a line."""


def plain(text: object) -> str:
    """Return a text that Markdown shows as it is, on one line."""
    return MARKDOWN.sub(lambda found: f"\\{found[0]}", printable(str(text)))


def without_folders(message: str, data: str) -> str:
    """Return the first line of a message, with the names of files alone: where they were is nobody's business.

    Args:
        message: It may name files.
        data: The folder of the images, which may have spaces in its name.
    """
    return PATH.sub("", message.partition("\n")[0].replace(data, data_name(data)))


def percent(share: float) -> str:
    """Format 0.9833 as 98.3 %."""
    return f"{share * 100:.1f} %"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: int = 0) -> list[str]:
    """Return a Markdown table whose last columns are numbers."""
    rules = ["---"] * (len(columns) - numbers) + ["---:"] * numbers
    return [f"| {' | '.join(row)} |" for row in (columns, rules, *rows)]
