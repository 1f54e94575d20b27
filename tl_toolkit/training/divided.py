"""A step whose batch is divided among processes, or into parts that are computed one after the other."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed

from tl_toolkit.metrics.meter import Meter
from tl_toolkit.sampling.division import DealtBatches, Share
from tl_toolkit.system.processes import gather, world
from tl_toolkit.training.mixing import Mixed
from tl_toolkit.training.whole_batch import WholeBatch, sum_over_processes

if TYPE_CHECKING:
    from accelerate import Accelerator

    from tl_toolkit.training.loop import Stage

Shares = list[tuple[Share, torch.Tensor, torch.Tensor]]
"""What a process computes of a batch: places, inputs and targets of each share."""


def divided_step(stage: "Stage", accelerator: "Accelerator", shares: Shares, step: int) -> Meter:
    """Do one step of the optimizer, with the gradient that the whole batch has in one process.

    Each process adds up the losses of its images, divided by the weight of the whole batch. DistributedDataParallel
    takes the mean of the gradients over the processes, so a loss is multiplied by their number.

    Args:
        stage: What trains.
        accelerator: Handles the backward pass, and the gradients of several processes.
        shares: What this process computes of the batch.
        step: The step of the stage.

    Returns:
        Loss and accuracy over the whole batch before the step, the same in all processes.
    """
    processes, device = world().size, accelerator.device
    moved = [(share, inputs.to(device), targets.to(device)) for share, inputs, targets in shares]
    weights = [stage.criterion.weight(targets) if share.counts else 0.0 for share, _, targets in moved]
    total = float(sum_over_processes(torch.tensor(sum(weights), dtype=torch.float64)))
    mixed = _mixed(stage, moved, step)
    images = sum(share.part_stop - share.part_start for share, _, _ in moved)
    meter = Meter(device)
    stage.optimizer.zero_grad()
    for number, (share, inputs, targets) in enumerate(moved):
        is_last = number == len(moved) - 1
        with contextlib.nullcontext() if is_last else accelerator.no_sync(stage.trained or stage.module):
            with WholeBatch(share) if processes > 1 else contextlib.nullcontext():
                loss, logits = _loss(stage, inputs, targets, mixed[number] if mixed else None)
            loss = loss / total if share.counts else 0.0 * loss
            accelerator.backward(loss * processes)
        if share.counts:
            meter.add_share(loss.detach() * images, logits.detach(), targets, stage.task)
    if stage.clip_gradient is not None:
        accelerator.clip_grad_norm_(stage.module.parameters(), stage.clip_gradient)
    stage.optimizer.step()
    if processes > 1:
        counted, loss_sum, correct = sum_over_processes(meter.sums()).tolist()
        meter.restore(int(counted), loss_sum, int(correct))
    return meter


def _loss(
    stage: "Stage", inputs: torch.Tensor, targets: torch.Tensor, mixed: Mixed | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the sum of the losses of a share, and its logits (N, classes)."""
    criterion, module = stage.criterion, stage.trained or stage.module
    logits = module(stage.prepare(inputs if mixed is None else mixed.inputs)).float()
    own = criterion.weight(targets) * criterion(logits, targets)
    if mixed is None:
        return own, logits
    other = criterion.weight(mixed.partners) * criterion(logits, mixed.partners)
    return mixed.share * own + (1 - mixed.share) * other, logits


def _mixed(stage: "Stage", shares: Shares, step: int) -> list[Mixed] | None:
    """Return the shares mixed with images of the whole batch, which every process then holds."""
    if stage.mixing is None:
        return None
    device = shares[0][1].device
    held: list[Any] = [(share.start, inputs.cpu(), targets.cpu()) for share, inputs, targets in shares if share.counts]
    held = sorted((each for own in gather(held) for each in own), key=lambda each: int(each[0]))
    inputs, targets = (torch.cat([each[place] for each in held]).to(device) for place in (1, 2))
    whole = stage.mixing(inputs.float(), targets, step)
    return [
        Mixed(whole.inputs[share.start : share.stop], whole.partners[share.start : share.stop], whole.share)
        for share, _, _ in shares
    ]


def mean_of_each_gradient(
    _: object,
    bucket: distributed.GradBucket,  # type: ignore[name-defined]  # torch exports it without saying so
) -> torch.futures.Future[torch.Tensor]:
    """Take the mean over the processes of one parameter's gradient after the other: a DistributedDataParallel hook.

    Its own way takes the mean of a buffer of several parameters, which lie there in another order from its second step
    on, and of three numbers the sum depends on the place. A run that is resumed would end with other bits.
    """
    gradients = bucket.buffer().div_(world().size)
    for gradient in gradients.split([parameter.numel() for parameter in bucket.parameters()]):
        distributed.all_reduce(gradient)
    done: torch.futures.Future[torch.Tensor] = torch.futures.Future()
    done.set_result(gradients)
    return done


def results_in_order(
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
    compute: Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, ...]],
) -> Iterator[tuple[torch.Tensor, ...]]:
    """Yield the results of all batches in order, in every process, whichever computes them.

    A batch is computed as a whole, as in one process, and each sample once.

    Args:
        batches: Inputs and targets; `DealtBatches` if every process computes some of them.
        compute: Returns logits and targets of a batch, and what else is needed of it.
    """
    if not isinstance(batches, DealtBatches):
        for inputs, targets in batches:
            yield compute(inputs, targets)
        return
    here, own = world(), iter(batches)
    for first in range(0, batches.count, here.size):
        computed = compute(*next(own)) if first + here.rank < batches.count else None
        for result in gather(tuple(part.cpu() for part in computed) if computed else None):
            if result:
                yield result
