"""``tl compare``."""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tl_toolkit.cli import console
from tl_toolkit.cli.early import check_early
from tl_toolkit.cli.loading import loading
from tl_toolkit.cli.options import (
    DeviceOption,
    PrecisionOption,
    ThreadsOption,
    TrustOption,
    WorkersOption,
    flags_set,
    with_source_flags,
)
from tl_toolkit.cli.run_names import complete_runs
from tl_toolkit.config.choices import KINDS
from tl_toolkit.errors import UsageError
from tl_toolkit.text import plural

if TYPE_CHECKING:
    from tl_toolkit.metrics.paired_figures import Difference, Estimate
    from tl_toolkit.recipes.compare import Comparison, RunResult


@with_source_flags
def compare(
    *,
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN RUN ...",
            help="Run folders, their names under runs/, or model files.",
            autocompletion=complete_runs,
            show_default=False,
        ),
    ],
    data: Annotated[
        str | None,
        typer.Option(help=f"Judge all models on these images: {KINDS}.", show_default="what the runs were judged on"),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="train, val or test.", show_default="test if all runs have it, else val")
    ] = None,
    form: Annotated[
        Literal["table", "json", "csv"], typer.Option("--format", help="table, json or csv.", metavar="NAME")
    ] = "table",
    workers: WorkersOption = None,
    threads: ThreadsOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    trust: TrustOption = False,
    **reading: Any,
) -> None:
    """Say whether a run is better than another, worse, or not distinguishable.

    Shows the settings that differ, the figures with their 95 % intervals, and a
    paired test on the images that all runs were judged on: McNemar's for top-1,
    a bootstrap of the difference for other figures. Of more than two runs, each
    is compared with the first one, with Holm's correction.

    Images are matched by content, so the data may have moved. Runs keep what
    the test needs; a run that did not is judged again if its images are there.
    """
    _check_different(runs)
    check_early(data=data)
    with loading():
        from tl_toolkit.cli.progress import ProgressDisplay
        from tl_toolkit.recipes.compare import compare

    with ProgressDisplay(console.status_console(to_stderr=True)) as display:
        found = compare(
            runs, data, split, reading=flags_set(reading), device=device, precision=precision, trust=trust,
            workers=workers, threads=threads, callback=display,
        )  # fmt: skip
    if form == "json":
        console.print_json(_plain(found))
    elif form == "csv":
        console.print_result(_csv(found).rstrip("\n"))
    else:
        _print(found)


def _check_different(places: Sequence[str]) -> None:
    """Refuse fewer than two runs, the same run twice, and what is no run, before PyTorch is imported.

    Raises:
        UsageError: It is one of these.
    """
    from tl_toolkit.io.files import is_file
    from tl_toolkit.io.own_files import MODEL_FILE
    from tl_toolkit.runs.folder import find_run, locate_run

    if len(places) < 2:
        raise UsageError("Name two runs or more: tl compare RUN RUN. `tl runs` lists them.")
    found: dict[Path, str] = {}
    for place in places:
        path = locate_run(place)
        if not is_file(path) and not is_file(path / MODEL_FILE):
            find_run(place)
        if found.setdefault(path.resolve(), place) is not place:
            raise UsageError(f"{place} is named twice; a run cannot be compared with itself.")


def _print(found: "Comparison") -> None:
    console.print_rows([(result.letter, result.run.place) for result in found.results])
    console.print_blank()
    letters = [result.letter for result in found.results]
    if found.differing:
        console.print_table(["setting", *letters], [[name, *values] for name, values in found.differing])
    else:
        console.print_line("All settings are the same.")
    names = [name for name in _all_names() if any(name in result.figures for result in found.results)]
    if names:
        console.print_blank()
        rows = [[_label(name), *(_figure(name, result) for result in found.results)] for name in names]
        same = f"On the same {found.images:,} {found.where}, with 95 % intervals"
        where = same if found.reference else "As each run was judged by itself"
        console.print_table(["figure", *letters], rows, where, numbers=len(letters))
    for result in found.results:
        if result.test and found.reference and result is not found.reference:
            _print_differences(result, found.reference, names)
    console.print_blank()
    if len(found.results) > 2 and found.reference:
        console.print_line(f"Each run is compared with {found.reference.letter}, the first one.")
    console.print_rows([("verdict", sentence) for sentence in found.sentences])
    if not found.reference:
        console.print_line("No test is possible: the figures above may be of different images.")


def _print_differences(result: "RunResult", reference: "RunResult", names: Sequence[str]) -> None:
    assert result.test is not None
    test = result.test
    console.print_blank()
    rows = [[_label(name), *_difference(name, test.differences[name])] for name in names if name in test.differences]
    console.print_table([f"{result.letter} less {reference.letter}", "", "95 % interval", "p"], rows, numbers=3)
    right = f"right only in {result.letter}: {plural(test.only_this, 'image')}"
    console.print_line(f"{right}; only in {reference.letter}: {plural(test.only_first, 'image')}")


def _all_names() -> list[str]:
    from tl_toolkit.metrics.resampled import NAMES

    return list(NAMES)


def _label(name: str) -> str:
    from tl_toolkit.metrics.resampled import NAMES

    return NAMES[name]


def _figure(name: str, result: "RunResult") -> str:
    """Return a figure with its interval, such as 95.4 % (91 to 98 %); only the figure where it has none."""
    found: Estimate | None = result.figures.get(name)
    if found is None:
        return ""
    known = not math.isnan(found.low)
    if name == "loss":
        return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})" if known else f"{found.value:.3f}"
    interval = f" ({100 * found.low:.0f} to {100 * found.high:.0f} %)" if known else ""
    return console.percent(found.value) + interval


def _difference(name: str, found: "Difference") -> tuple[str, str, str]:
    from tl_toolkit.metrics.verdict import format_p

    factor, decimals = (1, 3) if name == "loss" else (100, 1)
    value, low, high = (f"{factor * each:+.{decimals}f}" for each in (found.value, found.low, found.high))
    return value, f"{low} to {high}", format_p(found.p).removeprefix("p ").removeprefix("= ")


def _plain(found: "Comparison") -> dict[str, Any]:
    return {
        "images": found.images,
        "judged_on": found.where,
        "reference": found.reference.letter if found.reference else None,
        "differing": [
            {"name": name, **{run.letter: value for run, value in zip(found.results, values, strict=True)}}
            for name, values in found.differing
        ],
        "runs": [_plain_run(found, result) for result in found.results],
    }


def _plain_run(found: "Comparison", result: "RunResult") -> dict[str, Any]:
    test, verdict = result.test, result.verdict
    compared = test is not None and result is not found.reference
    return {
        "letter": result.letter,
        "run": result.run.place,
        "images": result.images,
        "figures": {
            name: {"value": each.value, "interval": None if math.isnan(each.low) else [each.low, each.high]}
            for name, each in result.figures.items()
        },
        "differences": {
            name: {"value": each.value, "interval": [each.low, each.high], "p": each.p}
            for name, each in (test.differences if test and compared else {}).items()
        },
        "right_only_in_reference": test.only_first if test and compared else None,
        "right_only_here": test.only_this if test and compared else None,
        "verdict": verdict.outcome if verdict else None,
        "figure": verdict.figure if verdict else None,
        "corrected_p": verdict.p if verdict else None,
        "detectable_difference": verdict.detectable if verdict else None,
        "sentence": found.sentence(result),
    }


def _csv(found: "Comparison") -> str:
    """Return a line for each figure of each run."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    columns = "run,figure,images,value,low,high,difference,difference_low,difference_high,p,verdict"
    writer.writerow(columns.split(","))
    for result in found.results:
        for name, each in result.figures.items():
            ends = ["", ""] if math.isnan(each.low) else [each.low, each.high]
            less = result.test.differences[name] if result.test and result is not found.reference else None
            difference = [less.value, less.low, less.high, less.p] if less else [""] * 4
            verdict = result.verdict.outcome if result.verdict and result.verdict.figure == name else ""
            writer.writerow([result.run.place, name, result.images, each.value, *ends, *difference, verdict])
    return text.getvalue()
