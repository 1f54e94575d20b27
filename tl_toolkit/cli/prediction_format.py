"""How ``tl predict`` writes what a model says of images."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tl_toolkit.cli import console

if TYPE_CHECKING:
    from tl_toolkit.inference.prediction import FailedPrediction, Prediction

    Result = Prediction | FailedPrediction

Format = Literal["table", "json", "jsonl", "csv"]

ALWAYS_SHOWN = ("image", "class", "probability", "labels")
"""Columns that the table always has; empty other columns are left out."""

NOT_SURE, UNKNOWN = "not sure", "unknown"


@dataclass(frozen=True)
class PredictionFormat:
    """Writes results as a table, JSON or CSV.

    Attributes:
        several: Whether an image has several labels.
        judged: Which keys of a prediction are there beside class and probability.
    """

    several: bool
    judged: Sequence[str] = ()

    def lines(self, results: "Iterable[Result]", output: Format) -> Iterator[str]:
        """Yield the lines of JSON, JSON lines or CSV."""
        if output == "jsonl":
            yield from (json.dumps(result.to_dict(), ensure_ascii=False) + "\n" for result in results)
        elif output == "json":
            yield "["
            for index, result in enumerate(results):
                yield (",\n" if index else "\n") + json.dumps(result.to_dict(), ensure_ascii=False)
            yield "\n]\n"
        elif self.several:
            yield _csv_line(["path", "labels", "probabilities", "error"])
            yield from (_csv_line(_label_cells(result.to_dict())) for result in results)
        else:
            columns = ["path", "class_name", "probability", "error", *self.judged]
            yield _csv_line(columns)
            for result in results:
                yield _csv_line([_cell(result.to_dict().get(key, "")) for key in columns])

    def print_table(self, results: "Iterable[Result]") -> None:
        """Print a table; where there is no answer, what was considered is among the next likeliest."""
        if self.several:
            _print_labels(results)
            return
        rows = []
        for plain in (result.to_dict() for result in results):
            top, sure = plain.get("top_k", []), not plain.get("abstained")
            others = ", ".join(_with_percent(each) for each in top[sure:])
            likeliest = [plain.get("class_name", "") if sure else NOT_SURE, console.percent(plain.get("probability"))]
            note = UNKNOWN if plain.get("unknown") else plain.get("error", "")
            rows.append([plain["path"], *likeliest, others, note])
        _print_used(["image", "class", "probability", "next likeliest", "note"], rows)


def _cell(value: Any) -> Any:
    """Return a value as JSON has it, where CSV has no convention."""
    return str(value).lower() if isinstance(value, bool) else value


def _label_cells(plain: dict[str, Any]) -> list[str]:
    """Return the cells of a CSV line; labels and probabilities are JSON lists, which a table for training may hold."""
    if "labels" not in plain:
        return [plain["path"], "", "", plain["error"]]
    lists = ([each[key] for each in plain["labels"]] for key in ("class_name", "probability"))
    return [plain["path"], *(json.dumps(each, ensure_ascii=False) for each in lists), ""]


def _csv_line(cells: list[Any]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerow(cells)
    return text.getvalue()


def _print_labels(results: "Iterable[Result]") -> None:
    """Print the labels of each image, best first, and the likeliest of those that it is not given."""
    rows = []
    for plain in (result.to_dict() for result in results):
        given, top = plain.get("labels", []), plain.get("top_k", [])
        labels = ", ".join(_with_percent(each) for each in given) or ("none" if "labels" in plain else "")
        others = ", ".join(_with_percent(each) for each in top if each not in given)
        rows.append([plain["path"], labels, others, plain.get("error", "")])
    _print_used(["image", "labels", "next likeliest", "note"], rows)


def _with_percent(label: dict[str, Any]) -> str:
    return f"{label['class_name']} {console.percent(label['probability'])}"


def _print_used(columns: list[str], rows: list[list[str]]) -> None:
    """Print a table without the columns that are empty."""
    used = [index for index, name in enumerate(columns) if name in ALWAYS_SHOWN or any(row[index] for row in rows)]
    console.print_table([columns[index] for index in used], [[row[index] for index in used] for row in rows])
