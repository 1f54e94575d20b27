"""The stages of a run: a probe on frozen features, then fine-tuning."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tl_toolkit.config import FinetuneConfig, Tune
from tl_toolkit.data.dataset import DecodedDataset, ImageDataset, Samples
from tl_toolkit.data.loaders import automatic_workers, eval_loader, train_loader, view_loader
from tl_toolkit.data.transforms import EvalTransform, Normalize, PadCrop, train_transform
from tl_toolkit.models.build import Network
from tl_toolkit.models.freezing import freeze_except, trainable_modules
from tl_toolkit.recipes.events import Counted, Listener
from tl_toolkit.recipes.preparation import Splits
from tl_toolkit.training.compute import Compute
from tl_toolkit.training.frozen_features import EvalFeatures, FeatureBatches, Features, frozen_features, head_is_last
from tl_toolkit.training.loop import Batches, Prepare, Progress, Record, Stage, fit
from tl_toolkit.training.losses import Criterion
from tl_toolkit.training.optimizers import default_rates, make_optimizer
from tl_toolkit.training.schedules import make_schedule

EVAL_BATCH = 64
DECODED_BYTES = 2**29
"""Up to here the images of a split are decoded once and held in memory, where no random transform needs their files:
MNIST, CIFAR-10 and 3,500 photographs of 224 pixels are smaller."""

DEFAULT_EPOCHS = 6
"""On Caltech-101, 12 epochs (with eight views) brought no more than 6: 0.646 and 0.649 on test, three seeds each."""

PROBE_VIEWS = 8
"""Of a linear probe that is the whole run: in a prototype, val accuracy on Caltech-101 was 0.600 with one view, 0.608
with four and 0.616 with eight (means of three seeds). Before fine-tuning there is one view, to save time."""

PROBE_LEARNING_RATE = 0.003
PROBE_OPTIMIZER = "adamw"
"""Of the probe that lp-ft begins with, whatever optimizer the fine-tuning has. The rate was chosen by val accuracy on
Caltech-101."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What differs between the stages."""

    name: str
    epochs: int
    optimizer: str
    learning_rate: float
    head_learning_rate: float
    weight_decay: float


def plan(config: FinetuneConfig, module: nn.Module) -> list[Settings]:
    """The stages of a run, in order, with what the user left open chosen.

    Args:
        config: The settings.
        module: The network; the default learning rate depends on whether it has BatchNorm.

    Raises:
        UsageError: The optimizer has no default learning rate, and none is given.
    """
    stages = {"linear-probe": (_probe_settings,), "lp-ft": (_probe_settings, _tune_settings)}
    return [settings(config, module) for settings in stages.get(config.tune, (_tune_settings,))]


def _probe_settings(config: FinetuneConfig, module: nn.Module) -> Settings:
    """With linear-probe, the probe is the run: --epochs, --lr and --optimizer speak of it where they are given."""
    alone = config.tune == "linear-probe"
    optimizer = config.optimizer if alone else PROBE_OPTIMIZER
    rate = (config.learning_rate if alone else None) or config.probe_learning_rate
    if rate is None and optimizer == PROBE_OPTIMIZER:
        rate = PROBE_LEARNING_RATE
    defaults = default_rates(optimizer, module, rate, config.weight_decay if alone else None)
    return Settings(
        name="probe",
        epochs=(config.epochs if alone else None) or config.probe_epochs,
        optimizer=optimizer,
        learning_rate=defaults.learning_rate,
        head_learning_rate=(config.head_learning_rate if alone else None) or defaults.learning_rate,
        weight_decay=defaults.weight_decay,
    )


def _tune_settings(config: FinetuneConfig, module: nn.Module) -> Settings:
    """The head has the backbone's learning rate where it has none of its own."""
    rates = default_rates(config.optimizer, module, config.learning_rate, config.weight_decay)
    return Settings(
        name="tune",
        epochs=config.epochs or DEFAULT_EPOCHS,
        optimizer=config.optimizer,
        learning_rate=rates.learning_rate,
        head_learning_rate=config.head_learning_rate or rates.learning_rate,
        weight_decay=rates.weight_decay,
    )


class Bench:
    """Everything that the stages of a run share.

    Args:
        config: The settings.
        network: What is trained.
        classes: Number of classes.
        splits: What it is trained on and chosen by.
        mirror: Whether images may be mirrored.
        compute: Where and in which precision.
        listener: Told how the features go.
    """

    def __init__(
        self,
        config: FinetuneConfig,
        network: Network,
        classes: int,
        splits: Splits,
        mirror: bool,
        compute: Compute,
        listener: Listener,
    ) -> None:
        self.config = config
        self.network = network
        self.splits = splits
        self.compute = compute
        self.listener = listener
        self.classes = classes
        self.accelerator = compute.accelerator()
        self.workers = automatic_workers(len(splits.train)) if config.workers is None else config.workers
        self._augmentation = train_transform(network.input_spec, config.augment, mirror)
        self._batch_augmentation = PadCrop(network.input_spec, mirror) if config.augment == "pad-crop" else None
        self._decoded: dict[str, torch.Tensor] = {}
        self._normalize = Normalize(network.input_spec).to(compute.device)
        compute.place(network.module)

    def prepare(self, images: torch.Tensor) -> torch.Tensor:
        """From uint8 images of a loader to the network's input."""
        normalized: torch.Tensor = self._normalize(images)
        return normalized.contiguous(memory_format=self.compute.memory_format)

    def plain(self, samples: Samples) -> ImageDataset:
        """Samples as a model will see them in prediction."""
        spec = self.network.input_spec
        return ImageDataset(samples, EvalTransform(spec), spec.channels)

    def augmented(self) -> ImageDataset:
        """The images of train as they are learned from."""
        return ImageDataset(
            self.splits.train,
            self._augmentation,
            self.network.input_spec.channels,
            self.config.seed,
            self._batch_augmentation,
        )

    def train_images(self) -> ImageDataset | DecodedDataset:
        """The same, from memory where only a batch transform is random and they fit."""
        samples = self.splits.train
        if isinstance(self._augmentation, EvalTransform) and samples.fixed and self._fits(samples):
            return DecodedDataset(
                self._pixels("train", samples), samples.targets, self.config.seed, self._batch_augmentation
            )
        return self.augmented()

    def val_images(self) -> ImageDataset | DecodedDataset:
        """The images of val, from memory where they fit."""
        samples = self.splits.val
        if self._fits(samples):
            return DecodedDataset(self._pixels("val", samples), samples.targets)
        return self.plain(samples)

    def _fits(self, samples: Samples) -> bool:
        spec = self.network.input_spec
        return len(samples) * spec.channels * spec.height * spec.width <= DECODED_BYTES

    def _pixels(self, split: str, samples: Samples) -> torch.Tensor:
        """All images of a split, decoded when they are first asked for."""
        if split not in self._decoded:
            spec = self.network.input_spec
            pixels = torch.empty(len(samples), spec.channels, spec.height, spec.width, dtype=torch.uint8)
            done = 0
            for batch, _ in eval_loader(self.plain(samples), EVAL_BATCH, self.workers):
                pixels[done : done + len(batch)] = batch
                done += len(batch)
                self.listener(Counted("decode", done, len(samples)))
            self._decoded[split] = pixels
        return self._decoded[split]

    def head_is_last(self) -> bool:
        """Whether the network's output is that of one new module, tried on one image of val."""
        if len(self.network.head_modules) != 1:
            return False
        pixels, _ = self.plain(self.splits.val)[0]
        images = self.prepare(pixels[None].to(self.compute.device))
        self.network.module.eval()
        with self.compute.inference():
            return head_is_last(self.network.module, self.network.head_modules[0], images)

    def features(self) -> tuple[Features, Features]:
        """The head's inputs for train, in every view, and for val."""
        train, augmented = self.plain(self.splits.train), self.augmented()
        views = self.config.views or (PROBE_VIEWS if self.config.tune == "linear-probe" else 1)
        if self.config.augment == "none":
            views = 1
        loaders = [
            eval_loader(train, EVAL_BATCH, self.workers),
            *(view_loader(augmented, view, EVAL_BATCH, self.workers) for view in range(1, views)),
        ]
        val_loader = eval_loader(self.val_images(), EVAL_BATCH, self.workers)
        total = views * len(train) + len(self.splits.val)
        train_features = self._features(loaders, 0, total)
        return train_features, self._features([val_loader], views * len(train), total)

    def _features(self, loaders: Sequence[Batches], done: int, total: int) -> Features:
        module, head = self.network.module, self.network.head_modules[0]
        with self.compute.autocast():
            for result in frozen_features(module, head, loaders, self.prepare, self.compute.device):
                if isinstance(result, Features):
                    return result
                done += result
                self.listener(Counted("features", done, total))
        raise AssertionError("frozen_features ends with Features")

    def stage(
        self,
        settings: Settings,
        module: nn.Module,
        head: tuple[str, ...],
        trainable: tuple[str, ...],
        train: Any,
        val: Batches,
        prepare: Prepare,
    ) -> Stage:
        """Puts a stage together: optimizer and schedule for what of `module` trains."""
        optimizer = make_optimizer(
            settings.optimizer,
            module,
            head,
            settings.learning_rate,
            settings.head_learning_rate,
            settings.weight_decay,
            self.config.momentum,
        )
        # The probe before fine-tuning is not the training that the user asked to follow step by step.
        followed = settings.name == "tune" or self.config.tune == "linear-probe"
        return Stage(
            name=settings.name,
            module=module,
            trainable=trainable,
            optimizer=optimizer,
            schedule=make_schedule(optimizer, self.config.scheduler, settings.epochs * len(train), self.config.warmup),
            train=train,
            val=val,
            prepare=prepare,
            epochs=settings.epochs,
            classes=self.classes,
            criterion=Criterion(self.config.chosen_loss, self.config.label_smoothing),
            clip_gradient=self.config.clip_gradient,
            eval_every=self.config.eval_every if followed else None,
            log_every=self.config.log_every if followed else None,
        )

    def stage_on_images(self, settings: Settings, trainable: tuple[str, ...]) -> Stage:
        """A stage that runs the whole network on augmented images."""
        train = train_loader(self.train_images(), self.config.batch_size, self.workers, self.config.drop_last)
        val = eval_loader(self.val_images(), EVAL_BATCH, self.workers)
        network = self.network
        stage = self.stage(settings, network.module, network.head_modules, trainable, train, val, self.prepare)
        module, optimizer, loader = self.accelerator.prepare(stage.module, stage.optimizer, stage.train)
        return dataclasses.replace(stage, module=module, optimizer=optimizer, train=loader)

    def stage_on_features(self, settings: Settings) -> Stage:
        """A stage that trains the head alone, in float32, on what the backbone gives for each image."""
        train, val = self.features()
        head = self.network.module.get_submodule(self.network.head_modules[0])
        batches = FeatureBatches(train, self.compute.device, self.config.seed)
        return self.stage(settings, head, ("",), ("",), batches, EvalFeatures(val), lambda inputs: inputs)

    def release(self, stage: Stage) -> None:
        """Takes off what accelerate put around the network's forward."""
        self.accelerator.unwrap_model(stage.module, keep_fp32_wrapper=False)


def train_stage(bench: Bench, settings: Settings) -> Iterator[Progress | Record]:
    """Trains one stage of a run.

    The probe trains the head on a frozen backbone. Where the head is the network's last module, its inputs are
    computed once and trained on in memory. Fine-tuning trains the whole network, or its last stage, on
    augmented images.

    Args:
        bench: What the stages share.
        settings: What is this stage's own.

    Yields:
        What `fit` yields; after each EvalRecord the network holds the weights that it speaks of.
    """
    network = bench.network
    policy: Tune = "linear-probe" if settings.name == "probe" else bench.config.tune
    trainable = trainable_modules(network.module, network.head_modules, policy)
    freeze_except(network.module, trainable)
    on_features = policy == "linear-probe" and bench.head_is_last()
    stage = bench.stage_on_features(settings) if on_features else bench.stage_on_images(settings, trainable)
    yield from fit(stage, bench.accelerator)
    bench.release(stage)
