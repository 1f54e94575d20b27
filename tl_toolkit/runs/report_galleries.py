"""The parts of a report that need more than predictions: heat maps of the model, and suspicious labels of any split."""

import contextlib
import time
from collections.abc import Sequence

from tl_toolkit.errors import DownloadError, ImageError, ModelError
from tl_toolkit.inference.classifier import ImageClassifier
from tl_toolkit.inference.heat_maps import heat_maps
from tl_toolkit.report.content import Gallery, ShownImage
from tl_toolkit.report.galleries import SHOWN, short_names
from tl_toolkit.report.pictures import FoundImages, Pictures, Place, encode, shrink
from tl_toolkit.runs.report_images import name_below
from tl_toolkit.runs.report_material import RunMaterial
from tl_toolkit.runs.suspicious_labels import SuspiciousLabel
from tl_toolkit.text import plural

MAPS = 12
"""Mistakes that get a heat map."""

MAP_SIDE = 128
"""Pixels of the short side of a heat map."""

AT_ONCE, SHORTEST = 4, 1e-3
"""Mistakes explained at a time, after which the time is looked at; seconds that one takes at least."""

MORE_TIME = "`tl report` takes more"

Suspect = tuple[SuspiciousLabel, Place | None]


class Drawer:
    """Draws heat maps, each once.

    Args:
        model: The model; None to draw none.
        deadline: `time.monotonic()` from which on no more are drawn.

    Attributes:
        method: How they are computed; empty if none was drawn.
    """

    def __init__(self, model: ImageClassifier | None, deadline: float) -> None:
        self._model, self._deadline = model, deadline
        self._maps: dict[int, bytes] = {}
        self._why = ""
        self._seconds = 0.0  # That an image took; 0 before the first one.
        self.method = ""

    def draw(self, material: RunMaterial, indices: Sequence[int], pictures: Pictures) -> dict[int, bytes]:
        """Return the heat maps of images of the split, by index, for the class that each was taken for."""
        images = material.images.get(material.split)
        if images is None:
            return {}
        shown = [index for index in indices[:MAPS] if pictures.get(material.split, index) is not None]
        new = [index for index in shown if index not in self._maps]
        while new and self._model is not None and not self._why:
            fits = self._count_in_time()
            if not fits:
                self._why = f"there was time for {plural(len(self._maps), 'image')}; {MORE_TIME}"
                break
            self._draw(self._model, images, new[:fits])
            new = new[fits:]
        return {index: self._maps[index] for index in shown if index in self._maps}

    def _count_in_time(self) -> int:
        """Return how many images to explain next: the first alone, to see how long one takes."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            return 0
        return int(min(AT_ONCE, left / self._seconds)) if self._seconds else 1

    def _draw(self, model: ImageClassifier, images: FoundImages, indices: Sequence[int]) -> None:
        """Draw the heat maps of a few images."""
        started, spec = time.monotonic(), model.input_spec
        opened = {}
        for index in indices:
            with contextlib.suppress(ImageError, DownloadError):
                opened[index] = images.open(index, spec.channels, spec.min_decode_size)
        try:
            found = heat_maps(model, list(opened.values()))
        except (ModelError, RuntimeError, NotImplementedError) as error:  # Of layers that have no gradient.
            self._why = f"this network gives none: {str(error).splitlines()[0]}"
            return
        for index, each in zip(opened, found, strict=True):
            self.method = each.method
            self._maps[index] = encode(shrink(each.overlay(), MAP_SIDE))
        self._seconds = max((time.monotonic() - started) / len(indices), SHORTEST)

    def missing(self) -> list[tuple[str, str]]:
        """Return why heat maps are missing, if any are."""
        return [("heat maps", self._why)] if self._why else []


def suspicious_places(material: RunMaterial, missing: list[tuple[str, str]]) -> list[Suspect]:
    """Return the most suspicious labels, each with the place of its image; None where the image is not at hand."""
    if material.suspicious is None:
        missing.append(("suspicious labels", "the run did not look for them"))
        return []
    first = material.suspicious[:SHOWN]
    where = {split: _by_name(material, split) for split in {each.split for each in first}}
    return [(each, where[each.split].get(name_below(each.image, material.data))) for each in first]


def _by_name(material: RunMaterial, split: str) -> dict[str, Place]:
    """Return the place of each image by its name below the data, wherever these are now."""
    images = material.images.get(split)
    if images is None:
        return {}
    found = [(index, place) for index, place in enumerate(images.places) if place is not None]
    root = material.data_now or material.data
    return {name_below(images.samples.name(place), root): (split, index) for index, place in found}


def suspicious_gallery(material: RunMaterial, suspects: Sequence[Suspect], pictures: Pictures) -> Gallery | None:
    """Return the gallery of suspicious labels; None if the run did not look for them."""
    if material.suspicious is None:
        return None
    names = short_names([each.image for each, _ in suspects])
    shown = [
        ShownImage(
            name,
            each.given,
            each.suggested,
            each.suggested_probability,
            pictures.get(*place) if place else None,
            note=f"{each.split}: given {each.given}, looks like {each.suggested}",
        )
        for (each, place), name in zip(suspects, names, strict=True)
    ]
    about = (
        "Images that a probe trained on the others takes for another class: most suspicious first. The rest is in "
        "suspicious_labels.csv."
    )
    return Gallery("Suspicious labels", about, shown, "No label stands out.")
