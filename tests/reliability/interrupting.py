"""Runs of `tl finetune` in processes of their own that are killed, or whose disk fills up, and are then gone on with.

    python -m tests.reliability.interrupting kill 30
    python -m tests.reliability.interrupting full-disk 20

Each run ends at a moment drawn from its number: after a share of the time that a whole run takes, when a given line of
metrics.jsonl appears, or while a given file is being written. Then `tl finetune --resume` goes on to the end, and every
byte of the weights and every number of the metrics must be what a run without a break has.
"""

import argparse
import contextlib
import multiprocessing
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from safetensors import safe_open

from tests.helpers.folders import copy_digits
from tests.helpers.runs import metrics
from tl_toolkit.io.safetensors_file import DIGEST
from tl_toolkit.runs.checkpoint import Checkpoint

SETTINGS = (
    *("--tune", "lp-ft", "--arch", "timm:test_resnet", "--weights", "none", "--image-size", "32", "--batch-size", "8"),
    *("--probe-epochs", "6", "--epochs", "3", "--checkpoint-every", "2", "--arch-options", "drop_rate=0.2", "--quiet"),
)
CLASSES, PER_CLASS = ["0", "1", "7"], 12
MOMENTS = ("time", "line", "saving")
PATIENCE = 300.0

Interrupt = Callable[["Started"], None]


@dataclass(frozen=True)
class Started:
    """A process, and what it writes to stdout and stderr: through a pipe, which a full disk does not close."""

    process: BaseProcess
    output: Connection

    def end(self) -> str:
        """Waits for its end.

        Returns:
            What it wrote.
        """
        self.process.join(PATIENCE)
        with open(self.output.fileno(), "rb", closefd=False) as file:  # a pipe
            return file.read().decode()


@dataclass(frozen=True)
class Outcome:
    """How one run went.

    Attributes:
        number: Of the run.
        moment: What the interruption waited for.
        exit: The interrupted process's exit code.
        place: Stage, epoch and step of the checkpoint that was there; empty where there was none.
        alike: Whether the resumed run is the whole one.
        told: What the interrupted process wrote to stderr.
    """

    number: int
    moment: str
    exit: int | None
    place: str
    alike: bool
    told: str


class Harness:
    """Starts runs on a few real digits.

    Args:
        folder: For data, runs and caches.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = copy_digits(folder / "data", CLASSES, PER_CLASS)
        self._context = multiprocessing.get_context("forkserver")  # torch and the libraries are imported once.
        self._context.set_forkserver_preload(
            ["tl_toolkit.recipes.finetune", "tl_toolkit.cli.main", "tests.reliability.interrupting"]
        )
        self.whole = folder / "whole"
        self._finish("--data", self.data, "--out", self.whole, *SETTINGS, cache=self.whole)
        started = time.perf_counter()
        again = folder / "timed"
        self._finish("--data", self.data, "--out", again, *SETTINGS, cache=again)
        self.seconds = time.perf_counter() - started
        if not _alike(again, self.whole):
            raise AssertionError("Two whole runs differ: there is nothing to compare with.")
        self.lines = len((self.whole / "metrics.jsonl").read_text().splitlines())

    def interrupted(
        self, number: int, interrupt: Interrupt, wants_checkpoint: bool = False, more: Sequence[str] = ()
    ) -> Outcome:
        """A run that is interrupted at a moment of its own, and then gone on with.

        Args:
            number: What the moment is drawn from.
            interrupt: Done to the process then.
            wants_checkpoint: Wait until there is one.
            more: Further arguments of the run that is interrupted.
        """
        draw = random.Random(number)
        moment = MOMENTS[number % len(MOMENTS)]
        run = self.folder / f"{interrupt.__name__} {number}"
        started = self._start(run, "--data", self.data, "--out", run, *SETTINGS, *more)
        self._wait(started.process, run, moment, draw, wants_checkpoint)
        interrupt(started)
        told = started.end()
        kept = Checkpoint.read(run / "checkpoint.safetensors")
        if wants_checkpoint and kept is None:
            raise AssertionError(f"run {number} has no checkpoint")
        place = f"{kept.settings.name} step {kept.state.step}" if kept else ""
        end = run
        if (run / "config.yaml").exists():
            self._finish("--resume", run, "--workers", "0", "--quiet", cache=run)
        else:  # It had not begun.
            end = Path(f"{run} anew")
            self._finish("--data", self.data, "--out", end, *SETTINGS, cache=run)
        return Outcome(number, moment, started.process.exitcode, place, _alike(end, self.whole), told)

    def _start(self, cache: Path, *arguments: object) -> Started:
        receiver, sender = self._context.Pipe(duplex=False)
        words = [str(argument) for argument in arguments]
        process = self._context.Process(target=_finetune, args=(words, f"{cache}.cache", sender))
        process.start()
        sender.close()
        return Started(process, receiver)

    def _finish(self, *arguments: object, cache: Path) -> None:
        started = self._start(cache, *arguments)
        told = started.end()
        if started.process.exitcode != 0:
            raise AssertionError(f"{arguments}: exit code {started.process.exitcode}\n{told}")

    def _wait(self, process: BaseProcess, run: Path, moment: str, draw: random.Random, wants_checkpoint: bool) -> None:
        """Until the moment, or the end of the process."""
        checkpoint = run / "checkpoint.safetensors"
        until = time.perf_counter() + draw.uniform(0.05, 0.9) * self.seconds
        line, save = draw.randrange(self.lines), draw.randrange(1, 12)
        seen: set[str] = set()
        while process.is_alive():
            if not wants_checkpoint or checkpoint.exists():
                if moment == "time" and time.perf_counter() >= until:
                    return
                if moment == "line" and _lines(run / "metrics.jsonl") > line:
                    time.sleep(draw.random() * 0.02)
                    return
                if moment == "saving":
                    with contextlib.suppress(FileNotFoundError):
                        seen |= {name for name in os.listdir(run) if name.endswith(".tmp")}  # noqa: PTH208  # quicker
                    if len(seen) >= save:
                        return
            time.sleep(0.0005)


def kill(started: Started) -> None:
    """As the system does when memory runs out."""
    if started.process.is_alive() and started.process.pid:
        os.kill(started.process.pid, signal.SIGKILL)


def press_ctrl_c(started: Started) -> None:
    """As a terminal does: the signal goes to the process and to its workers."""
    if started.process.is_alive() and started.process.pid:
        os.killpg(started.process.pid, signal.SIGINT)


def preempt(started: Started) -> None:
    """As a scheduler does that needs the machine."""
    if started.process.is_alive() and started.process.pid:
        os.killpg(started.process.pid, signal.SIGTERM)


def fill_disk(started: Started) -> None:
    """From now on the process can write no file, as on a full disk."""
    with contextlib.suppress(ProcessLookupError):
        resource.prlimit(started.process.pid or 0, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))


def _finetune(arguments: list[str], cache: str, output: Connection) -> None:
    """`tl finetune`, as the command does it."""
    os.environ["TL_CACHE"] = cache
    os.setpgid(0, 0)
    os.dup2(output.fileno(), 1)
    os.dup2(output.fileno(), 2)
    sys.stdout, sys.stderr = open(1, "w"), open(2, "w")  # noqa: SIM115  # what Python opened may have been a file
    from tl_toolkit.cli import main

    sys.argv = ["tl", "finetune", *arguments]
    main.main()


def _lines(path: Path) -> int:
    try:
        return path.read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def _alike(run: Path, other: Path) -> bool:
    """Whether two runs have the same weights to the bit, and the same metrics but for their times."""
    names = ("model.safetensors", "last.safetensors")
    return metrics(run) == metrics(other) and all(_content(run / name) == _content(other / name) for name in names)


def _content(path: Path) -> dict[str, object]:
    """Metadata, but for the settings, and the bytes of each tensor; safetensors does not keep the order of metadata."""
    with safe_open(path, framework="np") as file:
        metadata = {name: value for name, value in file.metadata().items() if name not in ("training", DIGEST)}
        return {**metadata, **{name: file.get_tensor(name).tobytes() for name in file.keys()}}  # noqa: SIM118


def main() -> None:
    """Prints a line for each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("how", choices=["kill", "full-disk"])
    parser.add_argument("count", type=int)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        harness = Harness(Path(folder))
        alike = 0
        for number in range(chosen.count):
            full = chosen.how == "full-disk"
            outcome = harness.interrupted(number, fill_disk if full else kill, full)
            alike += outcome.alike
            print(f"{number:2} {outcome.moment:6} exit {outcome.exit}, checkpoint: {outcome.place or 'none yet'}; "
                  f"{'the same bits' if outcome.alike else 'DIFFERENT'}", flush=True)  # fmt: skip
        print(f"{alike} of {chosen.count} ended with the same bits")


if __name__ == "__main__":
    main()
