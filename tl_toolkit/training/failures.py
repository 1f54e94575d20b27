"""Errors of torch, its workers and other processes, as the toolkit's own."""

import contextlib
from collections.abc import Iterator

from tl_toolkit.errors import TrainingError
from tl_toolkit.text import named


@contextlib.contextmanager
def as_training_error(stage: str) -> Iterator[None]:
    """Within the block, turn errors of torch and its worker processes into a TrainingError with advice."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        raise TrainingError(_why_step_failed(stage, error)) from error


def _why_step_failed(stage: str, error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    if "DataLoader worker" in lines[0]:  # The worker's own error is the last line of its traceback.
        return f"The {stage} stage cannot continue: {lines[-1].partition('Error: ')[2]}"
    less = f" A smaller {named('batch_size')} or {named('image_size')} needs less."
    advice = less if "memory" in lines[0].lower() else ""
    return f"A step of the {stage} stage failed: {lines[0]}{advice}"
