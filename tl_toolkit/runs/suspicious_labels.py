"""suspicious_labels.csv: images of a run whose labels look wrong, the most suspicious first."""

import csv
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from tl_toolkit.data.targets import class_indices
from tl_toolkit.errors import ToolkitError
from tl_toolkit.events import DecisionEvent, FileWritten
from tl_toolkit.io.files import display_path, write_csv
from tl_toolkit.stages.build import BuiltStage
from tl_toolkit.stages.context import RunContext
from tl_toolkit.stages.label_check import CheckedLabels, check_probe_labels
from tl_toolkit.system.processes import is_first, together

SUSPICIOUS_FILE = "suspicious_labels.csv"
SHOWN = 3


@dataclass(frozen=True, slots=True)
class SuspiciousLabel:
    """An image whose label looks wrong.

    Attributes:
        split: The split that it is in.
        image: Its path or its number.
        given: The class that the data say.
        suggested: The class that the other images say.
        given_probability: Of the given class, by a probe that was not trained on this image; the list is sorted by it.
        suggested_probability: Of the suggested class.
    """

    split: str
    image: str
    given: str
    suggested: str
    given_probability: float
    suggested_probability: float


def save_suspicious(context: RunContext, built: BuiltStage, folder: Path) -> None:
    """Check the labels of train and val, write those that look wrong, and tell how many there are.

    Of several processes, the first one does it, while the others wait.

    Args:
        context: What the stages of the run share.
        built: The probe; its block is open.
        folder: The run folder.

    Raises:
        ToolkitError: The list cannot be written.
    """
    with together():
        if is_first():
            _check_and_save(context, built, folder)


def _check_and_save(context: RunContext, built: BuiltStage, folder: Path) -> None:
    checked = check_probe_labels(context, built)
    if isinstance(checked, str):
        tell_unchecked(context, checked)
        return
    found = named_labels(checked, context.source.class_names)
    path = write_suspicious(folder, found)
    context.callback(FileWritten(path, "images whose labels look wrong"))
    of = f"{checked.check.found:,} of {checked.check.judged:,} look wrong"
    where = f"by the other images: {display_path(path)}" if found else "by the other images"
    context.callback(DecisionEvent("labels", of if found else "none looks wrong", where, detail=not found))
    for label in found[:SHOWN]:
        looks = f"looks like {label.suggested} ({100 * label.suggested_probability:.0f} %)"
        context.callback(DecisionEvent("labels", label.image, f"given {label.given}, {looks}", detail=True))


def tell_unchecked(context: RunContext, reason: str) -> None:
    """Tell why the labels are not checked."""
    context.callback(DecisionEvent("labels", "not checked", reason, detail=True))


def named_labels(checked: CheckedLabels, class_names: Sequence[str]) -> list[SuspiciousLabel]:
    """Return what was found with the names of images and classes."""
    found = []
    for issue in checked.check.issues:
        split, index = checked.place(issue.index)
        samples = checked.splits[split]
        given, suggested = class_names[class_indices(samples.targets)[index]], class_names[issue.suggested]
        probabilities = issue.given_probability, issue.suggested_probability
        found.append(SuspiciousLabel(split, samples.name(index), given, suggested, *probabilities))
    return found


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
    )
