"""What a model has learned from and what it has not seen: noted in its file, and asked before it is judged."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from tl_toolkit.data.fingerprints import content_fingerprints
from tl_toolkit.data.images import ImageInfo
from tl_toolkit.data.prepare import Splits
from tl_toolkit.data.quality.readability import read_each
from tl_toolkit.data.samples import Samples
from tl_toolkit.data.sources.base import Source
from tl_toolkit.events import Callback, DecisionEvent, WarningEvent
from tl_toolkit.model_file import ModelMetadata, SplitFingerprints

JUDGES = ("test", "val")
"""Splits to judge by, the better one first."""

UNSEEN = "unseen"
NO_NOTE = "the model file has no note of the images that it learned from"
NO_CONTENTS = "these images may be others each time they are read"


@dataclass(frozen=True)
class Selection:
    """Images to judge a model by.

    Attributes:
        split: Name of a split; "unseen" where the run's val and images that it never had are judged together.
        samples: The images.
        of_run: Whether the run made the split, and not the data.
        left_out: Images beside them that are not judged.
        why: Why they were chosen, where the user did not name a split.
    """

    split: str
    samples: Samples
    of_run: bool = False
    left_out: int = 0
    why: str = ""

    @property
    def title(self) -> str:
        """The split in words."""
        return split_title(self.split, self.of_run)


def split_title(split: str, of_run: bool) -> str:
    """A split in words: its name, and who made it."""
    return f"{split} of the run" if of_run and split != UNSEEN else split


def note_splits(splits: Splits) -> SplitFingerprints | None:
    """Notes which images train, val and test hold, by content.

    Args:
        splits: Of a run; it learns from train.

    Returns:
        None where images may be others each time they are read.
    """
    if not any(splits.contents["train"]):
        return None
    return SplitFingerprints.of({split: filter(None, prints) for split, prints in splits.contents.items()}, ("train",))


def note_refit(note: SplitFingerprints | None) -> SplitFingerprints | None:
    """The same note, with val learned from too."""
    return dataclasses.replace(note, learned=("train", "val")) if note else None


def seen_in_split(note: SplitFingerprints | None, split: str) -> int | None:
    """How many of the contents of a split the model learned from elsewhere; None where that cannot be known."""
    if note is None or split not in note.packed:
        return None
    elsewhere = dataclasses.replace(note, learned=tuple(other for other in note.learned if other != split))
    return len(note.fingerprints(split) & elsewhere.seen())


def choose_images(metadata: ModelMetadata, source: Source, split: str | None, callback: Callback) -> Selection:
    """The images to judge a model by: what it has not seen, unless the user names a split.

    Of data with splits it is test, else val. Data without splits that hold images of the run's val are divided as the
    run did it, and images that came later are judged too. Other data are judged as a whole.

    Args:
        metadata: Of the model.
        source: The data.
        split: As the user named it. val and test may also be those of the run.
        callback: Told what is judged, where the user did not say it.

    Raises:
        UnknownNameError: There is no such split.
        ModelFileError: The model file's note is damaged.
    """
    if split is not None:
        return _named(metadata, source, split)
    for name in JUDGES:
        if name in source.splits:
            callback(DecisionEvent("split", name, f"{source.name} has {', '.join(source.splits)}"))
            return Selection(name, source.split(name))
    whole, note = source.split("train"), metadata.split_note
    prints = content_fingerprints(whole) if note else []
    if note is None or not any(prints):
        told = f"{source.name} has no test or val split: all of it is judged, with any image the model learned from."
        callback(WarningEvent(told))
        return Selection("train", whole)
    chosen = _unseen(note, whole, prints)
    if chosen is None:
        callback(DecisionEvent("split", f"all {_images(len(whole))}", f"{source.name} has no test or val split"))
        return Selection("train", whole)
    callback(DecisionEvent("split", chosen.title, chosen.why))
    return chosen


def report_seen_images(metadata: ModelMetadata, samples: Samples, callback: Callback) -> int | None:
    """Says of how many images the model learned.

    Args:
        metadata: Of the model.
        samples: The images that are judged; those of a lazy dataset have been read.
        callback: Told of it.

    Returns:
        How many; None where that is not known.

    Raises:
        ModelFileError: The model file's note is damaged.
    """
    note = metadata.split_note
    prints = content_fingerprints(samples) if note else []
    if note is None or not any(prints):
        callback(DecisionEvent(UNSEEN, "not known", NO_CONTENTS if note else NO_NOTE))
        return None
    seen = note.seen()
    count = sum(each in seen for each in prints)
    if not count:
        callback(DecisionEvent(UNSEEN, f"all {_images(len(samples))}", "the model learned from none of them"))
        return 0
    share = f"{count:,} of these {_images(len(samples))} ({_percent(count / len(samples))})"
    what = "all of these images" if count == len(samples) else share
    callback(
        WarningEvent(f"The model learned from {what}: accuracy on them says nothing of new images.{_before(metadata)}")
    )
    return count


def _before(metadata: ModelMetadata) -> str:
    """What val said, where the model learned from it afterwards."""
    accuracy, images = (metadata.metrics.get(name) for name in ("val_accuracy", "val_images"))
    if "val" not in (metadata.split_note.learned if metadata.split_note else ()) or not isinstance(accuracy, float):
        return ""
    counted = f" of {_images(images)}" if isinstance(images, int) else ""
    return f" Val was judged before the head was solved on train and val together: {_percent(accuracy)}{counted} right."


def _named(metadata: ModelMetadata, source: Source, split: str) -> Selection:
    """A split of the data, or one that the run took out of train."""
    if split in JUDGES and split not in source.splits and "train" in source.splits and metadata.split_note:
        whole, held = source.split("train"), metadata.split_note.fingerprints(split)
        indices = [index for index, each in enumerate(content_fingerprints(whole)) if each in held]
        if indices:
            return Selection(split, whole.subset(indices), True, len(whole) - len(indices))
    return Selection(split, source.split(split))


def _unseen(note: SplitFingerprints, samples: Samples, prints: Sequence[bytes | None]) -> Selection | None:
    """What a run did not learn from of images that it divided; None where it divided others, or learned from all."""
    seen, val = note.seen(), note.fingerprints("val")
    if not any(each in val for each in prints):
        return None
    unseen = [index for index, each in enumerate(prints) if each not in seen]
    held = [index for index in unseen if prints[index] in val]
    if not held and not _any_readable(samples.subset(unseen)):
        return None
    only_val = len(held) == len(unseen)
    others = "" if only_val else f", {'val and others' if held else 'those'} that the run did not learn from"
    why = f"{len(unseen):,} of {_images(len(samples))}{others}; the model learned from the rest"
    name = "val" if only_val else UNSEEN
    return Selection(name, samples.subset(unseen), True, len(samples) - len(unseen), why)


def _any_readable(samples: Samples) -> bool:
    """Whether there is an image: what the run left out because it cannot be read is none."""
    found = read_each(samples, samples.inspect, range(len(samples)))
    return any(isinstance(each, ImageInfo) for each in found)


def _images(count: int) -> str:
    return f"{count:,} image{'' if count == 1 else 's'}"


def _percent(share: float) -> str:
    return f"{share:.1%}".replace("%", " %")
