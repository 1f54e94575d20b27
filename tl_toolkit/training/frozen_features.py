"""Frozen features: the output of a backbone that does not change, computed once and trained on many times."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from tl_toolkit.seeding import seed_from
from tl_toolkit.training.loop import Prepare

FEATURE_BATCH = 256
"""Images in a step on stored features: a Linear is too small a work for less."""


@dataclass(frozen=True)
class Features:
    """A head's inputs and their targets.

    Attributes:
        inputs: One (N, ...) tensor for each view of the N images.
        targets: (N).
    """

    inputs: Sequence[torch.Tensor]
    targets: torch.Tensor


class FeatureBatches:
    """Shuffled batches of stored features; in each epoch every image is in one of its views.

    The order and the views depend on (seed, epoch) alone.

    Args:
        features: What to train on.
        device: Where the batches go.
        seed: Of order and views.
    """

    def __init__(self, features: Features, device: torch.device, seed: int) -> None:
        self.views = torch.stack(list(features.inputs))  # (views, N, ...)
        self.targets = features.targets
        self.device = device
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """The epoch that the next iteration gives."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.targets) // FEATURE_BATCH)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        count = len(self.targets)
        generator = torch.Generator().manual_seed(seed_from(self.seed, self.epoch))
        order = torch.randperm(count, generator=generator)
        view = torch.randint(len(self.views), (count,), generator=generator)
        for picked in torch.split(order, FEATURE_BATCH):
            inputs = self.views[view[picked], picked]
            yield inputs.float().to(self.device), self.targets[picked].to(self.device)


class EvalFeatures:
    """Batches of stored features in order, in their first view.

    Args:
        features: What to evaluate on.
    """

    def __init__(self, features: Features) -> None:
        self.features = features

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        inputs = torch.split(self.features.inputs[0], FEATURE_BATCH)
        targets = torch.split(self.features.targets, FEATURE_BATCH)
        for part, part_targets in zip(inputs, targets, strict=True):
            yield part.float(), part_targets


def head_is_last(module: nn.Module, head: str, images: torch.Tensor) -> bool:
    """Whether a network's output is the output of one submodule, so that this can be trained alone.

    Args:
        module: In eval mode.
        head: The submodule's name.
        images: A batch (N, C, H, W) to try it on.
    """
    taken: list[torch.Tensor] = []
    with _HeadInputs(module, head, taken), torch.inference_mode():
        logits = module(images)
        alone = module.get_submodule(head)(taken[0]) if len(taken) == 1 else None
    return alone is not None and alone.shape == logits.shape and bool(torch.allclose(alone.float(), logits.float()))


def frozen_features(
    module: nn.Module,
    head: str,
    views: Sequence[Iterable[tuple[torch.Tensor, torch.Tensor]]],
    prepare: Prepare,
    device: torch.device,
) -> Iterator[int | Features]:
    """Runs every image of every view through the frozen part of a network.

    Args:
        module: The network.
        head: Name of the submodule whose input is wanted.
        views: Batches of the same images in the same order, one iterable for each view.
        prepare: From a batch to the network's input.
        device: Where the network is.

    Yields:
        The number of images of each batch when it is done, and at the end the features.
    """
    module.eval()
    inputs: list[torch.Tensor] = []
    targets: list[torch.Tensor] = []
    for batches in views:
        taken: list[torch.Tensor] = []
        targets = []
        with _HeadInputs(module, head, taken):
            for images, batch_targets in batches:
                with torch.no_grad():
                    module(prepare(images.to(device, non_blocking=True)))
                taken[-1] = taken[-1].cpu()
                targets.append(batch_targets.cpu())
                yield len(images)
        inputs.append(torch.cat(taken))
    yield Features(inputs, torch.cat(targets))


class _HeadInputs:
    """Within the block, the input of a submodule is appended to a list at every forward."""

    def __init__(self, module: nn.Module, head: str, taken: list[torch.Tensor]) -> None:
        def take(_: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            taken.append(args[0].detach())

        self._handle = module.get_submodule(head).register_forward_pre_hook(take)

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        self._handle.remove()
