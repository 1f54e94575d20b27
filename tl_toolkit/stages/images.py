"""The images of a run, as its network takes them in training and in evaluation."""

import torch

from tl_toolkit.config.finetune import FinetuneConfig
from tl_toolkit.data.dataset import ImageDataset, InMemoryDataset, eval_images
from tl_toolkit.data.decoded_cache import DecodedImageCache
from tl_toolkit.data.loaders import default_num_workers, eval_loader
from tl_toolkit.data.prepare import Splits
from tl_toolkit.data.samples import Samples
from tl_toolkit.data.transforms import EvalTransform, Normalize, PadCrop, train_transform
from tl_toolkit.events import Callback, TaskProgress
from tl_toolkit.features.extractor import ImagePipeline
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.training.device import DeviceSetup
from tl_toolkit.training.failures import as_training_error

EVAL_BATCH = 64
IN_MEMORY_SIDE, IN_MEMORY_BYTES = 64, 2**28
"""Images of at most this many pixels a side are decoded once and stay in memory if the split needs no more bytes and no
random transform needs the files: MNIST and CIFAR-10, for example. Larger images are decoded again in every epoch, which
takes a twentieth of the time of a step on them."""

DECODED_CACHE_BYTES = 2**28
"""Decoded photographs that are cropped again in every epoch: about 350 of 500 x 375 pixels, whose decoding takes a
tenth of ResNet18's step. More images are not cached, so memory does not grow with the data."""


class RunImages:
    """Reads the images of a run's splits.

    Args:
        splits: The images.
        spec: The pixels that the network expects.
        config: The run's settings.
        allow_hflip: Whether images may be mirrored.
        setup: Where batches go.
        callback: Receives the progress of decoding.

    Attributes:
        workers: Worker processes that decode.
        augmentation: The random transform of an image; None without one.
    """

    def __init__(
        self,
        splits: Splits,
        spec: InputSpec,
        config: FinetuneConfig,
        allow_hflip: bool,
        setup: DeviceSetup,
        callback: Callback,
    ) -> None:
        self.workers = default_num_workers(len(splits.train)) if config.workers is None else config.workers
        self.augmentation = train_transform(spec, config.augment, allow_hflip)
        self._batch_augmentation = PadCrop(spec, allow_hflip) if config.augment == "pad-crop" else None
        self._normalize = Normalize(spec).to(setup.device)
        self._splits, self._spec, self._seed = splits, spec, config.seed
        self._allow_hflip, self._setup, self._callback = allow_hflip, setup, callback
        self._pixels: dict[str, torch.Tensor] = {}

    @property
    def pipeline(self) -> ImagePipeline:
        """How features are computed from images."""
        return ImagePipeline(self.augmentation, self._allow_hflip, self.prepare, self.workers)

    def prepare(self, images: torch.Tensor) -> torch.Tensor:
        """Turn uint8 images (N, C, H, W) of a loader into the network's input."""
        normalized: torch.Tensor = self._normalize(images)
        return self._setup.to_memory_format(normalized)

    def plain(self, samples: Samples) -> ImageDataset:
        """Return samples as a model sees them in prediction."""
        return eval_images(samples, self._spec)

    def train(self) -> ImageDataset | InMemoryDataset:
        """Return the augmented images of train, from memory if only a batch transform is random and they fit."""
        samples = self._splits.train
        if self.augmentation is None and samples.deterministic and self._fits_in_memory(samples):
            return InMemoryDataset(
                self._decode("train", samples), samples.targets, self._seed, self._batch_augmentation
            )
        # Worker processes decode beside the step, each in memory of its own.
        caches = not self.workers and samples.deterministic and samples.are_encoded
        return ImageDataset(
            samples,
            self.augmentation or EvalTransform(self._spec),
            self._spec.channels,
            self._seed,
            self._batch_augmentation,
            self._spec.min_decode_size,
            DecodedImageCache(DECODED_CACHE_BYTES) if caches else None,
        )

    def val(self) -> ImageDataset | InMemoryDataset:
        """Return the images of val, from memory if they fit."""
        samples = self._splits.val
        if self._fits_in_memory(samples):
            return InMemoryDataset(self._decode("val", samples), samples.targets)
        return self.plain(samples)

    def _fits_in_memory(self, samples: Samples) -> bool:
        channels, height, width = self._spec.channels, self._spec.height, self._spec.width
        small = max(height, width) <= IN_MEMORY_SIDE
        return small and len(samples) * channels * height * width <= IN_MEMORY_BYTES

    def _decode(self, split: str, samples: Samples) -> torch.Tensor:
        """Return the pixels (N, C, H, W) of a split, decoded when they are first needed."""
        if split not in self._pixels:
            spec = self._spec
            pixels = torch.empty(len(samples), spec.channels, spec.height, spec.width, dtype=torch.uint8)
            done = 0
            with as_training_error("decode"):
                for batch, _ in eval_loader(self.plain(samples), EVAL_BATCH, self.workers):
                    pixels[done : done + len(batch)] = batch
                    done += len(batch)
                    self._callback(TaskProgress("decode", done, len(samples)))
            self._pixels[split] = pixels
        return self._pixels[split]
