"""The processes of a run: one, or several that torchrun or accelerate launch started.

All of them read the same images, draw the same orders and take the same decisions; the first one alone prints and
writes. Gradients and statistics are exchanged by torch and Accelerate; what is here is for decisions, results and
failures, a few bytes at a time. With one process every function returns at once and imports nothing.
"""

import contextlib
import datetime
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from tl_toolkit.errors import ReportedElsewhereError, RunInterruptedError, ToolkitError, TrainingError, UsageError
from tl_toolkit.text import join_names, named

T = TypeVar("T")

SIZE, RANK, LOCAL_RANK, LOCAL_SIZE = "WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE"
NEEDED = (RANK, LOCAL_RANK, "MASTER_ADDR", "MASTER_PORT")
"""What torchrun and accelerate launch set beside WORLD_SIZE (pytorch.org/docs/stable/elastic/run.html)."""

SHARDING = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
}

TIMEOUT = datetime.timedelta(minutes=30)
"""How long a process waits for the others, which may be downloading. One that dies ends the wait at once."""

ROLL_CALL_SECONDS = 3.0
"""How long the processes that remain wait for the last word of one that died."""

SAME_ERROR_SECONDS = 1.0
"""How long processes wait for each other to see whether they have the same error."""

LOST = ("gloo", "nccl", "connection closed", "connection reset", "broken pipe", "socket", "timed out", "tcpstore")
"""Words in torch's errors when another process no longer answers."""


@dataclass(frozen=True, slots=True)
class World:
    """The place of this process among those of a run.

    Attributes:
        rank: Number of this process, from 0.
        size: Number of processes.
        local_rank: Number of this process among those of this machine.
        local_size: Number of processes of this machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process prints and writes."""
        return self.rank == 0


_world = World()
_store: Any = None


def world() -> World:
    """Return the place of this process; a single one outside of `joined`."""
    return _world


def is_first() -> bool:
    """Return whether this process prints and writes."""
    return _world.rank == 0


def launched() -> World:
    """Return the place that the launcher gave this process.

    Raises:
        UsageError: The launcher's variables are incomplete or wrong.
    """
    size = _number(SIZE, 1)
    if size == 1:
        return World()
    if missing := [name for name in NEEDED if not os.environ.get(name)]:
        raise UsageError(
            f"{SIZE} is {size}, but {join_names(missing)} {'is' if len(missing) == 1 else 'are'} not set. A launcher "
            f"sets them all: start with `torchrun --nproc-per-node {size} -m tl_toolkit finetune ...`, or unset {SIZE} "
            "to train in one process."
        )
    rank, local_rank = _number(RANK, 0), _number(LOCAL_RANK, 0)
    if rank >= size:
        raise UsageError(f"{RANK} is {rank}, but {SIZE} is {size}: ranks count from 0. Let torchrun set them.")
    for variable, what in SHARDING.items():
        if os.environ.get(variable, "").lower() == "true":
            raise UsageError(
                f"tl does not train with {what}: each process holds the whole network. Start without it, and reduce "
                f"memory with {named('accumulate')}, {named('precision', 'bf16')} or {named('tune', 'last-stage')}."
            )
    return World(rank, size, local_rank, max(_number(LOCAL_SIZE, local_rank + 1), local_rank + 1))


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    if text and not text.isdecimal():
        raise UsageError(f"{name} must be a number, not {text!r}. Let torchrun set it, or unset it.")
    return int(text) if text else default


@contextlib.contextmanager
def joined(on_gpu: Callable[[], bool] = lambda: False) -> Iterator[World]:
    """Within the block, the processes that a launcher started form one run.

    Args:
        on_gpu: Whether tensors will be on GPUs; called only where there are several processes.

    Raises:
        UsageError: The launcher's variables are incomplete or wrong.
        TrainingError: Another process died, or cannot be reached.
    """
    global _world, _store
    place = launched()
    if place.size == 1 or _world.size > 1:
        yield _world
        return
    import torch
    from torch import distributed
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    on_gpus, ours = on_gpu(), not distributed.is_initialized()
    if ours:
        try:
            _store, _, _ = next(iter(rendezvous("env://", place.rank, place.size, timeout=TIMEOUT)))
            if on_gpus:
                torch.cuda.set_device(place.local_rank)
            distributed.init_process_group(
                "cpu:gloo,cuda:nccl" if on_gpus else "gloo",
                store=PrefixStore("group", _store),
                rank=place.rank,
                world_size=place.size,
                timeout=TIMEOUT,
            )
        except (RuntimeError, ValueError) as error:
            address = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
            raise TrainingError(f"The {place.size} processes cannot meet at {address}: {error}") from error
    with _terminating_as_interrupt():  # Until they have met, SIGTERM ends a process at once.
        _world = place
        try:
            yield place
            distributed.barrier()
        except (Exception, KeyboardInterrupt) as error:
            if threading.current_thread() is threading.main_thread():  # The launcher's signal is no news any more.
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            explained = _explain(error, place)
            if explained is error:
                raise
            raise explained from error
        finally:
            _world = World()
            if ours and not on_gpus:  # NCCL waits for the processes that are gone.
                with contextlib.suppress(RuntimeError):
                    distributed.destroy_process_group()
            _store = None


@contextlib.contextmanager
def _terminating_as_interrupt() -> Iterator[None]:
    """Within the block, SIGTERM interrupts as Ctrl-C does: a launcher sends it when another process died."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def broadcast(value: T) -> T:
    """Return the value of the first process on all of them."""
    if _world.size == 1:
        return value
    import torch
    from torch import distributed

    values = [value if _world.is_first else None]
    distributed.broadcast_object_list(values, src=0, device=torch.device("cpu"))
    return values[0]  # type: ignore[return-value]  # None only where the first process has it


def gather(value: T) -> list[T]:
    """Return the values of all processes, by rank."""
    if _world.size == 1:
        return [value]
    from torch import distributed

    values: list[Any] = [None] * _world.size
    distributed.all_gather_object(values, value)
    return values


def anywhere(*flags: bool) -> tuple[bool, ...]:
    """Return for each flag whether it is set in any process."""
    if _world.size == 1:
        return flags
    import torch
    from torch import distributed

    found = torch.tensor(flags, dtype=torch.uint8)
    distributed.all_reduce(found, distributed.ReduceOp.MAX)
    return tuple(map(bool, found.tolist()))


def first_decides(flag: bool) -> bool:
    """Return the flag of the first process; the clocks of the others may differ."""
    return anywhere(flag and _world.is_first)[0]


def wait() -> None:
    """Wait until all processes are here."""
    anywhere(False)


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Within the block the processes do not talk to each other; if it fails in one of them, all fail.

    The error is told once: by the first process.

    Raises:
        ToolkitError: That of this process, or in the first process that of another.
        ReportedElsewhereError: The first process says what failed.
    """
    if _world.size == 1:
        yield
        return
    own: ToolkitError | None = None
    try:
        yield
    except ToolkitError as error:
        own = error
    raise_together(own)


def raise_together(own: ToolkitError | None) -> None:
    """Raise the error of this process or of another, if there is one; see `together`."""
    found = gather((isinstance(own, UsageError), str(own)) if own else None)
    failed = {rank: error for rank, error in enumerate(found) if error}
    if not failed:
        return
    rank, (is_usage, message) = next(iter(failed.items()))
    if not is_first():
        raise ReportedElsewhereError(message) from own
    if own:
        raise own
    raise (UsageError if is_usage else ToolkitError)(f"process {rank}: {message}")


@contextlib.contextmanager
def one_per_machine_first() -> Iterator[None]:
    """Run the block first in one process of each machine, then in the others, which find its downloads and caches.

    Raises:
        ToolkitError: It failed in a process; see `together`.
    """
    if _world.size == 1:
        yield
        return
    ahead = _world.local_rank == 0
    own: ToolkitError | None = None
    if not ahead:
        raise_together(None)
    try:
        yield
    except ToolkitError as error:
        own = error
    if ahead:
        raise_together(own)
        own = None
    raise_together(own)


def refuse_difference(what: str, value: Any) -> None:
    """Refuse to go on if a value is not the same in all processes.

    Args:
        what: What the value is, in words.
        value: A mapping from names to what they are.

    Raises:
        UsageError: They differ; the message says in what, and which process has what.
    """
    values = gather(dict(value))
    for rank, other in enumerate(values[1:], start=1):
        names = [name for name in {**values[0], **other} if values[0].get(name) != other.get(name)]
        if names:
            details = "; ".join(
                f"{name} is {values[0].get(name, 'missing')} in process 0 and {other.get(name, 'missing')} in process "
                f"{rank}"
                for name in names
            )
            message = f"The processes of a run must have the same {what}: {details}."
            raise UsageError(message) if is_first() else ReportedElsewhereError(message)


def _explain(error: BaseException, place: World) -> BaseException:
    """Return the error to raise in place of one: the loss of another process, if that is its reason."""
    lost = _is_loss(error)
    interrupted = isinstance(error, KeyboardInterrupt | RunInterruptedError)
    try:
        if not lost and not interrupted:
            return error if isinstance(error, ReportedElsewhereError) else _tell(error, place)
        last_words = _roll_call(place, ROLL_CALL_SECONDS if lost else 0.0)
    except Exception:  # noqa: BLE001  # The store may have died with the process that held it.
        last_words = None
    if not lost and not (last_words and any(last_words.values())):
        return error
    if last_words is None or not any(word is not None for word in last_words.values()):
        return TrainingError(f"Another process of the run no longer answers. {_advice()}")
    if place.rank and 0 not in last_words:
        return ReportedElsewhereError("Another process of the run ended.")
    silent = "was killed or lost, perhaps for want of memory"
    told = [f"Process {rank} {f'failed: {word}'.rstrip('.') if word else silent}." for rank, word in last_words.items()]
    return TrainingError(" ".join([*told, _advice()]))


def _tell(error: BaseException, place: World) -> BaseException:
    """Leave the last word of this process; an error that the first one has too is told there.

    The first process waits until the others have read its word, as the store may end with it.
    """
    message = str(error) or type(error).__name__
    _store.set(f"failed/{place.rank}", message)
    read = [f"read/{rank}" for rank in range(1, place.size)]
    until = time.monotonic() + SAME_ERROR_SECONDS
    while isinstance(error, ToolkitError) and time.monotonic() < until:
        if place.rank == 0 and _store.check(read):
            break
        if place.rank and _store.check(["failed/0"]):
            told = _store.get("failed/0").decode() == message
            _store.set(f"read/{place.rank}", "")
            return ReportedElsewhereError(message) if told else error
        time.sleep(0.05)
    return error


def _advice() -> str:
    how = f"{named('resume')} goes on from its last checkpoint, with any number of processes."
    return f"All processes of the run end; {how}"


def _is_loss(error: BaseException | None) -> bool:
    """Return whether an error, or one that it came from, is that of a process that no longer answers."""
    while error is not None:
        if isinstance(error, RuntimeError) and any(word in str(error).lower() for word in LOST):
            return True
        error = error.__cause__ or error.__context__
    return False


def _roll_call(place: World, seconds: float) -> dict[int, str]:
    """Return the processes that ended, with their reasons; empty for one that ended without a word."""
    _store.set(f"here/{place.rank}", "")
    until = time.monotonic() + seconds
    others = [rank for rank in range(place.size) if rank != place.rank]
    while True:
        failed = {rank: _store.get(f"failed/{rank}").decode() for rank in others if _store.check([f"failed/{rank}"])}
        silent = [rank for rank in others if rank not in failed and not _store.check([f"here/{rank}"])]
        if not silent or time.monotonic() >= until:
            return {rank: failed.get(rank, "") for rank in sorted([*failed, *silent])}
        time.sleep(0.05)
