"""What to do about identical images: warn, leave them out, or refuse them."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path

from tl_toolkit.config.choices import Duplicates
from tl_toolkit.data.quality.duplicates import DuplicateGroups, DuplicateImage, find_duplicates, with_content_hashes
from tl_toolkit.data.quality.readability import ExcludedImage
from tl_toolkit.data.samples import Samples
from tl_toolkit.data.targets import Target, classes_in, name_target
from tl_toolkit.errors import DataError
from tl_toolkit.events import Callback, DecisionEvent, WarningEvent
from tl_toolkit.text import bullets, join_names, named, plural

MAX_LISTED = 5
"""Names of a group that a message lists."""

KEEPERS: Mapping[str, tuple[str, ...]] = {"train": ("test", "val"), "val": ("test",), "test": ()}
"""For each split, the splits that keep an image which both have."""

LEARNERS: Mapping[str, tuple[str, ...]] = {"test": ("train", "val"), "val": ("train",), "train": ()}
"""For each split, the splits that must not have its images."""


def apply_duplicate_policy(
    splits: Mapping[str, Samples], class_names: Sequence[str], policy: Duplicates, callback: Callback
) -> tuple[dict[str, Samples], list[ExcludedImage]]:
    """Compare the images of splits, and leave out or refuse copies.

    "drop" takes out of train what is in val or test too, out of val what is in test too, and out of train all repeats
    but the first. It takes out all images that train has in several classes, as any of these may be wrong. Test stays.

    Args:
        splits: Samples by the name of their split.
        class_names: In the order of the targets.
        policy: "warn" changes nothing, but refuses a file in several classes; see `report_duplicates`.
        callback: Called with the number of images left out.

    Returns:
        The splits with `contents`, and the images left out.

    Raises:
        DataError: There are copies and the policy is "fail", a file is in several classes and it is "warn", or
            train has only copies of a class.
    """
    splits = with_content_hashes(splits)
    copies = find_duplicates(splits)
    if policy == "warn" or not copies.groups:
        _refuse_files_in_several_classes(copies, class_names)
        return dict(splits), []
    if policy == "fail":
        remedy = f"Remove the copies, or leave them out with {named('duplicates', 'drop')}."
        raise DataError("\n".join([*describe_duplicates(copies, class_names), remedy]))
    dropped = [(copy, why) for group in copies.groups for copy, why in _dropped(group, class_names)]
    gone = {split: {copy.index for copy, _ in dropped if copy.split == split} for split in splits}
    remaining = {split: _without(samples, gone[split]) for split, samples in splits.items()}
    _check_classes_remain(splits.get("train"), remaining.get("train"), class_names)
    if dropped:
        counts = Counter(copy.split for copy, _ in dropped)
        value = ", ".join(f"{plural(count, 'image')} of {split}" for split, count in counts.items())
        callback(DecisionEvent("copies", f"{value} left out", named("duplicates", "drop")))
    return remaining, [ExcludedImage(copy.split, copy.name, why) for copy, why in dropped]


def _refuse_files_in_several_classes(copies: DuplicateGroups, class_names: Sequence[str]) -> None:
    """Refuse identical files of the same name in several classes of a split: each may be meant as a label.

    Identical files of other names are a mistake more likely than two labels, and `report_duplicates` warns of them.
    """
    meant = []
    for group in copies.conflicts:
        classes: defaultdict[tuple[str, str], set[Target]] = defaultdict(set)
        for copy in group:
            classes[copy.split, Path(copy.name).name].add(copy.target)
        if any(len(found) > 1 for found in classes.values()):
            meant.append(group)
    if meant and _one_class(meant):
        examples = bullets([f"{_names(group)} ({_classes(group, class_names)})" for group in meant])
        found = f"{plural(len(meant), 'image')} {_is(len(meant))} in several classes under the same file name"
        raise DataError(
            f"{found}:\n{examples}\n"
            "If these images have several labels, write them in a table, such as a CSV file with the columns path and "
            f"label and {named('label_separator', ';')}. If only one class is right, remove the others, or leave such "
            f"images out with {named('duplicates', 'drop')}."
        )


def report_duplicates(
    splits: Mapping[str, Samples], class_names: Sequence[str], policy: Duplicates, callback: Callback
) -> None:
    """Warn of identical images; the splits are those of `apply_duplicate_policy`."""
    remedy = f"{named('duplicates', 'drop')} leaves out the copies, {named('duplicates', 'fail')} stops."
    for message in describe_duplicates(find_duplicates(splits), class_names):
        callback(WarningEvent(f"{message}\n{remedy}" if policy == "warn" else message))


def describe_duplicates(copies: DuplicateGroups, class_names: Sequence[str]) -> list[str]:
    """Return messages on identical images: in several splits, in several classes, repeated in one class."""
    messages = []
    if copies.leaks:
        pairs = Counter(pair for group in copies.leaks for pair in _leaking(group))
        counts = ", ".join(
            f"{count:,} of {split} {_is(count)} in {other} too" for (split, other), count in pairs.items()
        )
        messages.append(
            f"The same images are in several splits: {counts}. Accuracy on them says nothing of new images.\n"
            f"{_examples(copies.leaks)}"
        )
    if copies.conflicts:
        count = len(copies.conflicts)
        one_class = _one_class(copies.conflicts)
        differ = "in several classes" if one_class else "there with different labels"
        table = " To give an image several labels, write them in a table." if one_class else ""
        messages.append(
            f"{plural(count, 'image')} {_is(count)} {differ}: one at most is right.{table}\n"
            f"{bullets([f'{_names(group)} ({_classes(group, class_names)})' for group in copies.conflicts])}"
        )
    if copies.repeats:
        extra = Counter(group[0].split for group in copies.repeats for _ in group[1:])
        counts = ", ".join(f"{count:,} in {split}" for split, count in extra.items())
        messages.append(
            f"Some images are repeated within a class of a split ({counts}), so they weigh more.\n"
            f"{_examples(copies.repeats)}"
        )
    return messages


def describe_near(near: DuplicateGroups) -> list[str]:
    """Return a message on groups of images that look the same, if there are any."""
    if not near.groups:
        return []
    kinds = (("splits", near.leaks), ("classes", near.conflicts))
    where = ", ".join(f"{len(groups):,} in several {what}" for what, groups in kinds)
    count = plural(len(near.groups), "group")
    return [f"{count} of images look the same without being identical ({where}).\n{_examples(near.groups)}"]


def _dropped(group: Sequence[DuplicateImage], class_names: Sequence[str]) -> Iterator[tuple[DuplicateImage, str]]:
    """Yield the images of a group to leave out, and why."""
    first = {copy.split: copy for copy in reversed(group)}
    in_train = [copy for copy in group if copy.split == "train"]
    for copy in group:
        keepers = [first[split] for split in KEEPERS[copy.split] if split in first]
        if keepers:
            yield copy, f"also in {keepers[0].split}: {keepers[0].name}"
        elif copy.split == "train" and len({other.target for other in in_train}) > 1:
            differ = "in several classes" if _one_class([group]) else "with different labels"
            yield copy, f"{differ}: {_classes(in_train, class_names)}"
        elif copy.split == "train" and copy != in_train[0]:
            yield copy, f"the same as {in_train[0].name}"


def _without(samples: Samples, gone: Set[int]) -> Samples:
    return samples.subset([index for index in range(len(samples)) if index not in gone]) if gone else samples


def _check_classes_remain(before: Samples | None, after: Samples | None, class_names: Sequence[str]) -> None:
    if before is None or after is None:
        return
    if lost := sorted(classes_in(before.targets) - classes_in(after.targets)):
        raise DataError(
            f"Without its copies train has no image of {join_names([class_names[target] for target in lost])}: all are "
            f"in val, test or another class too. Take them out there, or say {named('duplicates', 'warn')}."
        )


def _leaking(group: Sequence[DuplicateImage]) -> Iterator[tuple[str, str]]:
    """Yield the split of each image that evaluates, and the split that has the image too."""
    splits = {copy.split for copy in group}
    for copy in group:
        if others := [split for split in LEARNERS[copy.split] if split in splits]:
            yield copy.split, others[0]


def _examples(groups: Sequence[Sequence[DuplicateImage]]) -> str:
    return bullets([_names(group) for group in groups])


def _names(group: Sequence[DuplicateImage]) -> str:
    shown = [f"{copy.name}" if "/" in copy.name else f"{copy.name} of {copy.split}" for copy in group]
    return " = ".join(shown[:MAX_LISTED]) + (f" = {len(shown) - MAX_LISTED:,} more" if len(shown) > MAX_LISTED else "")


def _classes(group: Sequence[DuplicateImage], class_names: Sequence[str]) -> str:
    return join_names(list(dict.fromkeys(name_target(copy.target, class_names) for copy in group)))


def _one_class(groups: Sequence[Sequence[DuplicateImage]]) -> bool:
    """Return whether an image of the data has one class, rather than labels."""
    return isinstance(groups[0][0].target, int)


def _is(count: int) -> str:
    return "is" if count == 1 else "are"
