"""Writing figures, whole or not at all."""

import warnings
from pathlib import Path

from matplotlib.figure import Figure

from tl_toolkit.errors import UsageError
from tl_toolkit.io.files import atomic_file
from tl_toolkit.io.own_files import SOFTWARE

DOTS_PER_INCH = 150
FORMATS = ("png", "pdf", "svg")


def check_figure_file(path: Path) -> str:
    """The picture format that a file's name ends in.

    Raises:
        UsageError: It is none that can be drawn, the file exists, or its folder does not.
    """
    if not path.absolute().parent.is_dir():
        raise UsageError(f"There is no folder {path.parent} for {path.name}. Make it, or choose another file.")
    if path.exists():
        raise UsageError(f"{path} exists; nothing is ever overwritten. Choose another file.")
    return figure_format(path)


def figure_format(path: Path) -> str:
    """The picture format that a file's name ends in.

    Raises:
        UsageError: It is none that can be drawn.
    """
    ending = path.suffix.lower().removeprefix(".")
    if ending not in FORMATS:
        raise UsageError(f"A plot ends in {', '.join('.' + name for name in FORMATS)}, but {path.name} does not.")
    return ending


def save_figure(figure: Figure, path: Path) -> None:
    """Writes a figure in the format that the file's name ends in.

    Raises:
        UsageError: It ends in something else.
    """
    ending = figure_format(path)
    # By it a figure that lies among images is known.
    metadata = {"Software": SOFTWARE} if ending == "png" else None
    with atomic_file(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # A box in the title is no loss.
        figure.savefig(temporary, format=ending, dpi=DOTS_PER_INCH, metadata=metadata)
