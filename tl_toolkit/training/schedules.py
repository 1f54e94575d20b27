"""Learning rate schedules, as factors of the peak learning rate."""

import math
from collections.abc import Callable
from functools import partial

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from tl_toolkit.config.choices import Scheduler

ONE_CYCLE_RISE = 0.3
ONE_CYCLE_START = 1 / 25
ONE_CYCLE_END = 1e-5
"""Share of the steps in which one-cycle rises, and its first and last factor; fastai's `fit_one_cycle`
(fastai/callback/schedule.py: pct_start, div, div_final)."""

STEP_DECAY = 0.1
STEP_COUNT = 3
"""The schedule "step" has three equal parts, each at a tenth of the one before (He et al. 2016, section 3.4)."""

Factor = Callable[[int], float]


def make_schedule(optimizer: Optimizer, scheduler: Scheduler, steps: int, warmup: float, done: int = 0) -> LambdaLR:
    """Return a schedule that multiplies every group's peak learning rate by the same `factor` at each step.

    Args:
        optimizer: Its groups hold the peak learning rates; as "initial_lr" if steps are done already.
        scheduler: The schedule after the warm-up; one-cycle has its own warm-up.
        steps: Total number of steps.
        warmup: Share of the steps in which the factor rises from 0 to 1.
        done: Steps done already.
    """
    return LambdaLR(optimizer, partial(factor, scheduler, steps, warmup), last_epoch=done - 1)


def factor(scheduler: Scheduler, steps: int, warmup: float, step: int) -> float:
    """Return the factor of the peak learning rate at a step, counted from 0."""
    if scheduler == "one-cycle":
        rise = max(1, round(steps * ONE_CYCLE_RISE))
        if step < rise:
            return _cosine(ONE_CYCLE_START, 1.0, step / rise)
        return _cosine(1.0, ONE_CYCLE_END, (step - rise) / max(1, steps - rise))
    rise = round(steps * warmup)
    if step < rise:
        return (step + 1) / (rise + 1)
    progress = min(1.0, (step - rise) / max(1, steps - rise))
    if scheduler == "cosine":
        return _cosine(1.0, 0.0, progress)
    if scheduler == "step":
        return float(STEP_DECAY ** min(STEP_COUNT - 1, int(progress * STEP_COUNT)))
    return 1.0


def _cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2
