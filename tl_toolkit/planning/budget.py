"""What the stages of a run may cost: a deterministic limit by default, the clock with --time-budget."""

import math
import time

from tl_toolkit.errors import UsageError
from tl_toolkit.io.files import format_seconds
from tl_toolkit.text import named

MIN_EPOCHS = 2
"""Fewer are not worth their setup by default."""


WRITING_SECONDS = 2.5
"""Reserve for writing the model and drawing the curves, for which matplotlib is imported."""


class TimeBudget:
    """The time that a run may take.

    Args:
        seconds: In all; None for no limit.
        started: `time.perf_counter()` when the run began, less what earlier parts of it took.
    """

    def __init__(self, seconds: float | None, started: float) -> None:
        self.seconds = math.inf if seconds is None else seconds
        self.started = started
        self.reserve = WRITING_SECONDS
        """Seconds that evaluation and writing at the end will take."""

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return time.perf_counter() - self.started

    def used(self, share: float) -> bool:
        """Whether a share of the time is over."""
        return self.elapsed >= share * self.seconds

    def check_not_spent(self) -> None:
        """Refuses a budget that is over before anything was looked at.

        Raises:
            UsageError: It is.
        """
        if self.used(1):
            raise UsageError(
                f"{named('time_budget')} is too short with {format_seconds(self.seconds)}: starting took "
                f"{format_seconds(self.elapsed)}."
            )

    @property
    def is_set(self) -> bool:
        """Whether there is a limit."""
        return self.seconds < math.inf

    def remaining(self) -> float:
        """Seconds until fine-tuning must end."""
        return self.seconds - self.elapsed - self.reserve

    def is_spent(self) -> bool:
        """Whether fine-tuning must end now."""
        return self.is_set and self.remaining() <= 0
