"""Which images a model has learned from, as its file records it, and which are left to evaluate it on."""

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
from tl_toolkit.text import plural

EVAL_SPLITS = ("test", "val")
"""Splits to evaluate on, the better one first."""

UNSEEN = "unseen"
MAX_NOTED = 10_000_000
"""More images get no note: at 5 bytes each in base64 it would pass the 100 MB that safetensors allows a header."""

NO_NOTE = "the model file has no note of the images that it learned from"
NO_CONTENTS = "these images may be others each time they are read"


@dataclass(frozen=True)
class EvalSplit:
    """Images to evaluate a model on.

    Attributes:
        split: Name of the split; "unseen" for the run's val and images that the run never had.
        samples: The images.
        of_run: Whether the run made the split, and not the data.
        left_out: Number of other images.
        why: Why the split was chosen, unless the user named it.
    """

    split: str
    samples: Samples
    of_run: bool = False
    left_out: int = 0
    why: str = ""

    @property
    def title(self) -> str:
        """The split in words: its name, and whether the run made it."""
        return split_title(self.split, self.of_run)


def split_title(split: str, of_run: bool) -> str:
    """Return a split in words: its name, and whether the run made it."""
    return f"{split} of the run" if of_run and split != UNSEEN else split


def note_splits(splits: Splits, callback: Callback) -> SplitFingerprints | None:
    """Return a record of the contents of train, val and test; None if images change when they are read.

    Args:
        splits: The images of a run.
        callback: Called if there are too many of them for a record.
    """
    if not any(splits.contents["train"]):
        return None
    images = sum(map(len, splits.present.values()))
    if images > MAX_NOTED:
        why = f"{images:,} are too many for a model file; evaluating it cannot tell which ones it learned from"
        callback(DecisionEvent("note of the images", "none", why))
        return None
    return SplitFingerprints.of({split: filter(None, prints) for split, prints in splits.contents.items()}, ("train",))


def note_refit(note: SplitFingerprints | None) -> SplitFingerprints | None:
    """Return the record of a model that learned from val too."""
    return dataclasses.replace(note, learned=("train", "val")) if note else None


def seen_in_split(note: SplitFingerprints | None, split: str) -> int | None:
    """Return how many images of a split the model learned from in another split; None if that is unknown."""
    if note is None or split not in note.packed:
        return None
    elsewhere = dataclasses.replace(note, learned=tuple(other for other in note.learned if other != split))
    return len(note.fingerprints(split) & elsewhere.seen())


def choose_eval_split(metadata: ModelMetadata, source: Source, split: str | None, callback: Callback) -> EvalSplit:
    """Choose the images to evaluate a model on: what it has not seen, unless the user names a split.

    Of data with splits, take test, else val. Divide data without splits as the run did, if they hold images of its val;
    later images are added to val. Take other data as a whole.

    Args:
        metadata: Of the model.
        source: The data.
        split: The user's choice. val and test may also be those of the run.
        callback: Called with the decision, unless the user made it.

    Raises:
        UnknownNameError: There is no such split.
        ModelFileError: The model file's note is damaged.
    """
    if split is not None:
        return _named(metadata, source, split)
    for name in EVAL_SPLITS:
        if name in source.splits:
            callback(DecisionEvent("split", name, f"{source.name} has {', '.join(source.splits)}"))
            return EvalSplit(name, source.split(name))
    whole, note = source.split("train"), metadata.split_note
    prints = content_fingerprints(whole) if note else []
    if note is None or not any(prints):
        seen_too = "all of it is judged, with any image the model learned from"
        callback(WarningEvent(f"{source.name} has no test or val split: {seen_too}."))
        return EvalSplit("train", whole)
    chosen = _unseen(note, whole, prints)
    if chosen is None:
        everything = f"all {plural(len(whole), 'image')}"
        callback(DecisionEvent("split", everything, f"{source.name} has no test or val split"))
        return EvalSplit("train", whole)
    callback(DecisionEvent("split", chosen.title, chosen.why))
    return chosen


def report_seen_images(metadata: ModelMetadata, samples: Samples, callback: Callback) -> int | None:
    """Report how many images the model learned from.

    Args:
        metadata: Of the model.
        samples: The images to evaluate on; those of a dataset have been read.
        callback: Called with the number.

    Returns:
        The number; None if it is unknown.

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
        one = "1 image", "the model did not learn from it"
        several = f"all {len(samples):,} images", "the model learned from none of them"
        callback(DecisionEvent(UNSEEN, *(one if len(samples) == 1 else several)))
        return 0
    share = f"{count:,} of these {plural(len(samples), 'image')} ({_percent(count / len(samples))})"
    what = "all of these images" if count == len(samples) else share
    seen_before = f"The model learned from {what}: accuracy on them says nothing of new images."
    callback(WarningEvent(seen_before + _val_before_refit(metadata)))
    return count


def _val_before_refit(metadata: ModelMetadata) -> str:
    """Return the accuracy on val, if the model learned from val afterwards."""
    accuracy, images = (metadata.metrics.get(name) for name in ("val_accuracy", "val_images"))
    if "val" not in (metadata.split_note.learned if metadata.split_note else ()) or not isinstance(accuracy, float):
        return ""
    counted = f" of {plural(images, 'image')}" if isinstance(images, int) else ""
    return f" Val was judged before the head was solved on train and val together: {_percent(accuracy)}{counted} right."


def _named(metadata: ModelMetadata, source: Source, split: str) -> EvalSplit:
    """Return a split of the data, or one that the run took out of train."""
    if split in EVAL_SPLITS and split not in source.splits and "train" in source.splits and metadata.split_note:
        whole, held = source.split("train"), metadata.split_note.fingerprints(split)
        indices = [index for index, each in enumerate(content_fingerprints(whole)) if each in held]
        if indices:
            return EvalSplit(split, whole.subset(indices), True, len(whole) - len(indices))
    return EvalSplit(split, source.split(split))


def _unseen(note: SplitFingerprints, samples: Samples, prints: Sequence[bytes | None]) -> EvalSplit | None:
    """Return the images that a run did not learn from; None if it had other images, or learned from all of them."""
    seen, val = note.seen(), note.fingerprints("val")
    if not any(each in val for each in prints):
        return None
    unseen = [index for index, each in enumerate(prints) if each not in seen]
    held = [index for index in unseen if prints[index] in val]
    if not held and not _any_readable(samples.subset(unseen)):
        return None
    only_val = len(held) == len(unseen)
    others = "" if only_val else f", {'val and others' if held else 'those'} that the run did not learn from"
    why = f"{len(unseen):,} of {plural(len(samples), 'image')}{others}; the model learned from the rest"
    name = "val" if only_val else UNSEEN
    return EvalSplit(name, samples.subset(unseen), True, len(samples) - len(unseen), why)


def _any_readable(samples: Samples) -> bool:
    """Return whether any image can be read: the run may have left out the others because they cannot."""
    found = read_each(samples, samples.inspect, range(len(samples)))
    return any(isinstance(each, ImageInfo) for each in found)


def _percent(share: float) -> str:
    return f"{share:.1%}".replace("%", " %")
