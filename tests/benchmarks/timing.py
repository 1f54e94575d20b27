"""Running programs in turn, and a table of what came out."""

import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Finished:
    """A program that has run.

    Attributes:
        seconds: From its start to its end.
        lines: The JSON objects among the lines that it printed.
    """

    seconds: float
    lines: list[dict[str, object]]


def run(command: Sequence[object], environment: Mapping[str, str] | None = None) -> Finished:
    """Runs a program to its end; what it says on stderr is shown if it fails."""
    started = time.perf_counter()
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, env={**os.environ, **(environment or {})}
    )
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f"{command} failed:\n{done.stderr[-3000:]}")
    # fastai draws its bars on stdout too, so that an object may come behind one, and the Trainer prints dicts.
    lines = [line[line.index('{"') :] for line in done.stdout.splitlines() if '{"' in line and line.endswith("}")]
    return Finished(seconds, [json.loads(line) for line in lines])


def in_turn(rounds: int, measured: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Measures everything once in each round, so that a slow spell of the machine meets all alike."""
    figures: dict[str, list[float]] = {name: [] for name in measured}
    for _ in range(rounds):
        for name, measure in measured.items():
            figures[name].append(measure())
    return figures


def show(title: str, unit: str, figures: Mapping[str, Sequence[float]], against: str, more_is_better: bool) -> None:
    """A table with medians and spread; the ratio says how many times better `against` is."""
    table = Table("", f"median, {unit}", "lowest", "highest", "n", "ratio", title=title)
    own = statistics.median(figures[against])
    for name, values in figures.items():
        median = statistics.median(values)
        ratio = own / median if more_is_better else median / own
        cells = [f"{value:,.3g}" if value < 1000 else f"{value:,.0f}" for value in (median, min(values), max(values))]
        table.add_row(name, *cells, str(len(values)), "" if name == against else f"{ratio:.2f}x")
    Console().print(table)
