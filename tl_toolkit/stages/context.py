"""What the stages of a run share."""

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from tl_toolkit.config.choices import Task
from tl_toolkit.config.finetune import FinetuneConfig
from tl_toolkit.data.prepare import Splits
from tl_toolkit.data.sources.base import Source
from tl_toolkit.data.targets import are_rows, class_indices
from tl_toolkit.events import Callback
from tl_toolkit.models.build import BuiltModel
from tl_toolkit.sampling.class_balance import balanced_weights, positive_weights
from tl_toolkit.sampling.division import Division, division_of_batches
from tl_toolkit.stages.images import RunImages
from tl_toolkit.training.device import DeviceSetup
from tl_toolkit.training.losses import Criterion

if TYPE_CHECKING:
    from accelerate import Accelerator

LABEL_SMOOTHING = 0.1
"""The default with more than two classes (Szegedy et al. 2016, section 7): spread over one other class, it costs a
probe on ants and bees 2 points; on Caltech-101 it gains 0.8 with ResNet18 and nothing with tf_efficientnet_lite0
(cross-validated; tests/benchmarks/NOTES.md). Soft labels say themselves how sure they are, and a label of several is
a class of two."""


@dataclass(frozen=True)
class RunContext:
    """What the stages of a run share.

    Attributes:
        config: The settings, with every choice made.
        network: The network that trains, on the device.
        source: Where the images are from.
        splits: The images to train on and to choose by.
        setup: The device and its precision.
        callback: Receives decisions, warnings and progress.
    """

    config: FinetuneConfig
    network: BuiltModel
    source: Source
    splits: Splits
    setup: DeviceSetup
    callback: Callback

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.source.class_names)

    @property
    def task(self) -> Task:
        """What the targets are."""
        return self.source.task

    @functools.cached_property
    def images(self) -> RunImages:
        """The images, as the network takes them."""
        spec = self.network.input_spec
        return RunImages(self.splits, spec, self.config, self.source.allow_hflip, self.setup, self.callback)

    @functools.cached_property
    def accelerator(self) -> "Accelerator":
        """Devices, autocast and the backward pass."""
        return self.setup.accelerator()

    @property
    def division(self) -> Division:
        """How the batches of a step are divided among processes and parts."""
        return division_of_batches(self.config.batch_size, self.config.accumulate)

    @property
    def views(self) -> int:
        """Views of an image that a stage on stored features trains on; without augmentation all are alike."""
        return self.config.views if self.images.augmentation else 1

    @property
    def balanced_targets(self) -> Any:
        """Targets of train if every class is shown equally often, else None."""
        return self.splits.train.targets if self.config.sampler == "balanced" else None

    @functools.cached_property
    def criterion(self) -> Criterion:
        """The training loss."""
        config, smoothing = self.config, self.config.label_smoothing
        if smoothing is None:
            smoothing = LABEL_SMOOTHING if self.classes > 2 and self.task == "multi-class" else 0.0
        weights = self._balancing_weights() if config.class_weights == "balanced" else None
        return Criterion(config.resolved_loss, smoothing, weights)

    def _balancing_weights(self) -> torch.Tensor:
        """Return the weight of each class, or of the images with each label."""
        targets = self.splits.train.targets
        if are_rows(targets):
            return positive_weights(torch.from_numpy(targets)).to(self.setup.device)
        return balanced_weights(class_indices(targets), self.classes).to(self.setup.device)

    @functools.cached_property
    def fingerprint(self) -> dict[str, Any]:
        """What must be unchanged for the run to resume exactly: settings and images."""
        return {"settings": self.config.to_resume(), **self.splits.fingerprints()}
