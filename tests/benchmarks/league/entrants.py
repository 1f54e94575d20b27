"""Who takes part in the league, and how each is run: a process of its own, with nothing kept from earlier ones."""

import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch

from tests.benchmarks.league.data import DATA_SETS
from tests.benchmarks.league.results import Result
from tests.benchmarks.timing import run

RIVALS = Path(__file__).parents[1] / "rivals"
TL = (sys.executable, "-c", "from tl_toolkit.cli.main import main; main()")


@dataclass(frozen=True)
class Task:
    """What an entrant is to do.

    Attributes:
        data: A key of DATA_SETS.
        folder: Where the data set is.
        seed: Of training.
        threads: How many the entrant may use.
        rivals: Python of the rivals' environment.
    """

    data: str
    folder: Path
    seed: int
    threads: int
    rivals: Path | None


Outcome = tuple[float, dict[str, object]]
"""Seconds of the process; accuracy, images_per_second, settings and versions."""


@dataclass(frozen=True)
class Entrant:
    """Somebody who takes part.

    Attributes:
        title: Its name in tables.
        start: Runs it to its end.
        is_rival: Whether it needs the rivals' environment.
    """

    title: str
    start: Callable[[Task], Outcome]
    is_rival: bool = False


def _tl(*flags: str) -> Callable[[Task], Outcome]:
    def start(task: Task) -> Outcome:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "run"
            command = [*TL, "finetune", "--data", task.folder, *flags, "--seed", task.seed, "--out", out, "--quiet"]
            done = run(command, {**_threads(task), "TL_CACHE": str(Path(folder) / "cache")})
            summary = json.loads((out / "summary.json").read_text())
            metrics = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        return done.seconds, {
            "accuracy": summary["test_accuracy"],
            "images_per_second": statistics.median(line["images_per_second"] for line in metrics),
            "settings": {"flags": " ".join(flags), "arch": summary.get("arch"), "weights": summary.get("weights")},
            "versions": {name: importlib.metadata.version(name) for name in ("torch", "timm")} | {"tl": _commit()},
        }

    return start


def _rival(name: str) -> Callable[[Task], Outcome]:
    def start(task: Task) -> Outcome:
        data = DATA_SETS[task.data]
        workers = task.threads if task.threads > 1 else 0
        command = [
            *(task.rivals, "-W", "ignore", RIVALS / f"{name}.py", task.folder, "--seed", task.seed),
            *("--size", data.size, "--epochs", data.epochs, "--workers", workers),
            "--flip" if data.flip else "--no-flip",
            *(["--small-images"] if data.small_images else []),
        ]
        done = run(command, {**_threads(task), "HF_HUB_OFFLINE": "1"})
        return done.seconds, done.lines[-1]

    return start


ENTRANTS = {
    "tl": Entrant("tl finetune", _tl()),
    "tl-probe": Entrant("tl, linear probe", _tl("--tune", "linear-probe")),
    "fastai": Entrant("fastai fine_tune", _rival("lite0_fastai"), is_rival=True),
    "timm": Entrant("timm train loop", _rival("lite0_timm"), is_rival=True),
    "hf": Entrant("Hugging Face Trainer", _rival("lite0_hf"), is_rival=True),
}


def measure(entrant: str, task: Task) -> Result:
    """Runs an entrant once.

    Raises:
        SystemExit: It failed; the message ends in what it said.
    """
    load, worked = os.getloadavg()[0], _children_cpu_seconds()
    seconds, outcome = ENTRANTS[entrant].start(task)
    return Result(
        entrant=entrant,
        data=task.data,
        seed=task.seed,
        accuracy=outcome["accuracy"],  # type: ignore[arg-type]
        seconds=seconds,
        cpu_seconds=_children_cpu_seconds() - worked,
        images_per_second=outcome["images_per_second"],  # type: ignore[arg-type]
        settings=outcome["settings"],  # type: ignore[arg-type]
        versions={"python": platform.python_version(), **outcome["versions"]},  # type: ignore[dict-item]
        hardware=hardware(),
        threads=task.threads,
        load=load,
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def hardware() -> str:
    """Processor, its cores and the accelerator, if there is one."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    accelerator = [torch.cuda.get_device_name()] if torch.cuda.is_available() else []
    return ", ".join([names[0] if names else platform.processor(), f"{os.cpu_count()} cores", *accelerator])


def _threads(task: Task) -> dict[str, str]:
    return dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(task.threads))


def _children_cpu_seconds() -> float:
    times = os.times()
    return times.children_user + times.children_system


def _commit() -> str:
    version = importlib.metadata.version("tl_toolkit")
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=Path(__file__).parent, capture_output=True, text=True
    )
    return f"{version} {done.stdout.strip()}".strip()
