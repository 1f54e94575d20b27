"""Putting the stages of a run together: on frozen features where there are any, else on images."""

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader

from tl_toolkit.config.checks import AUTO
from tl_toolkit.config.finetune import FinetuneConfig
from tl_toolkit.data.dataset import ImageDataset, InMemoryDataset, eval_images
from tl_toolkit.data.decoded_cache import DecodedImageCache
from tl_toolkit.data.loaders import ResumableLoader, default_num_workers, eval_loader, train_loader
from tl_toolkit.data.prepare import Splits
from tl_toolkit.data.samples import Samples
from tl_toolkit.data.transforms import EvalTransform, Normalize, PadCrop, train_transform
from tl_toolkit.errors import TrainingError
from tl_toolkit.events import PROBE, Callback, DecisionEvent, EvalRecord, TaskProgress, WarningEvent
from tl_toolkit.features.batches import PROBE_BATCH, ViewBatchSampler
from tl_toolkit.features.extractor import FeatureExtractor, Images
from tl_toolkit.inference.classifier import ImageClassifier
from tl_toolkit.inference.scoring import score
from tl_toolkit.metrics.classification import Scores
from tl_toolkit.models.build import BuiltModel
from tl_toolkit.models.freezing import freeze_except, trainable_modules
from tl_toolkit.models.frozen_prefix import find_prefix, frozen_digest
from tl_toolkit.sampling.class_balance import balanced_weights
from tl_toolkit.text import named
from tl_toolkit.training.device import DeviceSetup
from tl_toolkit.training.loop import Batches, Prepare, Stage, StageProgress, as_training_error, evaluate_batches, fit
from tl_toolkit.training.losses import Criterion
from tl_toolkit.training.mixing import Mixing
from tl_toolkit.training.optimizers import LBFGS, make_optimizer
from tl_toolkit.training.plan import StageConfig, average_decay, norm_is_frozen, probe_in_batches, warmup_share
from tl_toolkit.training.schedules import make_schedule
from tl_toolkit.training.state import StageState, restore_optimizer, restore_weights

EVAL_BATCH = 64
DECODED_SIDE, DECODED_BYTES = 64, 2**28
"""Images of up to so many pixels a side are decoded once and held in memory, where no random transform needs their
files and a split takes no more bytes: MNIST and CIFAR-10 do. Larger ones are decoded again in every epoch, which takes
a twentieth of the time of a step on them."""

HELD_BYTES = 2**28
"""Of decoded photographs that are cropped anew in every epoch: some 350 of 500 x 375 pixels, whose decoding takes a
tenth of ResNet18's step. More images are not held, so that memory does not grow with the data."""

LABEL_SMOOTHING = 0.1
"""By default (Szegedy et al. 2016, section 7), where there are more than two classes: spread over one other class, it
costs a probe on ants and bees 2 points, and brings one on Caltech-101 0.8 with ResNet18 and nothing with
tf_efficientnet_lite0 (cross-validated; tests/benchmarks/NOTES.md)."""

SWEPT_RATES = (0.001, 0.003, 0.01, 0.03, 0.1)
SWEPT_DECAYS = (0.3, 2.0, 6.0)
"""What --probe-lr auto tries: factors of about 3 around the default rate, and around the default decay."""


MakeStage = Callable[..., Stage]
"""From settings, and the state of an earlier one, to a stage."""


class Bench:
    """Everything that the stages of a run share.

    Args:
        config: The settings.
        network: What is trained.
        classes: Number of classes.
        splits: What it is trained on and chosen by.
        allow_hflip: Whether images may be mirrored.
        compute: Where and in which precision.
        callback: Told how the features go.
    """

    def __init__(
        self,
        config: FinetuneConfig,
        network: BuiltModel,
        classes: int,
        splits: Splits,
        allow_hflip: bool,
        compute: DeviceSetup,
        callback: Callback,
    ) -> None:
        self.config = config
        self.network = network
        self.splits = splits
        self.compute = compute
        self.callback = callback
        self.classes = classes
        self.accelerator = compute.accelerator()
        self.workers = default_num_workers(len(splits.train)) if config.workers is None else config.workers
        self.allow_hflip = allow_hflip
        targets, device = splits.train.targets, compute.device
        self._balance = targets if config.sampler == "balanced" else None
        weighted = config.class_weights == "balanced"
        self._class_weights = balanced_weights(targets, classes).to(device) if weighted else None
        self.frozen: FeatureExtractor | None = None
        self._augmentation = train_transform(network.input_spec, config.augment, allow_hflip)
        self._batch_augmentation = PadCrop(network.input_spec, allow_hflip) if config.augment == "pad-crop" else None
        self._decoded: dict[str, torch.Tensor] = {}
        self._normalize = Normalize(network.input_spec).to(compute.device)
        compute.place(network.module)

    @property
    def criterion(self) -> Criterion:
        """The training loss."""
        smoothing = self.config.label_smoothing
        if smoothing is None:
            smoothing = LABEL_SMOOTHING if self.classes > 2 else 0.0
        return Criterion(self.config.resolved_loss, smoothing, self._class_weights)

    def prepare(self, images: torch.Tensor) -> torch.Tensor:
        """From uint8 images of a loader to the network's input."""
        normalized: torch.Tensor = self._normalize(images)
        return self.compute.to_memory_format(normalized)

    def plain(self, samples: Samples) -> ImageDataset:
        """Samples as a model will see them in prediction."""
        return eval_images(samples, self.network.input_spec)

    def augmented(self) -> ImageDataset:
        """The images of train as they are learned from."""
        spec, samples = self.network.input_spec, self.splits.train
        # Worker processes decode beside the step, each in memory of its own.
        holds = not self.workers and samples.fixed and samples.are_files
        return ImageDataset(
            samples,
            self._augmentation or EvalTransform(spec),
            spec.channels,
            self.config.seed,
            self._batch_augmentation,
            spec.min_decode_size,
            DecodedImageCache(HELD_BYTES) if holds else None,
        )

    def train_images(self) -> ImageDataset | InMemoryDataset:
        """The same, from memory where only a batch transform is random and they fit."""
        samples = self.splits.train
        if self._augmentation is None and samples.fixed and self._fits(samples):
            return InMemoryDataset(
                self._pixels("train", samples), samples.targets, self.config.seed, self._batch_augmentation
            )
        return self.augmented()

    def val_images(self) -> ImageDataset | InMemoryDataset:
        """The images of val, from memory where they fit."""
        samples = self.splits.val
        if self._fits(samples):
            return InMemoryDataset(self._pixels("val", samples), samples.targets)
        return self.plain(samples)

    def _fits(self, samples: Samples) -> bool:
        spec = self.network.input_spec
        small = max(spec.height, spec.width) <= DECODED_SIDE
        return small and len(samples) * spec.channels * spec.height * spec.width <= DECODED_BYTES

    def _pixels(self, split: str, samples: Samples) -> torch.Tensor:
        """All images of a split, decoded when they are first asked for."""
        if split not in self._decoded:
            spec = self.network.input_spec
            pixels = torch.empty(len(samples), spec.channels, spec.height, spec.width, dtype=torch.uint8)
            done = 0
            with as_training_error("decode"):
                for batch, _ in eval_loader(self.plain(samples), EVAL_BATCH, self.workers):
                    pixels[done : done + len(batch)] = batch
                    done += len(batch)
                    self.callback(TaskProgress("decode", done, len(samples)))
            self._decoded[split] = pixels
        return self._decoded[split]

    def stage(
        self,
        settings: StageConfig,
        trainable: tuple[str, ...],
        train: Any,
        val: Batches,
        prepare: Prepare,
        begun: StageState | None,
    ) -> Stage:
        """Puts a stage together: optimizer and schedule for what of the network trains, as they were where it begun."""
        module = self.network.module
        optimizer = make_optimizer(
            settings.optimizer,
            module,
            self.network.head_modules,
            settings.learning_rate,
            settings.head_learning_rate,
            settings.weight_decay,
            self.config.momentum,
            self.config.layer_decay,
        )
        if begun:
            restore_optimizer(optimizer, begun)
        solved, tunes = settings.optimizer == LBFGS, settings.name != PROBE
        # The probe before fine-tuning is not the training that the user asked to follow step by step.
        followed = tunes or self.config.tune == "linear-probe"
        mixes = tunes and (self.config.mixup or self.config.cutmix)
        return Stage(
            name=settings.name,
            module=module,
            trainable=trainable,
            optimizer=optimizer,
            schedule=make_schedule(
                optimizer,
                "constant" if solved else self.config.scheduler,
                settings.epochs * len(train),
                0.0 if solved else warmup_share(self.config, settings.name, module),
                begun.step if begun else 0,
            ),
            train=train,
            val=val,
            prepare=prepare,
            epochs=settings.epochs,
            classes=self.classes,
            criterion=self.criterion,
            clip_gradient=None if solved else self.config.clip_gradient,  # L-BFGS needs the gradient itself.
            eval_every=self.config.eval_every if followed else None,
            log_every=self.config.log_every if followed else None,
            frozen_norm=tunes and norm_is_frozen(self.config, module),
            ema=average_decay(self.config) if tunes else None,
            mixing=Mixing(self.config.mixup, self.config.cutmix, self.config.seed) if mixes else None,
        )

    @property
    def views(self) -> int:
        """Views of an image that a stage on stored features learns from; without augmentation all would be alike."""
        return self.config.views if self._augmentation else 1

    def stage_on_images(self, settings: StageConfig, trainable: tuple[str, ...], begun: StageState | None) -> Stage:
        """A stage that runs the whole network on augmented images."""
        train = train_loader(
            self.train_images(), self.config.batch_size, self.workers, self.config.drop_last, self._balance
        )
        val = eval_loader(self.val_images(), EVAL_BATCH, self.workers)
        if self.config.compile:
            self.network.module.compile()  # In place: the names of its weights stay.
        return self._accelerated(self.stage(settings, trainable, train, val, self.prepare, begun))

    def stage_on_features(
        self, settings: StageConfig, trainable: tuple[str, ...], frozen: FeatureExtractor
    ) -> MakeStage:
        """Stages that run what comes behind the frozen prefix; a head alone runs in float32.

        Returns:
            A function that puts one together for settings with the same optimizer: they share the features.
        """
        head_alone = trainable == self.network.head_modules
        splits, config = self.splits, self.config
        batch_size = PROBE_BATCH if head_alone else config.batch_size
        if settings.optimizer == LBFGS:
            batch_size = len(splits.train)
        order = ViewBatchSampler(
            len(splits.train), self.views, batch_size, config.seed, config.drop_last, self._balance
        )
        train = frozen.batches(splits.train, self.views, order)
        val = frozen.in_order("val", splits.val)
        feed, layout, cast = frozen.prefix.feed, self.compute.to_memory_format, self.compute.cast

        def stage(settings: StageConfig, begun: StageState | None = None) -> Stage:
            if head_alone:
                return self.stage(settings, trainable, train, val, lambda features: feed(features.float()), begun)
            return self._accelerated(
                self.stage(settings, trainable, train, val, lambda features: feed(layout(cast(features))), begun)
            )

        return stage

    def find_frozen(self, trainable: tuple[str, ...]) -> FeatureExtractor | None:
        """The features that do not change while the `trainable` modules learn, where the network can begin there."""
        images = torch.stack([pixels for pixels, _ in self.plain(self.splits.train).__getitems__([0, 1])])
        self.network.module.eval()
        with self.compute.autocast():
            prefix = find_prefix(self.network.module, trainable, self.prepare(images.to(self.compute.device)))
        if prefix is None:
            return None
        reading = Images(self._augmentation, self.allow_hflip, self.prepare, self.workers)
        return FeatureExtractor(prefix, self.config, self.network, self.compute, reading, self.callback)

    def resume_fingerprint(self, trainable: Sequence[str] | None = None) -> dict[str, Any]:
        """What must be the same for a kept stage to go on: settings, images, and the weights that do not train."""
        if trainable is None:
            return {"settings": self.config.to_resume(), **self._fingerprints}
        weights = self.frozen.digest if self.frozen else ""
        if not self.frozen and "" not in trainable:
            weights = frozen_digest(self.network.module, trainable)
        return {**self.resume_fingerprint(), "pretrained weights": weights}

    @functools.cached_property
    def _fingerprints(self) -> dict[str, str]:
        return self.splits.fingerprints()

    def score(self, model: ImageClassifier, split: str, samples: Samples) -> Scores:
        """Judges the saved model on a split; what is frozen in it is not computed again."""
        if self.frozen is None:
            return score(model, samples, self.workers)
        prefix = self.frozen.prefix  # Of the same network; features that are not stored run through it too.
        batches = self.frozen.in_order(split, samples)
        criterion = Criterion(model.metadata.loss)
        with prefix.skipped(), model.compute.inference():
            return evaluate_batches(
                model.module, batches, prefix.feed, len(model.class_names), model.compute.device, criterion
            )

    def _accelerated(self, stage: Stage) -> Stage:
        """With the network's forward in autocast; a loader's batches on the device."""
        train = stage.train
        if isinstance(train, DataLoader):
            train = ResumableLoader(self.accelerator.prepare(train), train)
        # The optimizer stays torch's own: Accelerate's looks for packages in every step, a tenth of LeNet-5's time.
        module = self.accelerator.prepare(stage.module)
        return dataclasses.replace(stage, module=module, train=train, eval_context=self.compute.autocast)

    def release(self) -> None:
        """Takes off what accelerate and the compiler put around the network's forward."""
        self.accelerator.unwrap_model(self.network.module, keep_fp32_wrapper=False)
        self.network.module.__dict__.pop("forward", None)  # What it puts back is the class's own, in the wrong place.
        self.network.module._compiled_call_impl = None
        # Else Accelerate would leave the next stage of the run without autocast.
        self.network.module.__dict__.pop("_is_accelerate_prepared", None)


@contextlib.contextmanager
def build_stage(bench: Bench, settings: StageConfig, begun: StageState | None) -> Iterator[tuple[Stage, StageConfig]]:
    """Prepares a stage of a run; within the block it can be trained.

    Where only a part of the network trains, what comes before it is computed once for each image and kept; see
    `FeatureExtractor`. Otherwise the whole network runs on augmented images.

    Args:
        bench: What the stages share.
        settings: What is this stage's own.
        begun: The state in which the stage was kept, where it goes on from there.

    Yields:
        The stage, and its settings with what was chosen for it.
    """
    network = bench.network
    trainable = trainable_modules(network.module, network.head_modules, settings.policy)
    freeze_except(network.module, trainable)
    if begun:
        restore_weights(network.module, trainable, begun)
    # A dataset of the user's own may augment its images: what learns more than a head sees them anew in every epoch.
    anew = settings.name != PROBE and not bench.splits.train.fixed
    bench.frozen = None if anew or "" in trainable else bench.find_frozen(trainable)
    sweeps = settings.name == PROBE and bench.config.probe_learning_rate == AUTO and begun is None
    try:
        if bench.frozen is None:
            if sweeps:
                asked = named("probe_learning_rate", AUTO)
                message = f"{asked} needs stored features; the probe has {settings.learning_rate:g}."
                bench.callback(WarningEvent(message))
            settings = _in_batches(bench, settings, "the network has no frozen part that can be run alone")
            yield bench.stage_on_images(settings, trainable, begun), settings
        else:
            if reason := bench.frozen.why_not_at_once(bench.splits.train, bench.classes):
                settings = _in_batches(bench, settings, reason)
            make_stage = bench.stage_on_features(settings, trainable, bench.frozen)
            with bench.frozen.prefix.skipped():
                if sweeps:
                    settings = _sweep_probe(bench, settings, make_stage)
                yield make_stage(settings, begun), settings
    finally:
        bench.release()


def _in_batches(bench: Bench, settings: StageConfig, reason: str) -> StageConfig:
    """The settings of a probe by gradient descent, where L-BFGS cannot have all features at once."""
    if settings.optimizer != LBFGS:
        return settings
    descent = probe_in_batches(bench.config)
    bench.callback(DecisionEvent("probe", f"{descent.optimizer}, {descent.epochs} epochs", f"not L-BFGS: {reason}"))
    return descent


def _sweep_probe(bench: Bench, settings: StageConfig, make_stage: MakeStage) -> StageConfig:
    """Trains the head with every pair of learning rate and weight decay, and tells which did best on val."""
    module = bench.network.module
    heads = [module.get_submodule(name) for name in bench.network.head_modules]
    before = [{key: value.clone() for key, value in head.state_dict().items()} for head in heads]
    pairs = list(itertools.product(SWEPT_RATES, SWEPT_DECAYS))
    best: tuple[EvalRecord, StageConfig] | None = None
    for done, (rate, decay) in enumerate(pairs, start=1):
        candidate = dataclasses.replace(settings, learning_rate=rate, head_learning_rate=rate, weight_decay=decay)
        with contextlib.suppress(TrainingError):  # A rate that is too high for these features.
            events = fit(make_stage(candidate), bench.accelerator, StageProgress(bench.compute.device))
            last = [told for told in events if isinstance(told, EvalRecord)][-1]
            if last.improves_on(best[0] if best else None):
                best = last, candidate
        for head, state in zip(heads, before, strict=True):
            head.load_state_dict(state)
        bench.callback(TaskProgress("probe-lr", done, len(pairs), "pairs"))
    if best is None:
        raise TrainingError("The loss is not finite at any learning rate: the frozen features are not. Try fp32.")
    record, chosen = best
    value = f"{chosen.learning_rate:g}, weight decay {chosen.weight_decay:g}"
    bench.callback(DecisionEvent("probe-lr", value, f"best of {len(pairs)} pairs: val {record.val_accuracy:.1%}"))
    return chosen
