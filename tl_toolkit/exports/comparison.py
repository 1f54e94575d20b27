"""Real images on which an exported file is compared with the model that it was made of."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import torch
from PIL import Image
from torch import nn

from tl_toolkit.data.images import ImageLike, open_image
from tl_toolkit.errors import ImageError, ToolkitError
from tl_toolkit.inference.classifier import BATCH, ImageClassifier
from tl_toolkit.text import plural


@dataclass(frozen=True)
class CheckBatch:
    """A few images, as a file may take them.

    Attributes:
        model: The model whose preprocessing applies.
        images: Paths, encoded bytes or pixels.
    """

    model: ImageClassifier
    images: Sequence[ImageLike]

    @cached_property
    def inputs(self) -> torch.Tensor:
        """The network's input: resized, cropped and normalised (N, C, H, W), float32."""
        return torch.stack([self.model.transform(image) for image in self.images])

    @cached_property
    def decoded(self) -> list[Image.Image]:
        """The images in their own size, eight bits a channel, in the channels that the model takes."""
        return [open_image(image, self.model.input_spec.channels) for image in self.images]


@dataclass(frozen=True)
class CheckImages:
    """Images to compare outputs on.

    Attributes:
        images: Paths, encoded bytes or pixels.
        source: Where they are from, in words.
    """

    images: Sequence[ImageLike]
    source: str

    def batches(self, model: ImageClassifier) -> Iterator[CheckBatch]:
        """Yield the images that can be read, a few at a time."""
        readable = filter(lambda image: _is_readable(model, image), self.images)
        while batch := list(islice(readable, BATCH)):
            yield CheckBatch(model, batch)


def module_outputs(module: nn.Module) -> Callable[[CheckBatch], torch.Tensor]:
    """Return what computes the outputs of a network that was loaded from a file (N, classes), float32.

    The network computes in the type of its weights.
    """
    module = module.to(memory_format=torch.contiguous_format).eval()
    dtype = next(module.parameters()).dtype

    def outputs(batch: CheckBatch) -> torch.Tensor:
        with torch.inference_mode():
            computed: torch.Tensor = module(batch.inputs.to(dtype))
        return computed.float()

    return outputs


def _is_readable(model: ImageClassifier, image: ImageLike) -> bool:
    try:
        model.to_pixels(image)
    except ImageError:
        return False
    return True


@dataclass(frozen=True)
class Comparison:
    """How close the outputs of a file are to those of the model.

    Attributes:
        images: Number of images.
        source: Where they are from, in words.
        max_difference: Largest absolute difference of an output.
        largest: Largest absolute output of the model, to judge the difference by.
        agreement: Share of images whose largest output is the same.
    """

    images: int
    source: str
    max_difference: float
    largest: float
    agreement: float

    @property
    def relative_difference(self) -> float:
        """The largest difference, as a share of the largest output where that is above 1: rounding grows with it."""
        return self.max_difference / max(1.0, self.largest)

    @property
    def identical(self) -> bool:
        """Whether all outputs have the same bits."""
        return self.max_difference == 0

    def describe(self) -> str:
        """Return what was found, in words."""
        count = plural(self.images, "image")
        if self.identical:
            return f"the same bits on {count}"
        agreeing = round(self.agreement * self.images)
        same = f"all {count}" if agreeing == self.images else f"{agreeing:,} of {count}"
        most = f"of outputs up to {self.largest:.3g}, none differs by more than {self.max_difference:.1g}"
        return f"the same class for {same}; {most}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "images": self.images,
            "source": self.source,
            "max_difference": self.max_difference,
            "largest_output": self.largest,
            "top1_agreement": self.agreement,
            "identical": self.identical,
        }


def compare(
    outputs: Callable[[CheckBatch], torch.Tensor],
    expected: Callable[[CheckBatch], torch.Tensor],
    model: ImageClassifier,
    check: CheckImages,
) -> Comparison:
    """Compare the outputs of a file with those that it is to have.

    Args:
        outputs: Computes those of the file (N, classes).
        expected: Computes those of the model (N, classes).
        model: The model.
        check: The images.

    Raises:
        ToolkitError: No image can be read, or the file gives something else than an output for each class.
    """
    images = agreeing = 0
    difference = largest = 0.0
    for batch in check.batches(model):
        wanted, found = expected(batch), outputs(batch)
        if found.shape != wanted.shape:
            raise ToolkitError(f"The file gives outputs of shape {tuple(found.shape)}; expected {tuple(wanted.shape)}.")
        apart = (found.double() - wanted.double()).abs().nan_to_num(math.inf)
        same = torch.equal(found, wanted)
        difference = max(difference, 0.0 if same else float(apart.max()))
        largest = max(largest, float(wanted.abs().max()))
        agreeing += int((_answers(found) == _answers(wanted)).all(dim=-1).sum())
        images += len(wanted)
    if not images:
        raise ToolkitError(f"None of the images of {check.source} can be read, so nothing can be compared.")
    return Comparison(images, check.source, difference, largest, agreeing / images)


def _answers(outputs: torch.Tensor) -> torch.Tensor:
    """Return the class of each image (N, 1): the largest output, or whether a single logit is positive."""
    return outputs > 0 if outputs.shape[1] == 1 else outputs.argmax(dim=1, keepdim=True)
