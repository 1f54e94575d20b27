"""What came out of a league: a table for each data set, and a picture of accuracy over seconds."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from tests.benchmarks.league.data import DATA_SETS
from tests.benchmarks.league.entrants import ENTRANTS
from tests.benchmarks.league.results import Result


@dataclass(frozen=True)
class Row:
    """An entrant's runs on a data set.

    Attributes:
        data: A key of DATA_SETS.
        entrant: A key of ENTRANTS.
        accuracies: One for each seed.
        mean: Of the accuracies.
        spread: Their standard deviation (n - 1); None with a single run.
        seconds: Median of the whole process, by the clock.
        cpu_seconds: Median of what the cores worked for it.
        images_per_second: Median.
    """

    data: str
    entrant: str
    accuracies: tuple[float, ...]
    mean: float
    spread: float | None
    seconds: float
    cpu_seconds: float
    images_per_second: float


def summarize(results: Sequence[Result]) -> list[Row]:
    """One row for each data set and entrant that has run, in the league's order; a triple's last run counts."""
    last = {result.triple: result for result in results}.values()
    rows = []
    for data in DATA_SETS:
        for entrant in ENTRANTS:
            runs = sorted((r for r in last if (r.data, r.entrant) == (data, entrant)), key=lambda r: r.seed)
            if not runs:
                continue
            accuracies = tuple(run.accuracy for run in runs)
            row = Row(
                data=data,
                entrant=entrant,
                accuracies=accuracies,
                mean=statistics.mean(accuracies),
                spread=statistics.stdev(accuracies) if len(runs) > 1 else None,
                seconds=statistics.median(run.seconds for run in runs),
                cpu_seconds=statistics.median(run.cpu_seconds for run in runs),
                images_per_second=statistics.median(run.images_per_second for run in runs),
            )
            rows.append(row)
    return rows


def show(results: Sequence[Result]) -> None:
    """Prints the tables, and what they were measured on."""
    console = Console()
    for machine in sorted({f"{result.hardware}, {result.threads} of them used" for result in results}):
        console.print(f"Measured on {machine}")
    if results:
        loads = [result.load for result in results]
        console.print(f"Load when a run started: median {statistics.median(loads):.1f}, highest {max(loads):.1f}")
    rows = summarize(results)
    for data in dict.fromkeys(row.data for row in rows):
        table = Table("", "accuracy", "spread", "s", "CPU s", "images/s", "n", title=DATA_SETS[data].title)
        for row in (row for row in rows if row.data == data):
            spread = "" if row.spread is None else f"{row.spread:.4f}"
            speeds = [f"{value:,.0f}" for value in (row.seconds, row.cpu_seconds, row.images_per_second)]
            table.add_row(ENTRANTS[row.entrant].title, f"{row.mean:.4f}", spread, *speeds, str(len(row.accuracies)))
        console.print(table)
