"""python -m tests.fuzz TARGET: fuzzes one target, guided by coverage where atheris is installed.

What ends in another way than it may is written to a file crash-..., and the exit code is not 0. To try such a file
again: python -m tests.fuzz TARGET --again FILE.
"""

import argparse
import importlib
import os
import random
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

try:
    import atheris
except ImportError:
    atheris = None

GUIDING = ("tl_toolkit", "yaml", "PIL", "json")
"""Packages whose branches guide the fuzzer."""

MEMORY = Path("/dev/shm")
"""Quicker than a disk, where the system has such a place."""

MOST_SECONDS, MOST_MEGABYTES = 60, 8192
"""For one execution."""


def main() -> None:
    names = ("config", "card", "model", "weights", "checkpoint", "metrics", "summary", "image")
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", choices=names)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--crashes", type=Path, default=Path(), metavar="FOLDER", help="where what failed is written")
    parser.add_argument("--again", type=Path, metavar="FILE", help="run the target on this file alone")
    chosen = parser.parse_args()
    warnings.simplefilter("error")
    if chosen.again:
        _target(chosen.target).run(chosen.again.read_bytes())
    elif atheris:
        sys.exit(_in_child(lambda: _guided(chosen.target, chosen.runs, chosen.seed, chosen.crashes)))
    else:
        print("atheris is not installed: bytes are changed without guidance")
        _unguided(chosen.target, chosen.runs, chosen.seed, chosen.crashes)


def _target(name: str) -> Any:
    return importlib.import_module("tests.fuzz.targets").TARGETS[name]


def _in_child(work: Callable[[], None]) -> int:
    """The exit code of a process that does the work: atheris ends it without tidying up, which is done here."""
    with tempfile.TemporaryDirectory(prefix="tl-fuzz-", dir=MEMORY if MEMORY.is_dir() else None) as folder:
        child = os.fork()
        if child == 0:
            tempfile.tempdir = folder
            try:
                work()  # atheris ends the process.
            except BaseException:
                traceback.print_exc()
            os._exit(1)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _guided(name: str, runs: int, seed: int, crashes: Path) -> None:
    with atheris.instrument_imports(include=list(GUIDING)):
        import PIL.Image
        import yaml  # noqa: F401

        target = _target(name)
        PIL.Image.init()
        seeds = target.seeds()
        for data in seeds:  # Imports what the target does.
            target.run(data)
    from tests.fuzz.mutating import mutator

    own = mutator(target.json_after)

    def mutate(data: bytes, most: int, number: int) -> bytes:
        draw = random.Random(number)
        if target.json_after is None and draw.random() < 0.8:
            return bytes(atheris.Mutate(data, most))
        return own(data, draw)[:most]

    with tempfile.TemporaryDirectory() as corpus:
        for index, data in enumerate(seeds):
            (Path(corpus) / f"{index:03}").write_bytes(data)
        longest = max(4096, 2 * max(map(len, seeds)))
        flags = [f"-runs={runs}", f"-seed={seed}", f"-max_len={longest}", f"-timeout={MOST_SECONDS}"]
        flags += [f"-rss_limit_mb={MOST_MEGABYTES}", f"-artifact_prefix={crashes}/", "-print_final_stats=1", corpus]
        atheris.Setup([sys.argv[0], *flags], target.run, custom_mutator=mutate)
        atheris.Fuzz()  # Ends the process.


def _unguided(name: str, runs: int, seed: int, crashes: Path) -> None:
    from tests.fuzz.mutating import mutator

    target = _target(name)
    seeds, mutate, draw = target.seeds(), mutator(target.json_after), random.Random(seed)
    began = time.perf_counter()
    for done in range(runs):
        data = seeds[done] if done < len(seeds) else mutate(draw.choice(seeds), draw)
        try:
            target.run(data)
        except BaseException:
            path = crashes / f"crash-{name}-{done}"
            path.write_bytes(data)
            print(f"{path} has what failed")
            raise
    print(f"Done {runs} runs in {time.perf_counter() - began:.0f} s")  # As atheris says it.


if __name__ == "__main__":
    main()
