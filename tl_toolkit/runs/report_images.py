"""Finding the images of a run again: by name where they were, by name below a folder that moved, else by content."""

from collections.abc import Mapping, Sequence
from functools import cached_property

from tl_toolkit.data.fingerprints import content_fingerprints, digest_cache
from tl_toolkit.data.samples import Samples
from tl_toolkit.data.sources.base import Source
from tl_toolkit.io.row_cache import cache_folder
from tl_toolkit.metrics.predictions import Predictions
from tl_toolkit.model_file import SplitFingerprints
from tl_toolkit.report.pictures import FoundImages
from tl_toolkit.text import plural


class _Finder:
    """Looks images up in a split of the data.

    Args:
        samples: The split.
        root: The folder or name of the data now.
        old_root: The folder or name of the data when they were trained on.
    """

    def __init__(self, samples: Samples, root: str, old_root: str) -> None:
        self._samples, self._root, self._old_root = samples, root, old_root

    @cached_property
    def _by_name(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self._samples.names())}

    @cached_property
    def _by_name_below(self) -> dict[str, int]:
        return {name_below(name, self._root): place for name, place in self._by_name.items()}

    @cached_property
    def _contents(self) -> list[bytes | None]:
        return content_fingerprints(self._samples, digest_cache(cache_folder()))

    @cached_property
    def _by_content(self) -> dict[bytes, int]:
        return {found: place for place, found in enumerate(self._contents) if found}

    def find(self, names: Sequence[str], contents: Sequence[bytes | None]) -> list[int | None]:
        """Return the place of each image; None for one that is not there."""
        if not self._samples.are_encoded and any(self._contents):
            # Pixels in memory are numbered within their split, and val may have been taken out of train.
            return [self._by_content.get(content) if content else None for content in contents]
        places = [self._by_name.get(name) for name in names]
        if self._root != self._old_root and None in places:
            below = (self._by_name_below.get(name_below(name, self._old_root)) for name in names)
            places = [place if place is not None else other for place, other in zip(places, below, strict=True)]
        if None in places and any(contents):
            same = (self._by_content.get(content) if content else None for content in contents)
            places = [place if place is not None else other for place, other in zip(places, same, strict=True)]
        return places


def name_below(name: str, root: str) -> str:
    """Return the name of an image below the folder of its data; the name itself if it is not there."""
    prefix = root.rstrip("/\\")
    inside = bool(prefix) and name.startswith((f"{prefix}/", f"{prefix}\\"))
    return name[len(prefix) + 1 :] if inside else name


def find_images(
    predictions: Mapping[str, Predictions], source: Source, note: SplitFingerprints | None, root: str, old_root: str
) -> dict[str, FoundImages]:
    """Return where the images of predictions are, and all images of other splits.

    A picture is checked when it is read, so that no image is shown for another.

    Args:
        predictions: By split.
        source: The data, as they are now.
        note: The contents of the run's splits, from the model file.
        root: The folder or name of the data now.
        old_root: The same when they were trained on.
    """
    found = {}
    for split in ("train", "val", "test"):
        samples = source.splits.get(split, source.splits.get("train"))
        if samples is None:
            continue
        of_split = predictions.get(split)
        if of_split is not None:
            contents = list(of_split.contents) or [None] * len(of_split)
            places = _Finder(samples, root, old_root).find(of_split.names, contents)
            found[split] = FoundImages(samples, places, contents)
        else:
            known = note.fingerprints(split) if note else frozenset()
            found[split] = FoundImages(samples, range(len(samples)), known=known)
    return found


def describe_lost(images: FoundImages | None) -> str:
    """Return how many images of predictions are no longer in the data; empty if none is. None has no such split."""
    if images is None:
        return "the data have no such split"
    lost, count = sum(place is None for place in images.places), len(images.places)
    if not lost:
        return ""
    which = "none" if lost == count else f"{lost:,}"
    verb = "is" if lost in (1, count) else "are"
    gone = "in the data any more" if lost == count else "not in the data any more"
    return f"{which} of its {plural(count, 'image')} {verb} {gone}"
