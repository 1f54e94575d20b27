"""Evaluation of a network on labelled batches, in one pass."""

import contextlib
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import nn

from tl_toolkit.config.choices import Task
from tl_toolkit.metrics.base import METRICS, ScoreMeter, Scores, Thresholds
from tl_toolkit.metrics.predictions import PredictionKeeper
from tl_toolkit.training.divided import results_in_order
from tl_toolkit.training.failures import as_training_error
from tl_toolkit.training.losses import Criterion

Batches = Iterable[tuple[torch.Tensor, torch.Tensor]]
Prepare = Callable[[torch.Tensor], torch.Tensor]
"""Turns a batch of a loader, on the device, into a network's input."""


@torch.inference_mode()
def evaluate_batches(
    module: nn.Module,
    batches: Batches,
    prepare: Prepare,
    classes: int,
    device: torch.device,
    criterion: Criterion,
    metrics: Iterable[str] = METRICS,
    task: Task = "multi-class",
    thresholds: Thresholds = None,
    temperature: float = 1.0,
    keeper: PredictionKeeper | None = None,
    head: nn.Module | None = None,
    intervals: bool = False,
) -> Scores:
    """Evaluate a module on labelled batches, in eval mode.

    Args:
        module: Returns logits (N, classes), or (N, 1) for two classes.
        batches: Inputs and targets.
        prepare: Turns a batch into the module's input.
        classes: Number of classes.
        device: Where the module is.
        criterion: The loss.
        metrics: Names of the metrics to compute; by default all.
        task: What the targets are.
        thresholds: See `Metric`.
        temperature: See `Metric`.
        keeper: Receives logits and targets, in the order of the images.
        head: The part of the module whose inputs the keeper receives too.
        intervals: Whether the scores have confidence intervals, which take a second or so after the last batch.

    Raises:
        TrainingError: A step failed, or the keeper received logits that are no finite numbers.
    """
    module.eval()
    of_each = criterion.of_each if intervals else None
    meter = ScoreMeter(classes, device, metrics, task, thresholds, temperature, criterion.loss, of_each)

    with as_training_error("evaluation"), contextlib.ExitStack() as stack:
        inputs_of_head = stack.enter_context(recorded_inputs(head)) if keeper and head else []

        def compute(inputs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, ...]:
            targets = targets.to(device, non_blocking=True)
            logits = module(prepare(inputs.to(device, non_blocking=True))).float()
            of_head = inputs_of_head[-1:]
            inputs_of_head.clear()
            return logits, targets, *of_head

        for logits, targets, *features in results_in_order(batches, compute):
            logits, targets = logits.to(device), targets.to(device)  # Another process computed them on its own.
            meter.update(criterion(logits, targets), logits, targets)
            if keeper:
                keeper.add(logits, targets, *features)
    if keeper:
        keeper.check_finite()
    return meter.compute()


@contextlib.contextmanager
def recorded_inputs(part: nn.Module) -> Iterator[list[torch.Tensor]]:
    """Within the block, every call of a part of a network adds its input to a list.

    Yields:
        The inputs (N, D), float32; of maps and of tokens, the mean over their places.
    """
    inputs: list[torch.Tensor] = []

    def record(_: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        rows = args[0].detach().float()
        # (N, tokens, D) and (N, D, H, W)
        inputs.append(rows.mean(dim=1) if rows.ndim == 3 else rows.flatten(2).mean(dim=2) if rows.ndim == 4 else rows)

    handle = part.register_forward_pre_hook(record)
    try:
        yield inputs
    finally:
        handle.remove()
