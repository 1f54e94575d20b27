"""Several processes of `tl finetune`, started as a launcher starts them."""

import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
from safetensors.torch import load_file

PATIENCE = 240.0

os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # As the command sets it before it imports torch.
_context = multiprocessing.get_context("forkserver")  # torch and the libraries are imported once.
_context.set_forkserver_preload(["tl_toolkit.recipes.finetune", "tl_toolkit.cli.main", "tests.helpers.processes"])


class Group:
    """Processes of one run.

    Args:
        count: How many.
        folder: For what they write, and their cache.
        arguments: Those of `tl finetune`; a function of the rank if they differ.
        prepare: Called in each process with its rank before it begins.
    """

    def __init__(
        self,
        count: int,
        folder: Path,
        arguments: Sequence[object] | Callable[[int], Sequence[object]],
        prepare: Callable[[int], None] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.folder = folder
        self.processes: list[BaseProcess] = []
        for rank in range(count):
            words = [str(word) for word in (arguments(rank) if callable(arguments) else arguments)]
            process = _context.Process(target=_finetune, args=(words, folder, rank, count, port, prepare))
            process.start()
            self.processes.append(process)

    def end(self, seconds: float = PATIENCE) -> list[int | None]:
        """Wait for the end of all, and return their exit codes; None for one that did not end in time."""
        until = time.monotonic() + seconds
        for process in self.processes:
            process.join(max(0.0, until - time.monotonic()))
        codes = [process.exitcode for process in self.processes]
        for process in self.processes:
            process.kill()
        return codes

    def told(self, rank: int) -> str:
        """What a process wrote to stdout and stderr."""
        return (self.folder / f"{rank}.txt").read_text()


def train(count: int, folder: Path, *arguments: object) -> Path:
    """Train to the end in some processes, and return the run folder, which is `folder / "run"`."""
    run = folder / "run"
    group = Group(count, folder, [*arguments] if "--resume" in arguments else [*arguments, "--out", run])
    codes = group.end()
    assert codes == [0] * count, [group.told(rank) for rank in range(count)]
    for rank in range(1, count):
        assert group.told(rank) == ""
    return run


def largest_difference(run: Path, other: Path) -> float:
    """Return the largest difference of a tensor of last.safetensors, relative to its norm."""
    one, two = load_file(run / "last.safetensors"), load_file(other / "last.safetensors")
    assert one.keys() == two.keys()
    return max(
        float(
            torch.linalg.norm(value.double() - two[name].double()) / torch.linalg.norm(value.double()).clamp(min=1e-9)
        )
        for name, value in one.items()
    )


def _finetune(
    arguments: list[str], folder: Path, rank: int, count: int, port: int, prepare: Callable[[int], None] | None
) -> None:
    os.environ["TL_CACHE"] = str(folder / "cache")
    if count > 1:
        places = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
        os.environ.update({name: str(value) for name, value in places.items()})
        os.environ.update({"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)})
    output = os.open(folder / f"{rank}.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout, sys.stderr = open(1, "w"), open(2, "w")  # noqa: SIM115  # what Python opened may have been a file
    torch.set_num_threads(1)
    if prepare:
        prepare(rank)
    from tl_toolkit.cli import main

    sys.argv = ["tl", "finetune", *arguments]
    main.main()
