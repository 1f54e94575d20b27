"""The results file: one JSON line for each finished run, so that a league goes on where it was stopped."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

Triple = tuple[str, str, int]
"""Entrant, data set and seed."""


@dataclass(frozen=True)
class Result:
    """One run of an entrant.

    Attributes:
        entrant: A key of ENTRANTS.
        data: A key of DATA_SETS.
        seed: Of training.
        accuracy: On test, from 0 to 1.
        seconds: Of the whole process, by the clock.
        cpu_seconds: That all cores worked for it, which other programs on the machine change less than `seconds`.
        images_per_second: Of training, as the entrant tells it.
        settings: What the entrant chose.
        versions: Of its packages.
        hardware: Processor and accelerator.
        threads: That it might use.
        load: Programs that wanted a core in the minute before it started.
        finished: Date and time in UTC.
    """

    entrant: str
    data: str
    seed: int
    accuracy: float
    seconds: float
    cpu_seconds: float
    images_per_second: float
    settings: dict[str, object]
    versions: dict[str, str]
    hardware: str
    threads: int
    load: float
    finished: str

    @property
    def triple(self) -> Triple:
        return self.entrant, self.data, self.seed


def append(path: Path, result: Result) -> None:
    """Adds a line to the file, on a line of its own even where a killed run left half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.exists() and not path.read_bytes().endswith(b"\n") and path.stat().st_size > 0
    with path.open("a") as file:
        file.write("\n" * half + json.dumps(dataclasses.asdict(result)) + "\n")


def read(path: Path) -> list[Result]:
    """The finished runs of a file; none, if there is no such file. Half a line is left out."""
    if not path.exists():
        return []
    results = []
    for line in path.read_text().splitlines():
        try:
            results.append(Result(**json.loads(line)))
        except json.JSONDecodeError:
            print(f"{path}: left out a line that is cut off")
    return results
