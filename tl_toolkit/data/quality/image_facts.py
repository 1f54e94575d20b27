"""Sizes and modes of images, in a few numbers."""

import statistics
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tl_toolkit.data.images import ImageInfo


@dataclass(frozen=True)
class ImageFacts:
    """Sizes and modes of some images.

    Attributes:
        sizes: Smallest, median and largest width and height in pixels.
        modes: Number of images by Pillow's mode, the most frequent first.
    """

    sizes: dict[str, tuple[float, float, float]]
    modes: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"sizes": {side: list(spread) for side, spread in self.sizes.items()}, "modes": dict(self.modes)}


def image_facts(infos: Iterable[ImageInfo]) -> ImageFacts:
    """Return the sizes and modes of images."""
    infos = list(infos)
    sizes = {side: _spread([getattr(info, side) for info in infos]) for side in ("width", "height")}
    return ImageFacts(sizes, dict(Counter(info.mode for info in infos).most_common()))


def _spread(values: list[int]) -> tuple[float, float, float]:
    return (min(values), statistics.median(values), max(values)) if values else (0, 0, 0)
