"""Write figures, whole or not at all."""

import warnings
from pathlib import Path

from matplotlib.figure import Figure

from tl_toolkit.errors import UsageError
from tl_toolkit.io.files import atomic_file, check_new_file
from tl_toolkit.io.own_files import SOFTWARE

DOTS_PER_INCH = 150
FORMATS = ("png", "pdf", "svg")


def check_figure_file(path: Path, setting: str) -> None:
    """Check that a figure can be written to a file.

    Args:
        path: The file.
        setting: What names it, for the message.

    Raises:
        UsageError: No figure has such an ending, the file exists, or its folder does not.
    """
    check_new_file(path, setting)
    figure_format(path)


def figure_format(path: Path) -> str:
    """Return the format of a figure by the ending of its file name.

    Raises:
        UsageError: No figure has such an ending.
    """
    ending = path.suffix.lower().removeprefix(".")
    if ending not in FORMATS:
        raise UsageError(f"A plot ends in {', '.join('.' + name for name in FORMATS)}, but {path.name} does not.")
    return ending


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure in the format that the file name ends in.

    Raises:
        UsageError: No figure has such an ending.
    """
    ending = figure_format(path)
    metadata = {"Software": SOFTWARE} if ending == "png" else None  # Marks it among the images of a folder.
    with atomic_file(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # A box in a title does no harm.
        figure.savefig(temporary, format=ending, dpi=DOTS_PER_INCH, metadata=metadata)
