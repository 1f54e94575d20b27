"""Runs of several processes, one of which is killed: all must end within 30 s, and go on to the same result.

    python -m tests.reliability.killing 20

A run has two or three processes. At a moment drawn from its number one of them, drawn too, is killed: after a share of
the time of a whole run, or when a given line of metrics.jsonl appears. Then `tl finetune --resume` goes on: with as
many processes the weights must be those of a run without a break to the bit, with another number up to rounding.
"""

import argparse
import random
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.folders import copy_digits
from tests.helpers.processes import Group, largest_difference, train

SETTINGS = (
    *("--tune", "lp-ft", "--arch", "timm:test_resnet", "--weights", "none", "--image-size", "32", "--batch-size", "12"),
    *("--precision", "fp32", "--lr", "0.0001", "--probe-epochs", "3", "--epochs", "4", "--checkpoint-every", "2"),
    *("--arch-options", "drop_rate=0.2", "--workers", "0", "--threads", "1", "--quiet"),
)
LIMIT = 30.0
TOLERANCE = 1e-3
"""AdamW divides by the gradient's size, which makes more of rounding."""


@dataclass(frozen=True)
class Outcome:
    """How one run went.

    Attributes:
        number: Of the run.
        count: Processes.
        killed: Rank of the one that was killed.
        seconds: From then to the end of the last one.
        ended: Whether all ended in time.
        resumed: Processes that went on; 0 where the run had not begun, and was started anew.
        difference: Largest relative difference of the weights to those of a run without a break.
        told: What the others said.
    """

    number: int
    count: int
    killed: int
    seconds: float
    ended: bool
    resumed: int
    difference: float
    told: tuple[str, ...]

    @property
    def alike(self) -> bool:
        """Whether the result is the same."""
        return self.difference == 0.0 if self.resumed in (0, self.count) else self.difference < TOLERANCE


class Harness:
    """Starts runs on a few real digits.

    Args:
        folder: For data, runs and caches.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = copy_digits(folder / "data", ["0", "1", "7"], 17)
        self.whole: dict[int, Path] = {}
        self.seconds: dict[int, float] = {}
        for count in (2, 3):
            started = time.monotonic()
            self.whole[count] = train(count, folder / f"whole {count}", "--data", self.data, *SETTINGS)
            self.seconds[count] = time.monotonic() - started

    def killed(self, number: int) -> Outcome:
        """A run of which one process is killed at a moment of its own."""
        draw = random.Random(number)
        count = draw.choice((2, 3))
        rank, folder = draw.randrange(count), self.folder / str(number)
        run = folder / "run"
        group = Group(count, folder, ["--data", self.data, *SETTINGS, "--out", run])
        until = time.monotonic() + draw.uniform(0.05, 0.95) * self.seconds[count]
        line = draw.randrange(7) if number % 2 else 1000
        while time.monotonic() < until and all(process.is_alive() for process in group.processes):
            if _lines(run / "metrics.jsonl") > line:
                time.sleep(0.1 * draw.random())
                break
            time.sleep(0.002)
        group.processes[rank].kill()
        began = time.monotonic()
        if number % 2 or not run.exists():
            _signal_as_torchrun(group)
        codes = group.end(LIMIT)
        seconds = time.monotonic() - began
        told = tuple(group.told(other) for other in range(count) if other != rank)
        resumed = draw.choice((count, 1, 5 - count)) if (run / "config.yaml").exists() else 0
        if resumed:
            train(resumed, folder, "--resume", run)
        else:
            run = train(count, folder / "anew", "--data", self.data, *SETTINGS)
        difference = largest_difference(run, self.whole[count])
        return Outcome(number, count, rank, seconds, None not in codes, resumed, difference, told)


def _signal_as_torchrun(group: Group) -> None:
    """A launcher ends the others. In every second run the processes have to see for themselves, once they have met."""
    time.sleep(0.1)
    for process in group.processes:
        process.terminate()


def _lines(path: Path) -> int:
    try:
        return path.read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def main() -> None:
    """Prints a line for each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        harness, good = Harness(Path(folder)), 0
        for number in range(chosen.count):
            outcome = harness.killed(number)
            good += outcome.ended and outcome.alike
            print(f"{number:2} process {outcome.killed} of {outcome.count}: all ended after {outcome.seconds:.1f} s, "
                  f"went on with {outcome.resumed or 'a new run'}, difference {outcome.difference:.1e}; "
                  f"{'good' if outcome.ended and outcome.alike else f'BAD {outcome.told}'}", flush=True)  # fmt: skip
        print(f"{good} of {chosen.count} ended in time, and with the same result")


if __name__ == "__main__":
    main()
