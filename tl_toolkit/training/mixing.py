"""Mixup and CutMix: mixing the images and targets of a batch in pairs."""

from dataclasses import dataclass

import numpy as np
import torch

from tl_toolkit.sampling.rng import seed_from

MIX_KEY = 2
"""Separates the random numbers of mixing from those of order and augmentation."""


@dataclass(frozen=True, slots=True)
class Mixed:
    """A mixed batch.

    Attributes:
        inputs: (N, ...).
        partners: Target of the image that each one is mixed with: (N), or (N, classes).
        share: Share of the image itself in each input: at least a half, up to the rounding of a rectangle.
    """

    inputs: torch.Tensor
    partners: torch.Tensor
    share: float


@dataclass(frozen=True, slots=True)
class Mixing:
    """Mixes the images of a batch in pairs; if both methods are on, each batch draws one of them.

    The share of an image is drawn from Beta(alpha, alpha). The image with the larger share counts as the image itself.

    Attributes:
        mixup: Alpha of mixup, the weighted mean of two inputs (Zhang et al. 2018, arXiv:1710.09412); 0 for none.
        cutmix: Alpha of CutMix, a rectangle of another image (Yun et al. 2019, arXiv:1905.04899); 0 for none. For
            inputs without height and width it is mixup.
        seed: The random numbers of a batch depend on (seed, step) alone.
    """

    mixup: float
    cutmix: float
    seed: int

    def __call__(self, inputs: torch.Tensor, targets: torch.Tensor, step: int) -> Mixed:
        """Mix a batch.

        Args:
            inputs: Normalised images or features (N, ...).
            targets: (N), or (N, classes).
            step: The step of the stage.
        """
        random = np.random.default_rng(seed_from(self.seed, MIX_KEY, step))
        methods = [(name, alpha) for name, alpha in (("mixup", self.mixup), ("cutmix", self.cutmix)) if alpha]
        method, alpha = methods[int(random.integers(len(methods)))]
        own = float(random.beta(alpha, alpha))
        own = max(own, 1 - own)
        order = torch.from_numpy(random.permutation(len(inputs))).to(inputs.device)
        if method == "cutmix" and inputs.ndim == 4:
            return _cut(inputs, targets, order, own, random)
        return Mixed(inputs.lerp(inputs[order], 1 - own), targets[order], own)


def _cut(
    inputs: torch.Tensor, targets: torch.Tensor, order: torch.Tensor, own: float, random: np.random.Generator
) -> Mixed:
    """Paste a rectangle of 1 - `own` of the area into every image; what falls outside the image is cut off."""
    height, width = inputs.shape[2:]
    tall, wide = (round(side * (1 - own) ** 0.5) for side in (height, width))
    middle, centre = int(random.integers(height)), int(random.integers(width))
    top, bottom = max(0, middle - tall // 2), min(height, middle + (tall + 1) // 2)
    left, right = max(0, centre - wide // 2), min(width, centre + (wide + 1) // 2)
    mixed = inputs.clone()
    mixed[:, :, top:bottom, left:right] = inputs[order, :, top:bottom, left:right]
    return Mixed(mixed, targets[order], 1 - (bottom - top) * (right - left) / (height * width))
