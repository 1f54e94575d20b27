"""How long a table of a million rows takes to open, and how much memory: python -m tests.benchmarks.table_scan

Each table is opened in a process of its own. The memory is the peak of that process, and in brackets what it had with
PyTorch imported, before it opened the table.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ENDINGS = ("csv", "jsonl")
LABELS = 1_000


def write_table(path: Path, rows: int) -> None:
    """Write a table with paths, labels, splits and groups."""
    splits = ["train"] * 8 + ["val", "test"]
    with path.open("w") as file:
        if path.suffix == ".csv":
            file.write("path,label,split,patient\n")
        for row in range(rows):
            cells = (f"images/{row % 997:03}/{row:08}.jpg", f"class {row % LABELS}", splits[row // LABELS % 10])
            group = f"patient {row // LABELS}"
            if path.suffix == ".csv":
                file.write(f"{','.join(cells)},{group}\n")
            else:
                named = dict(zip(("path", "label", "split"), cells, strict=True))
                file.write(json.dumps({**named, "patient": group}) + "\n")


def open_once(path: Path, grouped: bool) -> None:
    """Open a table and print seconds, and megabytes before and after."""
    import tl_toolkit.data.sources.table  # noqa: F401  # Importing PyTorch is not part of it.
    from tl_toolkit.data.sources.base import open_source

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    started = time.perf_counter()
    source = open_source(str(path), group_column="patient" if grouped else None)
    seconds = time.perf_counter() - started
    assert len(source.class_names) == LABELS
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps([seconds, before, peak, {name: len(samples) for name, samples in source.splits.items()}]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--open", type=Path, help="Open this table and nothing else.")
    parser.add_argument("--grouped", action="store_true")
    arguments = parser.parse_args()
    if arguments.open:
        open_once(arguments.open, arguments.grouped)
        return
    with tempfile.TemporaryDirectory() as folder:
        for ending in ENDINGS:
            path = Path(folder) / f"table.{ending}"
            write_table(path, arguments.rows)
            for extra in ([], ["--grouped"]):
                command = [sys.executable, "-m", __spec__.name, "--open", str(path), *extra]
                runs = [
                    json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
                    for _ in range(arguments.repeats)
                ]
                seconds = ", ".join(f"{run[0]:.2f}" for run in runs)
                peak = max(run[2] for run in runs)
                before = max(run[1] for run in runs)
                what = f"{ending}{' with groups' if extra else ''}, {arguments.rows:,} rows"
                print(f"{what}: {seconds} s, {peak:.0f} MB ({before:.0f} MB before)", flush=True)


if __name__ == "__main__":
    main()
