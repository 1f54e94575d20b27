"""The parts of a report that need more than predictions: heat maps of the model, and suspicious labels of any split."""

import time
from collections.abc import Sequence

from tl_toolkit.errors import DownloadError, ImageError, ModelError
from tl_toolkit.inference.classifier import ImageClassifier
from tl_toolkit.inference.heat_maps import heat_map
from tl_toolkit.report.content import Gallery, ShownImage
from tl_toolkit.report.galleries import SHOWN, short_names
from tl_toolkit.report.pictures import Pictures, Place, encode, shrink
from tl_toolkit.runs.report_material import RunMaterial
from tl_toolkit.runs.suspicious_labels import SuspiciousLabel

MAPS = 12
"""Mistakes that get a heat map."""

MAP_SIDE = 128
"""Pixels of the short side of a heat map."""

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
        self._why = "" if model else "there is no model to ask"
        self.method = ""

    def draw(self, material: RunMaterial, indices: Sequence[int], pictures: Pictures) -> dict[int, bytes]:
        """Return the heat maps of images of the split, by index, for the class that each was taken for."""
        images = material.images.get(material.split)
        if self._model is None or images is None:
            return {}
        spec = self._model.input_spec
        kept = {}
        for index in indices[:MAPS]:
            if index not in self._maps:
                if pictures.get(material.split, index) is None:
                    continue
                if time.monotonic() >= self._deadline:
                    self._why = "there was no time for them"
                    break
                try:
                    found = heat_map(self._model, images.open(index, spec.channels, spec.min_decode_size))
                except (ImageError, DownloadError):
                    continue
                except (ModelError, RuntimeError, NotImplementedError) as error:  # Of layers that have no gradient.
                    self._why = f"this network gives none: {str(error).splitlines()[0]}"
                    break
                self.method = found.method
                self._maps[index] = encode(shrink(found.overlay(), MAP_SIDE))
            if pictures.take(len(self._maps[index])):
                kept[index] = self._maps[index]
        return kept

    def missing(self) -> list[tuple[str, str]]:
        """Return why heat maps are missing, if any are."""
        return [("heat maps", self._why)] if self._why else []


def suspicious_places(material: RunMaterial, missing: list[tuple[str, str]]) -> list[Suspect]:
    """Return the most suspicious labels, each with the place of its image; None where the image is not at hand."""
    if material.suspicious is None:
        missing.append(("suspicious labels", "the run did not look for them"))
        return []
    first = material.suspicious[:SHOWN]
    names = short_names([each.image for each in first], material.data)
    where = {split: _by_name(material, split) for split in {each.split for each in first}}
    return [(each, where[each.split].get(name)) for each, name in zip(first, names, strict=True)]


def _by_name(material: RunMaterial, split: str) -> dict[str, Place]:
    """Return the place of each image by its name below the data, wherever these are now."""
    images = material.images.get(split)
    if images is None:
        return {}
    found = [(index, place) for index, place in enumerate(images.places) if place is not None]
    names = short_names([images.samples.name(place) for _, place in found], material.data_now or material.data)
    return {name: (split, index) for name, (index, _) in zip(names, found, strict=True)}


def suspicious_gallery(material: RunMaterial, suspects: Sequence[Suspect], pictures: Pictures) -> Gallery | None:
    """Return the gallery of suspicious labels; None if the run did not look for them."""
    if material.suspicious is None:
        return None
    names = short_names([each.image for each, _ in suspects], material.data)
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
