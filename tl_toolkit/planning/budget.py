"""The time budget of a run."""

import math
import time

from tl_toolkit.errors import UsageError
from tl_toolkit.io.files import format_seconds
from tl_toolkit.system.processes import first_decides
from tl_toolkit.text import named

MIN_EPOCHS = 2
"""By default, fewer epochs are not worth their setup."""

WRITING_SECONDS = 2.5
"""Reserve for writing the model and drawing the curves, which includes importing matplotlib."""


REPORT_SECONDS = 3.5
"""Reserve for the report, which reads images again."""


class TimeBudget:
    """The time that a run may take.

    Args:
        seconds: Seconds in total; None for no limit.
        started: `time.perf_counter()` when the run began, minus the seconds that it took before it was resumed.
        report: Whether the run ends with a report.

    Attributes:
        reserve: Seconds for evaluation and writing at the end.
    """

    def __init__(self, seconds: float | None, started: float, report: bool = False) -> None:
        self.seconds = math.inf if seconds is None else seconds
        self.started = started
        self.reserve = WRITING_SECONDS + (REPORT_SECONDS if report else 0.0)

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return time.perf_counter() - self.started

    def used(self, share: float) -> bool:
        """Return whether a share of the time is over, by the clock of the first process."""
        return self.is_set and first_decides(self.elapsed >= share * self.seconds)

    def check_not_spent(self) -> None:
        """Refuse a budget that is spent before the run begins.

        Raises:
            UsageError: It is spent.
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
        """Return the seconds until fine-tuning must end."""
        return self.seconds - self.elapsed - self.reserve

    def seconds_left(self) -> float | None:
        """Return the seconds until fine-tuning must end, at least 0; None without a limit."""
        return max(0.0, self.remaining()) if self.is_set else None

    def is_spent(self) -> bool:
        """Return whether fine-tuning must end now, by the clock of the first process."""
        return self.is_set and first_decides(self.remaining() <= 0)
