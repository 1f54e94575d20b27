"""Every kind of image file there is, good and bad, each with what must come of it.

``python -m tests.corpus FOLDER`` writes them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

Colour = tuple[int, int, int]
Four = tuple[Colour, Colour, Colour, Colour]

RED, GREEN, BLUE, YELLOW = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
QUADRANTS: Four = (RED, GREEN, BLUE, YELLOW)
"""Of the picture that most files show: top left, top right, bottom left, bottom right."""

SIZE = (48, 32)
EXACT, LOSSY = 1, 14
"""How far a channel may be off, of 255."""


@dataclass(frozen=True)
class Good:
    """What a file shows: its upright size and the colours of its four quarters."""

    colours: Four = QUADRANTS
    size: tuple[int, int] = SIZE
    tolerance: int = EXACT


@dataclass(frozen=True)
class Bad:
    """Why a file cannot be read: a pattern that the whole reason fits."""

    reason: str


@dataclass(frozen=True)
class Kind:
    """A file of the corpus.

    Attributes:
        name: Its name; not always UTF-8.
        write: Writes it to a path.
        expected: What must come of it.
        needs: Why it cannot be tried here; empty where it can.
    """

    name: str
    write: Callable[[Path], object]
    expected: Good | Bad
    needs: str = ""


def picture(colours: Four = QUADRANTS, size: tuple[int, int] = SIZE) -> Image.Image:
    """Four quarters."""
    image = Image.new("RGB", size)
    width, height = size[0] // 2, size[1] // 2
    for colour, corner in zip(colours, ((0, 0), (width, 0), (0, height), (width, height)), strict=True):
        image.paste(colour, (*corner, corner[0] + width, corner[1] + height))
    return image


def quarters(image: Image.Image) -> list[Colour]:
    """The colour in the middle of each quarter."""
    width, height = image.size
    places = [(x * width // 4, y * height // 4) for y in (1, 3) for x in (1, 3)]
    return [image.getpixel(place) for place in places]


def kinds() -> list[Kind]:
    """The whole corpus."""
    from tests.corpus.bad import bad_kinds
    from tests.corpus.good import good_kinds
    from tests.corpus.names import named_kinds

    return [*good_kinds(), *named_kinds(), *bad_kinds()]


def write_corpus(folder: Path) -> dict[str, Kind]:
    """Writes the corpus into a new folder.

    Returns:
        Each kind that could be written, by its path.
    """
    folder.mkdir(parents=True)
    written: dict[str, Kind] = {}
    for kind in kinds():
        if not kind.needs:
            path = folder / kind.name
            kind.write(path)
            written[str(path)] = kind
    return written
