"""``tl predict``."""

import csv
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tl_toolkit.cli import console
from tl_toolkit.cli.options import UNREADABLE, DeviceOption, ModelOption, PrecisionOption
from tl_toolkit.errors import UsageError
from tl_toolkit.files import atomic_file

if TYPE_CHECKING:
    from tl_toolkit.recipes.predict import Result

Format = Literal["table", "json", "jsonl", "csv"]


def predict(
    images: Annotated[
        list[str], typer.Argument(help="Images, folders, globs; - reads paths from stdin.", show_default=False)
    ],
    model: ModelOption = None,
    top_k: Annotated[int, typer.Option(min=1, help="Classes to tell for each image.")] = 5,
    output: Annotated[
        Format | None, typer.Option("--format", "-f", help="How to print.", show_default="as --out ends, or table")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write to this file instead of the terminal.")] = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
) -> None:
    """Name the likeliest classes of images."""
    chosen = _format(output, out)
    if out is not None and out.exists():
        raise UsageError(f"{out} exists; nothing is ever overwritten. Choose another --out.")
    from tl_toolkit.recipes.loaded_model import load
    from tl_toolkit.recipes.predict import Unpredicted, find_images, predict_stream
    from tl_toolkit.recipes.run_folder import newest_run

    place = model or str(newest_run())
    loaded = load(place, device=device, precision=precision)
    console.tell_choice(console.narrator(to_stderr=True), "model", place, "" if model else "the newest run")
    done = failed = 0

    def counted(results: "Iterable[Result]") -> "Iterator[Result]":
        nonlocal done, failed
        for result in results:
            done += 1
            failed += isinstance(result, Unpredicted)
            yield result

    undecodable = "surrogateescape" if chosen == "csv" else console.UNDECODABLE_IN_JSON
    results = counted(predict_stream(loaded, find_images(_paths(images)), top_k))
    if out is not None:
        with atomic_file(out) as temporary, temporary.open("w", encoding="utf-8", errors=undecodable) as file:
            file.writelines(_lines(results, chosen))
    elif chosen == "table":
        _print_table(results)
    else:
        console.write_lines(_lines(results, chosen), undecodable)
    if not done:
        raise UsageError(f"There is no image in {', '.join(images)}.")
    if failed:
        console.tell_warning(f"{failed} could not be read.")
        raise typer.Exit(UNREADABLE)


def _format(output: Format | None, out: Path | None) -> Format:
    """The format asked for, else the one that --out ends in."""
    if output is not None or out is None:
        if output == "table" and out is not None:
            raise UsageError("A table is for the terminal; with --out choose --format json, jsonl or csv.")
        return output or "table"
    endings: dict[str, Format] = {".json": "json", ".jsonl": "jsonl", ".csv": "csv"}
    if out.suffix not in endings:
        raise UsageError(f"{out.name} ends in none of {', '.join(endings)}; say --format.")
    return endings[out.suffix]


def _paths(images: Iterable[str]) -> Iterator[str]:
    for given in images:
        if given == "-":
            lines = (os.fsdecode(line.rstrip(b"\r\n")) for line in sys.stdin.buffer)
            yield from (line for line in lines if line.strip())
        else:
            yield given


def _lines(results: "Iterable[Result]", output: Format) -> Iterator[str]:
    if output == "jsonl":
        yield from (json.dumps(_plain(result), ensure_ascii=False) + "\n" for result in results)
    elif output == "json":
        yield "["
        for index, result in enumerate(results):
            yield (",\n" if index else "\n") + json.dumps(_plain(result), ensure_ascii=False)
        yield "\n]\n"
    else:
        yield _csv_line(["path", "class_name", "probability", "error"])
        for result in results:
            plain = _plain(result)
            yield _csv_line([plain.get(key, "") for key in ("path", "class_name", "probability", "error")])


def _plain(result: "Result") -> dict[str, Any]:
    """A result as JSON has it."""
    from tl_toolkit.recipes.predict import Unpredicted

    if isinstance(result, Unpredicted):
        return {"path": result.path, "error": result.error}
    top = [{"class_name": each.class_name, "probability": each.probability} for each in result.top_k]
    return {"path": result.path, **top[0], "top_k": top}


def _csv_line(cells: list[Any]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerow(cells)
    return text.getvalue()


def _print_table(results: "Iterable[Result]") -> None:
    from tl_toolkit.recipes.predict import Unpredicted

    rows = []
    for result in results:
        if isinstance(result, Unpredicted):
            rows.append([result.path, result.error, "", ""])
            continue
        others = ", ".join(f"{each.class_name} {console.percent(each.probability)}" for each in result.top_k[1:])
        rows.append([result.path, result.class_name, console.percent(result.probability), others])
    console.print_table(["image", "class", "probability", "then"], rows)
