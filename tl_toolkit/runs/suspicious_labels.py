"""suspicious_labels.csv: images of a run whose labels look wrong, the most suspicious first."""

import csv
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from tl_toolkit.errors import ToolkitError
from tl_toolkit.io.files import write_csv

SUSPICIOUS_FILE = "suspicious_labels.csv"


@dataclass(frozen=True, slots=True)
class SuspiciousLabel:
    """An image whose label looks wrong.

    Attributes:
        split: The split that it is in.
        image: Its path or its number.
        given: The class that the data say.
        suggested: The class that the other images say.
        given_probability: Of the given class, by a probe that was not trained on this image.
        suggested_probability: Of the suggested class.
        score: What the list is sorted by, lowest first: the probability of the given class less that of the suggested
            one, between -1 and 1.
    """

    split: str
    image: str
    given: str
    suggested: str
    given_probability: float
    suggested_probability: float
    score: float


def write_suspicious(folder: Path, found: Sequence[SuspiciousLabel]) -> Path:
    """Write or replace the list."""
    path = folder / SUSPICIOUS_FILE
    names = [field.name for field in fields(SuspiciousLabel)]
    write_csv(path, names, ([f"{x:.4f}" if isinstance(x, float) else x for x in astuple(row)] for row in found))
    return path


def read_suspicious(folder: Path) -> list[SuspiciousLabel] | None:
    """Return the list of a run; None if its labels were not checked.

    Raises:
        ToolkitError: The file is damaged.
    """
    path = folder / SUSPICIOUS_FILE
    try:
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            return [_read_row(row) for row in csv.DictReader(file)]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise ToolkitError(
            f"{path} is damaged: {error}. Remove it; what else the run wrote does not need it."
        ) from error


def _read_row(row: dict[str, str]) -> SuspiciousLabel:
    return SuspiciousLabel(
        row["split"],
        row["image"],
        row["given"],
        row["suggested"],
        float(row["given_probability"]),
        float(row["suggested_probability"]),
        float(row["score"]),
    )
