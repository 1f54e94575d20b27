"""A league of accuracy at equal time: `tl` and its rivals from the same ImageNet weights, on the same images.

    python -m tests.benchmarks.league --data-root FOLDER --results league.jsonl --rivals PYTHON --seeds 0 1 2
    python -m tests.benchmarks.league --results league.jsonl --report --plot league.png

Entrants: tl (`tl finetune --data D`, no other setting), tl-probe (`--tune linear-probe`), and from the rivals'
environment fastai, timm and hf, each as its file in rivals/ says: EfficientNet-Lite0 at 224 px and 3 epochs on ants, at
160 px and 5 epochs on mnist, cifar and caltech, batches of 32, float32. Each run is a process of its own, and its
seconds are those of the whole process. A run is added to the results when it ends; those that are there are not run
again. The subsets of mnist and cifar are drawn with a fixed seed, `--seeds` are those of training. The accuracy is that
on the images that no entrant has seen, as the entrant itself measures it.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from tests.benchmarks.league import results
from tests.benchmarks.league.data import DATA_SETS, prepared
from tests.benchmarks.league.entrants import ENTRANTS, Task, measure
from tests.benchmarks.league.picture import draw_picture
from tests.benchmarks.league.report import show


def main(arguments: Sequence[str] | None = None) -> None:
    chosen = _parser().parse_args(arguments)
    failed = False
    if not chosen.report:
        if not chosen.data_root:
            raise SystemExit("--data-root FOLDER is needed to run the league; see CONTRIBUTING.md for what is in it")
        threads = _limit_cores(chosen.threads)
        with tempfile.TemporaryDirectory() as folder:
            failed = play(chosen, chosen.work or Path(folder), threads)
    finished = results.read(chosen.results)
    show(finished)
    if chosen.plot:
        draw_picture(finished, chosen.plot)
    if failed:
        raise SystemExit(1)


def play(chosen: argparse.Namespace, work: Path, threads: int) -> bool:
    """Runs what is not in the results yet.

    Returns:
        Whether a run failed; the others go on.
    """
    failed = False
    for seed in chosen.seeds:
        for entrant in chosen.only_entrants:
            if ENTRANTS[entrant].is_rival and not chosen.rivals:
                continue
            for data in chosen.only_data:
                # Read anew each time: another league may write to the same file.
                if (entrant, data, seed) in {result.triple for result in results.read(chosen.results)}:
                    continue
                _say(f"{entrant}, {data}, seed {seed} ...")
                folder = prepared(data, chosen.data_root, work)
                try:
                    result = measure(entrant, Task(data, folder, seed, threads, chosen.rivals))
                except SystemExit as error:
                    print(error, file=sys.stderr, flush=True)
                    failed = True
                    continue
                results.append(chosen.results, result)
                _say(f"{entrant}, {data}, seed {seed}: {result.accuracy:.4f} in {result.seconds:.0f} s")
    return failed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="league", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-root", type=Path, help="folder of the archives, as TL_REAL_DATA")
    parser.add_argument("--results", type=Path, required=True, help="JSON lines, added to as runs end")
    parser.add_argument("--rivals", type=Path, help="Python with fastai and transformers; without it tl runs alone")
    parser.add_argument("--work", type=Path, help="where the prepared data sets are kept (default: nowhere)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only-data", nargs="+", choices=DATA_SETS, default=list(DATA_SETS))
    parser.add_argument("--only-entrants", nargs="+", choices=ENTRANTS, default=list(ENTRANTS))
    parser.add_argument("--threads", type=int, help="cores that a run may use (default: all)")
    parser.add_argument("--report", action="store_true", help="run nothing, print the tables")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw accuracy over seconds")
    return parser


def _limit_cores(threads: int | None) -> int:
    """Confines this process, and with it all runs, to so many of the cores that it may use."""
    if not hasattr(os, "sched_setaffinity"):
        return threads or os.cpu_count() or 1
    cores = sorted(os.sched_getaffinity(0))
    if threads:
        os.sched_setaffinity(0, cores[:threads])
    return min(threads or len(cores), len(cores))


def _say(what: str) -> None:
    print(f"{datetime.now():%H:%M:%S}  {what}", flush=True)


if __name__ == "__main__":
    main()
