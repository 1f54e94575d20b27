"""Training on a machine that others use: one run alone, two at once, and one beside a program that keeps a core busy.

    python -m tests.benchmarks.busy [--rounds 3] [--images 512] [--cores 2]

Each row is `tl finetune --tune full` of ResNet18 at 64 px on the digits, with as many threads as there are cores, or
with one; of two runs the images per second are added up. The rows take turns. What other programs took of the cores is
told below the table: it should be nothing.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console

from tests.benchmarks.side_by_side import TL
from tests.benchmarks.timing import in_turn, run, show
from tl_toolkit.system.cpu_usage import usage

ALONE = "alone, default"
BUSY = (sys.executable, "-c", "while True: pass")
SETTINGS = (
    *("--arch", "resnet18", "--weights", "bundled", "--tune", "full", "--image-size", "64", "--epochs", "2"),
    *("--val-images", "20", "--test-images", "10", "--quiet"),
)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=512, help="of train, in each of two epochs")
    parser.add_argument("--cores", type=int, default=2, help="that all of it is bound to")
    chosen = parser.parse_args(arguments)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: chosen.cores])
    taken: list[float] = []
    rows: dict[str, Callable[[], float]] = {
        ALONE: lambda: train(chosen.images),
        "alone, --threads 1": lambda: train(chosen.images, "--threads", 1),
        "two at once, default": lambda: train_two(chosen.images),
        "two at once, --threads 1": lambda: train_two(chosen.images, "--threads", 1),
        "beside a busy core, default": lambda: train_beside(chosen.images),
        "beside a busy core, --threads 1": lambda: train_beside(chosen.images, "--threads", 1),
    }
    figures = in_turn(chosen.rounds, {name: _noting(taken, measure) for name, measure in rows.items()})
    title = f"ResNet18 at 64 px, everything trains, {chosen.cores} cores, {chosen.rounds} rounds"
    show(title, "images/s in all", figures, ALONE, more_is_better=True)
    Console().print(f"Other programs took {statistics.median(taken):.2f} cores (at most {max(taken):.2f}).")


def train(images: int, *flags: object) -> float:
    """Images per second of one run."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        cache = {"TL_CACHE": str(Path(folder) / "cache")}
        run([*TL, "finetune", *SETTINGS, "--train-images", images, "--out", out, *flags], cache)
        return float(json.loads((out / "summary.json").read_text())["images_per_second"])


def train_two(images: int, *flags: object) -> float:
    """Of two runs at once, added up."""
    with ThreadPoolExecutor(2) as pool:
        return sum(pool.map(lambda _: train(images, *flags), range(2)))


def train_beside(images: int, *flags: object) -> float:
    """Of one run beside a program that keeps a core busy."""
    with _busy_core():
        return train(images, *flags)


@contextlib.contextmanager
def _busy_core() -> Iterator[None]:
    busy = subprocess.Popen(BUSY)
    try:
        yield
    finally:
        busy.kill()
        busy.wait()


def _noting(taken: list[float], measure: Callable[[], float]) -> Callable[[], float]:
    """Notes too what programs took that are none of this script's."""

    def measured() -> float:
        before = usage()
        value = measure()
        taken.append(usage().taken_since(before) or 0.0)
        return value

    return measured


if __name__ == "__main__":
    main()
